import { compareCounters, type CounterRow } from '../domain/counter.ts';

/** What can differ between the raw store, the ledger and the counters. */
export type DifferenceCode =
  /** A counter is not what the raw bodies add up to. */
  | 'counter_differs'
  | 'counter_missing'
  /** A counter that no raw body explains. */
  | 'counter_unexplained'
  /** So much comes in that a counter could not be held against the batches. No difference yet. */
  | 'counter_unsettled'
  /** A stored body that cannot be read any more, or is gone. */
  | 'raw_damaged'
  | 'raw_missing'
  /** A batch or a part of it that is neither counted nor among the dead letters. */
  | 'batch_not_counted'
  | 'batch_counted_in_part'
  /** A dead letter that the raw store does not explain. */
  | 'dead_letter_unexplained'
  /** An idempotency key that is lost, or says something else than its batch: a retry would count twice. */
  | 'key_missing'
  | 'key_differs'
  | 'key_unexplained'
  /** A batch from another installation that is not on record as such: replayed again, it counts twice. */
  | 'replayed_missing'
  | 'replayed_differs'
  | 'replayed_unexplained'
  /** The ledger does not say what is counted. */
  | 'ledger_missing'
  | 'ledger_differs';

export interface Difference {
  readonly code: DifferenceCode;
  /** One or two sentences. */
  readonly detail: string;
  readonly counter?: Omit<CounterRow, 'count'>;
  /** What the counter says, and what the raw store adds up to. */
  readonly counted?: number;
  readonly recounted?: number;
  /** The batch, or some of the batches, that it is about. */
  readonly rawKeys?: readonly string[];
  /** Batches each of which, not counted or counted twice, would alone explain it. */
  readonly explainedBy?: readonly string[];
}

export interface AuditSummary {
  /** What was read of the raw store. */
  readonly batches: number;
  readonly items: number;
  readonly bytes: number;
  /** Batches that are not counted, for reasons that are on record. */
  readonly deadLetters: number;
  /** Rows that were compared. */
  readonly counters: number;
  readonly differences: number;
}

/** A pair of counts of one counter; undefined where a side has no row. */
export interface ComparedCounter {
  readonly counter: Omit<CounterRow, 'count'>;
  readonly counted: number | undefined;
  readonly recounted: number | undefined;
}

/** Goes through two lists of rows, both in the order of counters, side by side. */
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

/** The difference of a counter's two sides, or undefined where they agree. */
export function counterDifference(compared: ComparedCounter): Difference | undefined {
  const { counter, counted, recounted } = compared;
  // A row of 0 and no row say the same.
  if ((counted ?? 0) === (recounted ?? 0)) return undefined;
  const name = `${counter.date} ${JSON.stringify(counter.type)} ${JSON.stringify(counter.state)}`;
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
