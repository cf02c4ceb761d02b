import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import type { LoadResult } from './load.ts';

/**
 * Requests a second, items a second and latency of `POST /ingest` against the bare `node:http`
 * server, in turns within one run; medians over the turns. Usage: npm run bench -- --turns 3
 */
const { values } = parseArgs({
  options: {
    turns: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '4' },
    connections: { type: 'string', default: '64' },
    sizes: { type: 'string', default: '1,10,100,1000' },
  },
});
const here = import.meta.dirname;

interface Contestant {
  readonly name: 'ours' | 'bare node:http';
  readonly start: (dataDir: string) => ChildProcess;
}

const contestants: readonly Contestant[] = [
  {
    name: 'ours',
    start: (dataDir) =>
      node(join(here, '../src/entry/cli.ts'), 'serve', '--port', '0', '--data-dir', dataDir),
  },
  { name: 'bare node:http', start: () => node(join(here, 'bare-server.ts')) },
];

function node(...args: string[]): ChildProcess {
  return spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
}

async function measure({ name, start }: Contestant, itemsPerRequest: number) {
  const dataDir = mkdtempSync(join(tmpdir(), 'device-pipeline-bench-'));
  const server = start(dataDir);
  try {
    if (server.stdout === null) throw new Error('no output of the server');
    const [line] = (await once(server.stdout, 'data')) as [Buffer];
    const url = line.toString().replace('listening on ', '').trim();
    const options = {
      url,
      itemsPerRequest,
      connections: Number(values.connections),
      seconds: Number(values.seconds),
    };
    const output = execFileSync(process.execPath, [join(here, 'load.ts'), JSON.stringify(options)]);
    const result = JSON.parse(output.toString()) as LoadResult;
    if (name === 'ours') await checkCounts(url, result);
    const peakMiB = peakMemoryMiB(server.pid ?? 0);
    return { ...result, peakMiB };
  } finally {
    server.kill('SIGTERM');
    if (server.exitCode === null) await once(server, 'exit');
    rmSync(dataDir, { recursive: true });
  }
}

/** A figure for counts that are wrong is worth nothing. */
async function checkCounts(url: string, { itemsAccepted }: LoadResult): Promise<void> {
  for (;;) {
    const ready = (await (await fetch(`${url}/readyz`)).json()) as { pending_bytes?: number };
    if (ready.pending_bytes === 0) break;
  }
  const response = await fetch(`${url}/stats?from=2023-06-01&to=2023-06-30`);
  const rows = (await response.json()) as { count: number }[];
  const counted = rows.reduce((sum, { count }) => sum + count, 0);
  if (counted !== itemsAccepted) throw new Error(`${counted} counted of ${itemsAccepted} accepted`);
}

function peakMemoryMiB(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Math.round(Number(/VmHWM:\s+(\d+)/.exec(status)?.[1]) / 1024);
}

function median(numbers: number[]): number {
  return numbers.sort((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? NaN;
}

const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: here });
process.stdout.write(
  `${cpus().length} × ${cpus()[0]?.model ?? '?'}, Node ${process.version}, commit ${commit.toString().trim()}, ` +
    `${values.connections} connections, median of ${values.turns} turns of ${values.seconds} s\n\n` +
    `| items | | requests/s | items/s | p50 ms | p99 ms | failures | peak MiB | of bare |\n` +
    `|---|---|---|---|---|---|---|---|---|\n`,
);
for (const items of values.sizes.split(',').map(Number)) {
  const results = new Map(
    contestants.map(({ name }) => [name, [] as (LoadResult & { peakMiB: number })[]]),
  );
  for (let turn = 0; turn < Number(values.turns); turn++) {
    for (const contestant of contestants) {
      results.get(contestant.name)?.push(await measure(contestant, items));
    }
  }
  const of = (name: Contestant['name'], figure: keyof LoadResult | 'peakMiB') =>
    median((results.get(name) ?? []).map((result) => result[figure]));
  for (const { name } of contestants) {
    const ratio = of(name, 'requestsPerSecond') / of('bare node:http', 'requestsPerSecond');
    const cells = [
      items,
      name,
      Math.round(of(name, 'requestsPerSecond')),
      Math.round(of(name, 'itemsPerSecond')),
      of(name, 'p50').toFixed(1),
      of(name, 'p99').toFixed(1),
      of(name, 'failures'),
      of(name, 'peakMiB'),
      ratio.toFixed(2),
    ];
    process.stdout.write(`| ${cells.join(' | ')} |\n`);
  }
}
