import { readRawKey, type BatchId } from '../domain/batch-id.ts';
import type { Chunk } from './chunks/chunk.ts';
import { deadLetterBodyOfBatch } from './chunks/letter-content.ts';
import type { DeadLetter, DeadLetterSink } from './ports.ts';
import { areAllCounted, recut, type CutBatch } from './chunks/recut.ts';
import type {
  FinishedIntake,
  Orphan,
  SweepPorts,
  SweepPosition,
  SweepResult,
  SweepRules,
} from './sweep-ports.ts';

const [defaultResendsMax, defaultShallowDepth, defaultQueuedMax] = [100_000, 1_000, 500_000];

/**
 * Looks after stored batches. Two positions move through the raw keys in their order, which is that
 * of time. The first passes each batch 15 minutes after it came: one whose intake was cut off is cut
 * into its chunks again, which are queued. The second, behind the first, passes batches that are
 * counted. At one that is not it waits, as long as the queue holds enough for the message to be
 * among it; where the queue is shallow, messages were lost, and are sent again.
 *
 * What was sent again is among the orphans: it is looked at again, at growing intervals, until it is
 * counted or too old for it.
 */
export async function sweep(ports: SweepPorts, rules: SweepRules): Promise<SweepResult> {
  return await new Sweep(ports, rules).run();
}

/**
 * Looks after one batch now, as a sweep would: queues what is missing of it, and has it swept again
 * later. Returns why nothing of it can be queued, where that is so; it is parked nowhere.
 */
export async function sweepBatch(
  rawKey: string,
  ports: Omit<SweepPorts, 'parking'>,
  rules: SweepRules,
): Promise<string | undefined> {
  if (readRawKey(rawKey) === undefined || (await ports.raw(rawKey)) === undefined) {
    return 'raw_missing: its raw body is not in the store';
  }
  const reasons: string[] = [];
  const parking: DeadLetterSink = {
    add(letters) {
      reasons.push(...letters.map(({ reason }) => reason));
      return Promise.resolve(new Set(letters.map(({ messageId }) => messageId)));
    },
  };
  await new Sweep({ ...ports, parking }, rules).resend(rawKey);
  return reasons[0];
}

/** What became of a batch that was looked at. */
type Fate =
  /** Nothing is left to do for it. */
  | 'done'
  /** It is among the orphans. */
  | 'kept'
  /** It may be on the queue, or on its way there. */
  | 'waits'
  /** Its intake was cut off and this sweep completed it: it waits like any other batch. */
  | 'completed';

interface LookAfter {
  /** Whether the first position found no row of its intake. */
  readonly isCutOff?: boolean;
}

const delayMsMax = 24 * 3_600_000;
/** A message is received for the last time within about an hour. */
const overtakenMs = 2 * 3_600_000;
const overtakenMax = 1_000;
/** Messages of cut-off batches that a sweep may send however deep the queue is. */
const cutOffSendsMin = 1_000;
/** After so many failed sends in a row the queue is taken to be unavailable. */
const failedSendsMax = 20;
/** So much may the clocks of machines differ. */
const clocksMsMax = 3_600_000;

