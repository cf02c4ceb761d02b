import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';

import { startArchiveBucket } from '../test/support/aws/archive-bucket.ts';
import { markdown } from './compare/report.ts';
import { runWrk, type LoadFigures } from './compare/wrk.ts';
import { startNode } from './compare/process.ts';
import { machine } from './growth/machine.ts';

/**
 * `POST /ingest` with and without an archive: each mode in every round, in a different order each time,
 * from empty directories. Usage: npm run bench:archive -- --turns 3 --seconds 5
 */
const { values } = parseArgs({
  options: {
    turns: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '5' },
    sizes: { type: 'string', default: '1,10,100,1000' },
    connections: { type: 'string', default: '64' },
    /** Delays that the store adds to each request, in milliseconds. */
    delays: { type: 'string', default: '30,100' },
  },
});
const [turns, seconds, connections] = [values.turns, values.seconds, values.connections].map(
  Number,
) as [number, number, number];
const sizes = values.sizes.split(',').map(Number);
const commandLine = join(import.meta.dirname, '../src/entry/cli.ts');

interface Mode {
  readonly name: string;
  readonly args: (directory: string) => readonly string[];
}

const bucket = await startArchiveBucket();
let delayMs = 0;
bucket.faults.faultOf = () => ({ kind: 'delay', ms: delayMs });
Object.assign(process.env, bucket.env);

const toDirectory = (directory: string, mode: string) => {
  const archive = join(directory, 'archive');
  mkdirSync(archive);
  return ['--archive', pathToFileURL(archive).href, '--archive-mode', mode];
};
const toBucket = (ms: number): Mode => ({
  name: `sync, S3, ${ms} ms`,
  args(directory) {
    delayMs = ms;
    const prefix = directory.split('-').at(-1)?.toLowerCase() ?? '';
    return ['--archive', `${bucket.url}/${prefix}`, '--archive-mode', 'sync'];
  },
});
const modes: readonly Mode[] = [
  { name: 'none', args: () => [] },
  { name: 'async', args: (directory) => toDirectory(directory, 'async') },
  { name: 'sync, directory', args: (directory) => toDirectory(directory, 'sync') },
  ...values.delays.split(',').map((ms) => toBucket(Number(ms))),
];

process.stdout.write(
  `${machine()}\n${connections} connections, medians of ${turns} turns of ${seconds} s\n\n`,
);
try {
  for (const items of sizes) process.stdout.write(await measureSize(items));
} finally {
  await bucket.stop();
}

async function measureSize(items: number): Promise<string> {
  const measured = new Map(modes.map(({ name }) => [name, [] as LoadFigures[]]));
  for (let turn = 0; turn < turns; turn++) {
    for (const [index] of modes.entries()) {
      const mode = modes[(index + turn) % modes.length] as Mode;
      measured.get(mode.name)?.push(await measure(mode, items));
    }
  }
  const median = (name: string, figure: keyof LoadFigures) => {
    const all = (measured.get(name) ?? []).map((one) => one[figure]).sort((a, b) => a - b);
    return all[Math.floor(all.length / 2)] ?? 0;
  };
  const without = median('none', 'requestsPerSecond');
  return markdown(
    `${items} items a request`,
    ['archive', 'requests/s', 'of that without', 'p50 ms', 'p99 ms'],
    modes.map(({ name }) => [
      name,
      Math.round(median(name, 'requestsPerSecond')).toLocaleString('en'),
      (median(name, 'requestsPerSecond') / without).toFixed(2),
      median(name, 'p50').toFixed(1),
      median(name, 'p99').toFixed(1),
    ]),
  );
}

async function measure({ name, args }: Mode, items: number): Promise<LoadFigures> {
  const directory = mkdtempSync(join(tmpdir(), 'device-pipeline-archive-'));
  try {
    const data = ['--port', '0', '--data-dir', join(directory, 'data')];
    const server = await startNode(commandLine, 'serve', ...data, ...args(directory));
    try {
      const figures = await runWrk(server.url, { items, connections, seconds }, directory);
      process.stderr.write(`${name}, ${items}: ${JSON.stringify(figures)}\n`);
      return figures;
    } finally {
      await server.stop();
    }
  } finally {
    rmSync(directory, { recursive: true });
  }
}
