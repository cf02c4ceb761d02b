import { spawnSync } from 'node:child_process';
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';

import type { Experiment, Figures, Settings } from './experiment.ts';
import { checkSum, fillLog, temporaryDirectory } from './fill.ts';
import { sendDrawn } from './load.ts';
import { restarts } from './restarts.ts';
import { untilCounted, whileServing } from './serve.ts';

const segmentBytes = 64 * 1024 * 1024;
const space = { firstDay: '2023-06-30', days: 1, countersPerDay: 1_000 };
const restartTimes = 3;

/** A completely counted log, created once for each size with the engine's own writer. */
export function logSize(settings: Settings): Experiment {
  const filled = new Map<number, { readonly dataDir: string; items: number }>();
  const fill = async (gigabytes: number) => {
    const dataDir = await temporaryDirectory();
    const made = { dataDir, items: 0 };
    filled.set(gigabytes, made);
    const bytes = endingHalfFull(gigabytes * 1e9);
    made.items = await fillLog(dataDir, { bytes, space, itemsPerRecord: 1000, isCounted: true });
    return made;
  };
  const ms = { label: 'milliseconds', scale: 'linear' } as const;
  return {
    name: 'log',
    x: { label: 'log, GB', scale: 'log' },
    unit: 1e9,
    points: [0.1, 0.3, 1, 3, 10].filter((size) => size <= settings.logGbMax),
    columns: [
      { figure: 'listeningMs', label: 'listening, ms' },
      { figure: 'first200Ms', label: 'first 200, ms' },
      { figure: 'coldFirst200Ms', label: 'first 200, log not in memory, ms' },
      { figure: 'idleMiB', label: 'idle, MiB' },
      { figure: 'steadyMiB', label: 'after load, MiB' },
      { figure: 'acknowledged', label: 'acknowledged, items/s' },
    ],
    charts: [
      {
        name: 'log-restart',
        title: 'Restart against the size of the log',
        y: ms,
        lines: {
          coldFirst200Ms: 'first 200, log not in memory',
          first200Ms: 'first 200',
          listeningMs: 'listening',
        },
      },
      {
        name: 'log-memory',
        title: 'Memory against the size of the log',
        y: { label: 'MiB resident', scale: 'linear' },
        lines: { steadyMiB: 'after load', idleMiB: 'idle, after the start' },
      },
    ],
    judged: [
      { label: 'restart to the first 200', costOf: ({ first200Ms = NaN }) => first200Ms },
      { label: 'the same, not in memory', costOf: ({ coldFirst200Ms = NaN }) => coldFirst200Ms },
      { label: 'memory after load', costOf: ({ steadyMiB = NaN }) => steadyMiB },
    ],
    measure: async (gigabytes) => {
      const made = filled.get(gigabytes) ?? (await fill(gigabytes));
      const { figures, items } = await measure(made.dataDir, settings);
      made.items += items;
      checkSum(made.dataDir, made.items);
      return figures;
    },
    finish: () => {
      for (const { dataDir } of filled.values()) rmSync(dataDir, { recursive: true });
    },
  };
}

/** The last segment is read at every start, so it is equally full at each size. */
function endingHalfFull(bytes: number): number {
  return Math.floor(bytes / segmentBytes) * segmentBytes + segmentBytes / 2;
}

async function measure(
  dataDir: string,
  { connections }: Settings,
): Promise<{ figures: Figures; items: number }> {
  const warm = await restarts(dataDir, space, restartTimes);
  const cold = await restarts(dataDir, space, restartTimes, () => forgetCached(dataDir));
  const load = await whileServing({ dataDir }, async (served) => {
    // Short, because it makes the log longer and the last segment fuller.
    const options = { url: served.url, space, itemsPerRequest: 1, connections, seconds: 1 };
    const sent = await sendDrawn(options);
    await untilCounted(served.url);
    return { ...sent, steadyMiB: served.residentMiB() };
  });
  const figures = {
    listeningMs: warm.listeningMs,
    first200Ms: warm.first200Ms,
    coldFirst200Ms: cold.first200Ms,
    idleMiB: warm.residentMiB,
    steadyMiB: load.steadyMiB,
    acknowledged: load.items / load.seconds,
  };
  return { figures, items: load.items + 2 * restartTimes };
}

/** Makes the kernel drop its cache of the data directory, as a reboot would, and of nothing else. */
function forgetCached(dataDir: string): void {
  for (const entry of readdirSync(dataDir, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    const { status } = spawnSync('dd', [`if=${path}`, 'iflag=nocache', 'count=0', 'status=none']);
    if (status !== 0) throw new Error(`dd could not drop the cache of ${path}`);
  }
}
