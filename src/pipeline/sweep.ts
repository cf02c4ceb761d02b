import { readRawKey, type BatchId } from '../domain/batch-id.ts';
import type { Chunk } from '../domain/chunk.ts';
import type { DayOf } from '../domain/day.ts';
import { batchLetterBody } from './letter-content.ts';
import type { ChunkQueue, Letter, Parking } from './ports.ts';
import { areAllCounted, recut, type CutBatch } from './recut.ts';

/** A batch that is looked at again at a later time. */
export interface Orphan {
  readonly rawKey: string;
  /** How often its chunks were sent again, or that was tried. */
  readonly attempts: number;
}

/** A batch all of which was stored and queued. */
export interface FinishedIntake {
  readonly chunks: number;
  /** When it came here from another installation, if it did; milliseconds since 1970. */
  readonly replayedAt?: number;
}

/** How far a batch has come. */
export interface BatchState {
  /** Undefined where its intake was cut off. */
  readonly intake: FinishedIntake | undefined;
  /** The indexes of those that are counted, or dropped: nothing is left to do for them. */
  readonly counted: ReadonlySet<number>;
}

export interface SweepPorts {
  /** Raw keys behind `after` and before `before`, in order, a page at a time. */
  keys(range: { readonly after: string; readonly before: string }): AsyncIterable<string[]>;
  raw(rawKey: string): Promise<CutBatch | undefined>;
  /** The batches whose intake has finished; those of the last seconds may be missing. */
  intakes(batchIds: readonly BatchId[]): Promise<ReadonlyMap<BatchId, FinishedIntake>>;
  /** Those of the batches that are wholly counted; those of the last seconds may be missing. */
  counted(batches: ReadonlyMap<BatchId, FinishedIntake>): Promise<ReadonlySet<BatchId>>;
  /** What is true of a batch now. */
  state(batchId: BatchId): Promise<BatchState>;
  /** About how many messages wait to be counted or are being counted. */
  queueDepth(): Promise<number>;
  readonly queue: ChunkQueue;
  readonly parking: Parking;
  /** Writes what the intake would have written at its end. */
  complete(raw: CutBatch, chunks: number): Promise<void>;
  readonly progress: SweepProgress;
  /** Works on some at the same time, beginning in their order. */
  each<T>(inputs: readonly T[], work: (input: T) => Promise<void>): Promise<void>;
}

/** What a sweep leaves behind for the next one. */
export interface SweepProgress {
  /** How far earlier sweeps came; the raw keys are empty at first. */
  position(): Promise<SweepPosition>;
  moveTo(intakesThrough: string): Promise<void>;
  /**
   * `receivedBefore`: all batches that came before (milliseconds since 1970) are counted, or among
   * the orphans.
   */
  countedTo(countedThrough: string, receivedBefore: number): Promise<void>;
  /** Those whose time has come (milliseconds since 1970), the oldest first, a page at a time. */
  orphans(dueAt: number): AsyncIterable<readonly Orphan[]>;
  keep(orphan: Orphan, nextAt: number): Promise<void>;
  drop(rawKey: string): Promise<void>;
}

export interface SweepPosition {
  /** The raw key through which every batch's intake has finished, or is among the orphans. */
  readonly intakesThrough: string;
  /** The raw key through which every batch is counted, or among the orphans. */
  readonly countedThrough: string;
}

export interface SweepRules {
  readonly dayOf: DayOf;
  readonly now: () => number;
  /** A batch is looked at so long after it came: by then its intake has ended. */
  readonly afterMs: number;
  /** Chunks of an older batch are not queued again: they might be counted and their marks be gone. */
  readonly ageMsMax: number;
  /** What is known of older batches may be gone. */
  readonly keepMs: number;
  /** Nothing is begun after it; milliseconds since 1970. */
  readonly deadline: number;
  /**
   * How many messages that were queued before are queued again in one sweep at most, where the
   * queue is empty; `defaultResendsMax` where it is left out.
   */
  readonly resendsMax?: number;
  /** Is told of a batch that could not be looked after; it is tried again. */
  readonly onFailure: (error: unknown, rawKey: string) => void;
  /** Is told of a batch so old that nothing tells whether it is counted. */
  readonly onForgotten: (rawKey: string) => void;
}

