import { formatBatchId, type BatchId } from '../../../domain/batch-id.ts';
import { isRetryOf } from '../../../pipeline/idempotency.ts';
import {
  Unavailable,
  type Batch,
  type EarlierBatch,
  type Intake,
  type ReplayedBatch,
  type ReplayIntake,
  type ReplayOrigin,
  type ReplayResult,
  type StoredBatch,
} from '../../../pipeline/ports.ts';
import type { CounterAdmission, NewCounters } from './counter-admission.ts';
import type { LogPosition, LogRecord } from '../log/frame.ts';
import { assignedPosition, findRecord } from '../log/record-identity.ts';
import type { SegmentedLog, Staged } from '../log/segmented-log.ts';
import type { KeyedBatch, LogDelivery, ReplayedRecord } from '../store/counter-store.ts';

interface LogIntakeOptions {
  readonly log: SegmentedLog;
  readonly admission: Pick<CounterAdmission, 'admit' | 'addPending'>;
  /** Finds the key of a counted batch, unless it has expired. */
  readonly findKey: (caller: string, key: string) => EarlierBatch | undefined;
  /** The position of a counted replayed batch, even if its record has been removed. */
  readonly positionOfReplayed: (batchId: BatchId) => LogPosition | undefined;
  readonly recordAt: (position: LogPosition) => LogRecord | undefined;
  readonly countedThrough: () => LogPosition;
  /** Called when a batch is staged: the end of its record, its accepted items, the time. */
  readonly onStaged: (end: LogPosition, accepted: number, at: number) => void;
  /** Called with each batch once it is durable, in the order of the log. */
  readonly onDurable: (delivery: LogDelivery, accepted: number) => void;
  /** Called with the error after which the log accepts no more records. */
  readonly onFailure: (error: unknown) => void;
  /** Runs `commit` later, so that more batches can join the commit. */
  readonly defer: (commit: () => void) => void;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** Bytes of stored but uncounted batches above which batches are refused. */
  readonly backlogBytesMax: number;
}

/**
 * Number of items at which a commit starts at once: their increments stay in memory until then, and
 * compressed bodies may hold many items in few bytes.
 */
const waitingItemsMax = 20_000;
/** Maximum number of keys and replayed ids of uncounted batches, which stay in memory. */
const pendingKeysMax = 100_000;

/** The record fields of a plain batch: only a body, all items valid. */
const plain = { encoding: 'identity', idempotency: undefined, rejected: 0 } as const;

interface Waiter {
  readonly delivery: LogDelivery;
  readonly accepted: number;
  readonly resolve: () => void;
  readonly reject: (reason: Unavailable) => void;
}

