import { formatBatchId, placeOfBatchId, type BatchId } from '../../../domain/batch-id.ts';
import {
  Unavailable,
  type Batch,
  type EarlierBatch,
  type Idempotency,
  type Intake,
  type ReplayedBatch,
  type ReplayIntake,
  type ReplayOrigin,
  type ReplayResult,
  type StoredBatch,
} from '../../../pipeline/ports.ts';
import type { CounterAdmission, NewCounters } from './counter-admission.ts';
import type { LogPosition, LogRecord } from '../log/frame.ts';
import { findRecord } from '../log/record-identity.ts';
import type { SegmentedLog, Staged } from '../log/segmented-log.ts';
import type {
  KeyedBatch,
  LogDelivery,
  ReplayedRecord as ReplayedRecord,
} from '../store/counter-store.ts';

interface LogIntakeOptions {
  readonly log: SegmentedLog;
  readonly admission: Pick<CounterAdmission, 'admit' | 'addPending'>;
  /** Finds a key among the batches that are counted, where it has not expired. */
  readonly findKey: (caller: string, key: string) => EarlierBatch | undefined;
  /** Where a batch from another installation stands that is counted, though its record be gone. */
  readonly positionOfReplayed: (batchId: BatchId) => LogPosition | undefined;
  readonly recordAt: (position: LogPosition) => LogRecord | undefined;
  readonly countedThrough: () => LogPosition;
  /** Called with each batch that is staged: its end in the log, how many items it counts, the time. */
  readonly onStaged: (end: LogPosition, accepted: number, at: number) => void;
  /** Called with each batch once it is durable, in the order of the log. */
  readonly onDurable: (delivery: LogDelivery, accepted: number) => void;
  /** Called once, with why the log takes nothing more. */
  readonly onFailure: (error: unknown) => void;
  /** Runs a function once all that is to gather has gathered. */
  readonly defer: (commit: () => void) => void;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** Beyond so many bytes that are stored and not counted, nothing more is taken. */
  readonly backlogBytesMax: number;
}

/**
 * With so many items waiting for a sync, no more are waited for: their tallies are held in memory
 * until then, and compressed bodies may hold many in few bytes.
 */
const waitingItemsMax = 20_000;
/** So many keys and ids of replayed batches may wait to be counted: they are held in memory until then. */
const pendingKeysMax = 100_000;

/** What a record says of a batch that has nothing but a body, of which all items are valid. */
const plain = { encoding: 'identity', idempotency: undefined, rejected: 0 } as const;

interface Waiter {
  readonly delivery: LogDelivery;
  readonly accepted: number;
  readonly resolve: () => void;
  readonly reject: (reason: Unavailable) => void;
}

/** A batch from another installation that is not counted yet. */
interface PendingReplay {
  readonly position: LogPosition;
  readonly end: LogPosition;
  readonly durable: Promise<void>;
}

interface PendingKey extends EarlierBatch {
  readonly end: LogPosition;
  readonly durable: Promise<void>;
}

/**
 * Takes batches into the log. Batches that arrive while the log syncs are made durable together
 * by the next sync; each is acknowledged after the sync that covers it.
 */
export class LogIntake implements Intake, ReplayIntake {
  readonly #options: LogIntakeOptions;
  readonly #waiting: Waiter[] = [];
  /** Keys of batches that are not counted yet, in the order of the log. */
  readonly #pendingKeys = new Map<string, PendingKey>();
  readonly #pendingReplays = new Map<BatchId, PendingReplay>();
  #waitingItems = 0;
  #isCommitDue = false;

  constructor(
    options: LogIntakeOptions,
    uncountedKeys: Iterable<KeyedBatch & { end: LogPosition }>,
    uncountedReplays: Iterable<ReplayedRecord & { end: LogPosition }> = [],
  ) {
    this.#options = options;
    for (const { caller, key, ...batch } of uncountedKeys) {
      this.#pendingKeys.set(keyId(caller, key), { ...batch, durable: Promise.resolve() });
    }
    for (const { batchId, ...place } of uncountedReplays) {
      this.#pendingReplays.set(batchId, { ...place, durable: Promise.resolve() });
    }
  }

