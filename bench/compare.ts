import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';

import { parseBound, scanBound, syncBound } from './compare/bounds.ts';
import { contestants, type Contestant, type Running } from './compare/contestants.ts';
import { measureDelay } from './compare/delay.ts';
import { checkCounts } from './compare/exact.ts';
import { describeMachine } from './compare/machine.ts';
import { NotInstalled } from './compare/not-installed.ts';
import { cpuSeconds, residentMiB } from './compare/process.ts';
import { median } from './growth/figures.ts';
import { drawCells, markdown, tableOf, type Cell, type Measured } from './compare/report.ts';
import { runWrk, type Load } from './compare/wrk.ts';

/**
 * Compares `POST /ingest` with a bare `node:http` server and with databases and brokers behind a small
 * HTTP server. Every round runs all contestants in a different order, each from empty directories; the
 * counters are checked after each. Usage: npm run bench -- --turns 3 --seconds 3
 */
const { values } = parseArgs({
  options: {
    turns: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '3' },
    sizes: { type: 'string', default: '1,10,100,1000' },
    connections: { type: 'string', default: '64,16,1' },
    only: { type: 'string' },
    plots: { type: 'string', default: join(import.meta.dirname, '../docs/plots') },
    json: { type: 'string' },
  },
});
const [turns, seconds] = [Number(values.turns), Number(values.seconds)];
const sizes = values.sizes.split(',').map(Number);
const chosen = contestants.filter(
  ({ name }) => values.only === undefined || values.only.split(';').includes(name),
);
const missing = new Set<string>();

const described = describeMachine();
process.stdout.write(`${described.join('\n')}\nmedians of ${turns} turns of ${seconds} s\n\n`);
if (chosen.some(({ name }) => name === 'device-pipeline')) {
  execFileSync(process.execPath, [join(import.meta.dirname, '../tools/build-package.ts')]);
}
process.stdout.write(bounds());
process.stdout.write(await standing());
const cells: Cell[] = [];
for (const connections of values.connections.split(',').map(Number)) {
  for (const items of sizes) {
    const cell = await measureCell({ items, connections, seconds });
    cells.push(cell);
    process.stdout.write(tableOf(cell));
  }
}
process.stdout.write(await delays());
// A plot of only some contestants would replace the plot of all.
if (values.only === undefined) {
  drawCells(cells, values.plots, `${described[0]}; medians, least and most of ${turns} turns`);
}
if (values.json !== undefined) {
  writeFileSync(values.json, `${JSON.stringify({ described, turns, seconds, cells }, null, 2)}\n`);
}

async function measureCell(load: Load): Promise<Cell> {
  const measured = new Map<string, Measured[]>();
  for (let turn = 0; turn < turns; turn++) {
    for (const contestant of rotated(chosen, turn)) {
      const figures = await measure(contestant, load);
      if (figures === undefined) continue;
      measured.set(contestant.name, [...(measured.get(contestant.name) ?? []), figures]);
    }
  }
  // In the order of the list, not in that of the first round.
  const turnsOf = chosen.flatMap(({ name }) => {
    const figures = measured.get(name);
    return figures === undefined ? [] : [[name, figures] as const];
  });
  return { items: load.items, connections: load.connections, turns: Object.fromEntries(turnsOf) };
}

async function measure(contestant: Contestant, load: Load): Promise<Measured | undefined> {
  return await whileRunning(contestant, async (running, directory) => {
    const { url, pids, countedItems } = running;
    const cpuBefore = cpuSeconds(pids);
    const { answered, ...figures } = await runWrk(url, load, directory);
    await countedItems?.();
    const cpu = cpuSeconds(pids) - cpuBefore;
    const peak = residentMiB(pids, 'at most so far');
    const { name } = contestant;
    if (countedItems !== undefined) await checkCounts({ name, countedItems }, url, load, answered);
    process.stderr.write(
      `${name}, ${load.items} × ${load.connections}: ${JSON.stringify(figures)}\n`,
    );
    const cpuSecondsPerMillion = (cpu / (answered * load.items)) * 1e6;
    return { ...figures, peakMiB: peak, cpuSecondsPerMillion };
  });
}

