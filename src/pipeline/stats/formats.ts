import type { CounterRow } from '../../domain/counter.ts';
import { csvLine } from '../../util/csv.ts';

export const dimensions = ['date', 'type', 'state'] as const;
export type Dimension = (typeof dimensions)[number];

/** A row of `/stats`: the requested dimensions, and the count. */
export type StatsRow = Partial<Pick<CounterRow, Dimension>> & Pick<CounterRow, 'count'>;
export type Column = Dimension | 'count';

/** How rows become text. A new format is one more entry of `rowFormats` (docs/extending.md). */
interface RowFormat {
  readonly title: string;
  /** The `Content-Type` of a response. */
  readonly contentType: string;
  /** The media types that request the format in `Accept`, in lower case, without parameters. */
  readonly accepted: readonly string[];
  /** One sentence for the description of the API. */
  readonly description: string;
  readonly opening: (columns: readonly Column[]) => string;
  /** @param rows at least one */
  readonly rows: (rows: readonly StatsRow[], columns: readonly Column[]) => string;
  /** The text between two calls of `rows`. */
  readonly separator: string;
  readonly closing: string;
}

/**
 * The formats of `/stats`. If `Accept` prefers neither of two formats, the earlier entry wins.
 * Sources: RFC 8259, RFC 4180, https://github.com/ndjson/ndjson-spec, RFC 7763 and
 * https://github.github.com/gfm/#tables-extension-.
 */
export const rowFormats = {
  json: {
    title: 'JSON',
    contentType: 'application/json',
    accepted: ['application/json'],
    description: 'An array of rows.',
    opening: () => '[',
    rows: (rows) => JSON.stringify(rows).slice(1, -1),
    separator: ',',
    closing: ']',
  },
  csv: {
    title: 'CSV',
    contentType: 'text/csv; charset=utf-8; header=present',
    accepted: ['text/csv'],
    description: 'RFC 4180, the first line names the columns.',
    opening: (columns) => csvLine(columns),
    rows: (rows, columns) => rows.map((row) => csvLine(fieldsOf(row, columns))).join(''),
    separator: '',
    closing: '',
  },
  ndjson: {
    title: 'NDJSON',
    contentType: 'application/x-ndjson',
    accepted: ['application/x-ndjson', 'application/ndjson'],
    description: 'A row, as in JSON, on each line.',
    opening: () => '',
    rows: (rows) => rows.map((row) => `${JSON.stringify(row)}\n`).join(''),
    separator: '',
    closing: '',
  },
  markdown: {
    title: 'Markdown',
    contentType: 'text/markdown; charset=utf-8; variant=GFM',
    accepted: ['text/markdown'],
    description: 'A table of GitHub Flavored Markdown, to paste into an issue.',
    opening: (columns) =>
      markdownLine(columns) +
      markdownLine(columns.map((name) => (name === 'count' ? '---:' : '---'))),
    rows: (rows, columns) =>
      rows.map((row) => markdownLine(fieldsOf(row, columns).map(markdownField))).join(''),
    separator: '',
    closing: '',
  },
} as const satisfies Record<string, RowFormat>;

export type StatsFormat = keyof typeof rowFormats;
export const statsFormats = Object.keys(rowFormats) as StatsFormat[];

export function isStatsFormat(text: string): text is StatsFormat {
  return statsFormats.some((format) => format === text);
}

function fieldsOf(row: StatsRow, columns: readonly Column[]): (string | number)[] {
  return columns.map((name) => row[name] ?? '');
}

function markdownLine(fields: readonly (string | number)[]): string {
  return `| ${fields.join(' | ')} |\n`;
}

/**
 * Characters that Markdown interprets: cell separators, escapes, emphasis, code, HTML, links and
 * entities.
 */
const markup = /[\\|`*_~<>[\]&]/g;

function markdownField(field: string | number): string | number {
  return typeof field === 'number' ? field : field.replace(markup, '\\$&');
}