  async accept(batch: Batch): Promise<{ earlier: EarlierBatch } | { stored: StoredBatch }> {
    // Between looking for the key and staging the batch nothing may wait: two batches with one
    // key would both find it new.
    const known = batch.idempotency && this.#lookUp(batch.caller, batch.idempotency.key);
    if (known !== undefined) {
      await known.durable;
      return { earlier: this.#withOverLimitItems(known) };
    }
    const reason = this.#reasonToRefuse();
    if (reason !== undefined) throw reason;
    // Nor between admitting counters and staging what begins them.
    const { stored, durable } = this.#stage(this.#options.admission.admit(batch));
    await durable;
    return { stored };
  }

  async replay(batch: ReplayedBatch): Promise<ReplayResult> {
    const { origin, caller, idempotency } = batch;
    // As above, nothing may wait between the looking and the staging.
    const pending = this.#pendingReplays.get(origin.batchId);
    if (pending !== undefined) {
      await pending.durable;
      return this.#compareWithStored(batch);
    }
    const known = this.#knownResult(batch);
    if (known !== undefined) return known;
    const holder = idempotency && this.#lookUp(caller, idempotency.key);
    const isFromElsewhere = holder && this.#positionOfReplayed(holder.batchId) !== undefined;
    if (holder !== undefined && isFromElsewhere !== true && isSameBody(holder, idempotency)) {
      // Its client has sent it again, here.
      await holder.durable;
      return { kind: 'known', batch: holder };
    }
    const reason = this.#reasonToRefuse();
    if (reason !== undefined) throw reason;
    const hasKey =
      holder === undefined || (isFromElsewhere === true && holder.receivedAt < origin.receivedAt);
    const taken = hasKey ? batch : { ...batch, idempotency: undefined };
    // What was excluded of it is settled: it counts what it counted where it came from.
    const settled = { ...taken, excluded: origin.excluded ?? [] };
    const { durable } = this.#stage(this.#options.admission.admit(settled), origin);
    await durable;
    return { kind: 'stored' };
  }

  /** What is to be said of a batch of which no more is known than its record, or its removal. */
  #knownResult(batch: ReplayedBatch): ReplayResult | undefined {
    const { origin } = batch;
    const { log } = this.#options;
    const isRemoved = this.#positionOfReplayed(origin.batchId) !== undefined;
    if (isRemoved || this.#findRecord(origin.batchId) !== undefined)
      return this.#compareWithStored(batch);
    const place = placeOfBatchId(origin.batchId) ?? Number.POSITIVE_INFINITY;
    const isOfAnotherLog = origin.logId !== undefined && origin.logId !== log.logId.toString('hex');
    if (place >= log.begin || isOfAnotherLog) return undefined;
    return { kind: 'undecidable', detail: removedDetail };
  }

  /** A batch that is here already, or was until its record was removed. */
  #compareWithStored({ origin, body }: ReplayedBatch): ReplayResult {
    const record = this.#findRecord(origin.batchId);
    const isSame =
      record === undefined ||
      (record.receivedAt === origin.receivedAt && Buffer.compare(record.body, body) === 0);
    return isSame ? { kind: 'known', batch: origin } : { kind: 'conflict', detail: conflictDetail };
  }

  #findRecord(batchId: BatchId): LogRecord | undefined {
    const { recordAt } = this.#options;
    return findRecord(
      { recordAt, positionOfReplayed: (id) => this.#positionOfReplayed(id) },
      batchId,
    );
  }

