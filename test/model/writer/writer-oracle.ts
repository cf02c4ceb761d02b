import { gzipSync } from 'node:zlib';
import type { DatabaseSync } from 'node:sqlite';

import { positionOfBatchId } from '../../../src/domain/batch-id.ts';
import type { CounterRow } from '../../../src/domain/counter.ts';
import type { LogReader } from '../../../src/engines/embedded/log/log-reader.ts';
import type { IngestOutcome, Submission } from '../../../src/pipeline/ports.ts';
import type { Chance } from '../chance.ts';

/** Something that must never happen. */
export class Violation extends Error {
  override readonly name = 'Violation';
}

export function assert(condition: boolean, otherwise: () => string): asserts condition {
  if (!condition) throw new Violation(otherwise());
}

/** A batch that counts under a state of its own, so that it can be judged separately. */
export interface SentBatch {
  readonly state: string;
  readonly submission: Submission;
  readonly enqueued: number;
  /** The increments under its own state, by date and type; it also adds 1 to the shared counter. */
  readonly counts: ReadonlyMap<string, number>;
  /** The ids that answers have named. There may be more than one only after its key expired. */
  readonly acknowledged: Set<string>;
  sends: number;
  /** How often it was counted at the last check: a counted batch stays counted. */
  counted: number;
  /** How long machines had run when it was first sent. */
  sentAtMs: number;
}

const types = ['laptop', 'phone', 'Gerät'];
const dates = ['2026-03-01', '2026-03-02', '2026-03-03'];
/** More than all the waits within operations, in which time passes, too. */
const operationsMs = 3_600_000;
const shared = { type: 'phone', state: 'shared', timestamp: '2026-03-02T00:00:00Z' };

/** Records requests and responses, and computes what must and what may be in the store. */
export class Oracle {
  readonly batches: SentBatch[] = [];
  /** Ids of records that cannot be counted, by their position in the log. */
  readonly uncountable = new Map<number, string>();
  readonly keepKeysMs: number;
  /** How long machines have run at least, without the time within operations. */
  #runMs = 0;
  acknowledgements = 0;
  acknowledgedItems = 0;

  constructor(keepKeysMs: number) {
    this.keepKeysMs = keepKeysMs;
  }

  /** A copy of the current knowledge, to continue from in another way. */
  copy(): Oracle {
    const copy = new Oracle(this.keepKeysMs);
    copy.#runMs = this.#runMs;
    for (const batch of this.batches) {
      copy.batches.push({ ...batch, acknowledged: new Set(batch.acknowledged) });
    }
    for (const [position, id] of this.uncountable) copy.uncountable.set(position, id);
    return copy;
  }

  passed(milliseconds: number): void {
    this.#runMs += milliseconds;
  }

  /** A new batch. `bodyBytes` is the approximate length of its body. */
  newBatch(chance: Chance, bodyBytes: number, isKeyed: boolean): SentBatch {
    const number = this.batches.length;
    const state = `batch ${number}`;
    const counts = new Map<string, number>();
    const items: object[] = [shared];
    for (let item = 1 + chance.below(4); item > 0; item--) {
      const [type, date] = [chance.pick(types), chance.pick(dates)];
      counts.set(`${date} ${type}`, (counts.get(`${date} ${type}`) ?? 0) + 1);
      items.push({ type, state, timestamp: `${date}T12:00:00Z` });
    }
    const enqueued = items.length;
    if (chance.oneIn(6)) items.push({ type: '', state, timestamp: 'never' });
    const text = JSON.stringify({ padding: 'x'.repeat(bodyBytes), processed_devices: items });
    const isCompressed = chance.oneIn(6);
    const submission = {
      body: isCompressed ? gzipSync(text) : Buffer.from(text),
      encoding: isCompressed ? 'gzip' : 'identity',
      strict: false,
      caller: isKeyed && chance.oneIn(2) ? 'a client' : '',
      idempotencyKey: isKeyed ? `key-${number}` : undefined,
    } as const;
    const acknowledged = new Set<string>();
    const times = { sends: 0, counted: 0, sentAtMs: Number.POSITIVE_INFINITY };
    const batch = { state, submission, enqueued, counts, acknowledged, ...times };
    this.batches.push(batch);
    return batch;
  }

