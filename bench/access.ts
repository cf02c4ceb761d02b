import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';

import { admissionCosts } from './access/admission.ts';
import { startNode } from './compare/process.ts';
import { runWrk } from './compare/wrk.ts';

/**
 * The cost of requiring a token: first of the code that differs, alone; then the same load on `serve`
 * without tokens, with one, and with one and a rate limit, in rounds. Besides the rate, it prints the
 * server's own CPU time per request, which other work on the machine disturbs less. Usage: npm run
 * bench:access -- --rounds 5 --before ../another-checkout
 */
const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '3' },
    items: { type: 'string', default: '1' },
    connections: { type: 'string', default: '64' },
    /** Another checkout of this repository, also measured without tokens. */
    before: { type: 'string' },
  },
});

interface Contestant {
  readonly name: string;
  readonly cli: string;
  readonly withToken: boolean;
  readonly args: readonly string[];
}

const here = resolve(import.meta.dirname, '..', 'src/entry/cli.ts');
const contestants: Contestant[] = [
  { name: 'no token', cli: here, withToken: false, args: [] },
  { name: 'a token', cli: here, withToken: true, args: [] },
  { name: 'a token and a rate', cli: here, withToken: true, args: ['--rate-limit', '1000000'] },
];
if (values.before !== undefined) {
  const cli = resolve(values.before, 'src/entry/cli.ts');
  contestants.unshift({ name: 'before', cli, withToken: false, args: [] });
}
const ticksPerSecond = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));
const figures = new Map<string, { requests: number[]; cpuUs: number[] }>();

for (const { name, us } of admissionCosts()) {
  process.stdout.write(`${name}: ${us.toFixed(2)} µs\n`);
}
for (let round = 0; round < Number(values.rounds); round++) {
  // Rotate the order: each is first in one round.
  const order = contestants.map((_, at) => contestants[(at + round) % contestants.length]);
  for (const contestant of order) if (contestant !== undefined) await measure(contestant);
}
for (const [name, { requests, cpuUs }] of figures) {
  process.stdout.write(`${name}: ${shown(requests, 0)} requests/s, ${shown(cpuUs, 1)} µs\n`);
}

async function measure({ name, cli, withToken, args }: Contestant): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'device-pipeline-bench-'));
  const dataDir = join(directory, 'data');
  try {
    const token = withToken ? createToken(cli, dataDir) : undefined;
    const server = await startNode(cli, 'serve', '--port', '0', '--data-dir', dataDir, ...args);
    try {
      const load = { items: Number(values.items), connections: Number(values.connections), token };
      await runWrk(server.url, { ...load, seconds: 1 }, directory);
      const before = cpuSeconds(server.pid);
      const seconds = Number(values.seconds);
      const { requestsPerSecond, answered } = await runWrk(
        server.url,
        { ...load, seconds },
        directory,
      );
      const of = figures.get(name) ?? { requests: [], cpuUs: [] };
      of.requests.push(requestsPerSecond);
      of.cpuUs.push(((cpuSeconds(server.pid) - before) / answered) * 1e6);
      figures.set(name, of);
    } finally {
      await server.stop();
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function createToken(cli: string, dataDir: string): string {
  const args = [cli, 'token', 'create', '--name', 'wrk', '--for', 'ingest', '--data-dir', dataDir];
  return execFileSync(process.execPath, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  }).trim();
}

/** The CPU time of all its threads, in user mode and in the kernel. */
function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
}

/** The median, with minimum and maximum. */
function shown(numbers: readonly number[], digits: number): string {
  const sorted = [...numbers].sort((a, b) => a - b);
  const at = (place: number) => (sorted[place] ?? Number.NaN).toFixed(digits);
  const middle = Math.floor((sorted.length - 1) / 2);
  return `${at(middle)} (${at(0)}–${at(sorted.length - 1)})`;
}
