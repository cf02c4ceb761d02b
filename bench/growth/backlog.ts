import type { Experiment, Figures, Settings } from './experiment.ts';
import { checkSum, fillLog, withDataDirectory } from './fill.ts';
import { first200 } from './restarts.ts';
import { untilCounted, whileServing } from './serve.ts';

const mebibyte = 1024 * 1024;
const space = { firstDay: '2023-06-30', days: 1, countersPerDay: 1_000 };

/**
 * A log without a database: all of it is uncounted, as after the loss of `pipeline.db`. Beyond 128 MiB
 * (`--max-backlog`) batches are refused until enough is counted.
 */
export function backlog({ backlogMibMax }: Settings): Experiment {
  return {
    name: 'backlog',
    x: { label: 'uncounted log, MiB', scale: 'log' },
    unit: mebibyte,
    points: [1, 4, 16, 64, 128, 256, 1_024].filter((size) => size <= backlogMibMax),
    columns: [
      { figure: 'listeningMs', label: 'listening, ms' },
      { figure: 'first200Ms', label: 'first 200, ms' },
      { figure: 'countedMs', label: 'all counted, ms' },
      { figure: 'itemsPerSecond', label: 'recounted, items/s' },
      { figure: 'peakMiB', label: 'peak, MiB' },
    ],
    charts: [
      {
        name: 'backlog-restart',
        title: 'Restart against uncounted log',
        y: { label: 'milliseconds', scale: 'log' },
        lines: { countedMs: 'all counted', first200Ms: 'first 200', listeningMs: 'listening' },
      },
      {
        name: 'backlog-memory',
        title: 'Peak memory against uncounted log',
        y: { label: 'MiB resident', scale: 'linear' },
        lines: { peakMiB: 'peak until all is counted' },
      },
    ],
    judged: [
      { label: 'restart to listening', costOf: ({ listeningMs = NaN }) => listeningMs },
      { label: 'restart to the first 200', costOf: ({ first200Ms = NaN }) => first200Ms },
      { label: 'until all is counted', costOf: ({ countedMs = NaN }) => countedMs },
      { label: 'peak memory', costOf: ({ peakMiB = NaN }) => peakMiB },
    ],
    measure,
  };
}

async function measure(mebibytes: number): Promise<Figures> {
  return await withDataDirectory(async (dataDir) => {
    const bytes = mebibytes * mebibyte;
    const items = await fillLog(dataDir, { bytes, space, itemsPerRecord: 100, isCounted: false });
    const figures = await whileServing({ dataDir }, async (served) => {
      const first200Ms = await first200(served, space);
      await untilCounted(served.url);
      const countedMs = performance.now() - served.spawnedAt;
      const { listeningMs } = served;
      const itemsPerSecond = (items * 1000) / (countedMs - listeningMs);
      return { listeningMs, first200Ms, countedMs, itemsPerSecond, peakMiB: served.peakMiB() };
    });
    checkSum(dataDir, items + 1);
    return figures;
  });
}