export interface SweepResult {
  /** Batches whose intake was looked at. */
  readonly batches: number;
  /** Batches whose intake was found cut off. */
  readonly orphans: number;
  /** Messages sent again, those of orphans among them. */
  readonly resent: number;
  /** Messages and batches put among the dead letters. */
  readonly parked: number;
  /** Batches that could not be looked after. */
  readonly failed: number;
  /** Batches so old that nothing tells whether they are counted. */
  readonly forgotten: number;
  /** By how much the look at intakes is behind its time, in milliseconds. */
  readonly behindMs: number;
  /** How long the first batch that waits to be counted has waited, in milliseconds; 0: none does. */
  readonly waitingMs: number;
}

export const defaultResendsMax = 1_000;

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
  const parking: Parking = {
    park(letters) {
      reasons.push(...letters.map(({ reason }) => reason));
      return Promise.resolve(new Set(letters.map(({ messageId }) => messageId)));
    },
  };
  await new Sweep({ ...ports, parking }, { ...rules, afterMs: 0 }).resend(rawKey);
  return reasons[0];
}

/** What became of a batch that was looked at. */
type Fate =
  /** Nothing is left to do for it. */
  | 'done'
  /** It is among the orphans. */
  | 'kept'
  /** It may be on the queue, or on its way there. */
  | 'waits';

