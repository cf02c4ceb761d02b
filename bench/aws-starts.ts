import { execFileSync } from 'node:child_process';
import { pathToFileURL } from 'node:url';

import { bundleHandlers, type Bundle } from '../infra/bundle.ts';

/**
 * How long the bundle of each function takes to load, each time in a new process: our part of a cold
 * start, on this machine. Usage: node bench/aws-starts.ts [times]
 */
const times = Number(process.argv[2] ?? 10);

/** All environment variables that the functions read while they are loaded. */
const variables = {
  ...{ COUNTERS_TABLE: 'counters', LEDGER_TABLE: 'ledger', RAW_BUCKET: 'raw' },
  ...{ QUEUE_URL: 'http://localhost/queue', DEAD_LETTER_QUEUE_URL: 'http://localhost/dead' },
  ...{ KEEP_DAYS: '90', MAX_RECEIVES: '5', SWEEP_AFTER_SECONDS: '900', AWS_REGION: 'us-east-1' },
};

function loadMs({ directory }: Bundle): number {
  const url = JSON.stringify(pathToFileURL(`${directory}/index.mjs`).href);
  const script = `const start = performance.now(); const { handler } = await import(${url});
    if (typeof handler !== 'function') throw new Error('no handler');
    process.stdout.write(String(performance.now() - start));`;
  const env = { PATH: process.env['PATH'], ...variables };
  const options = ['--input-type=module', '--eval', script];
  return Number(execFileSync(process.execPath, options, { env }));
}

process.stdout.write(
  '| function | bundle | loaded in, median | least | most |\n|---|---|---|---|---|\n',
);
for (const bundle of await bundleHandlers()) {
  const sorted = Array.from({ length: times }, () => loadMs(bundle)).sort((a, b) => a - b);
  const at = (place: number) => `${(sorted[Math.floor(place)] ?? NaN).toFixed(0)} ms`;
  const cells = [
    bundle.name,
    `${(bundle.bytes / 1000).toFixed(0)} kB`,
    ...[at(times / 2), at(0), at(times - 1)],
  ];
  process.stdout.write(`| ${cells.join(' | ')} |\n`);
}
