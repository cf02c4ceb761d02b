import {
  addDays,
  countDays,
  firstDay,
  firstOfMonth,
  lastOfMonth,
  rangeDaysMax,
  weekdayOf,
  type Day,
  type Range,
} from './days.ts';

/** The days to which presets are relative. */
export interface PresetDays {
  readonly today: Day;
  /** Where presets end: today, or tomorrow if it has begun in some time zone and has counts. */
  readonly latest: Day;
}

interface Preset {
  readonly name: string;
  readonly label: string;
  readonly rangeOf: (days: PresetDays) => Range;
}

const lastDays =
  (count: number) =>
  ({ today, latest }: PresetDays): Range => ({ from: addDays(today, 1 - count), to: latest });

/** Weeks start on Monday (ISO 8601). */
export const presets = [
  { name: 'today', label: 'Today', rangeOf: lastDays(1) },
  { name: '7', label: '7 days', rangeOf: lastDays(7) },
  { name: '30', label: '30 days', rangeOf: lastDays(30) },
  { name: '90', label: '90 days', rangeOf: lastDays(90) },
  { name: '365', label: 'Year', rangeOf: lastDays(365) },
  {
    name: 'yesterday',
    label: 'Yesterday',
    rangeOf: ({ today }) => ({ from: addDays(today, -1), to: addDays(today, -1) }),
  },
  {
    name: 'week',
    label: 'This week',
    rangeOf: ({ today, latest }) => ({ from: addDays(today, 1 - weekdayOf(today)), to: latest }),
  },
  {
    name: 'month',
    label: 'This month',
    rangeOf: ({ today, latest }) => ({ from: firstOfMonth(today), to: latest }),
  },
  {
    name: 'last-month',
    label: 'Last month',
    rangeOf: ({ today }) => {
      const to = addDays(firstOfMonth(today), -1);
      return { from: firstOfMonth(to), to };
    },
  },
  {
    name: 'year',
    label: 'This year',
    rangeOf: ({ today, latest }) => ({ from: `${today.slice(0, 5)}01-01`, to: latest }),
  },
] as const satisfies readonly Preset[];
export type PresetName = (typeof presets)[number]['name'];

/** On the 30th, "30 days" equal a month by chance. */
const calendarPresets = new Set<PresetName>(['month', 'last-month', 'year']);

/** The range of a preset, and later days with counts. */
export function presetRange(name: PresetName, days: PresetDays): Range {
  const preset = presets.find((each) => each.name === name) ?? presets[2];
  const { from, to } = preset.rangeOf(days);
  const first = addDays(to, 1 - rangeDaysMax);
  return { from: from < first ? first : from, to };
}

/**
 * The earlier days that a range is compared with: for a month or year, whole or up to today, the
 * previous month or year; for any other range the same number of days, whole weeks before, so that
 * equal weekdays are compared. Undefined before the first day.
 */
export function previousRange(range: Range, today: Day, preset?: PresetName): Range | undefined {
  const { from, to } = range;
  const isOfDays = preset !== undefined && !calendarPresets.has(preset);
  const start = isOfDays ? undefined : calendarStart(range, today);
  const shift = wholeWeeks(range);
  const earlier = start ?? addDays(from, -shift);
  // Days before the year 1 have signs, so that they are not in the order of their texts.
  const isDay = /^\d/.test(earlier) && earlier >= firstDay && to >= from;
  if (!isDay) return undefined;
  return { from: earlier, to: start === undefined ? addDays(to, -shift) : addDays(from, -1) };
}

function calendarStart({ from, to }: Range, today: Day): Day | undefined {
  const endsWith = (last: Day) => to === last || (to >= today && to < last);
  const dayBefore = addDays(from, -1);
  if (from.endsWith('-01-01') && endsWith(`${from.slice(0, 4)}-12-31`)) {
    return `${dayBefore.slice(0, -5)}01-01`;
  }
  const isMonth = from === firstOfMonth(from) && endsWith(lastOfMonth(from));
  return isMonth ? firstOfMonth(dayBefore) : undefined;
}

/** The number of days of the whole weeks that a range needs. */
function wholeWeeks(range: Range): number {
  return 7 * Math.ceil(countDays(range) / 7);
}