const delayMsMax = 24 * 3_600_000;

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

  constructor(ports: SweepPorts, rules: SweepRules) {
    this.#ports = ports;
    this.#rules = rules;
    this.#startedAt = rules.now();
  }

  async run(): Promise<SweepResult> {
    const { progress } = this.#ports;
    const { afterMs } = this.#rules;
    const from = await progress.position();
    const receivedBefore = this.#startedAt - afterMs;
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
    await this.#lookAfter({ rawKey, attempts: 0 });
  }

  /**
   * The more wait, the less is sent again of what may be among it: nothing where as many wait as
   * came since the sweep before.
   */
  async #resendsAllowed(): Promise<number> {
    const { resendsMax = defaultResendsMax } = this.#rules;
    const shallow = Math.max(this.#arrived, resendsMax);
    const free = 1 - (await this.#ports.queueDepth()) / shallow;
    return Math.floor(resendsMax * Math.max(0, free));
  }

  async #passIntakes(after: string, receivedBefore: number) {
    const ports = this.#ports;
    let through = after;
    for await (const page of ports.keys({ after, before: startOf(receivedBefore) })) {
      const finished = await ports.intakes(batchIdsOf(page));
      const cutOff = page.filter((rawKey) => !finished.has(batchIdOf(rawKey)));
      await ports.each(cutOff, async (rawKey) => {
        if (!this.#isTimeUp(intakesShare)) await this.#lookAfterSafely({ rawKey, attempts: 0 });
      });
      // A page that was not finished is looked at again from its start.
      if (this.#isTimeUp(intakesShare)) return { through, isDone: false };
      this.#counts.batches += batchIdsOf(page).length;
      for (const { chunks } of finished.values()) this.#arrived += chunks;
      const last = page.at(-1);
      if (last === undefined) continue;
      through = last;
      await ports.progress.moveTo(through);
    }
    return { through, isDone: true };
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
      const counted = await this.#countedOf(page);
      let waiting: string | undefined;
      const open = page.filter((rawKey) => !counted.has(batchIdOf(rawKey)));
      await ports.each(open, async (rawKey) => {
        if (waiting !== undefined && rawKey > waiting) return;
        const fate = this.#isTimeUp(countedShare)
          ? 'waits'
          : await this.#lookAfterSafely({ rawKey, attempts: 0 });
        const isFirst = waiting === undefined || rawKey < waiting;
        if (fate === 'waits' && isFirst) waiting = rawKey;
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

  async #lookAtOrphans(): Promise<void> {
    const ports = this.#ports;
    for await (const page of ports.progress.orphans(this.#startedAt)) {
      if (this.#isTimeUp()) return;
      const counted = await this.#countedOf(page.map(({ rawKey }) => rawKey));
      const fates = new Map<Fate, number>();
      await ports.each(page, async (orphan) => {
        const isCounted = counted.has(batchIdOf(orphan.rawKey));
        if (this.#isTimeUp()) return;
        const fate = isCounted ? 'done' : await this.#lookAfterSafely(orphan);
        fates.set(fate, (fates.get(fate) ?? 0) + 1);
        if (fate === 'done') await ports.progress.drop(orphan.rawKey);
      });
      // Where the oldest of them wait, so do those behind them.
      if (page.length > 0 && fates.get('waits') === page.length) return;
    }
  }

  async #countedOf(rawKeys: readonly string[]): Promise<ReadonlySet<BatchId>> {
    const intakes = await this.#ports.intakes(batchIdsOf(rawKeys));
    return await this.#ports.counted(intakes);
  }

  /** One batch that cannot be looked after must not hold up the others. */
  async #lookAfterSafely(orphan: Orphan): Promise<Fate> {
    const { rawKey } = orphan;
    let fate = this.#fates.get(rawKey);
    if (fate !== undefined) return fate;
    try {
      fate = await this.#lookAfter(orphan);
    } catch (error) {
      this.#counts.failed++;
      await this.#keepForLater(orphan);
      this.#rules.onFailure(error, rawKey);
      fate = 'kept';
    }
    if (fate !== 'waits') this.#fates.set(rawKey, fate);
    return fate;
  }

  async #lookAfter(orphan: Orphan): Promise<Fate> {
    const { rawKey, attempts } = orphan;
    const batchId = batchIdOf(rawKey);
    // Not one of our keys.
    if (batchId === '') return 'done';
    const { intake, counted } = await this.#ports.state(batchId);
    if (intake !== undefined) {
      if (areAllCounted(intake.chunks, counted)) return 'done';
      const since = intake.replayedAt ?? timeOf(rawKey, 0);
      this.#since.set(rawKey, since);
      if (this.#mayWait(since)) return 'waits';
    }
    const raw = await this.#ports.raw(rawKey);
    // It was there when it was listed: somebody has removed it since.
    if (raw === undefined) return 'done';
    const since = raw.replayedAt ?? raw.receivedAt;
    const ageMs = this.#rules.now() - since;
    if (ageMs > this.#rules.keepMs) {
      this.#counts.forgotten++;
      this.#rules.onForgotten(rawKey);
      return 'done';
    }
    // A replay under way looks after itself; see `awsReplayIntake`.
    if (intake === undefined && ageMs < this.#rules.afterMs) return 'waits';
    const cut = recut(raw, this.#rules.dayOf);
    if ('reason' in cut) return await this.#park([uncuttable(raw, rawKey, cut.reason)]);
    const missing = cut.chunks.filter(({ index }) => !counted.has(index));
    if (intake === undefined && attempts === 0) this.#counts.orphans++;
    if (missing.length > 0 && ageMs > this.#rules.ageMsMax) {
      return await this.#park(missing.map(tooOld));
    }
    if (missing.length > 0) await this.#send(orphan, missing, intake !== undefined);
    if (intake === undefined) await this.#ports.complete(raw, cut.chunks.length);
    return missing.length === 0 ? 'done' : 'kept';
  }

  /** Whether messages of a batch that was wholly queued may be there still. */
  #mayWait(since: number): boolean {
    const { now, afterMs, ageMsMax } = this.#rules;
    const ageMs = now() - since;
    if (ageMs > ageMsMax) return false;
    return ageMs < afterMs || this.#resendsLeft <= 0;
  }

  async #send(orphan: Orphan, missing: readonly Chunk[], wereQueued: boolean): Promise<void> {
    if (wereQueued) this.#resendsLeft -= missing.length;
    // Kept first: what is not sent now is sent the next time.
    await this.#keepForLater(orphan);
    await this.#ports.queue.send(missing);
    this.#counts.resent += missing.length;
  }

  async #keepForLater({ rawKey, attempts }: Orphan): Promise<void> {
    const { now, afterMs } = this.#rules;
    const delayMs = Math.min(delayMsMax, afterMs * 2 ** attempts);
    await this.#ports.progress.keep({ rawKey, attempts: attempts + 1 }, now() + delayMs);
  }

  async #park(letters: readonly Letter[]): Promise<Fate> {
    const parked = await this.#ports.parking.park(letters);
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
const [intakesShare, countedShare] = [0.6, 0.85];

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

function uncuttable({ receivedAt: sentAt }: CutBatch, rawKey: string, reason: string): Letter {
  return { messageId: rawKey, originalId: rawKey, sentAt, body: batchLetterBody(rawKey), reason };
}

function tooOld({ batchId, index, receivedAt, replayedAt, message }: Chunk): Letter {
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
