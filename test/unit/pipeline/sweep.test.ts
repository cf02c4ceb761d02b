import { beforeEach, describe, expect, it } from 'vitest';

import { batchIdMaker, rawKeyOf, readRawKey } from '../../../src/domain/batch-id.ts';
import { dayRule } from '../../../src/domain/day.ts';
import type { DeadLetter } from '../../../src/pipeline/ports.ts';
import type { CutBatch } from '../../../src/pipeline/chunks/recut.ts';
import { sweep } from '../../../src/pipeline/sweep/sweep.ts';
import type {
  FinishedIntake,
  Orphan,
  SweepPorts,
  SweepRules,
} from '../../../src/pipeline/sweep/ports.ts';

const minute = 60_000;
const day = 24 * 60 * minute;
const start = Date.UTC(2023, 5, 16, 12);
const makeBatchId = batchIdMaker((bytes) => new Uint8Array(bytes));

let now: number;
let bodies: Map<string, CutBatch>;
let counted: Map<string, Set<number>>;
let finished: Map<string, FinishedIntake>;
let depth: number;
let sent: string[];
let deadLetters: DeadLetter[];
let orphans: Map<string, Orphan & { nextAt: number }>;
let position: { intakesThrough: string; countedThrough: string };
let forgotten: string[];
let swept: number | undefined;
let failures: string[];

beforeEach(() => {
  now = start;
  swept = undefined;
  bodies = new Map<string, CutBatch>();
  counted = new Map<string, Set<number>>();
  orphans = new Map<string, Orphan & { nextAt: number }>();
  finished = new Map<string, FinishedIntake>();
  [sent, deadLetters, failures, forgotten] = [[], [], [], []];
  position = { intakesThrough: '', countedThrough: '' };
  depth = 0;
});

/** Stores a batch of this many items, one item in each message. */
function store(items: number, receivedAt = start, text?: string): string {
  const item = { type: 'phone', state: 'erased', timestamp: '2023-06-16T13:00:00Z' };
  const processed_devices = Array.from({ length: items }, () => item);
  const batchId = makeBatchId(receivedAt);
  const rawKey = rawKeyOf(batchId, receivedAt);
  bodies.set(rawKey, {
    batchId,
    receivedAt,
    body: Buffer.from(text ?? JSON.stringify({ processed_devices })),
    encoding: 'identity',
    accepted: items,
    rejected: 0,
    itemsPerMessage: 1,
  });
  return rawKey;
}

function idOf(rawKey: string): string {
  return readRawKey(rawKey)?.batchId ?? '';
}

/** Stores a completely queued batch of one item. */
function storeQueued(receivedAt = start, replayedAt?: number): string {
  const rawKey = store(1, receivedAt);
  finished.set(idOf(rawKey), { chunks: 1, ...(replayedAt !== undefined && { replayedAt }) });
  return rawKey;
}

function count(rawKey: string, ...indexes: number[]): void {
  const batchId = idOf(rawKey);
  counted.set(batchId, new Set([...(counted.get(batchId) ?? []), ...indexes]));
}

