import {
  addToTally,
  compareCounters,
  rowsOfTally,
  type CounterRow,
  type Tally,
} from '../domain/counter.ts';

export const dimensions = ['date', 'type', 'state'] as const;
export type Dimension = (typeof dimensions)[number];

export const statsFormats = ['json', 'csv', 'ndjson'] as const;
export type StatsFormat = (typeof statsFormats)[number];

export function isStatsFormat(text: string): text is StatsFormat {
  return statsFormats.some((format) => format === text);
}

/** Sources: RFC 8259, RFC 4180, https://github.com/ndjson/ndjson-spec. */
export const contentTypeOf: Readonly<Record<StatsFormat, string>> = {
  json: 'application/json',
  csv: 'text/csv; charset=utf-8; header=present',
  ndjson: 'application/x-ndjson',
};

/** A row of `/stats`: the dimensions that were asked for, and the count. */
export type StatsRow = Partial<Pick<CounterRow, Dimension>> & Pick<CounterRow, 'count'>;

/** Gathers the rows of an answer, piece by piece, as text. */
export class StatsText {
  readonly #format: StatsFormat;
  /** Of the columns, in their order. */
  readonly #names: readonly (Dimension | 'count')[];
  readonly #groups: Groups | undefined;
  readonly #pieces: string[] = [];

  constructor(groupBy: ReadonlySet<Dimension> | undefined, format: StatsFormat) {
    this.#format = format;
    this.#names = [...dimensions.filter((name) => groupBy?.has(name) ?? true), 'count'];
    this.#groups = groupBy && new Groups(groupBy);
  }

  add(rows: readonly CounterRow[]): void {
    if (this.#groups !== undefined) this.#groups.add(rows);
    else this.#addPiece(rows);
  }

  /** The whole answer. */
  text(): string {
    if (this.#groups !== undefined) this.#addPiece(this.#groups.rows());
    switch (this.#format) {
      case 'json':
        return `[${this.#pieces.join(',')}]`;
      case 'csv':
        return csvLine(this.#names) + this.#pieces.join('');
      case 'ndjson':
        return this.#pieces.join('');
    }
  }

  #addPiece(rows: readonly StatsRow[]): void {
    if (rows.length > 0) this.#pieces.push(this.#pieceOf(rows));
  }

  #pieceOf(rows: readonly StatsRow[]): string {
    switch (this.#format) {
      case 'json':
        return JSON.stringify(rows).slice(1, -1);
      case 'csv':
        return rows.map((row) => csvLine(this.#names.map((name) => row[name] ?? ''))).join('');
      case 'ndjson':
        return rows.map((row) => `${JSON.stringify(row)}\n`).join('');
    }
  }
}

/**
 * What makes a spreadsheet take a field for a formula, and the apostrophe that keeps it from that.
 * Source: OWASP, "CSV Injection".
 */
const formulaStart = /^[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20']/u;
const needsQuotes = /[",;\t\r\n]/;

/**
 * A line of CSV with its end. A text that a spreadsheet would calculate gets an apostrophe in front,
 * and so does one that begins with an apostrophe: who takes one away, if there is one, has the text.
 */
function csvLine(fields: readonly (string | number)[]): string {
  return `${fields.map(csvField).join(',')}\r\n`;
}

function csvField(field: string | number): string {
  if (typeof field === 'number') return String(field);
  const isGuarded = formulaStart.test(field);
  const text = isGuarded ? `'${field}` : field;
  return isGuarded || needsQuotes.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Sums rows over the dimensions that are not grouped by. */
class Groups {
  readonly #groupBy: ReadonlySet<Dimension>;
  /** What is not grouped by is empty there. */
  readonly #tally: Tally = new Map();

  constructor(groupBy: ReadonlySet<Dimension>) {
    this.#groupBy = groupBy;
  }

  add(rows: readonly CounterRow[]): void {
    const [hasDate, hasType, hasState] = dimensions.map((name) => this.#groupBy.has(name));
    for (const { date, type, state, count } of rows) {
      const group = {
        date: hasDate ? date : '',
        type: hasType ? type : '',
        state: hasState ? state : '',
      };
      addToTally(this.#tally, group, count);
    }
  }

  /** In the order of the rows. */
  rows(): StatsRow[] {
    const kept = dimensions.filter((name) => this.#groupBy.has(name));
    return [...rowsOfTally(this.#tally)].sort(compareCounters).map((row) => ({
      ...Object.fromEntries(kept.map((name) => [name, row[name]])),
      count: row.count,
    }));
  }
}
