import type { Experiment, Figures } from './experiment.ts';
import { fillCounters, withDataDirectory } from './fill.ts';
import { median } from './figures.ts';
import { whileServing } from './serve.ts';
import { counterAt, countersOf, type CounterSpace } from './traffic.ts';

const firstDay = '2023-01-01';
const budgetMs = 3_000;
const requestsMin = 5;
const requestsMax = 100;

/** `GET /stats` of one day, complete and summed by type, against the rows of that day. */
export function query(): Experiment {
  return {
    name: 'query',
    x: { label: 'rows of the day', scale: 'log' },
    unit: 1,
    points: [100, 1_000, 10_000, 100_000, 1_000_000],
    ...shown('query', 'Time of GET /stats against rows of a day', {
      rows: 'every row',
      byType: 'group_by=type',
    }),
    measure: async (rows) => {
      const space = { firstDay, days: 1, countersPerDay: rows };
      return await measure(space, {
        rows: `/stats?date=${firstDay}`,
        byType: `/stats?date=${firstDay}&group_by=type`,
      });
    },
  };
}

/** `GET /stats` of a range of days with a hundred rows each, in a store of 366 such days. */
export function range(): Experiment {
  const space = { firstDay, days: 366, countersPerDay: 100 };
  return {
    name: 'range',
    x: { label: 'days of the range, 100 rows each', scale: 'log' },
    unit: space.countersPerDay,
    points: [1, 3, 10, 37, 100, 366],
    ...shown('range', 'Time of GET /stats against days of a range', {
      rows: 'every row',
      byDate: 'group_by=date',
    }),
    measure: async (days) => {
      const { date } = counterAt(space, days * space.countersPerDay - 1);
      const ofRange = `from=${firstDay}&to=${date}`;
      const paths = { rows: `/stats?${ofRange}`, byDate: `/stats?${ofRange}&group_by=date` };
      return await measure(space, paths, days * space.countersPerDay);
    },
  };
}

/** The page of a day against the rows of that day. */
export function page(): Experiment {
  return {
    name: 'page',
    x: { label: 'rows of the day', scale: 'log' },
    unit: 1,
    points: [100, 1_000, 10_000, 100_000],
    ...shown('page', 'Time of GET /stats-html against rows of a day', { rows: 'page of the day' }),
    measure: async (rows) => {
      const space = { firstDay, days: 1, countersPerDay: rows };
      return await measure(space, { rows: `/stats-html?date=${firstDay}` });
    },
  };
}

/** The median time of each query, one at a time, on a persistent connection. */
async function measure(
  space: CounterSpace,
  paths: Readonly<Record<string, string>>,
  expected = countersOf(space),
): Promise<Figures> {
  return await withDataDirectory(async (dataDir) => {
    fillCounters(dataDir, space);
    return await whileServing({ dataDir }, async (served) => {
      const figures: Record<string, number> = {};
      for (const [name, path] of Object.entries(paths)) {
        figures[name] = await timeOf(served.url + path, expected);
      }
      return { ...figures, peakMiB: served.peakMiB() };
    });
  });
}

async function timeOf(url: string, expected: number): Promise<number> {
  checkAnswer(await (await fetch(url)).text(), expected);
  const times: number[] = [];
  const end = performance.now() + budgetMs;
  while (times.length < requestsMin || (times.length < requestsMax && performance.now() < end)) {
    const start = performance.now();
    await (await fetch(url)).arrayBuffer();
    times.push(performance.now() - start);
  }
  return median(times);
}

/** Every counter is 1, so the sum of a response, or the total of a page, is the number of rows. */
function checkAnswer(text: string, expected: number): void {
  const sum = text.startsWith('[')
    ? (JSON.parse(text) as { count: number }[]).reduce((total, { count }) => total + count, 0)
    : Number(/Total<\/th>\s*<td>([\d,]+)/.exec(text)?.[1]?.replaceAll(',', ''));
  if (sum !== expected) throw new Error(`${sum} answered of ${expected}`);
}

function shown(
  name: string,
  title: string,
  lines: Readonly<Record<string, string>>,
): Pick<Experiment, 'columns' | 'charts' | 'judged'> {
  return {
    columns: [
      ...Object.entries(lines).map(([figure, label]) => ({
        figure,
        label: `${label}, ms`,
        digits: 1,
      })),
      { figure: 'peakMiB', label: 'peak, MiB' },
    ],
    charts: [{ name, title, y: { label: 'milliseconds, median', scale: 'log' }, lines }],
    judged: Object.entries(lines).map(([figure, label]) => ({
      label,
      costOf: (figures) => figures[figure] ?? NaN,
    })),
  };
}