const ports: SweepPorts = {
  async *keys({ after, before }) {
    const keys = [...bodies.keys(), 'raw/strange.json'].sort();
    const inRange = keys.filter((key) => key > after && key < before);
    for (let at = 0; at < inRange.length; at += 2)
      yield await Promise.resolve(inRange.slice(at, at + 2));
  },
  raw: (rawKey) => Promise.resolve(bodies.get(rawKey)),
  intakes: (batchIds) =>
    Promise.resolve(new Map([...finished].filter(([batchId]) => batchIds.includes(batchId)))),
  counted: (batches) => {
    const isCounted = ([batchId, { chunks }]: [string, FinishedIntake]) =>
      (counted.get(batchId)?.size ?? 0) >= chunks;
    return Promise.resolve(new Set([...batches].filter(isCounted).map(([batchId]) => batchId)));
  },
  state: (batchId) =>
    Promise.resolve({
      intake: finished.get(batchId),
      counted: counted.get(batchId) ?? new Set(),
    }),
  queueDepth: () => Promise.resolve(depth),
  queue: {
    send: (chunks) => {
      if (chunks.some(({ index }) => index === 13)) return Promise.reject(new Error('unlucky'));
      sent.push(...chunks.map(({ batchId, index }) => `${batchId}:${index}`));
      return Promise.resolve();
    },
  },
  deadLetters: {
    add: (more) => {
      deadLetters.push(...more);
      return Promise.resolve(new Set(more.map(({ messageId }) => messageId)));
    },
  },
  complete: ({ batchId }, chunks, queuedAt) =>
    Promise.resolve(void finished.set(batchId, { chunks, queuedAt })),
  progress: {
    position: () => Promise.resolve(position),
    moveTo: (intakesThrough) => Promise.resolve(void (position = { ...position, intakesThrough })),
    countedTo: (countedThrough, receivedBefore) => {
      position = { ...position, countedThrough };
      swept = receivedBefore;
      return Promise.resolve();
    },
    async *orphans(dueAt) {
      const due = [...orphans.values()].filter((each) => each.nextAt <= dueAt);
      for (let at = 0; at < due.length; at += 2) yield await Promise.resolve(due.slice(at, at + 2));
    },
    saveOrphan: (orphan, nextAt) =>
      Promise.resolve(void orphans.set(orphan.rawKey, { ...orphan, nextAt })),
    removeOrphan: (rawKey) => Promise.resolve(void orphans.delete(rawKey)),
  },
  whileCutting: (_, work) => work(),
  async each(inputs, work) {
    for (const input of inputs) await work(input);
  },
};

function run(more: Partial<SweepRules> = {}, on = ports) {
  return sweep(on, {
    dayOf: dayRule('as-written'),
    now: () => now,
    afterMs: 15 * minute,
    ageMsMax: 83 * day,
    keepMs: 90 * day,
    deadline: Number.POSITIVE_INFINITY,
    onFailure: (_, rawKey) => void failures.push(rawKey),
    onForgotten: (rawKey) => void forgotten.push(rawKey),
    ...more,
  });
}

