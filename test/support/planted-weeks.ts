import {
  addDays,
  weekdayOf,
  type Day,
  type Range,
} from '../../src/dashboard/data/calendar/days.ts';
import type { Row } from '../../src/dashboard/data/counts.ts';
import { findingsInSteps } from '../../src/dashboard/data/unusual/findings.ts';
import { historyOf, windowOf } from '../../src/dashboard/data/unusual/history.ts';
import { statementOf } from '../../src/dashboard/data/unusual/words.ts';

/** By how much a count is multiplied on a day. */
export type Planted = (day: Day, type: string, state: string) => number;

/** The numbers of a line that tests devices, and what is planted in them. */
export interface Line {
  readonly seed: number;
  /** The first day with counts. */
  readonly from?: Day;
  /** Devices of each type on a weekday. */
  readonly types?: Readonly<Record<string, number>>;
  readonly scale?: number;
  /** What Saturdays have of a weekday; Sundays have a quarter of it. */
  readonly saturday?: number;
  readonly planted?: Planted;
}

/** A Monday. */
export const today: Day = '2026-11-30';
export const thirtyDays: Range = { from: '2026-11-01', to: today };
const usualTypes = {
  ...{ laptop: 200, desktop: 90, phone: 160, tablet: 60 },
  ...{ SSD: 140, 'hard drive': 120, server: 25, printer: 12 },
};
const states = {
  ...{ received: 0.36, erased: 0.3, tested: 0.2, shipped: 0.12 },
  ...{ 'erasure failed': 0.008, 'test failed': 0.007 },
};

/** The counts of a line: of Poisson, the same for the same seed. Today is a third of a day. */
export function rowsOf(line: Line): Row[] {
  const { from = '2026-06-01', types = usualTypes, scale = 1, saturday = 0.2 } = line;
  const { planted = () => 1 } = line;
  const random = randomOf(line.seed);
  const rows: Row[] = [];
  for (let date = from; date <= today; date = addDays(date, 1)) {
    const weekday = weekdayOf(date);
    const part = weekday === 7 ? saturday / 4 : weekday === 6 ? saturday : 1;
    const size = part * scale * (date === today ? 1 / 3 : 1);
    for (const [type, devices] of Object.entries(types)) {
      for (const [state, share] of Object.entries(states)) {
        const count = poisson(devices * size * share * planted(date, type, state), random);
        if (count > 0) rows.push({ date, type, state, count });
      }
    }
  }
  return rows;
}

/** The statement of the page about a line, without the marks of direction. */
export function saidOf(line: Line, range = thirtyDays, types: readonly string[] = []): string[] {
  const rows = rowsOf(line);
  const chosen = types.length === 0 ? rows : rows.filter(({ type }) => types.includes(type));
  const window = windowOf(range, today);
  const isFailing = (state: string) => state.includes('failed');
  const steps = findingsInSteps(historyOf(window, chosen, isFailing, dailyOf(rows)), range, today);
  let step = steps.next();
  while (step.done !== true) step = steps.next();
  return step.value.map((finding) => {
    const { what, numbers, causes } = statementOf(finding, types.length > 0);
    const text = `${what} ${numbers}${causes === '' ? '' : `; ${causes}`}`;
    return text.replaceAll(/[\u2068\u2069]/g, '');
  });
}

function dailyOf(rows: readonly Row[]): Pick<Row, 'date' | 'count'>[] {
  const sums = new Map<Day, number>();
  for (const { date, count } of rows) sums.set(date, (sums.get(date) ?? 0) + count);
  return [...sums].map(([date, count]) => ({ date, count }));
}

/** Mulberry32: numbers from 0 to 1. */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Knuth's method, in parts whose exponential is no zero. */
function poisson(mean: number, random: () => number): number {
  let count = 0;
  for (let left = mean; left > 0; left -= 50) {
    const limit = Math.exp(-Math.min(left, 50));
    for (let product = random(); product > limit; product *= random()) count++;
  }
  return count;
}
