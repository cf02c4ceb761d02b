import { readRawKey } from '../domain/batch-id.ts';
import type { Chunk } from '../domain/chunk.ts';
import type { DayOf } from '../domain/day.ts';
import { batchLetterBody } from './letter-content.ts';
import type { ChunkQueue, Letter, Parking } from './ports.ts';
import { areAllCounted, recut, type CutBatch } from './recut.ts';

/** A batch to be looked at. */
export interface Orphan {
  readonly rawKey: string;
  /** How often that was tried before, since it was found incomplete. */
  readonly attempts: number;
}

/** How far a batch has come. */
export interface BatchState {
  /** How many chunks it has; undefined where its intake did not come to its end. */
  readonly chunks: number | undefined;
  /** The indexes of those that are counted, or dropped: nothing is left to do for them. */
  readonly counted: ReadonlySet<number>;
}

export interface SweepPorts {
  /** Raw keys behind `after` and before `before`, in order, a page at a time. */
  keys(range: { readonly after: string; readonly before: string }): AsyncIterable<string[]>;
  raw(rawKey: string): Promise<CutBatch | undefined>;
  state(batchId: string): Promise<BatchState>;
  readonly queue: ChunkQueue;
  readonly parking: Parking;
  /** Writes what the intake would have written at its end. */
  complete(raw: CutBatch, chunks: number): Promise<void>;
  readonly progress: SweepProgress;
  /** Works on some at the same time. */
  each<T>(inputs: readonly T[], work: (input: T) => Promise<void>): Promise<void>;
}

/** What a sweep leaves behind for the next one. */
export interface SweepProgress {
  /** The raw key through which all batches were looked at; empty at first. */
  position(): Promise<string>;
  moveTo(rawKey: string): Promise<void>;
  /** All batches that came before (milliseconds since 1970) are counted, or among the orphans. */
  sweptThrough(receivedBefore: number): Promise<void>;
  /** Those whose time has come (milliseconds since 1970), so many at most. */
  orphans(dueAt: number, limit: number): Promise<readonly Orphan[]>;
  keep(orphan: Orphan, nextAt: number): Promise<void>;
  drop(rawKey: string): Promise<void>;
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
  /** Is told of a batch that could not be looked after; it is tried again. */
  readonly onFailure: (error: unknown, rawKey: string) => void;
}

export interface SweepResult {
  /** Batches looked at. */
  readonly batches: number;
  /** Batches found incomplete for the first time. */
  readonly orphans: number;
  /** Messages sent again. */
  readonly resent: number;
  /** Messages and batches put among the dead letters. */
  readonly parked: number;
  /** Batches that could not be looked after. */
  readonly failed: number;
}

type Counts = { -readonly [name in keyof SweepResult]: SweepResult[name] };

const orphansMax = 1_000;
const delayMsMax = 24 * 3_600_000;

/**
 * Looks for stored batches whose chunks are not all counted, cuts them again and queues what is
 * missing. Each batch is looked at once, those found incomplete again and again, at growing
 * intervals, until they are counted or too old for it.
 */
export async function sweep(ports: SweepPorts, rules: SweepRules): Promise<SweepResult> {
  const counts: Counts = { batches: 0, orphans: 0, resent: 0, parked: 0, failed: 0 };
  const isTimeUp = () => rules.now() >= rules.deadline;

  const due = await ports.progress.orphans(rules.now(), orphansMax);
  await ports.each(due, async (orphan) => {
    if (!isTimeUp()) await lookAfter(orphan, ports, rules, counts);
  });

  const position = await ports.progress.position();
  const oldest = startOf(rules.now() - rules.keepMs);
  const after = position > oldest ? position : oldest;
  const receivedBefore = rules.now() - rules.afterMs;
  for await (const page of ports.keys({ after, before: startOf(receivedBefore) })) {
    let lookedAt = 0;
    await ports.each(page, async (rawKey) => {
      if (isTimeUp()) return;
      await lookAfter({ rawKey, attempts: 0 }, ports, rules, counts);
      lookedAt++;
    });
    // A page that was not finished is looked at again from its start.
    if (lookedAt < page.length) return counts;
    const last = page.at(-1);
    if (last !== undefined) await ports.progress.moveTo(last);
  }
  await ports.progress.sweptThrough(receivedBefore);
  return counts;
}

