import { join } from 'node:path';

import { untilCounted } from '../growth/serve.ts';
import { startClickHouse } from './peers/clickhouse.ts';
import { startNats } from './peers/nats.ts';
import { startPostgres } from './peers/postgres.ts';
import { startNode, type Started } from './process.ts';
import { startRabbitMq } from './peers/rabbitmq.ts';
import { startRedis } from './peers/redis.ts';
import { days } from './traffic.ts';

export interface Running {
  readonly url: string;
  /** All processes that it needs. */
  readonly pids: readonly number[];
  /** The sum of its counters; undefined if it has none. */
  readonly countedItems: (() => Promise<number>) | undefined;
  stop(): Promise<void>;
}

export interface Contestant {
  readonly name: string;
  /** Whether acknowledged batches survive a power failure. */
  readonly isDurable: boolean;
  /** @throws {NotInstalled} */
  start(dataDir: string): Promise<Running>;
}

const here = import.meta.dirname;

export const contestants: readonly Contestant[] = [
  { name: 'device-pipeline', isDurable: true, start: startOurs },
  { name: 'bare node:http', isDurable: false, start: () => startBare() },
  { name: 'bare, counts bytes', isDurable: false, start: () => startBare('counts bytes') },
  {
    name: 'PostgreSQL',
    isDurable: true,
    start: (dataDir) => behindFront('postgres', dataDir, startPostgres),
  },
  {
    name: 'PostgreSQL, singly',
    isDurable: true,
    start: (dataDir) => behindFront('postgres', dataDir, startPostgres, 'singly'),
  },
  {
    name: 'Redis, always',
    isDurable: true,
    start: (dataDir) => behindFront('redis', dataDir, startRedis('always')),
  },
  {
    name: 'Redis, always, singly',
    isDurable: true,
    start: (dataDir) => behindFront('redis', dataDir, startRedis('always'), 'singly'),
  },
  {
    name: 'Redis, everysec',
    isDurable: false,
    start: (dataDir) => behindFront('redis', dataDir, startRedis('everysec')),
  },
  {
    name: 'ClickHouse',
    isDurable: false,
    start: (dataDir) => behindFront('clickhouse', dataDir, startClickHouse),
  },
  {
    name: 'NATS, always',
    isDurable: true,
    start: (dataDir) => behindFront('nats', dataDir, startNats('always')),
  },
  {
    name: 'NATS',
    isDurable: false,
    start: (dataDir) => behindFront('nats', dataDir, startNats('default')),
  },
  {
    name: 'RabbitMQ',
    isDurable: true,
    start: (dataDir) => behindFront('rabbitmq', dataDir, startRabbitMq),
  },
];

/** The build that the package contains: see `buildPackage`. */
async function startOurs(dataDir: string): Promise<Running> {
  const commandLine = join(here, '../../dist/cli/cli.js');
  const server = await startNode(
    commandLine,
    ...['serve', '--port', '0', '--data-dir', join(dataDir, 'data')],
  );
  const { url } = server;
  const countedItems = async () => {
    await untilCounted(url);
    const response = await fetch(`${url}/stats?from=${days.from}&to=${days.to}`);
    const rows = (await response.json()) as { count: number }[];
    return rows.reduce((sum, { count }) => sum + count, 0);
  };
  return { url, pids: [server.pid], countedItems, stop: () => server.stop() };
}

async function startBare(...mode: readonly string[]): Promise<Running> {
  const server = await startNode(join(here, '../bare-server.ts'), ...mode);
  const { url, pid } = server;
  return { url, pids: [pid], countedItems: undefined, stop: () => server.stop() };
}

/** A database or a broker that stores and counts, behind a Node HTTP server. */
async function behindFront(
  store: string,
  dataDir: string,
  start: (dataDir: string) => Promise<Started & { readonly address: string }>,
  ...mode: readonly string[]
): Promise<Running> {
  const database = await start(dataDir);
  try {
    const front = await startNode(join(here, 'front.ts'), store, database.address, ...mode);
    return {
      url: front.url,
      pids: [database.pid, front.pid],
      countedItems: async () => Number(await (await fetch(`${front.url}/counted`)).text()),
      async stop() {
        await front.stop();
        await database.stop();
      },
    };
  } catch (error) {
    await database.stop();
    throw error;
  }
}
