import {
  addIncrement,
  bytesKey,
  rowsOfIncrements,
  typeStateKey,
  type CounterRow,
  type Increments,
} from '../domain/counter.ts';

export const dimensions = ['date', 'type', 'state'] as const;
export type Dimension = (typeof dimensions)[number];

export const statsFormats = ['json', 'csv', 'ndjson'] as const;
export type StatsFormat = (typeof statsFormats)[number];

export function isStatsFormat(text: string): text is StatsFormat {
  return statsFormats.some((format) => format === text);
}

/** A row of `/stats`: the requested dimensions and the count. */
export type StatsRow = Partial<Pick<CounterRow, Dimension>> & Pick<CounterRow, 'count'>;

/** Makes Excel on Windows read CSV as UTF-8. */
const byteOrderMark = '\ufeff';

/** Writes rows as text: `opening`, any number of `piece`, `closing`. */
export class StatsWriter {
  readonly #format: StatsFormat;
  readonly #mark: string;
  /** The columns in order. */
  readonly #names: readonly (Dimension | 'count')[];
  #isEmpty = true;

  /** @param hasMark whether CSV begins with a byte order mark */
  constructor(groupBy: readonly Dimension[] | undefined, format: StatsFormat, hasMark = false) {
    this.#format = format;
    this.#mark = hasMark ? byteOrderMark : '';
    this.#names = [...dimensions.filter((name) => groupBy?.includes(name) ?? true), 'count'];
  }

  opening(): string {
    switch (this.#format) {
      case 'json':
        return '[';
      case 'csv':
        return this.#mark + csvLine(this.#names);
      case 'ndjson':
        return '';
    }
  }

  piece(rows: readonly StatsRow[]): string {
    if (rows.length === 0) return '';
    const comma = this.#isEmpty ? '' : ',';
    this.#isEmpty = false;
    switch (this.#format) {
      case 'json':
        return comma + JSON.stringify(rows).slice(1, -1);
      case 'csv':
        return rows.map((row) => csvLine(this.#names.map((name) => row[name] ?? ''))).join('');
      case 'ndjson':
        return rows.map((row) => `${JSON.stringify(row)}\n`).join('');
    }
  }

  closing(): string {
    return this.#format === 'json' ? ']' : '';
  }
}

/** Collects counters and builds the text of an answer. */
export class StatsText {
  readonly #writer: StatsWriter;
  readonly #groups: Groups | undefined;
  readonly #pieces: string[];
  #length: number;

  /** See `StatsWriter`. */
  constructor(groupBy: readonly Dimension[] | undefined, format: StatsFormat, hasMark = false) {
    this.#writer = new StatsWriter(groupBy, format, hasMark);
    this.#groups = groupBy && new Groups(groupBy);
    this.#pieces = [this.#writer.opening()];
    this.#length = 0;
  }

  /** UTF-16 code units of text so far; with groups, a lower bound. */
  get length(): number {
    return this.#length;
  }

  add(rows: readonly CounterRow[]): void {
    if (this.#groups !== undefined) this.#length += this.#groups.add(rows);
    else this.#addPiece(rows);
  }

  /** The whole answer. Call it once, at the end. */
  text(): string {
    if (this.#groups !== undefined) this.#addPiece(this.#groups.rows());
    return this.#pieces.join('') + this.#writer.closing();
  }

  #addPiece(rows: readonly StatsRow[]): void {
    const piece = this.#writer.piece(rows);
    this.#length += piece.length;
    this.#pieces.push(piece);
  }
}

/**
 * The characters that make a spreadsheet treat a field as a formula, and the apostrophe.
 * Source: OWASP, "CSV Injection".
 */
const formulaStart = /^[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20']/u;
const needsQuotes = /[",;\t\r\n]/;

/**
 * A line of CSV with its line end. Texts that a spreadsheet would treat as a formula are prefixed with
 * an apostrophe, and so are those that begin with one: removing one leading apostrophe restores any
 * text.
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
export class Groups {
  readonly #groupBy: readonly Dimension[];
  /** Dimensions that are not grouped by are empty. */
  readonly #increments: Increments = new Map();

  constructor(groupBy: readonly Dimension[]) {
    this.#groupBy = groupBy;
  }

  /** Returns the code units of the names of new groups. */
  add(rows: readonly StatsRow[]): number {
    let more = 0;
    const [hasDate, hasType, hasState] = dimensions.map((name) => this.#groupBy.includes(name));
    for (const { date = '', type = '', state = '', count } of rows) {
      const group = {
        date: hasDate ? date : '',
        type: hasType ? type : '',
        state: hasState ? state : '',
      };
      const isNew = addIncrement(this.#increments, group, count) === 1;
      if (isNew) more += group.date.length + group.type.length + group.state.length;
    }
    return more;
  }

  /** The sums in the order of rows. */
  rows(): StatsRow[] {
    const kept = dimensions.filter((name) => this.#groupBy.includes(name));
    return [...rowsOfIncrements(this.#increments)]
      .map((row) => ({ row, key: row.date + bytesKey(typeStateKey(row.type, row.state)) }))
      .sort((a, b) => (a.key < b.key ? -1 : 1))
      .map(({ row }) => ({
        ...Object.fromEntries(kept.map((name) => [name, row[name]])),
        count: row.count,
      }));
  }
}