/** One batch that cannot be looked after must not hold up the others. */
async function lookAfter(
  orphan: Orphan,
  ports: SweepPorts,
  rules: SweepRules,
  counts: Counts,
): Promise<void> {
  const identity = readRawKey(orphan.rawKey);
  // Somebody else's object.
  if (identity === undefined) return;
  counts.batches++;
  try {
    const isDone = await bringForward(orphan, identity.batchId, ports, rules, counts);
    if (isDone && orphan.attempts > 0) await ports.progress.drop(orphan.rawKey);
  } catch (error) {
    counts.failed++;
    await keepForLater(orphan, ports, rules);
    rules.onFailure(error, orphan.rawKey);
  }
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
  const identity = readRawKey(rawKey);
  if (identity === undefined || (await ports.raw(rawKey)) === undefined) {
    return 'raw_missing: its raw body is not in the store';
  }
  const reasons: string[] = [];
  const parking: Parking = {
    park(letters) {
      reasons.push(...letters.map(({ reason }) => reason));
      return Promise.resolve(new Set(letters.map(({ messageId }) => messageId)));
    },
  };
  const counts: Counts = { batches: 0, orphans: 0, resent: 0, parked: 0, failed: 0 };
  await bringForward(
    { rawKey, attempts: 0 },
    identity.batchId,
    { ...ports, parking },
    rules,
    counts,
  );
  return reasons[0];
}

/** Returns whether nothing is left to do for the batch. */
async function bringForward(
  orphan: Orphan,
  batchId: string,
  ports: SweepPorts,
  rules: SweepRules,
  counts: Counts,
): Promise<boolean> {
  const { rawKey, attempts } = orphan;
  const { chunks, counted } = await ports.state(batchId);
  if (chunks !== undefined && areAllCounted(chunks, counted)) return true;
  const raw = await ports.raw(rawKey);
  // It was there when it was listed: somebody has removed it since.
  if (raw === undefined) return true;
  const since = raw.replayedAt ?? raw.receivedAt;
  // Nothing is known any more of what came before that.
  if (since < rules.now() - rules.keepMs) return true;
  const cut = recut(raw, rules.dayOf);
  if ('reason' in cut) {
    const body = batchLetterBody(rawKey);
    const { receivedAt: sentAt } = raw;
    const letter = { messageId: rawKey, originalId: rawKey, sentAt, body, reason: cut.reason };
    await parkAll([letter], ports, counts);
    return true;
  }
  const missing = cut.chunks.filter(({ index }) => !counted.has(index));
  if (missing.length > 0 && attempts === 0) counts.orphans++;
  if (missing.length > 0 && since < rules.now() - rules.ageMsMax) {
    await parkAll(missing.map(tooOld), ports, counts);
    return true;
  }
  if (missing.length > 0) {
    // Kept first: what is not sent now is sent the next time.
    await keepForLater(orphan, ports, rules);
    await ports.queue.send(missing);
    counts.resent += missing.length;
  }
  await ports.complete(raw, cut.chunks.length);
  return missing.length === 0;
}

async function keepForLater(
  { rawKey, attempts }: Orphan,
  { progress }: SweepPorts,
  { now, afterMs }: SweepRules,
): Promise<void> {
  const delayMs = Math.min(delayMsMax, afterMs * 2 ** attempts);
  await progress.keep({ rawKey, attempts: attempts + 1 }, now() + delayMs);
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

async function parkAll(
  letters: readonly Letter[],
  { parking }: SweepPorts,
  counts: Counts,
): Promise<void> {
  const parked = await parking.park(letters);
  counts.parked += parked.size;
  if (parked.size < letters.length) throw new Error('the dead-letter queue takes nothing now');
}

/** Sorts before every raw key of that moment. */
function startOf(milliseconds: number): string {
  return `raw/${new Date(milliseconds).toISOString()}`;
}