  sent(batch: SentBatch): void {
    batch.sends++;
    batch.sentAtMs = Math.min(batch.sentAtMs, this.#runMs);
  }

  /** @param mayFail whether a fault of the machine may be the reason of a refusal. */
  answered(batch: SentBatch, outcome: IngestOutcome, mayFail: boolean): void {
    if (!outcome.accepted) {
      const { code } = outcome.problem;
      const isRight = code === 'overloaded' || (code === 'storage_failed' && mayFail);
      assert(isRight, () => `${batch.state} was refused: ${code}, ${outcome.problem.detail}`);
      return;
    }
    assert(outcome.enqueued === batch.enqueued, () => `${batch.state}: ${outcome.enqueued} items`);
    const isRepeated = batch.acknowledged.has(outcome.batchId);
    if (isRepeated || batch.acknowledged.size === 0 || this.mayHaveExpired(batch)) {
      batch.acknowledged.add(outcome.batchId);
      this.acknowledgements++;
      this.acknowledgedItems += outcome.enqueued;
      return;
    }
    throw new Violation(`a retry of ${batch.state} was treated as a new batch`);
  }

  /** Judges the counters of a store that has counted everything. */
  judgeCounters(rows: readonly CounterRow[]): void {
    const byState = new Map<string, CounterRow[]>();
    for (const row of rows) {
      const known = byState.get(row.state);
      if (known === undefined) byState.set(row.state, [row]);
      else known.push(row);
    }
    let batches = 0;
    for (const batch of this.batches) {
      const times = timesCounted(batch, byState.get(batch.state) ?? []);
      this.#judgeTimes(batch, times);
      batch.counted = times;
      batches += times;
      byState.delete(batch.state);
    }
    const sharedRows = byState.get(shared.state) ?? [];
    const count = sharedRows.reduce((sum, row) => sum + row.count, 0);
    assert(count === batches, () => `${batches} batches are counted, and ${count} of their shared`);
    byState.delete(shared.state);
    assert(byState.size === 0, () => `counted and never sent: ${[...byState.keys()].join()}`);
  }

  /** Every acknowledged batch exists, byte for byte, unless retention may have removed it. */
  judgeRaw(reader: LogReader, removedThrough: number): void {
    for (const { state, acknowledged, submission } of this.batches) {
      for (const id of acknowledged) {
        const place = positionOfBatchId(id) ?? -1;
        if (place < removedThrough) continue;
        const found = reader.recordAt(place);
        const isThere = found !== undefined && Buffer.compare(found.body, submission.body) === 0;
        assert(isThere, () => `the body of ${state} is not in the log`);
      }
    }
  }

  judgeDeadLetters(database: DatabaseSync): void {
    const rows = database.prepare('SELECT position, batch_id FROM dead_letters').all();
    const found = rows.map((row) => `${Number(row['position'])} ${String(row['batch_id'])}`);
    const expected = [...this.uncountable].map(([position, id]) => `${position} ${id}`);
    const differ = () => `dead letters ${found.join()}, not ${expected.join()}`;
    assert(found.sort().join() === expected.sort().join(), differ);
  }

  #judgeTimes({ state, submission, sends, counted, ...batch }: SentBatch, times: number): void {
    const least = Math.max(counted, batch.acknowledged.size);
    const isOnce = submission.idempotencyKey === undefined || !this.mayHaveExpired(batch);
    const most = isOnce ? Math.min(1, sends) : sends;
    assert(
      times >= least && times <= most,
      () => `${state} is counted ${times} times, not ${least} to ${most}`,
    );
  }

  /** Independent of the wall clock. */
  mayHaveExpired({ sentAtMs }: Pick<SentBatch, 'sentAtMs'>): boolean {
    return this.#runMs + operationsMs - this.keepKeysMs >= sentAtMs;
  }
}

/** How often all of a batch is counted. */
function timesCounted({ state, counts }: SentBatch, rows: readonly CounterRow[]): number {
  const [first] = rows;
  const expected = first && counts.get(`${first.date} ${first.type}`);
  const times = first === undefined ? 0 : first.count / (expected ?? 0);
  const isWhole =
    Number.isInteger(times) &&
    (times === 0 || rows.length === counts.size) &&
    rows.every(({ date, type, count }) => count === times * (counts.get(`${date} ${type}`) ?? 0));
  assert(isWhole, () => `${state} is counted in part: ${JSON.stringify(rows)}`);
  return times;
}
