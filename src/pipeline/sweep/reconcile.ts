import type { Chunk } from '../chunks/chunk.ts';
import { deadLetterBodyOfBatch } from '../chunks/dead-letter-content.ts';
import { areAllCounted, recut, type CutBatch } from '../chunks/recut.ts';
import type { DeadLetter } from '../ports.ts';
import type { BatchState, FinishedIntake, Orphan, SweepPorts, SweepRules } from './ports.ts';
import { batchIdOf, timeOf } from './raw-keys.ts';
import type { SendBudget } from './send-budget.ts';

/** The conclusion of a sweep about a batch. */
export type Outcome =
  /** Nothing is left to do. */
  | 'settled'
  /** It is an orphan: a later sweep checks it again. */
  | 'orphaned'
  /** Its messages may be on the queue, or on their way there. */
  | 'waiting'
  /** Its intake was interrupted and this sweep completed it; now it waits like any other batch. */
  | 'completed'
  /** Its intake was interrupted; the budget of this sweep is spent. */
  | 'postponed';

interface Check {
  /** Whether the caller found no row of its intake. */
  readonly isInterrupted?: boolean;
}

const retryDelayMsMax = 24 * 3_600_000;
/** A message is received for the last time within about an hour. */
export const overtakenMs = 2 * 3_600_000;
/** A message that has waited for longer is sent again even if no later batch is counted. */
const waitingMsMax = 24 * 3_600_000;
/** After this number of consecutive failed sends the queue counts as unavailable. */
const failedSendsMax = 20;
/** The largest assumed difference between the clocks of two machines. */
const clockSkewMsMax = 3_600_000;

/** Reconciles single batches: queues missing messages, or dead-letters a batch that is too old. */
export class BatchReconciler {
  readonly counts = { orphans: 0, resent: 0, parked: 0, failed: 0, forgotten: 0 };
  /** When the latest counted batch was received, as far as known; milliseconds since 1970. */
  latestCountedAt = 0;
  readonly #ports: SweepPorts;
  readonly #rules: SweepRules;
  readonly #budget: SendBudget;
  readonly #isForced: boolean;
  /** The outcomes of this sweep, so that it reconciles no batch twice. */
  readonly #outcomes = new Map<string, Outcome>();
  /** When waiting batches were received and queued; milliseconds since 1970. */
  readonly #waiting = new Map<string, { readonly receivedAt: number; readonly queuedAt: number }>();
  /** Failed sends since the last success. */
  #failedSends = 0;

  /** `isForced`: send what is missing however young the batch is. */
  constructor(ports: SweepPorts, rules: SweepRules, budget: SendBudget, isForced = false) {
    this.#ports = ports;
    this.#rules = rules;
    this.#budget = budget;
    this.#isForced = isForced;
  }

  /**
   * Reconciles a batch once; a failure makes it an orphan, so that it does not hold up the others.
   * @throws if no message can be sent: the rest then waits for the next sweep.
   */
  async reconcileOnce(orphan: Orphan, check: Check = {}): Promise<Outcome> {
    const known = this.#outcomes.get(orphan.rawKey);
    if (known !== undefined) return known;
    const outcome = await this.#reconcileSafely(orphan, check);
    if (outcome !== 'waiting' && outcome !== 'postponed')
      this.#outcomes.set(orphan.rawKey, outcome);
    return outcome;
  }

  async #reconcileSafely(orphan: Orphan, check: Check): Promise<Outcome> {
    try {
      return await this.reconcileBatch(orphan, check);
    } catch (error) {
      this.counts.failed++;
      await this.#retryLater(orphan);
      this.#rules.onFailure(error, orphan.rawKey);
      if (this.#failedSends >= failedSendsMax) throw error;
      return 'orphaned';
    }
  }

  async reconcileBatch(orphan: Orphan, { isInterrupted = false }: Check = {}): Promise<Outcome> {
    const { rawKey } = orphan;
    const batchId = batchIdOf(rawKey);
    // Not one of our keys.
    if (batchId === '') return 'settled';
    const [state, prefetched] = await Promise.all([
      this.#ports.state(batchId),
      // An interrupted intake nearly always needs its body: read it at the same time.
      isInterrupted ? this.#ports.raw(rawKey) : undefined,
    ]);
    if (state.intake !== undefined) {
      if (areAllCounted(state.intake.chunks, state.counted)) return 'settled';
      const receivedAt = this.#receivedAt(rawKey, state.intake);
      this.#waiting.set(rawKey, { receivedAt, queuedAt: state.intake.queuedAt ?? receivedAt });
      if (this.mayWait(rawKey, state.intake)) return 'waiting';
    }
    const raw = prefetched ?? (await this.#ports.raw(rawKey));
    // The body was deleted after it was listed.
    if (raw === undefined) return 'settled';
    const ageMs = this.#rules.now() - this.#receivedAt(rawKey, raw);
    if (ageMs > this.#rules.keepMs) {
      this.counts.forgotten++;
      this.#rules.onForgotten(rawKey);
      return 'settled';
    }
    // A replay in progress completes itself; see `awsReplayIntake`.
    const isYoung = ageMs < this.#rules.afterMs && !this.#isForced;
    if (state.intake === undefined && isYoung) return 'waiting';
    return await this.#ports.whileCutting(raw, async () => {
      if (isInterrupted && this.#budget.isInterruptedSpent) return 'postponed';
      return await this.#requeueMissing(orphan, { raw, ageMs, isInterrupted }, state);
    });
  }

