import type { Dimension, StatsRow } from '../../pipeline/stats/formats.ts';
import { withThousands } from '../../util/thousands.ts';
import { visible } from '../cli/terminal-text.ts';

const barCells = 20;
/** From an eighth of a cell to a whole one. */
const eighths = ['▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];
const sparks = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/** A longer line would wrap in a terminal of 80 columns. */
const sparkDaysMax = 60;

/**
 * The rows as a table for people. On a terminal (`isTerminal`) each row has a bar, relative to the largest
 * count, and several days are also drawn as one line.
 */
export async function statsTable(
  rows: readonly StatsRow[],
  columns: readonly Dimension[],
  isTerminal: boolean,
): Promise<string> {
  const { default: CliTable } = await import('cli-table3');
  // cli-table3 would write colours to a file, too.
  const isColourful = isTerminal && !process.env['NO_COLOR'];
  const bars = isTerminal ? [''] : [];
  const output = new CliTable({
    head: [...columns, 'count', ...bars],
    colAligns: [...columns.map(() => 'left' as const), 'right', 'left'],
    style: {
      head: isColourful ? ['bold'] : [],
      border: isColourful ? ['gray'] : [],
      compact: true,
    },
  });
  const max = rows.reduce((most, { count }) => Math.max(most, count), 0);
  for (const row of rows) {
    const names = columns.map((name) => visible(row[name] ?? ''));
    output.push([...names, withThousands(row.count), ...bars.map(() => bar(row.count, max))]);
  }
  const total = rows.reduce((sum, { count }) => sum + count, 0);
  output.push([{ colSpan: columns.length, content: 'total' }, withThousands(total), ...bars]);
  const days = isTerminal && columns.includes('date') ? dayLine(rows) : '';
  return `${output.toString()}\n${days}`;
}

/** A bar of at most 20 cells; a count above zero has at least an eighth of a cell. */
export function bar(count: number, max: number): string {
  if (count <= 0) return '';
  const units = Math.max(1, Math.round((count / max) * barCells * eighths.length));
  const rest = units % eighths.length;
  const whole = '█'.repeat(Math.floor(units / eighths.length));
  return rest === 0 ? whole : `${whole}${eighths[rest - 1] ?? ''}`;
}

/** The totals of the latest days as one line; empty for a single day. Days without rows are left out. */
export function dayLine(rows: readonly StatsRow[]): string {
  const totals = new Map<string, number>();
  for (const { date = '', count } of rows) totals.set(date, (totals.get(date) ?? 0) + count);
  const days = [...totals].sort(([one], [other]) => (one < other ? -1 : 1)).slice(-sparkDaysMax);
  const [first, last] = [days[0], days.at(-1)];
  if (first === undefined || last === undefined || first === last) return '';
  const max = Math.max(...days.map(([, count]) => count));
  const line = days.map(([, count]) => {
    return sparks[Math.round((count / max) * (sparks.length - 1))] ?? '';
  });
  return `${line.join('')}  days with counts, ${first[0]} to ${last[0]}\n`;
}
