import stringWidth from 'string-width';

export interface Column {
  readonly title: string;
  /** In columns of a terminal; longer text is clipped. */
  readonly width: number;
  readonly align: 'left' | 'right';
}

export interface Row {
  readonly texts: readonly string[];
  /** Which of the texts are red, in a table with colours. */
  readonly red?: readonly number[];
}

/** The last row. Its first text spans several columns. */
export interface Totals {
  readonly span: number;
  readonly texts: readonly string[];
}

/**
 * Draws a table, each row on a line. Without colours it has no control sequences. Its time is linear in
 * the rows; that of cli-table3 was quadratic.
 */
export function textTable(
  columns: readonly Column[],
  rows: readonly Row[],
  totals: Totals,
  isColourful: boolean,
): string {
  const paint = (code: number, text: string, reset = 39) =>
    isColourful ? `\u001b[${code}m${text}\u001b[${reset}m` : text;
  const edge = paint(90, '│');
  const line = (cells: readonly string[]) => `${edge} ${cells.join(` ${edge} `)} ${edge}`;
  const border = (start: string, joint: (at: number) => string, end: string) => {
    const parts = columns.map(
      ({ width }, at) => (at > 0 ? joint(at) : start) + '─'.repeat(width + 2),
    );
    return paint(90, parts.join('') + end);
  };
  const spanned = columns.slice(0, totals.span).reduce((sum, { width }) => sum + width + 3, -3);
  const ofTotals: Column[] = [
    { title: '', width: spanned, align: 'left' },
    ...columns.slice(totals.span),
  ];
  const lines = [
    border('┌', () => '┬', '┐'),
    line(columns.map((column) => paint(1, fit(column.title, column), 22))),
    border('├', (at) => (rows.length === 0 && at < totals.span ? '┴' : '┼'), '┤'),
    ...rows.map(({ texts, red = [] }) => {
      const cells = columns.map((column, at) => fit(texts[at] ?? '', column));
      return line(cells.map((cell, at) => (red.includes(at) ? paint(31, cell) : cell)));
    }),
    line(ofTotals.map((column, at) => fit(totals.texts[at] ?? '', column))),
    border('└', (at) => (at < totals.span ? '─' : '┴'), '┘'),
  ];
  return `${lines.join('\n')}\n`;
}

/** The width of a text in columns of a terminal. */
export function textWidth(text: string): number {
  return stringWidth(text);
}

/** The text in exactly the width of its column. */
function fit(text: string, { width, align }: Column): string {
  const shown = clip(text, width);
  const space = ' '.repeat(Math.max(0, width - textWidth(shown)));
  return align === 'left' ? shown + space : space + shown;
}

function clip(text: string, width: number): string {
  if (textWidth(text) <= width) return text;
  let clipped = '';
  let cells = 0;
  // Characters that are shown as one may take more columns together than alone.
  for (const { segment } of new Intl.Segmenter().segment(text)) {
    cells += textWidth(segment);
    if (cells > width - 1) break;
    clipped += segment;
  }
  return `${clipped}…`;
}
