import { csvLine } from '../../util/csv.ts';
import type { Row } from './counts.ts';
import type { Column, View } from './view.ts';

/** A row of the table; without a date if it sums the whole range. */
export type TableRow = Omit<Row, 'date'> & Partial<Pick<Row, 'date'>>;

/** The rows whose date, type and state together contain each word of the text, ignoring case. */
export function matching(rows: readonly TableRow[], text: string): readonly TableRow[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return rows;
  return rows.filter(({ date = '', type, state }) => {
    const fields = `${date}\n${type}\n${state}`.toLowerCase();
    return words.every((word) => fields.includes(word));
  });
}

/** The default order: the newest or the largest first. */
export function usualSort(columns: readonly Column[]): NonNullable<View['sort']> {
  return { column: columns.includes('date') ? 'date' : 'count', isDescending: true };
}

/**
 * Sorts the rows by a column, then with the newest and the largest first, then in the server's
 * order.
 */
export function sorted(rows: readonly TableRow[], sort: View['sort']): readonly TableRow[] {
  const { column, isDescending } = sort ?? { column: 'date', isDescending: true };
  const sign = isDescending ? -1 : 1;
  return [...rows].sort(
    (a, b) => sign * compare(a, b, column) || compare(b, a, 'date') || compare(b, a, 'count'),
  );
}

function compare(a: TableRow, b: TableRow, column: Column): number {
  if (column === 'count') return a.count - b.count;
  const [x, y] = [a[column] ?? '', b[column] ?? ''];
  return x === y ? 0 : x < y ? -1 : 1;
}

/** Byte order mark at the start of a CSV file, so that Excel on Windows reads it as UTF-8. */
export const byteOrderMark = '\ufeff';

/** The same bytes as `/stats?format=csv` for these rows. */
export function csvOf(rows: readonly TableRow[], columns: readonly Column[]): string {
  const lines = rows.map((row) => csvLine(columns.map((name) => row[name] ?? '')));
  return [csvLine(columns), ...lines].join('');
}