/** A replayed batch that is not counted yet. */
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
 * Stores batches in the log, after it has looked up their idempotency keys. Batches that arrive during
 * a sync become durable together with the next one; each is acknowledged after its sync.
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
    // There must be no await between looking up the key and staging the batch: two batches with the
    // same key would both find it unused.
    const known = batch.idempotency && this.#lookUp(batch.caller, batch.idempotency.key);
    if (known !== undefined) {
      await known.durable;
      return { earlier: this.#withOverLimitItems(known) };
    }
    const reason = this.#reasonToRefuse();
    if (reason !== undefined) throw reason;
    // Nor may there be one between admitting new counters and staging the batch that creates them.
    const { stored, durable } = this.#stage(this.#options.admission.admit(batch));
    await durable;
    return { stored };
  }

  async replay(batch: ReplayedBatch): Promise<ReplayResult> {
    const { origin, caller, idempotency } = batch;
    // There must be no await between the lookups and the staging, as in `accept`.
    const pending = this.#pendingReplays.get(origin.batchId);
    if (pending !== undefined) {
      await pending.durable;
      return this.#compareWithStored(batch);
    }
    const known = this.#knownResult(batch);
    if (known !== undefined) return known;
    const holder = idempotency && this.#lookUp(caller, idempotency.key);
    const isFromElsewhere = holder && this.#positionOfReplayed(holder.batchId) !== undefined;
    if (holder !== undefined && isFromElsewhere !== true && isRetryOf(holder, idempotency)) {
      // Its client has also sent it to this installation.
      await holder.durable;
      return { kind: 'known', batch: holder };
    }
    const reason = this.#reasonToRefuse();
    if (reason !== undefined) throw reason;
    const hasKey =
      holder === undefined || (isFromElsewhere === true && holder.receivedAt < origin.receivedAt);
    const claimed = hasKey ? batch : { ...batch, idempotency: undefined };
    // The original installation decided which items are over the limit, so that the batch counts
    // the same here.
    const settled = { ...claimed, excluded: origin.excluded ?? [] };
    const { durable } = this.#stage(this.#options.admission.admit(settled), origin);
    await durable;
    return { kind: 'stored' };
  }

  /** The result for a batch that is stored here, or was stored and may have been removed. */
  #knownResult(batch: ReplayedBatch): ReplayResult | undefined {
    const { origin } = batch;
    const { log } = this.#options;
    const isRemoved = this.#positionOfReplayed(origin.batchId) !== undefined;
    if (isRemoved || this.#findRecord(origin.batchId) !== undefined)
      return this.#compareWithStored(batch);
    const place = assignedPosition(origin) ?? Number.POSITIVE_INFINITY;
    const isOfAnotherLog = origin.logId !== undefined && origin.logId !== log.logId.toString('hex');
    if (place >= log.begin || isOfAnotherLog) return undefined;
    return { kind: 'undecidable', detail: removedDetail };
  }

  /** The result for a batch whose id is known; without its record, it counts as the same batch. */
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

  /** Drops the keys and ids of batches that end at or before a position: the database has them now. */
  forgetKeys(countedThrough: LogPosition): void {
    for (const pending of [this.#pendingKeys, this.#pendingReplays]) {
      for (const [id, { end }] of pending) {
        if (end > countedThrough) break;
        pending.delete(id);
      }
    }
  }

  /**
   * Stages a plain batch without a promise: it is stored once `commit` has returned true. Undefined if
   * it cannot be accepted; `accept` throws the reason.
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
   * Makes all plain batches durable in the background; resolves to whether that succeeded. Until then,
   * only `stagePlain` may be called, for batches that fit into the current segment.
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

  /** Makes all staged batches durable and acknowledges them. Returns whether that succeeded. */
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

  /** Reads the over-limit items from the record, so that neither memory nor a row holds them. */
  #withOverLimitItems({ batchId, receivedAt, bodySha256 }: EarlierBatch): EarlierBatch {
    const excluded = this.#findRecord(batchId)?.excluded;
    return { batchId, receivedAt, bodySha256, ...(excluded && { excluded }) };
  }

  /** @param origin the origin of a replayed batch. */
  #stage(
    { batch, newCounters }: { readonly batch: Batch; readonly newCounters: NewCounters },
    origin?: ReplayOrigin,
  ): { stored: StoredBatch; durable: Promise<void> } {
    const { log, now, admission } = this.#options;
    const receivedAt = origin?.receivedAt ?? now();
    const { body, encoding, caller, idempotency, accepted, rejected, increments } = batch;
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
    const { position, end } = staged;
    const stored = { batchId: origin?.batchId ?? formatBatchId(staged.batchId), receivedAt };
    const keyed = idempotency && { caller, position, ...idempotency, ...stored };
    const replayed = origin && { batchId: origin.batchId, position };
    const { promise: durable, resolve, reject } = Promise.withResolvers<undefined>();
    this.#waiting.push({
      delivery: {
        ...{ dedupKey: { from: staged.previousEnd, to: end }, increments, deadLetters: [] },
        ...{ keys: keyed ? [keyed] : [], replayed: replayed ? [replayed] : [] },
      },
      accepted,
      resolve: () => resolve(undefined),
      reject,
    });
    if (keyed) this.#pendingKeys.set(keyId(caller, keyed.key), { ...keyed, end, durable });
    if (replayed) this.#pendingReplays.set(replayed.batchId, { position, end, durable });
    this.#waitingItems += accepted;
    if (this.#waitingItems >= waitingItemsMax) {
      this.commit();
    } else if (!this.#isCommitDue) {
      this.#isCommitDue = true;
      this.#options.defer(() => this.commit());
    }
    return { stored: { ...stored, ...excluded }, durable };
  }

  /** The reason why batches are refused now, if they are. */
  #reasonToRefuse(): Unavailable | undefined {
    const { log, countedThrough, backlogBytesMax } = this.#options;
    if (log.failure !== undefined) return storageFailed(log.failure);
    const backlogBytes = log.durableEnd - countedThrough();
    const pending = this.#pendingKeys.size + this.#pendingReplays.size;
    if (backlogBytes > backlogBytesMax || pending >= pendingKeysMax) {
      return new Unavailable(
        'overloaded',
        `${backlogBytes} bytes of accepted batches wait to be counted, which is the limit. Nothing of this batch was stored; send it again after a moment.`,
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
  'A batch with this id is already stored, with another body or time of receipt. Nothing was stored.';
const removedDetail =
  'The batch may have been received here and its raw body removed since (--keep-raw), so the server cannot tell whether it was counted. Nothing was stored.';

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