/** Runs a contestant on new directories; undefined if it is not installed, which is reported once. */
async function whileRunning<T>(
  contestant: Contestant,
  use: (running: Running, directory: string) => Promise<T>,
): Promise<T | undefined> {
  if (missing.has(contestant.name)) return undefined;
  const directory = mkdtempSync(join(tmpdir(), 'device-pipeline-bench-'));
  try {
    const running = await contestant.start(directory);
    try {
      return await use(running, directory);
    } finally {
      await running.stop();
    }
  } catch (error) {
    if (!(error instanceof NotInstalled)) throw error;
    process.stdout.write(`${error.message}\n`);
    missing.add(contestant.name);
    return undefined;
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** The start of each contestant: the time until it listens, and its memory when idle. */
async function standing(): Promise<string> {
  const idleMilliseconds = 5_000;
  const rows = [];
  for (const contestant of chosen) {
    const measured = [];
    for (let turn = 0; turn < turns; turn++) {
      const startedAt = performance.now();
      const figures = await whileRunning(contestant, async ({ pids }) => {
        const startMs = performance.now() - startedAt;
        await sleep(idleMilliseconds);
        return { startMs, idleMiB: residentMiB(pids, 'now') };
      });
      if (figures === undefined) break;
      measured.push(figures);
    }
    if (measured.length === 0) continue;
    const startMs = median(measured.map((each) => each.startMs));
    const idleMiB = median(measured.map((each) => each.idleMiB));
    rows.push([contestant.name, startMs.toFixed(0), idleMiB.toFixed(0)]);
  }
  return markdown(
    'Until it listens, and idle: all processes, from empty directories',
    ['', 'start ms', 'idle MiB'],
    rows,
  );
}

/** Only for ours: the others count a batch before they respond. */
async function delays(): Promise<string> {
  const [ours] = chosen;
  if (ours?.name !== 'device-pipeline') return '';
  const rows = [];
  for (const items of sizes) {
    const load = { items, connections: 64, seconds: 2 * seconds };
    const figures = await whileRunning(ours, async ({ url }, directory) =>
      measureDelay(url, runWrk(url, load, directory)),
    );
    if (figures === undefined) continue;
    const { p50, p99, probes } = figures;
    rows.push([String(items), p50.toFixed(1), p99.toFixed(1), String(probes)]);
  }
  return markdown(
    'From the response until /stats shows it, 64 connections under load besides the probes',
    ['items a request', 'p50 ms', 'p99 ms', 'probes'],
    rows,
  );
}

function bounds(): string {
  const millisecondsEach = 1_000;
  const millions = (rate: number) => (rate / 1e6).toFixed(2);
  const reading = sizes.map((items) => [
    String(items),
    millions(parseBound(items, millisecondsEach)),
    millions(scanBound(items, millisecondsEach)),
  ]);
  const syncing = [4, 64, 1024].map((kibibytes) => [
    `${kibibytes} KiB`,
    ...[false, true].map((isAllocated) =>
      Math.round(syncBound(kibibytes * 1024, isAllocated, millisecondsEach)).toLocaleString('en'),
    ),
  ]);
  return (
    markdown(
      'Bounds: reading and counting in one thread, million items/s',
      ['items a body', 'JSON.parse, checks, counting', 'the scanner alone'],
      reading,
    ) +
    markdown(
      'Bounds: write and fdatasync, times a second',
      ['of', 'appended', 'over blocks that the file has'],
      syncing,
    )
  );
}

function rotated<T>(list: readonly T[], by: number): T[] {
  const at = by % list.length;
  return [...list.slice(at), ...list.slice(0, at)];
}