  async #requeueMissing(
    orphan: Orphan,
    { raw, ageMs, isInterrupted }: { raw: CutBatch; ageMs: number; isInterrupted: boolean },
    { intake, counted }: BatchState,
  ): Promise<Outcome> {
    const { rawKey, attempts } = orphan;
    const { now, dayOf, ageMsMax } = this.#rules;
    const cut = recut(raw, dayOf);
    if ('reason' in cut) return await this.#deadLetter([uncuttable(raw, rawKey, cut.reason)]);
    const missing = cut.chunks.filter(({ index }) => !counted.has(index));
    if (intake === undefined && attempts === 0) this.counts.orphans++;
    if (missing.length > 0 && ageMs > ageMsMax) {
      return await this.#deadLetter(missing.map(tooOld));
    }
    // The counted position reaches such a batch later, as it does any batch.
    const isFollowed = isInterrupted && intake === undefined;
    if (missing.length > 0) {
      // Before the send: what this sweep fails to send, the next one sends.
      if (!isFollowed) await this.#retryLater(orphan);
      await this.#send(missing, intake !== undefined);
    }
    if (intake === undefined) await this.#ports.complete(raw, cut.chunks.length, now());
    if (missing.length === 0) return 'settled';
    return isFollowed ? 'completed' : 'orphaned';
  }

  /** Whether messages of a completely queued batch may still be on the queue. */
  mayWait(rawKey: string, intake: FinishedIntake): boolean {
    const { now, afterMs, ageMsMax } = this.#rules;
    const queuedAt = intake.queuedAt ?? this.#receivedAt(rawKey, intake);
    const ageMs = now() - queuedAt;
    if (ageMs > ageMsMax || this.#isForced) return false;
    if (ageMs < afterMs) return true;
    // Messages are counted roughly in order: batches that came hours later are counted already.
    const isOvertaken = queuedAt < this.latestCountedAt - overtakenMs;
    return !this.#budget.mayResend(isOvertaken || ageMs > waitingMsMax);
  }

  /** When a waiting batch was received here; milliseconds since 1970. */
  receivedAt(rawKey: string): number | undefined {
    return this.#waiting.get(rawKey)?.receivedAt;
  }

  /** When a waiting batch was queued; milliseconds since 1970. */
  queuedAt(rawKey: string): number | undefined {
    return this.#waiting.get(rawKey)?.queuedAt;
  }

  /** When the batch was received here; milliseconds since 1970. */
  #receivedAt(rawKey: string, { replayedAt }: Pick<FinishedIntake, 'replayedAt'>): number {
    // Another program may have stored a time in the future.
    const isValid = replayedAt !== undefined && replayedAt <= this.#rules.now() + clockSkewMsMax;
    return isValid ? replayedAt : timeOf(rawKey, 0);
  }

  async #send(missing: readonly Chunk[], wereQueued: boolean): Promise<void> {
    this.#budget.spend(missing.length, wereQueued);
    try {
      await this.#ports.queue.send(missing);
    } catch (error) {
      this.#failedSends++;
      throw error;
    }
    this.#failedSends = 0;
    this.counts.resent += missing.length;
  }

  async #retryLater({ rawKey, attempts }: Orphan): Promise<void> {
    const { now, afterMs } = this.#rules;
    const delayMs = Math.min(retryDelayMsMax, afterMs * 2 ** attempts);
    await this.#ports.progress.saveOrphan({ rawKey, attempts: attempts + 1 }, now() + delayMs);
  }

  async #deadLetter(deadLetters: readonly DeadLetter[]): Promise<Outcome> {
    const stored = await this.#ports.deadLetters.add(deadLetters);
    this.counts.parked += stored.size;
    if (stored.size < deadLetters.length) {
      throw new Error('the dead-letter queue accepts no messages now');
    }
    return 'settled';
  }
}

function uncuttable({ receivedAt: sentAt }: CutBatch, rawKey: string, reason: string): DeadLetter {
  const body = deadLetterBodyOfBatch(rawKey);
  return { messageId: rawKey, originalId: rawKey, sentAt, body, reason };
}

function tooOld({ batchId, index, receivedAt, replayedAt, message }: Chunk): DeadLetter {
  const id = `${batchId}:${index}`;
  return {
    ...{ messageId: id, originalId: id, sentAt: receivedAt },
    ...(replayedAt !== undefined && { replayedAt }),
    body: message,
    reason:
      'too_old: it was not counted in time, and the ledger no longer shows whether it was counted',
  };
}
