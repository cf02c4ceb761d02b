import {
  addDays,
  datesInRange,
  daysInMonth,
  isCalendarDate,
  type CalendarDate,
} from '../../domain/timestamp.ts';
import { withThousands } from '../../util/thousands.ts';

const weekdays = ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun'];

/** Counts by date. */
export type DailyCounts = ReadonlyMap<CalendarDate, number>;

/** The first and the last day of a date's month. */
export function monthOf(date: CalendarDate): {
  readonly from: CalendarDate;
  readonly to: CalendarDate;
} {
  const last = daysInMonth(Number(date.slice(0, 4)), Number(date.slice(5, 7)));
  return { from: `${date.slice(0, 8)}01`, to: `${date.slice(0, 8)}${last}` };
}

/** The format is created with the first date: Node takes 10 ms and 1 MiB for its first format. */
const written = (options: Intl.DateTimeFormatOptions) => {
  let format: Intl.DateTimeFormat | undefined;
  return (date: CalendarDate) => {
    format ??= new Intl.DateTimeFormat('en-GB', { ...options, timeZone: 'UTC' });
    return format.format(new Date(date));
  };
};
/** Dates in the form of the dashboard. */
export const longDay = written({ day: 'numeric', month: 'short', year: 'numeric' });
const monthText = written({ month: 'short', year: 'numeric' });

/**
 * The month of a day as a table of links to its days, darker with more counts; weeks start on Monday
 * (ISO 8601).
 */
export function calendarOf(date: CalendarDate, today: CalendarDate, counts: DailyCounts): string {
  const { from, to } = monthOf(date);
  const largest = Math.max(0, ...counts.values());
  const cell = (day: CalendarDate) => cellOf(day, date, today, counts.get(day) ?? 0, largest);
  const blank = (new Date(from).getUTCDay() + 6) % 7;
  const cells = [
    ...Array.from({ length: blank }, () => '<td></td>'),
    ...datesInRange(from, to).map(cell),
  ];
  const weeks = Array.from({ length: Math.ceil(cells.length / 7) }, (_, week) =>
    cells.slice(7 * week, 7 * week + 7).join(''),
  );
  const head = weekdays.map((name) => `<th scope="col">${name}</th>`).join('');
  const link = (day: CalendarDate, text: string, label: string) =>
    isCalendarDate(day) ? `<a href="?date=${day}" aria-label="${label}">${text}</a>` : '';
  const previous = link(addDays(from, -1), '←', 'Last day of the month before');
  const next = link(addDays(to, 1), '→', 'First day of the next month');
  return `<table class="calendar">
<caption>${previous} ${monthText(date)} ${next}</caption>
<thead><tr>${head}</tr></thead>
<tbody>${weeks.map((week) => `<tr>${week}</tr>`).join('\n')}</tbody>
</table>`;
}

const shades = 4;

function cellOf(
  day: CalendarDate,
  date: CalendarDate,
  today: CalendarDate,
  count: number,
  largest: number,
): string {
  const current = day === date ? ' aria-current="date"' : '';
  const shade = count === 0 ? '' : `shade-${Math.ceil((count / largest) * shades)}`;
  const names = [day === today ? 'today' : '', shade].filter(Boolean).join(' ');
  const mark = names === '' ? '' : ` class="${names}"`;
  const title = `${longDay(day)}: ${count === 0 ? 'no events' : `${withThousands(count)} events`}`;
  return `<td${mark}><a href="?date=${day}"${current} title="${title}">${Number(day.slice(8))}</a></td>`;
}