describe('a sweep', () => {
  it('queues the missing chunks of a batch, and records that its intake is complete', async () => {
    const whole = store(3);
    count(whole, 0, 1, 2);
    const part = store(3);
    count(part, 1);
    now += 15 * minute + 1;
    expect(await run()).toEqual({
      ...{ batches: 2, orphans: 2, resent: 2, parked: 0 },
      ...{ failed: 0, forgotten: 0, behindMs: 0, waitingMs: 0 },
    });
    const [one, other] = [whole, part].map(idOf);
    expect(sent).toEqual([`${other}:0`, `${other}:2`]);
    expect([...finished.keys()]).toEqual([one, other]);
    expect([...orphans.keys()]).toEqual([]);
    // From now on it waits like any other batch.
    expect(position).toEqual({ intakesThrough: part, countedThrough: whole });
    count(part, 0, 2);
    expect(await run()).toMatchObject({ batches: 0, resent: 0 });
    expect(position).toEqual({ intakesThrough: part, countedThrough: part });
  });

  it('sends again in a later sweep what it completed and was lost then', async () => {
    const rawKey = store(1);
    now += 20 * minute;
    expect(await run()).toMatchObject({ orphans: 1, resent: 1 });
    for (const resent of [0, 0, 1]) {
      now += 5 * minute;
      expect(await run()).toMatchObject({ orphans: 0, resent });
    }
    expect([...orphans.keys()]).toEqual([rawKey]);
  });

  it('completes few interrupted intakes while very many messages wait', async () => {
    const rawKeys = Array.from({ length: 2_000 }, (_, at) => store(1, start + at));
    now += 20 * minute;
    depth = 600_000;
    const { orphans: found, behindMs } = await run();
    expect([found, behindMs > 0]).toEqual([1_000, true]);
    depth = 499_500;
    expect(await run()).toMatchObject({ orphans: 1_000, resent: 1_000, behindMs: 0 });
    expect(position.intakesThrough).toBe(rawKeys.at(-1));
    expect(new Set(sent).size).toBe(2_000);
  });

  it('gives up if nothing can be sent, and the next one continues there', async () => {
    const rawKeys = Array.from({ length: 100 }, (_, at) => store(1, start + at));
    now += 20 * minute;
    const queue = { send: () => Promise.reject(new Error('unavailable')) };
    await expect(run({}, { ...ports, queue })).rejects.toThrow('unavailable');
    expect(orphans.size).toBe(20);
    expect(position.intakesThrough < (rawKeys[20] ?? '')).toBe(true);
    await run();
    expect(new Set(sent).size).toBe(100);
    expect(position.intakesThrough).toBe(rawKeys.at(-1));
  });

  it('is not blocked by a batch that it cannot reconcile, and tries it again', async () => {
    const [bad, good] = [store(14), store(1)];
    now += 20 * minute;
    expect(await run()).toMatchObject({ batches: 2, resent: 1, failed: 1 });
    expect(failures).toEqual([bad]);
    expect(sent).toEqual([`${idOf(good)}:0`]);
    count(bad, ...Array.from({ length: 14 }, (_, index) => index));
    count(good, 0);
    now += day;
    expect(await run()).toMatchObject({ batches: 0, orphans: 0, resent: 0, failed: 0 });
    expect([...orphans]).toEqual([]);
  });

  it('that runs out of time is continued by the next one', async () => {
    const rawKeys = Array.from({ length: 7 }, () => store(1));
    now += 20 * minute;
    let looks = 0;
    const clock = () => (looks++ < 16 ? now : now + minute);
    expect((await run({ now: clock, deadline: now + 1 })).behindMs).toBeGreaterThan(0);
    const early = new Set(sent);
    expect(early.size).toBeGreaterThan(0);
    expect(early.size).toBeLessThan(7);
    for (const rawKey of rawKeys) {
      if (early.has(`${idOf(rawKey)}:0`)) count(rawKey, 0);
    }
    await run();
    expect(new Set(sent).size).toBe(7);
    expect(sent).toHaveLength(7);
    expect(position.intakesThrough).toBe(rawKeys.at(-1));
  });

  it('records how far it came once it has checked everything, and not before', async () => {
    const rawKeys = Array.from({ length: 3 }, (_, at) => store(1, start + at));
    count(rawKeys[0] ?? '', 0);
    now += 20 * minute;
    let looks = 0;
    await run({ now: () => (looks++ < 8 ? now : now + minute), deadline: now + 1 });
    expect(position.intakesThrough).not.toBe(rawKeys.at(-1));
    expect(swept).toBe(start + 1);
    await run();
    for (const rawKey of rawKeys) count(rawKey, 0);
    await run();
    expect(swept).toBe(now - 15 * minute);
    expect([...orphans.keys()]).toEqual([]);
  });

  it('sends nothing again that may be on a deep queue', async () => {
    const rawKeys = Array.from({ length: 40 }, (_, at) => storeQueued(start + at));
    for (const rawKey of rawKeys.slice(0, 3)) count(rawKey, 0);
    now += 60 * minute;
    depth = 1_000;
    let looks = 0;
    const watched: SweepPorts = {
      ...ports,
      state: (batchId) => (looks++, ports.state(batchId)),
      raw: () => Promise.reject(new Error('no body is read of what waits')),
    };
    expect(await run({}, watched)).toMatchObject({
      ...{ batches: 40, orphans: 0, resent: 0, failed: 0 },
      waitingMs: 60 * minute - 3,
    });
    expect([sent, [...orphans]]).toEqual([[], []]);
    expect(position).toEqual({ intakesThrough: rawKeys.at(-1), countedThrough: rawKeys[2] });
    expect(swept).toBe(start + 3);
    // Batches behind the first that waits are not checked, whatever their number.
    expect(looks).toBe(1);
    expect(await run({}, watched)).toMatchObject({ batches: 0, resent: 0 });
    expect(looks).toBe(2);

    for (const rawKey of rawKeys) count(rawKey, 0);
    await run({}, watched);
    expect(position.countedThrough).toBe(rawKeys.at(-1));
    expect(swept).toBe(now - 15 * minute);
    expect(looks).toBe(2);
  });

  it.each([
    { messages: 0, resent: 8 },
    { messages: 6, resent: 2 },
    { messages: 8, resent: 0 },
    { messages: 100_000, resent: 0 },
  ])(
    'sends again what was lost, $resent messages where $messages wait',
    async ({ messages, resent }) => {
      const rawKeys = Array.from({ length: 20 }, (_, at) => storeQueued(start + at));
      // Those that came since the sweep before make no backlog.
      position = { intakesThrough: rawKeys.at(-1) ?? '', countedThrough: '' };
      now += 20 * minute;
      depth = messages;
      expect(await run({ resendsMax: 8, shallowDepth: 8 })).toMatchObject({
        orphans: 0,
        resent,
        failed: 0,
      });
      expect(sent).toEqual(rawKeys.slice(0, resent).map((rawKey) => `${idOf(rawKey)}:0`));
      expect([...orphans.keys()]).toEqual(rawKeys.slice(0, resent));
      expect(position.countedThrough).toBe(rawKeys[resent - 1] ?? '');
      // They are on the queue again: only what is behind them is sent by the next sweep.
      await run({ resendsMax: 8, shallowDepth: 8 });
      expect(new Set(sent).size).toBe(sent.length);
    },
  );

  it('does not treat the messages of one sweep interval as a backlog', async () => {
    const rawKeys = Array.from({ length: 20 }, (_, at) => storeQueued(start + at));
    for (const rawKey of rawKeys.slice(1)) count(rawKey, 0);
    now += 20 * minute;
    depth = 10;
    expect(await run({ resendsMax: 2, shallowDepth: 2 })).toMatchObject({ resent: 1 });
    expect(sent).toEqual([`${idOf(rawKeys[0] ?? '')}:0`]);
  });

  it('takes the age of a replayed batch from the time of the replay', async () => {
    const long = start - 60 * day;
    const [replayed, underWay, cutOff] = [storeQueued(long, start), store(1, long + 1), store(1)];
    const body = bodies.get(underWay);
    if (body !== undefined) bodies.set(underWay, { ...body, replayedAt: start });
    now += 10_000;
    expect(await run()).toMatchObject({ batches: 2, orphans: 0, resent: 0 });
    expect(position.intakesThrough).toBe(underWay);
    expect(position.countedThrough < replayed).toBe(true);
    expect(swept).toBe(long);
    now += 20 * minute;
    for (const rawKey of [replayed, underWay]) count(rawKey, 0);
    finished.set(idOf(underWay), { chunks: 1, replayedAt: start });
    expect(await run()).toMatchObject({ batches: 1, orphans: 1, resent: 1 });
    expect(position).toEqual({ intakesThrough: cutOff, countedThrough: underWay });
  });

  it('sends again what was overtaken, however deep the queue is', async () => {
    const lost = storeQueued();
    const later = [storeQueued(start + 1), storeQueued(start + 3 * 60 * minute)];
    for (const rawKey of later) count(rawKey, 0);
    now += 3 * 60 * minute + 20 * minute;
    depth = 1_000_000;
    expect(await run()).toMatchObject({ resent: 1, waitingMs: 0 });
    expect(sent).toEqual([`${idOf(lost)}:0`]);
    expect(position.countedThrough).toBe(later.at(-1));
  });

  it('sends again what was overtaken where batches are counted long after they came', async () => {
    const lost = storeQueued();
    depth = 1_000_000;
    for (let at = 1; at < 60; at++) storeQueued(start + at * 5 * minute);
    for (now = start + 20 * minute; sent.length === 0 && now < start + day; now += 5 * minute) {
      for (const rawKey of bodies.keys()) {
        const isOld = (readRawKey(rawKey)?.receivedAt ?? 0) < now - 30 * minute;
        if (rawKey !== lost && isOld) count(rawKey, 0);
      }
      await run();
    }
    expect(sent).toEqual([`${idOf(lost)}:0`]);
    expect(now - start).toBeLessThan(3 * 60 * minute);
  });

  it('sends again a lost replay that later batches overtook', async () => {
    const lost = storeQueued(start - 60 * day, start);
    depth = 1_000_000;
    // More than a page of old batches, so that those after the replay are not found by its raw key.
    for (let at = 1; at < 5; at++) count(storeQueued(start - 50 * day + at), 0);
    for (let at = 1; at < 40; at++) storeQueued(start + at * 5 * minute);
    for (now = start + 20 * minute; sent.length === 0 && now < start + day; now += 5 * minute) {
      for (const rawKey of bodies.keys()) {
        const isOld = (readRawKey(rawKey)?.receivedAt ?? 0) < now - 30 * minute;
        if (rawKey !== lost && isOld) count(rawKey, 0);
      }
      await run();
    }
    expect(sent).toEqual([`${idOf(lost)}:0`]);
    expect(now - start).toBeLessThan(4 * 60 * minute);
  });

  it('sends again an orphan that was lost and overtaken, however deep the queue is', async () => {
    const lost = storeQueued();
    now += 20 * minute;
    await run();
    expect(sent).toHaveLength(1);
    depth = 1_000_000;
    const later = storeQueued(start + 3 * 60 * minute);
    count(later, 0);
    now = start + 3 * 60 * minute + 20 * minute;
    expect(await run()).toMatchObject({ resent: 1 });
    expect(orphans.get(lost)?.attempts).toBe(2);
  });

  it('sends again after a day what is lost on a deep queue, though nothing comes after it', async () => {
    const lost = storeQueued();
    depth = 1_000_000;
    now += day;
    expect(await run()).toMatchObject({ resent: 0 });
    now += minute;
    expect(await run()).toMatchObject({ resent: 1, waitingMs: 0 });
    expect(sent).toEqual([`${idOf(lost)}:0`]);
  });

  it('sends no more than its budget of what is cut off, however many are begun side by side', async () => {
    const rawKeys = Array.from({ length: 4 }, (_, at) => store(900, start + at));
    now += 20 * minute;
    depth = 1_000_000;
    const each: SweepPorts['each'] = async (inputs, work) => {
      await Promise.all(inputs.map(work));
    };
    const oneAtATime: SweepPorts['whileCutting'] = (_, work) => {
      const result = cutting.then(work);
      cutting = result.catch(() => undefined);
      return result;
    };
    let cutting: Promise<unknown> = Promise.resolve();
    const inPages: SweepPorts['keys'] = async function* () {
      yield await Promise.resolve(rawKeys.filter((rawKey) => rawKey > position.intakesThrough));
    };
    const queue: SweepPorts['queue'] = {
      send: (chunks) => {
        sent.push(...chunks.map(({ batchId, index }) => `${batchId}:${index}`));
        return Promise.resolve();
      },
    };
    const sideBySide = { ...ports, each, whileCutting: oneAtATime, keys: inPages, queue };
    expect(await run({}, sideBySide)).toMatchObject({ orphans: 2, resent: 1_800 });
    expect(await run({}, sideBySide)).toMatchObject({ orphans: 2, resent: 1_800 });
    expect(new Set(sent).size).toBe(3_600);
    expect(position.intakesThrough).toBe(rawKeys.at(-1));
  });

  it('ignores a time of replay in the future', async () => {
    const rawKey = store(1);
    const body = bodies.get(rawKey);
    if (body !== undefined) bodies.set(rawKey, { ...body, replayedAt: start + 365 * day });
    now += 20 * minute;
    expect(await run()).toMatchObject({ orphans: 1, resent: 1 });
    expect(position.intakesThrough).toBe(rawKey);
  });

  it('sends nothing again behind a batch that waits', async () => {
    const long = start - 60 * day;
    const [young, behind] = [storeQueued(long, start), storeQueued(long + 1)];
    now += minute;
    expect(await run()).toMatchObject({ resent: 0 });
    now += 20 * minute;
    expect(await run()).toMatchObject({ resent: 2 });
    expect([...orphans.keys()]).toEqual([young, behind]);
  });

  it('leaves orphans for a later sweep if the queue is deep', async () => {
    const rawKey = storeQueued();
    now += 20 * minute;
    await run();
    expect(sent).toHaveLength(1);
    now += 20 * minute;
    depth = 1_000;
    await run();
    expect(sent).toHaveLength(1);
    depth = 0;
    await run();
    expect(sent).toHaveLength(2);
    expect(orphans.get(rawKey)?.attempts).toBe(2);
    count(rawKey, 0);
    now += day;
    await run();
    expect([...orphans]).toEqual([]);
  });

  it('dead-letters the missing chunks of a batch whose dedup records may have expired', async () => {
    const before = `raw/${new Date(start - day).toISOString()}`;
    position = { intakesThrough: before, countedThrough: before };
    const rawKey = store(2);
    count(rawKey, 0);
    now += 84 * day;
    expect(await run()).toMatchObject({ orphans: 1, resent: 0, parked: 1 });
    expect(sent).toEqual([]);
    expect(deadLetters).toMatchObject([
      {
        messageId: `${idOf(rawKey)}:1`,
        reason: expect.stringMatching(/^too_old/) as string,
      },
    ]);
  });

  it('names batches that are older than the ledger rows', async () => {
    const before = `raw/${new Date(start - day).toISOString()}`;
    position = { intakesThrough: before, countedThrough: before };
    const [old, waiting] = [store(1), storeQueued(start + 1)];
    now += 91 * day;
    // The row of the other has ended.
    finished.clear();
    expect(await run()).toMatchObject({ batches: 2, orphans: 0, resent: 0, forgotten: 2 });
    expect(forgotten).toEqual([old, waiting]);
    expect(position.countedThrough).toBe(waiting);
    const rawKey = store(14, now);
    now += 20 * minute;
    await run();
    expect([...orphans.keys()]).toEqual([rawKey]);
    now += 91 * day;
    expect(await run()).toMatchObject({ forgotten: 1 });
    expect([...orphans.keys()]).toEqual([]);
  });

  it('ignores what is older than the ledger', async () => {
    store(1);
    now += 91 * day;
    expect(await run()).toMatchObject({ batches: 0, forgotten: 0 });
  });

  it('dead-letters a body that reads differently than at its receipt, and continues', async () => {
    const [bad, good] = [store(2, start, '{"processed_devices":[]}'), store(1)];
    now += 20 * minute;
    expect(await run()).toMatchObject({ batches: 2, resent: 1, parked: 1 });
    expect(deadLetters).toMatchObject([
      {
        messageId: bad,
        body: JSON.stringify({ raw_key: bad }),
        reason: expect.stringMatching(/^recount_differs/) as string,
      },
    ]);
    expect(sent).toEqual([`${idOf(good)}:0`]);
  });

  it('ignores objects of other programs, and deleted bodies', async () => {
    store(1);
    now += 20 * minute;
    const without = { ...ports, raw: () => Promise.resolve(undefined) };
    expect(await run({}, without)).toMatchObject({ batches: 1, resent: 0, failed: 0 });
    expect([...orphans]).toEqual([]);
  });
});