  #positionOfReplayed(batchId: BatchId): LogPosition | undefined {
    return this.#pendingReplays.get(batchId)?.position ?? this.#options.positionOfReplayed(batchId);
  }

  async recall(caller: string, key: string): Promise<EarlierBatch | undefined> {
    const known = this.#lookUp(caller, key);
    await known?.durable;
    return known && this.#withOverLimitItems(known);
  }

  /** Forgets the keys and ids of batches that end at or before a position: the counters hold them now. */
  forgetKeys(countedThrough: LogPosition): void {
    for (const pending of [this.#pendingKeys, this.#pendingReplays]) {
      for (const [id, { end }] of pending) {
        if (end > countedThrough) break;
        pending.delete(id);
      }
    }
  }

  /**
   * Stages a batch that has nothing but a body, without anybody waiting for it: it is stored once
   * `commit` has said so. Undefined where it cannot be taken; `accept` would say why.
   */
  stagePlain(
    body: Uint8Array,
    accepted: number,
    caller: string,
  ): (Staged & { receivedAt: number }) | undefined {
    if (this.#reasonToRefuse() !== undefined) return undefined;
    const receivedAt = this.#options.now();
    try {
      const staged = this.#options.log.stage({ ...plain, caller, body, accepted, receivedAt });
      this.#options.onStaged(staged.end, accepted, receivedAt);
      return { ...staged, receivedAt };
    } catch (error) {
      this.#fail(error);
      return undefined;
    }
  }

  /**
   * Makes all that was staged by `stagePlain` durable in the background; says whether it is.
   * Meanwhile nothing may be staged but by `stagePlain`, of what the log has room for.
   */
  startCommit(): Promise<boolean> {
    return new Promise((resolve) => {
      try {
        this.#options.log.startCommit((error) => {
          if (error !== null) this.#fail(error);
          resolve(error === null);
        });
      } catch (error) {
        this.#fail(error);
        resolve(false);
      }
    });
  }

  /** Makes all that is staged durable and acknowledges it. Says whether it is. */
  commit(): boolean {
    this.#isCommitDue = false;
    this.#waitingItems = 0;
    try {
      this.#options.log.commit();
    } catch (error) {
      this.#fail(error);
      return false;
    }
    for (const { delivery, accepted, resolve } of this.#waiting.splice(0)) {
      this.#options.onDurable(delivery, accepted);
      resolve();
    }
    return true;
  }

  #lookUp(caller: string, key: string): (EarlierBatch & { durable?: Promise<void> }) | undefined {
    const pending = this.#pendingKeys.get(keyId(caller, key));
    if (pending !== undefined) return pending;
    return this.#options.findKey(caller, key);
  }

  /** The record is there: what it says need not be held in memory or in a row. */
  #withOverLimitItems({ batchId, receivedAt, bodySha256 }: EarlierBatch): EarlierBatch {
    const excluded = this.#findRecord(batchId)?.excluded;
    return { batchId, receivedAt, bodySha256, ...(excluded && { excluded }) };
  }

  /** @param origin what the batch was in another installation, if it comes from one. */
  #stage(
    { batch, newCounters }: { readonly batch: Batch; readonly newCounters: NewCounters },
    origin?: ReplayOrigin,
  ): { stored: StoredBatch; durable: Promise<void> } {
    const { log, now, admission } = this.#options;
    const receivedAt = origin?.receivedAt ?? now();
    const { body, encoding, caller, idempotency, accepted, rejected, tally } = batch;
    const excluded = batch.excluded?.length ? { excluded: batch.excluded } : {};
    const draft = { body, encoding, caller, idempotency, accepted, rejected, ...excluded };
    let staged;
    try {
      const originId = origin === undefined ? {} : { originId: origin.batchId };
      staged = log.stage({ ...draft, ...originId, receivedAt });
    } catch (error) {
      this.#fail(error);
      throw storageFailed(error);
    }
    admission.addPending(newCounters, staged.end);
    this.#options.onStaged(staged.end, accepted, now());
    const { position } = staged;
    const stored = { batchId: origin?.batchId ?? formatBatchId(staged.batchId), receivedAt };
    const keys =
      idempotency === undefined
        ? []
        : [
            {
              caller,
              key: idempotency.key,
              bodySha256: idempotency.bodySha256,
              position,
              ...stored,
            },
          ];
    const replays = origin === undefined ? [] : [{ batchId: origin.batchId, position }];
    const mark = { from: staged.previousEnd, to: staged.end };
    const { promise: durable, resolve, reject } = Promise.withResolvers<undefined>();
    this.#waiting.push({
      delivery: { mark, tally, keys, replayed: replays, deadLetters: [] },
      accepted,
      resolve: () => resolve(undefined),
      reject,
    });
    for (const { key, ...rest } of keys) {
      this.#pendingKeys.set(keyId(caller, key), { ...rest, end: staged.end, durable });
    }
    for (const { batchId } of replays) {
      this.#pendingReplays.set(batchId, { position, end: staged.end, durable });
    }
    this.#waitingItems += accepted;
    if (this.#waitingItems >= waitingItemsMax) {
      this.commit();
    } else if (!this.#isCommitDue) {
      this.#isCommitDue = true;
      this.#options.defer(() => this.commit());
    }
    return { stored: { ...stored, ...excluded }, durable };
  }

  /** Why nothing can be taken now. */
  #reasonToRefuse(): Unavailable | undefined {
    const { log, countedThrough, backlogBytesMax } = this.#options;
    if (log.failure !== undefined) return storageFailed(log.failure);
    const backlogBytes = log.durableEnd - countedThrough();
    const pending = this.#pendingKeys.size + this.#pendingReplays.size;
    if (backlogBytes > backlogBytesMax || pending >= pendingKeysMax) {
      return new Unavailable(
        'overloaded',
        `${backlogBytes} bytes of accepted batches wait to be counted, and no more can wait. Nothing of this batch was stored; send it again after a moment.`,
      );
    }
    return undefined;
  }

  #fail(error: unknown): void {
    for (const { reject } of this.#waiting.splice(0)) reject(storageFailed(error));
    this.#options.onFailure(error);
  }
}

const conflictDetail =
  'A batch with this id is here already, with another body or of another time. Nothing was stored.';
const removedDetail =
  'The batch may have been received here and its raw body removed since (--keep-raw): whether it was counted is not known. Nothing was stored.';

function isSameBody(one: EarlierBatch, other: Idempotency | undefined): boolean {
  return other !== undefined && Buffer.compare(one.bodySha256, other.bodySha256) === 0;
}

function storageFailed(cause: unknown): Unavailable {
  return new Unavailable(
    'storage_failed',
    'The batch could not be stored and was not acknowledged. Send it again, with the same Idempotency-Key if it had one.',
    { cause },
  );
}

function keyId(caller: string, key: string): string {
  return `${caller}\u0000${key}`;
}
