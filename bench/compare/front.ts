import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { readBatch, countEvents } from '../../src/domain/batch.ts';
import { mergeIncrements, type Increments } from '../../src/domain/counter.ts';
import { openClickHouse } from './peers/clickhouse-store.ts';
import { openNats } from './peers/nats-store.ts';
import { openPostgres } from './peers/postgres-store.ts';
import { openRabbitMq } from './peers/rabbitmq-store.ts';
import { openRedis } from './peers/redis-store.ts';

/**
 * The HTTP server in front of a database or a broker: as lean as Node allows, with the validation and the
 * responses of ours. Batches that arrive during a write are written together by the next one; or each is
 * written separately, several concurrently. Usage: node front.ts postgres|redis|clickhouse|nats|rabbitmq
 * ADDRESS [singly]
 */
export interface Store {
  /** Stores the bodies and adds to the counters, in one transaction if the database has them. */
  write(bodies: readonly Buffer[], tally: Increments): Promise<void>;
  countedItems(): Promise<number>;
  close(): Promise<void>;
}

const stores: Record<string, (address: string) => Promise<Store>> = {
  postgres: openPostgres,
  redis: openRedis,
  clickhouse: openClickHouse,
  nats: openNats,
  rabbitmq: openRabbitMq,
};
/** The most batches of one write. */
const writtenBatchesMax = 256;

interface Waiting {
  readonly body: Buffer;
  readonly tally: Increments;
  readonly items: number;
  readonly response: ServerResponse;
}

const [, , kind = '', address = '', singly] = process.argv;
const open = stores[kind];
if (open === undefined) throw new Error(`${kind} is not one of ${Object.keys(stores).join()}`);
const store = await open(address);
const waiting: Waiting[] = [];
let isWriting = false;

async function writeAll(): Promise<void> {
  isWriting = true;
  while (waiting.length > 0) await write(waiting.splice(0, writtenBatchesMax));
  isWriting = false;
}

async function write(group: readonly Waiting[]): Promise<void> {
  const merged: Increments = new Map();
  for (const { tally } of group) mergeIncrements(merged, tally);
  try {
    await store.write(
      group.map(({ body }) => body),
      merged,
    );
    for (const { response, items } of group) {
      answer(response, 200, `{"status":"accepted","enqueued":${items}}`);
    }
  } catch (error) {
    for (const { response } of group) answer(response, 500, String(error));
  }
}

function answer(response: ServerResponse, status: number, body: string): void {
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
  });
  response.end(body);
}

function ingest(request: IncomingMessage, response: ServerResponse): void {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => void chunks.push(chunk));
  request.on('end', () => {
    const body = chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks);
    const reading = readBatch(body);
    if (!reading.readable || reading.rejected > 0) {
      answer(response, 400, '{"status":"refused"}');
      return;
    }
    const { events } = reading;
    const batch = { body, tally: countEvents(events), items: events.length, response };
    if (singly !== undefined) {
      void write([batch]);
      return;
    }
    waiting.push(batch);
    // After the requests that arrived in the same iteration of the event loop.
    if (!isWriting) {
      isWriting = true;
      setImmediate(() => void writeAll());
    }
  });
}

const server = createServer((request, response) => {
  if (request.method === 'POST') ingest(request, response);
  else void store.countedItems().then((items) => answer(response, 200, String(items)));
});
server.listen(0, '127.0.0.1', () => {
  const bound = server.address();
  if (typeof bound === 'object') {
    process.stdout.write(`listening on http://127.0.0.1:${bound?.port}\n`);
  }
});
process.once('SIGTERM', () => {
  server.close(() => void store.close());
  server.closeAllConnections();
});
