import { compareCounters, type CounterRow } from '../domain/counter.ts';
import { amountOf } from '../util/thousands.ts';

/** The kinds of findings: differences between raw store, ledger and counters. */
type DifferenceCode =
  /** A counter differs from the sum of the raw bodies. */
  | 'counter_differs'
  | 'counter_missing'
  /** A counter that no raw body explains. */
  | 'counter_unexplained'
  /** A counter changed too often to be compared. Not a difference yet. */
  | 'counter_unsettled'
  /** A stored body is unreadable or missing. */
  | 'raw_damaged'
  | 'raw_missing'
  /** Different bodies are stored under one batch id. */
  | 'raw_differs'
  /** A batch or a part of it is neither counted nor a dead letter. */
  | 'batch_not_counted'
  | 'batch_counted_in_part'
  /** A dead letter that the raw store does not explain. */
  | 'dead_letter_unexplained'
  /** An idempotency key is lost or does not match its batch: a retry would count twice. */
  | 'key_missing'
  | 'key_differs'
  | 'key_unexplained'
  /** Two batches with one key were counted: a retry was counted twice. */
  | 'key_reused'
  /** The record of a replayed batch is lost or wrong: replayed again, it would count twice. */
  | 'replayed_missing'
  | 'replayed_differs'
  | 'replayed_unexplained'
  /** The ledger does not match the counters. */
  | 'ledger_missing'
  | 'ledger_differs';

export interface Difference {
  readonly code: DifferenceCode;
  /** One or two sentences. */
  readonly detail: string;
  readonly counter?: Omit<CounterRow, 'count'>;
  /** The value of the counter, and the sum of the raw store. */
  readonly counted?: number;
  readonly recounted?: number;
  /** The batch, or some of the batches, concerned. */
  readonly rawKeys?: readonly string[];
  /** Batches any one of which would explain the difference if it was not counted, or counted twice. */
  readonly explainedBy?: readonly string[];
}

export interface AuditSummary {
  /** The data that the audit read from the raw store. */
  readonly batches: number;
  readonly items: number;
  readonly bytes: number;
  /** Batches that are not counted because they are dead letters. */
  readonly deadLetters: number;
  /** The number of compared rows. */
  readonly counters: number;
  readonly differences: number;
}

/** Such as `1 difference`. */
export function countOfDifferences(count: number): string {
  return amountOf(count, 'difference');
}

/** Both counts of one counter; undefined if a side has no row. */
interface ComparedCounter {
  readonly counter: Omit<CounterRow, 'count'>;
  readonly counted: number | undefined;
  readonly recounted: number | undefined;
}

/** Merges two lists of rows, both in the order of counters. */
export function* compareRows(
  counted: Iterable<CounterRow>,
  recounted: Iterable<CounterRow>,
): Generator<ComparedCounter> {
  const left = counted[Symbol.iterator]();
  const right = recounted[Symbol.iterator]();
  let a = left.next();
  let b = right.next();
  while (a.done !== true || b.done !== true) {
    const order = a.done === true ? 1 : b.done === true ? -1 : compareCounters(a.value, b.value);
    const row = order > 0 ? (b.value as CounterRow) : (a.value as CounterRow);
    const { date, type, state } = row;
    yield {
      counter: { date, type, state },
      counted: order <= 0 ? (a.value as CounterRow).count : undefined,
      recounted: order >= 0 ? (b.value as CounterRow).count : undefined,
    };
    if (order <= 0) a = left.next();
    if (order >= 0) b = right.next();
  }
}

/** A counter as findings name it. */
export function nameOfCounter({ date, type, state }: Omit<CounterRow, 'count'>): string {
  return `${date} ${JSON.stringify(type)} ${JSON.stringify(state)}`;
}

/** The difference between both counts, or undefined if they agree. */
export function counterDifference(compared: ComparedCounter): Difference | undefined {
  const { counter, counted, recounted } = compared;
  // A row of 0 equals no row.
  if ((counted ?? 0) === (recounted ?? 0)) return undefined;
  const name = nameOfCounter(counter);
  const both = { counter, counted: counted ?? 0, recounted: recounted ?? 0 };
  if (counted === undefined) {
    const detail = `${name} has no counter; the raw store has ${recounted}.`;
    return { code: 'counter_missing', detail, ...both };
  }
  if (recounted === undefined) {
    const detail = `${name} is counted ${counted} times, and no batch in the raw store has it.`;
    return { code: 'counter_unexplained', detail, ...both };
  }
  const detail = `${name} is counted ${counted} times; the raw store has ${recounted}.`;
  return { code: 'counter_differs', detail, ...both };
}
