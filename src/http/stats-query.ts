import {
  addToTally,
  compareCounters,
  rowsOfTally,
  type CounterRow,
  type Tally,
} from '../domain/counter.ts';
import type { Problem, ProblemCode } from '../domain/problem.ts';
import { daysInRange, isCalendarDate, type CalendarDate } from '../domain/timestamp.ts';
import type { CounterQuery } from '../pipeline/ports.ts';

const rangeDaysMax = 366;
const filterValuesMax = 100;

const dimensions = ['date', 'type', 'state'] as const;
export type Dimension = (typeof dimensions)[number];

export interface StatsRequest {
  readonly query: CounterQuery;
  /** Undefined: every counter by itself. */
  readonly groupBy: ReadonlySet<Dimension> | undefined;
}

/** A row of `/stats`: the dimensions that were asked for, and the count. */
export type StatsRow = Partial<Pick<CounterRow, Dimension>> & Pick<CounterRow, 'count'>;

type Reading<T> = { readonly value: T } | { readonly problem: Problem };

/** What the parameters of `/stats` ask for. */
export function readStatsRequest(parameters: URLSearchParams): Reading<StatsRequest> {
  const range = readRange(parameters);
  if ('problem' in range) return range;
  const groupBy = readGroupBy(parameters);
  if ('problem' in groupBy) return groupBy;
  const types = parameters.getAll('type');
  const states = parameters.getAll('state');
  if (types.length > filterValuesMax || states.length > filterValuesMax) {
    return refuse('invalid_filter', `Name at most ${filterValuesMax} types and states.`);
  }
  const formats = parameters.getAll('format');
  if (formats.some((format) => format !== 'json')) {
    return refuse('invalid_format', 'The format is json.');
  }
  return { value: { query: { ...range.value, types, states }, groupBy: groupBy.value } };
}

/** The single date that `/stats-html` asks for. */
export function readDate(parameters: URLSearchParams): Reading<CalendarDate> {
  const [date, second] = parameters.getAll('date');
  if (date === undefined) {
    return refuse('missing_date', 'Name a date: ?date=YYYY-MM-DD.');
  }
  if (second !== undefined || !isCalendarDate(date)) return invalidDate('date');
  return { value: date };
}

/** Gathers the rows of an answer, piece by piece, as JSON text. */
export class StatsText {
  readonly #groups: Groups | undefined;
  readonly #pieces: string[] = [];

  constructor(groupBy: StatsRequest['groupBy']) {
    this.#groups = groupBy && new Groups(groupBy);
  }

  add(rows: readonly CounterRow[]): void {
    if (this.#groups !== undefined) this.#groups.add(rows);
    else this.#addPiece(rows);
  }

  /** The whole array. */
  text(): string {
    if (this.#groups !== undefined) this.#addPiece(this.#groups.rows());
    return `[${this.#pieces.join(',')}]`;
  }

  #addPiece(rows: readonly StatsRow[]): void {
    if (rows.length > 0) this.#pieces.push(JSON.stringify(rows).slice(1, -1));
  }
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

function readRange(parameters: URLSearchParams): Reading<{ from: CalendarDate; to: CalendarDate }> {
  const [from, secondFrom] = parameters.getAll('from');
  const [to, secondTo] = parameters.getAll('to');
  if (from === undefined && to === undefined) {
    const date = readDate(parameters);
    if (!('problem' in date)) return { value: { from: date.value, to: date.value } };
    if (date.problem.code !== 'missing_date') return date;
    return refuse('missing_date', 'Name a date, ?date=YYYY-MM-DD, or a range, ?from=…&to=….');
  }
  if (parameters.has('date')) return refuse('invalid_range', 'Name a date or a range, not both.');
  if (from === undefined || to === undefined) {
    return refuse('invalid_range', 'A range has two ends: ?from=YYYY-MM-DD&to=YYYY-MM-DD.');
  }
  if (secondFrom !== undefined || !isCalendarDate(from)) return invalidDate('from');
  if (secondTo !== undefined || !isCalendarDate(to)) return invalidDate('to');
  const days = daysInRange(from, to);
  if (days < 1)
    return refuse('invalid_range', `The range ends (${to}) before it starts (${from}).`);
  if (days > rangeDaysMax) {
    return refuse('invalid_range', `The range holds ${days} days; ${rangeDaysMax} are allowed.`);
  }
  return { value: { from, to } };
}

function readGroupBy(parameters: URLSearchParams): Reading<ReadonlySet<Dimension> | undefined> {
  if (!parameters.has('group_by')) return { value: undefined };
  const names = parameters.getAll('group_by').flatMap((list) => list.split(','));
  const groupBy = new Set<Dimension>();
  for (const name of names) {
    const dimension = dimensions.find((known) => known === name);
    if (dimension === undefined) {
      return refuse('invalid_group_by', `Group by one or more of ${dimensions.join(', ')}.`);
    }
    groupBy.add(dimension);
  }
  return { value: groupBy };
}

function invalidDate(parameter: string) {
  const detail = `${parameter} must be given once, as YYYY-MM-DD, and be a day that the calendar has.`;
  return refuse('invalid_date', detail);
}

function refuse(code: ProblemCode, detail: string): { readonly problem: Problem } {
  return { problem: { code, detail } };
}
