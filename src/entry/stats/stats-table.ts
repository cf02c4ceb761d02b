import type { Dimension, StatsRow } from '../../pipeline/stats/formats.ts';
import { amountOf, withThousands } from '../../util/thousands.ts';
import { visible } from '../cli/terminal-text.ts';
import type { Column } from './text-table.ts';

const barCellsMax = 20;
/** Shorter bars are unreadable. */
const barCellsMin = 6;
/** From an eighth of a cell to a whole one. */
const eighths = ['▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];
/** The width of a column besides its text: spaces and a border. */
const edgeCells = 3;
/** The width of a date. */
const nameCellsMin = 10;

/** The terminal that shows a table. */
export interface Terminal {
  /** In columns of text. */
  readonly width: number;
  /** The most rows of counters to show; undefined: all. */
  readonly rowsMax?: number | undefined;
  readonly isColourful: boolean;
}

/**
 * The rows as a table for people. On a terminal it is no wider than that: long names are clipped. Each row has
 * its share and a bar, relative to the largest count, and failing states are red. If not all rows fit, the
 * largest are shown.
 */
export async function statsTable(
  rows: readonly StatsRow[],
  columns: readonly Dimension[],
  terminal?: Terminal,
): Promise<string> {
  const { textTable, textWidth } = await import('./text-table.ts');
  const { rowsMax = rows.length, isColourful = false } = terminal ?? {};
  const shown =
    rows.length <= rowsMax ? rows : [...rows].sort((a, b) => b.count - a.count).slice(0, rowsMax);
  const total = rows.reduce((sum, { count }) => sum + count, 0);
  const largest = rows.reduce((most, { count }) => Math.max(most, count), 0);
  const cells = shown.map((row) => columns.map((name) => visible(row[name] ?? '')));
  const natural = columns.map((name, at) =>
    cells.reduce((most, row) => Math.max(most, textWidth(row[at] ?? '')), minWidthOf(name)),
  );
  const countCells = Math.max('count'.length, withThousands(total).length);
  const shareCells = Math.max('share'.length, percent(largest, total).length);
  const widths = widthsOf(natural, countCells + shareCells, terminal);
  const hasBars = rows.length > 0 && widths.bar >= barCellsMin;
  const left = rows.length - shown.length;
  const title = left === 0 ? 'total' : `total, with ${amountOf(left, 'smaller row')}`;
  const column = (title: string, width: number, align: Column['align']) => ({
    title,
    width,
    align,
  });
  const table = [
    ...columns.map((name, at) => column(name, widths.names[at] ?? 0, 'left')),
    column('count', countCells, 'right'),
    ...(terminal === undefined ? [] : [column('share', shareCells, 'right')]),
    ...(hasBars ? [column('', widths.bar, 'left')] : []),
  ];
  const lines = shown.map(({ state = '', count }, index) => ({
    texts: [
      ...(cells[index] ?? []),
      withThousands(count),
      ...(terminal === undefined ? [] : [percent(count, total)]),
      ...(hasBars ? [bar(count, largest, widths.bar)] : []),
    ],
    red: isFailing(state) ? [columns.indexOf('state'), columns.length + 2] : [],
  }));
  const totals = { span: columns.length, texts: [title, withThousands(total)] };
  return textTable(table, lines, totals, isColourful);
}

/** A state that contains this word is a failure, as in the dashboard by default. */
function isFailing(state: string): boolean {
  return state.toLowerCase().includes('fail');
}

function percent(part: number, all: number): string {
  const share = all === 0 ? 0 : (100 * part) / all;
  return share > 0 && share < 0.1 ? '<0.1%' : `${share.toFixed(1)}%`;
}

/** The least width of a column of names; the first column also holds the label of the totals. */
function minWidthOf(name: string): number {
  return Math.max(name.length, 'total'.length);
}

/** The widths of the names and of the bars, so that the table is no wider than the terminal. */
function widthsOf(
  natural: readonly number[],
  numberCells: number,
  terminal: Terminal | undefined,
): { readonly names: readonly number[]; readonly bar: number } {
  if (terminal === undefined) return { names: natural, bar: 0 };
  const others = numberCells + 3 * edgeCells + 1;
  const room = terminal.width - others - natural.length * edgeCells;
  const reserved = terminal.width < 100 ? barCellsMax / 2 : barCellsMax;
  const wished = Math.max(nameCellsMin * natural.length, room - reserved);
  const clipped = clip(natural, wished);
  const bar = Math.min(barCellsMax, room - clipped.reduce((sum, width) => sum + width, 0));
  return { names: clipped, bar };
}

/** Narrows the widest until all of them fit. */
function clip(widths: readonly number[], room: number): number[] {
  const clipped = [...widths];
  for (let over = widths.reduce((sum, width) => sum + width, -room); over > 0; over--) {
    const widest = clipped.indexOf(Math.max(...clipped));
    if ((clipped[widest] ?? 0) <= nameCellsMin) break;
    clipped[widest] = (clipped[widest] ?? 0) - 1;
  }
  return clipped;
}

/** A bar; a count above zero has at least an eighth of a cell. */
export function bar(count: number, largest: number, cells = barCellsMax): string {
  if (count <= 0) return '';
  const units = Math.max(1, Math.round((count / largest) * cells * eighths.length));
  const rest = units % eighths.length;
  const whole = '█'.repeat(Math.floor(units / eighths.length));
  return rest === 0 ? whole : `${whole}${eighths[rest - 1] ?? ''}`;
}
