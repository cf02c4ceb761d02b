import {
  addIncrement,
  bytesKey,
  rowsOfIncrements,
  typeStateKey,
  type Increments,
} from '../../domain/counter.ts';
import {
  dimensions,
  rowFormats,
  type Column,
  type Dimension,
  type StatsFormat,
  type StatsRow,
} from './formats.ts';

/** Makes Excel on Windows read CSV as UTF-8. */
const byteOrderMark = '\ufeff';

/** Writes rows as text: `opening`, any number of `piece`, `closing`. */
export class StatsWriter {
  readonly #format: (typeof rowFormats)[StatsFormat];
  readonly #byteOrderMark: string;
  readonly #columns: readonly Column[];
  #isEmpty = true;

  /** @param hasByteOrderMark whether the text begins with a byte order mark */
  constructor(
    groupBy: readonly Dimension[] | undefined,
    format: StatsFormat,
    hasByteOrderMark = false,
  ) {
    this.#format = rowFormats[format];
    this.#byteOrderMark = hasByteOrderMark ? byteOrderMark : '';
    this.#columns = [...dimensions.filter((name) => groupBy?.includes(name) ?? true), 'count'];
  }

  opening(): string {
    return this.#byteOrderMark + this.#format.opening(this.#columns);
  }

  piece(rows: readonly StatsRow[]): string {
    if (rows.length === 0) return '';
    const separator = this.#isEmpty ? '' : this.#format.separator;
    this.#isEmpty = false;
    return separator + this.#format.rows(rows, this.#columns);
  }

  closing(): string {
    return this.#format.closing;
  }
}

/** Sums rows over the dimensions that are not grouped by. */
export class Groups {
  readonly #groupBy: readonly Dimension[];
  /** Dimensions that are not grouped by are empty there. */
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
