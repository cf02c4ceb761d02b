import type { Experiment, Figures, Settings } from './experiment.ts';
import { checkSum, fillCounters, withDataDirectory } from './fill.ts';
import { sendDrawn } from './load.ts';
import { restarts } from './restarts.ts';
import { untilCounted, whileServing } from './serve.ts';
import { countersOf, type CounterSpace } from './traffic.ts';

const itemsPerRequest = 100;
const countersADay = 100;
const restartTimes = 3;
const lastDay = '2023-06-30';
const dayMs = 86_400_000;

/** Traffic drawn uniformly over all counters of one day. */
export function counters(settings: Settings): Experiment {
  const points = [100, 1_000, 10_000, 100_000, 1_000_000];
  return {
    name: 'counters',
    x: { label: 'distinct counters, all on one day', scale: 'log' },
    unit: 1,
    points: points.filter((count) => count <= settings.countersMax),
    ...shown('counters', 'distinct counters'),
    measure: async (count) => {
      const space = { firstDay: lastDay, days: 1, countersPerDay: count };
      return await measure(space, space, settings);
    },
  };
}

/** A hundred counters on each day of the past, traffic on the last one. */
export function days(settings: Settings): Experiment {
  return {
    name: 'days',
    x: { label: 'days of history, 100 counters each', scale: 'log' },
    unit: countersADay,
    points: [1, 10, 100, 365, 1_000, 3_650],
    ...shown('days', 'days of history'),
    measure: async (count) => {
      const firstDay = new Date(Date.parse(lastDay) - (count - 1) * dayMs).toISOString();
      const history = { firstDay, days: count, countersPerDay: countersADay };
      const today = { firstDay: lastDay, days: 1, countersPerDay: countersADay };
      return await measure(history, today, settings);
    },
  };
}

/**
 * `acknowledged` is the rate of items with response 200 during the load; `counted` is the rate until the
 * last of them was counted, which can be sustained forever.
 */
async function measure(
  filled: CounterSpace,
  traffic: CounterSpace,
  { seconds, connections }: Settings,
): Promise<Figures> {
  return await withDataDirectory(async (dataDir) => {
    fillCounters(dataDir, filled);
    const run = await whileServing({ dataDir }, async (served) => {
      const { url } = served;
      const idleMiB = served.residentMiB();
      const load = await sendDrawn({ url, space: traffic, itemsPerRequest, connections, seconds });
      const drainFrom = performance.now();
      await untilCounted(url);
      const drainSeconds = (performance.now() - drainFrom) / 1000;
      return { load, drainSeconds, idleMiB, peakMiB: served.peakMiB() };
    });
    const { load, drainSeconds, idleMiB, peakMiB } = run;
    checkSum(dataDir, countersOf(filled) + load.items);
    const { listeningMs, first200Ms } = await restarts(dataDir, traffic, restartTimes);
    checkSum(dataDir, countersOf(filled) + load.items + restartTimes);
    return {
      acknowledged: load.items / load.seconds,
      counted: load.items / (load.seconds + drainSeconds),
      drainSeconds,
      refused: load.refused,
      idleMiB,
      peakMiB,
      listeningMs,
      first200Ms,
    };
  });
}

function shown(name: string, against: string): Pick<Experiment, 'columns' | 'charts' | 'judged'> {
  const time = { label: 'milliseconds', scale: 'linear' } as const;
  return {
    columns: [
      { figure: 'acknowledged', label: 'acknowledged, items/s' },
      { figure: 'counted', label: 'counted, items/s' },
      { figure: 'drainSeconds', label: 'counted after, s', digits: 2 },
      { figure: 'refused', label: 'refused' },
      { figure: 'idleMiB', label: 'idle, MiB' },
      { figure: 'peakMiB', label: 'peak, MiB' },
      { figure: 'listeningMs', label: 'restart: listening, ms' },
      { figure: 'first200Ms', label: 'restart: first 200, ms' },
    ],
    charts: [
      {
        name: `${name}-throughput`,
        title: `Throughput against ${against}`,
        y: { label: 'items/s', scale: 'linear' },
        lines: { acknowledged: 'acknowledged', counted: 'counted' },
      },
      {
        name: `${name}-memory`,
        title: `Memory against ${against}`,
        y: { label: 'MiB resident', scale: 'linear' },
        lines: { peakMiB: 'peak under load', idleMiB: 'idle, after the start' },
      },
      {
        name: `${name}-restart`,
        title: `Restart against ${against}`,
        y: time,
        lines: { first200Ms: 'first 200', listeningMs: 'listening' },
      },
    ],
    judged: [
      { label: 'time to count an item', costOf: ({ counted = NaN }) => 1 / counted },
      { label: 'peak memory', costOf: ({ peakMiB = NaN }) => peakMiB },
      { label: 'restart to the first 200', costOf: ({ first200Ms = NaN }) => first200Ms },
    ],
  };
}
