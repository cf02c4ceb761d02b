import { addDays, datesInRange } from '../../domain/timestamp.ts';
import type { StatsRow } from '../../pipeline/stats/formats.ts';
import type { DateRange } from '../../pipeline/store-admin.ts';

const sparks = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const noCounts = '·';
const daysMax = 40;

/**
 * The totals of the latest days of a range as one line, with a dot for each day without counts; empty for a
 * single day. If all counts are older than the latest days, the line ends with the last of them. On a
 * narrow terminal, there are fewer days, and their dates are on a line of their own.
 * @param width of the terminal, in columns
 */
export function dayLine(rows: readonly StatsRow[], range: DateRange, width: number): string {
  const most = Math.max(1, Math.min(daysMax, width - 1));
  const totals = new Map<string, number>();
  for (const { date = '', count } of rows) totals.set(date, (totals.get(date) ?? 0) + count);
  const counted = [...totals.keys()].sort();
  const [first, last] = [counted[0], counted.at(-1)];
  if (first === undefined || last === undefined || range.from === range.to) return '';
  const earliest = (end: string) =>
    laterOf(addDays(end, 1 - most), laterOf(range.from, '0001-01-01'));
  const to = last < earliest(range.to) ? last : range.to;
  const days = datesInRange(earliest(to), to);
  const largest = Math.max(...days.map((day) => totals.get(day) ?? 0));
  const line = days.map((day) => {
    const count = totals.get(day) ?? 0;
    return count === 0 ? noCounts : sparks[Math.round((count / largest) * (sparks.length - 1))];
  });
  const legend = line.includes(noCounts) ? `; ${noCounts} no counts` : '';
  const dates = `${days[0] ?? ''} to ${to}${legend}`;
  const isNarrow = line.length + dates.length + 2 >= width;
  return `${line.join('')}${isNarrow ? '\n' : '  '}${dates}\n`;
}

/** Days before the year 0 have signs, which sort first. */
function laterOf(a: string, b: string): string {
  return a > b ? a : b;
}
