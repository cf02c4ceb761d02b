import { isCalendarDate, type CalendarDate } from '../../domain/timestamp.ts';
import { withThousands } from '../../util/thousands.ts';

const dayMs = 86_400_000;
const weekdays = ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun'];

/** Counts by date. */
export type DailyCounts = ReadonlyMap<CalendarDate, number>;

/** The first and the last day of a date's month. */
export function monthOf(date: CalendarDate): {
  readonly from: CalendarDate;
  readonly to: CalendarDate;
} {
  const first = timeOf(`${date.slice(0, 8)}01`);
  return { from: dateOf(first), to: dateOf(first + (daysInMonth(first) - 1) * dayMs) };
}

/** The format is created with the first date: Node takes 10 ms and 1 MiB for its first format. */
const written = (options: Intl.DateTimeFormatOptions) => {
  let format: Intl.DateTimeFormat | undefined;
  return (date: CalendarDate) => {
    format ??= new Intl.DateTimeFormat('en-GB', { ...options, timeZone: 'UTC' });
    return format.format(timeOf(date));
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
  const first = timeOf(`${date.slice(0, 8)}01`);
  const days = daysInMonth(first);
  const largest = Math.max(0, ...counts.values());
  const cell = (day: CalendarDate) => cellOf(day, date, today, counts.get(day) ?? 0, largest);
  const blank = (new Date(first).getUTCDay() + 6) % 7;
  const cells = [
    ...Array.from({ length: blank }, () => '<td></td>'),
    ...Array.from({ length: days }, (_, index) => cell(dateOf(first + index * dayMs))),
  ];
  const weeks = Array.from({ length: Math.ceil(cells.length / 7) }, (_, week) =>
    cells.slice(7 * week, 7 * week + 7).join(''),
  );
  const head = weekdays.map((name) => `<th scope="col">${name}</th>`).join('');
  const link = (time: number, text: string, label: string) => {
    const to = dateOf(time);
    return isCalendarDate(to) ? `<a href="?date=${to}" aria-label="${label}">${text}</a>` : '';
  };
  const previous = link(first - dayMs, '←', 'Last day of the month before');
  const next = link(first + days * dayMs, '→', 'First day of the next month');
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

function daysInMonth(first: number): number {
  const date = new Date(first);
  date.setUTCMonth(date.getUTCMonth() + 1, 0);
  return date.getUTCDate();
}

function timeOf(date: CalendarDate): number {
  return Date.parse(`${date}T00:00:00Z`);
}

function dateOf(time: number): CalendarDate {
  return new Date(time).toISOString().slice(0, 10);
}