class Sweep {
  readonly #ports: SweepPorts;
  readonly #rules: SweepRules;
  readonly #startedAt: number;
  readonly #counts = {
    ...{ batches: 0, orphans: 0, resent: 0, parked: 0 },
    ...{ failed: 0, forgotten: 0, behindMs: 0, waitingMs: 0 },
  };
  /** What became of batches in this sweep: none is looked after twice. */
  readonly #fates = new Map<string, Fate>();
  /** Of batches that wait: when they came here, in milliseconds since 1970. */
  readonly #since = new Map<string, number>();
  /** Messages of the batches that the first position has passed. */
  #arrived = 0;
  /** How many messages may be sent again that were queued before. */
  #resendsLeft = 0;
  /** How many messages of cut-off batches may be sent. */
  #cutOffSendsLeft = 0;
  /** When the latest batch came that is seen to be counted; milliseconds since 1970. */
  #countedUntil = 0;
  /** How many messages may be sent again however deep the queue is, of batches that were overtaken. */
  #overtakenLeft = overtakenMax;
  /** Whether what is missing is sent however young the batch is. */
  #isForced = false;
  /** Sends that failed since one succeeded. */
  #failedSends = 0;

  constructor(ports: SweepPorts, rules: SweepRules) {
    this.#ports = ports;
    this.#rules = rules;
    this.#startedAt = rules.now();
  }

  async run(): Promise<SweepResult> {
    const { afterMs } = this.#rules;
    const from = await this.#begin();
    const receivedBefore = this.#startedAt - afterMs;
    this.#cutOffSendsLeft = await this.#cutOffSendsAllowed();
    const intakes = await this.#passIntakes(from.intakesThrough, receivedBefore);
    if (!intakes.isDone) {
      this.#counts.behindMs = receivedBefore - timeOf(intakes.through, receivedBefore);
    }
    this.#resendsLeft = await this.#resendsAllowed();
    await this.#passCounted(from.countedThrough, intakes, receivedBefore);
    await this.#lookAtOrphans();
    return this.#counts;
  }

  /** Whatever else there is to do, what is missing of the batch is sent. */
  async resend(rawKey: string): Promise<void> {
    this.#resendsLeft = Number.POSITIVE_INFINITY;
    this.#isForced = true;
    await this.#lookAfter({ rawKey, attempts: 0 });
  }

  /** A first sweep begins with what may still be counted: what is older came before there was a ledger. */
  async #begin(): Promise<SweepPosition> {
    const position = await this.#ports.progress.position();
    if (position.intakesThrough !== '') return position;
    const oldest = startOf(this.#startedAt - this.#rules.ageMsMax);
    return { intakesThrough: oldest, countedThrough: oldest };
  }

  /**
   * No more can be sent in vain than wait on the queue. The more that is, the less is sent again:
   * nothing where as many wait as came since the sweep before.
   */
  async #resendsAllowed(): Promise<number> {
    const { resendsMax = defaultResendsMax, shallowDepth = defaultShallowDepth } = this.#rules;
    const shallow = Math.max(this.#arrived, shallowDepth);
    const free = 1 - (await this.#ports.queueDepth()) / shallow;
    return Math.floor(resendsMax * Math.max(0, free));
  }

  /**
   * Whether the messages of a batch without a row were sent is not known. Where many wait on the
   * queue these may be among them, and would be counted no sooner if they were sent again.
   */
  async #cutOffSendsAllowed(): Promise<number> {
    const { queuedMax = defaultQueuedMax } = this.#rules;
    return Math.max(cutOffSendsMin, queuedMax - (await this.#ports.queueDepth()));
  }

  async #passIntakes(after: string, receivedBefore: number) {
    const ports = this.#ports;
    let through = after;
    let latest:
      { rawKeys: readonly string[]; intakes: ReadonlyMap<BatchId, FinishedIntake> } | undefined;
    for await (const page of ports.keys({ after, before: startOf(receivedBefore) })) {
      const finished = await ports.intakes(batchIdsOf(page));
      const cutOff = page.filter((rawKey) => !finished.has(batchIdOf(rawKey)));
      const left: string[] = [];
      await ports.each(cutOff, async (rawKey) => {
        if (this.#cutOffSendsLeft <= 0 || this.#isTimeUp(intakesShare)) left.push(rawKey);
        else await this.#lookAfterSafely({ rawKey, attempts: 0 }, { isCutOff: true });
      });
      // A page that was not finished is looked at again from its start.
      if (left.length > 0 || this.#isTimeUp(intakesShare)) return { through, isDone: false };
      this.#counts.batches += batchIdsOf(page).length;
      for (const { chunks } of finished.values()) this.#arrived += chunks;
      if (finished.size > 0) latest = { rawKeys: page, intakes: finished };
      const last = page.at(-1);
      if (last === undefined) continue;
      through = last;
      await ports.progress.moveTo(through);
    }
    if (latest !== undefined) await this.#noteCounted(latest.rawKeys, latest.intakes);
    return { through, isDone: true };
  }

  async #noteCounted(
    rawKeys: readonly string[],
    intakes: ReadonlyMap<BatchId, FinishedIntake>,
  ): Promise<void> {
    const counted = await this.#ports.counted(intakes);
    const last = rawKeys.findLast((rawKey) => counted.has(batchIdOf(rawKey)));
    this.#countedUntil = timeOf(last ?? '', 0);
  }

  async #passCounted(
    after: string,
    intakes: { readonly through: string; readonly isDone: boolean },
    receivedBefore: number,
  ): Promise<void> {
    const ports = this.#ports;
    let through = after;
    let provenBefore = timeOf(after, 0);
    // Behind the first position, and at it.
    for await (const page of ports.keys({ after, before: `${intakes.through}\0` })) {
      const glance = await this.#glance(page);
      const open = page.filter((rawKey) => !glance.counted.has(batchIdOf(rawKey)));
      // Nothing behind the first that waits is sent again: it will be met another time.
      let waiting = await this.#firstWaiting(open, glance.intakes);
      await ports.each(open, async (rawKey) => {
        if (waiting !== undefined && rawKey >= waiting) return;
        const fate = this.#isTimeUp(countedShare)
          ? 'waits'
          : await this.#lookAfterSafely({ rawKey, attempts: 0 });
        const isFirst = waiting === undefined || rawKey < waiting;
        if (isWaiting(fate) && isFirst) waiting = rawKey;
      });
      through = lastBefore(page, waiting) ?? through;
      provenBefore = timeOf(waiting ?? through, provenBefore);
      if (waiting !== undefined || page.length > 0) {
        await ports.progress.countedTo(through, provenBefore);
      }
      if (waiting !== undefined) {
        const since = this.#since.get(waiting) ?? this.#startedAt;
        this.#counts.waitingMs = this.#startedAt - since;
        return;
      }
    }
    if (intakes.isDone) await ports.progress.countedTo(through, receivedBefore);
  }

  async #firstWaiting(
    rawKeys: readonly string[],
    intakes: ReadonlyMap<BatchId, FinishedIntake>,
  ): Promise<string | undefined> {
    for (const rawKey of rawKeys) {
      const intake = intakes.get(batchIdOf(rawKey));
      if (intake === undefined || !this.#mayWait(this.#queuedAt(rawKey, intake))) continue;
      if (isWaiting(await this.#lookAfterSafely({ rawKey, attempts: 0 }))) return rawKey;
    }
    return undefined;
  }

  async #lookAtOrphans(): Promise<void> {
    const ports = this.#ports;
    for await (const page of ports.progress.orphans(this.#startedAt)) {
      if (this.#isTimeUp()) return;
      const { intakes, counted } = await this.#glance(page.map(({ rawKey }) => rawKey));
      const fateOf = async (orphan: Orphan): Promise<Fate> => {
        const batchId = batchIdOf(orphan.rawKey);
        if (counted.has(batchId)) return 'done';
        const intake = intakes.get(batchId);
        const mayWait =
          intake !== undefined && this.#mayWait(this.#queuedAt(orphan.rawKey, intake));
        return mayWait ? 'waits' : await this.#lookAfterSafely(orphan);
      };
      const fates = new Map<Fate, number>();
      await ports.each(page, async (orphan) => {
        if (this.#isTimeUp()) return;
        const fate = await fateOf(orphan);
        fates.set(fate, (fates.get(fate) ?? 0) + 1);
        if (fate === 'done') await ports.progress.drop(orphan.rawKey);
      });
      // Where the oldest of them wait, so do those behind them.
      if (page.length > 0 && fates.get('waits') === page.length) return;
    }
  }

  /** How far the batches have come, as of some moments ago. */
  async #glance(rawKeys: readonly string[]) {
    const intakes = await this.#ports.intakes(batchIdsOf(rawKeys));
    return { intakes, counted: await this.#ports.counted(intakes) };
  }

  /**
   * One batch that cannot be looked after must not hold up the others.
   * @throws where nothing can be sent: all that is left then waits for the next sweep.
   */
  async #lookAfterSafely(orphan: Orphan, how: LookAfter = {}): Promise<Fate> {
    const { rawKey } = orphan;
    let fate = this.#fates.get(rawKey);
    if (fate !== undefined) return fate;
    try {
      fate = await this.#lookAfter(orphan, how);
    } catch (error) {
      this.#counts.failed++;
      await this.#keepForLater(orphan);
      this.#rules.onFailure(error, rawKey);
      if (this.#failedSends >= failedSendsMax) throw error;
      fate = 'kept';
    }
    if (fate !== 'waits') this.#fates.set(rawKey, fate);
    return fate;
  }

  async #lookAfter(orphan: Orphan, { isCutOff = false }: LookAfter = {}): Promise<Fate> {
    const { rawKey, attempts } = orphan;
    const batchId = batchIdOf(rawKey);
    // Not one of our keys.
    if (batchId === '') return 'done';
    const [{ intake, counted }, early] = await Promise.all([
      this.#ports.state(batchId),
      // Nearly always needed then, and read at the same time.
      isCutOff ? this.#ports.raw(rawKey) : undefined,
    ]);
    if (intake !== undefined) {
      if (areAllCounted(intake.chunks, counted)) return 'done';
      this.#since.set(rawKey, this.#sinceOf(rawKey, intake));
      if (this.#mayWait(this.#queuedAt(rawKey, intake))) return 'waits';
    }
    const raw = early ?? (await this.#ports.raw(rawKey));
    // The body was deleted after it was listed.
    if (raw === undefined) return 'done';
    const since = this.#sinceOf(rawKey, raw);
    const ageMs = this.#rules.now() - since;
    if (ageMs > this.#rules.keepMs) {
      this.#counts.forgotten++;
      this.#rules.onForgotten(rawKey);
      return 'done';
    }
    // A replay under way looks after itself; see `awsReplayIntake`.
    if (intake === undefined && ageMs < this.#rules.afterMs && !this.#isForced) return 'waits';
    const cut = recut(raw, this.#rules.dayOf);
    if ('reason' in cut) return await this.#park([uncuttable(raw, rawKey, cut.reason)]);
    const missing = cut.chunks.filter(({ index }) => !counted.has(index));
    if (intake === undefined && attempts === 0) this.#counts.orphans++;
    if (missing.length > 0 && ageMs > this.#rules.ageMsMax) {
      return await this.#park(missing.map(tooOld));
    }
    // The second position comes to it later, as to any batch.
    const isFollowed = isCutOff && intake === undefined;
    // Kept first: what is not sent now is sent the next time.
    if (missing.length > 0 && !isFollowed) await this.#keepForLater(orphan);
    if (missing.length > 0) await this.#send(missing, intake !== undefined);
    if (intake === undefined) {
      await this.#ports.complete(raw, cut.chunks.length, this.#rules.now());
    }
    if (missing.length === 0) return 'done';
    return isFollowed ? 'completed' : 'kept';
  }

  /** Whether messages of a batch that was wholly queued may be there still. */
  #mayWait(queuedAt: number): boolean {
    const { now, afterMs, ageMsMax } = this.#rules;
    const ageMs = now() - queuedAt;
    if (ageMs > ageMsMax || this.#isForced) return false;
    if (ageMs < afterMs) return true;
    // Messages are counted about in their order: what came hours later is through already.
    const isOvertaken = queuedAt < this.#countedUntil - overtakenMs && this.#overtakenLeft > 0;
    return this.#resendsLeft <= 0 && !isOvertaken;
  }

  /** When its messages were queued, in milliseconds since 1970: by a sweep, or about when it came. */
  #queuedAt(rawKey: string, intake: FinishedIntake): number {
    return intake.queuedAt ?? this.#sinceOf(rawKey, intake);
  }

  /** When the batch came here, in milliseconds since 1970. */
  #sinceOf(rawKey: string, { replayedAt }: Pick<FinishedIntake, 'replayedAt'>): number {
    // A replay that is yet to come is a mistake of others.
    const isTrue = replayedAt !== undefined && replayedAt <= this.#rules.now() + clocksMsMax;
    return isTrue ? replayedAt : timeOf(rawKey, 0);
  }

  async #send(missing: readonly Chunk[], wereQueued: boolean): Promise<void> {
    if (!wereQueued) this.#cutOffSendsLeft -= missing.length;
    else if (this.#resendsLeft > 0) this.#resendsLeft -= missing.length;
    else this.#overtakenLeft -= missing.length;
    try {
      await this.#ports.queue.send(missing);
    } catch (error) {
      this.#failedSends++;
      throw error;
    }
    this.#failedSends = 0;
    this.#counts.resent += missing.length;
  }

  async #keepForLater({ rawKey, attempts }: Orphan): Promise<void> {
    const { now, afterMs } = this.#rules;
    const delayMs = Math.min(delayMsMax, afterMs * 2 ** attempts);
    await this.#ports.progress.keep({ rawKey, attempts: attempts + 1 }, now() + delayMs);
  }

  async #park(letters: readonly DeadLetter[]): Promise<Fate> {
    const parked = await this.#ports.parking.add(letters);
    this.#counts.parked += parked.size;
    if (parked.size < letters.length) throw new Error('the dead-letter queue takes nothing now');
    return 'done';
  }

  #isTimeUp(share = 1): boolean {
    const { now, deadline } = this.#rules;
    return now() >= this.#startedAt + share * (deadline - this.#startedAt);
  }
}

/** Of its time, what a sweep is through with each of its parts by: none keeps the next from going on. */
const [intakesShare, countedShare] = [0.75, 0.9];

function isWaiting(fate: Fate): boolean {
  return fate === 'waits' || fate === 'completed';
}

/** The id of the batch; empty where the key is none of ours. */
function batchIdOf(rawKey: string): BatchId {
  return readRawKey(rawKey)?.batchId ?? '';
}

function batchIdsOf(rawKeys: readonly string[]): BatchId[] {
  return rawKeys.map(batchIdOf).filter((batchId) => batchId !== '');
}

/** When the batch of the key came, in milliseconds since 1970; `otherwise` for other keys. */
function timeOf(rawKey: string, otherwise: number): number {
  return readRawKey(rawKey)?.receivedAt ?? otherwise;
}

/** The last key of the page, or the last before `waiting`, if there is one. */
function lastBefore(page: readonly string[], waiting: string | undefined): string | undefined {
  return waiting === undefined ? page.at(-1) : page[page.indexOf(waiting) - 1];
}

function uncuttable({ receivedAt: sentAt }: CutBatch, rawKey: string, reason: string): DeadLetter {
  return {
    messageId: rawKey,
    originalId: rawKey,
    sentAt,
    body: deadLetterBodyOfBatch(rawKey),
    reason,
  };
}

function tooOld({ batchId, index, receivedAt, replayedAt, message }: Chunk): DeadLetter {
  const reason = 'too_old: it was not counted in time, and whether it was is not known any more';
  const messageId = `${batchId}:${index}`;
  const replayed = replayedAt === undefined ? {} : { replayedAt };
  return {
    messageId,
    originalId: messageId,
    sentAt: receivedAt,
    ...replayed,
    body: message,
    reason,
  };
}

/** Sorts before every raw key of that moment. */
function startOf(milliseconds: number): string {
  return `raw/${new Date(milliseconds).toISOString()}`;
}
