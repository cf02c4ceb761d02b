import { beforeEach, describe, expect, it } from 'vitest';

import { batchIdMaker, rawKeyOf, readRawKey } from '../../src/domain/batch-id.ts';
import { dayRule } from '../../src/domain/day.ts';
import type { Letter } from '../../src/pipeline/ports.ts';
import type { CutBatch } from '../../src/pipeline/recut.ts';
import { sweep, type Orphan, type SweepPorts, type SweepRules } from '../../src/pipeline/sweep.ts';

const minute = 60_000;
const day = 24 * 60 * minute;
const start = Date.UTC(2023, 5, 16, 12);
const makeBatchId = batchIdMaker((bytes) => new Uint8Array(bytes));

let now: number;
let bodies: Map<string, CutBatch>;
let counted: Map<string, Set<number>>;
let completed: string[];
let sent: string[];
let letters: Letter[];
let orphans: Map<string, Orphan & { nextAt: number }>;
let position: string;
let swept: number | undefined;
let failures: string[];

beforeEach(() => {
  now = start;
  swept = undefined;
  bodies = new Map<string, CutBatch>();
  counted = new Map<string, Set<number>>();
  orphans = new Map<string, Orphan & { nextAt: number }>();
  [completed, sent, letters, failures] = [[], [], [], []];
  position = '';
});

/** Stores a batch of so many items, an item a message. */
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

function count(rawKey: string, ...indexes: number[]): void {
  const batchId = readRawKey(rawKey)?.batchId ?? '';
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
  state: (batchId) => {
    const chunks = completed.includes(batchId) ? 3 : undefined;
    return Promise.resolve({ chunks, counted: counted.get(batchId) ?? new Set() });
  },
  queue: {
    send: (chunks) => {
      if (chunks.some(({ index }) => index === 13)) return Promise.reject(new Error('unlucky'));
      sent.push(...chunks.map(({ batchId, index }) => `${batchId}:${index}`));
      return Promise.resolve();
    },
  },
  parking: {
    park: (more) => {
      letters.push(...more);
      return Promise.resolve(new Set(more.map(({ messageId }) => messageId)));
    },
  },
  complete: ({ batchId }) => Promise.resolve(void completed.push(batchId)),
  progress: {
    position: () => Promise.resolve(position),
    moveTo: (rawKey) => Promise.resolve(void (position = rawKey)),
    sweptThrough: (receivedBefore) => Promise.resolve(void (swept = receivedBefore)),
    orphans: (dueAt) =>
      Promise.resolve([...orphans.values()].filter((each) => each.nextAt <= dueAt)),
    keep: (orphan, nextAt) =>
      Promise.resolve(void orphans.set(orphan.rawKey, { ...orphan, nextAt })),
    drop: (rawKey) => Promise.resolve(void orphans.delete(rawKey)),
  },
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
    ...more,
  });
}

describe('a sweep', () => {
  it('queues what is missing of a batch, and says that it is complete', async () => {
    const whole = store(3);
    count(whole, 0, 1, 2);
    const part = store(3);
    count(part, 1);
    now += 15 * minute + 1;
    expect(await run()).toEqual({ batches: 2, orphans: 1, resent: 2, parked: 0, failed: 0 });
    const [one, other] = [whole, part].map((rawKey) => readRawKey(rawKey)?.batchId ?? '');
    expect(sent).toEqual([`${other}:0`, `${other}:2`]);
    expect(completed).toEqual([one, other]);
  });

  it('is not held up by a batch that cannot be looked after, which comes again', async () => {
    const [bad, good] = [store(14), store(1)];
    now += 20 * minute;
    expect(await run()).toMatchObject({ batches: 2, resent: 1, failed: 1 });
    expect(failures).toEqual([bad]);
    expect(sent).toEqual([`${readRawKey(good)?.batchId}:0`]);
    count(bad, ...Array.from({ length: 14 }, (_, index) => index));
    count(good, 0);
    now += day;
    expect(await run()).toMatchObject({ batches: 2, orphans: 0, resent: 0, failed: 0 });
    expect([...orphans]).toEqual([]);
  });

  it('that runs out of time is gone on with by the next one', async () => {
    const rawKeys = Array.from({ length: 7 }, () => store(1));
    now += 20 * minute;
    let looks = 0;
    const clock = () => (looks++ < 8 ? now : now + minute);
    await run({ now: clock, deadline: now + 1 });
    const early = new Set(sent);
    expect(early.size).toBeGreaterThan(0);
    expect(early.size).toBeLessThan(7);
    for (const rawKey of rawKeys) {
      if (early.has(`${readRawKey(rawKey)?.batchId}:0`)) count(rawKey, 0);
    }
    await run();
    expect(new Set(sent).size).toBe(7);
    expect(sent).toHaveLength(7);
    expect(position).toBe(rawKeys.at(-1));
  });

  it('says how far it has come once it has seen all, and not before', async () => {
    const rawKeys = Array.from({ length: 3 }, () => store(1));
    count(rawKeys[0] ?? '', 0);
    now += 20 * minute;
    let looks = 0;
    await run({ now: () => (looks++ < 6 ? now : now + minute), deadline: now + 1 });
    expect(position).not.toBe(rawKeys.at(-1));
    expect(swept).toBeUndefined();
    await run();
    expect(swept).toBe(now - 15 * minute);
    expect([...orphans.keys()]).toEqual(rawKeys.slice(1));
  });

  it('parks what is missing of a batch whose marks may be gone', async () => {
    const rawKey = store(2);
    count(rawKey, 0);
    now += 84 * day;
    expect(await run()).toMatchObject({ orphans: 1, resent: 0, parked: 1 });
    expect(sent).toEqual([]);
    expect(letters).toMatchObject([
      {
        messageId: `${readRawKey(rawKey)?.batchId}:1`,
        reason: expect.stringMatching(/^too_old/) as string,
      },
    ]);
  });

  it('looks at nothing of which nothing is known any more', async () => {
    store(1);
    now += 91 * day;
    expect(await run()).toMatchObject({ batches: 0 });
    const rawKey = store(14, now);
    now += 20 * minute;
    await run();
    expect([...orphans.keys()]).toEqual([rawKey]);
    now += 91 * day;
    await run();
    expect([...orphans.keys()]).toEqual([]);
  });

  it('parks a body that reads otherwise than when it came, and goes on', async () => {
    const [bad, good] = [store(2, start, '{"processed_devices":[]}'), store(1)];
    now += 20 * minute;
    expect(await run()).toMatchObject({ batches: 2, resent: 1, parked: 1 });
    expect(letters).toMatchObject([
      {
        messageId: bad,
        body: JSON.stringify({ raw_key: bad }),
        reason: expect.stringMatching(/^recount_differs/) as string,
      },
    ]);
    expect(sent).toEqual([`${readRawKey(good)?.batchId}:0`]);
  });

  it('lets be what is no raw body of ours, or is gone', async () => {
    store(1);
    now += 20 * minute;
    const without = { ...ports, raw: () => Promise.resolve(undefined) };
    expect(await run({}, without)).toMatchObject({ batches: 1, resent: 0, failed: 0 });
    expect([...orphans]).toEqual([]);
  });
});
