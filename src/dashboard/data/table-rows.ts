import type { Row } from './counts.ts';
import type { Column, View } from './view.ts';

/** A row of the table; one for the whole range has no date. */
export type TableRow = Omit<Row, 'date'> & Partial<Pick<Row, 'date'>>;

/** Those whose date, type or state contains the text, in whatever case. */
export function matching(rows: readonly TableRow[], text: string): readonly TableRow[] {
  const wanted = text.trim().toLowerCase();
  if (wanted === '') return rows;
  return rows.filter(({ date = '', type, state }) =>
    [date, type, state].some((field) => field.toLowerCase().includes(wanted)),
  );
}

/** Without a sort, in the order of the server. Equal ones keep that order. */
export function sorted(rows: readonly TableRow[], sort: View['sort']): readonly TableRow[] {
  if (sort === undefined) return rows;
  const { column, isDescending } = sort;
  const sign = isDescending ? -1 : 1;
  return [...rows].sort((a, b) => sign * compare(a, b, column));
}

function compare(a: TableRow, b: TableRow, column: Column): number {
  if (column === 'count') return a.count - b.count;
  const [x, y] = [a[column] ?? '', b[column] ?? ''];
  return x === y ? 0 : x < y ? -1 : 1;
}

/** What a spreadsheet takes for a formula. As in the server's CSV. */
const formulaStart = /^[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20']/u;
const needsQuotes = /[",;\t\r\n]/;

/** In front of a file of CSV: by it Excel on Windows knows that the file is UTF-8. */
export const byteOrderMark = '\ufeff';

/** The bytes that `/stats?format=csv` has for these rows. */
export function csvOf(rows: readonly TableRow[], columns: readonly Column[]): string {
  const line = (fields: readonly (string | number)[]) => `${fields.map(csvField).join(',')}\r\n`;
  return [columns, ...rows.map((row) => columns.map((name) => row[name] ?? ''))]
    .map((fields) => line(fields))
    .join('');
}

function csvField(field: string | number): string {
  if (typeof field === 'number') return String(field);
  const isGuarded = formulaStart.test(field);
  const text = isGuarded ? `'${field}` : field;
  return isGuarded || needsQuotes.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
