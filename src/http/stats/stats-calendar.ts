import { isCalendarDate, type CalendarDate } from '../../domain/timestamp.ts';

const dayMs = 86_400_000;
const weekdays = ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun'];

/** The month of a day as a table of links to its days; weeks start on Monday (ISO 8601). */
export function calendarOf(date: CalendarDate, today: CalendarDate): string {
  const first = timeOf(`${date.slice(0, 8)}01`);
  const days = daysInMonth(first);
  const blank = (new Date(first).getUTCDay() + 6) % 7;
  const cells = [
    ...Array.from({ length: blank }, () => '<td></td>'),
    ...Array.from({ length: days }, (_, index) => cellOf(first + index * dayMs, date, today)),
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
<caption>${previous} ${date.slice(0, 7)} ${next}</caption>
<thead><tr>${head}</tr></thead>
<tbody>${weeks.map((week) => `<tr>${week}</tr>`).join('\n')}</tbody>
</table>`;
}

function cellOf(time: number, date: CalendarDate, today: CalendarDate): string {
  const day = dateOf(time);
  const text = String(new Date(time).getUTCDate());
  const current = day === date ? ' aria-current="date"' : '';
  const mark = day === today ? ' class="today"' : '';
  return `<td${mark}><a href="?date=${day}"${current} title="${day}">${text}</a></td>`;
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
