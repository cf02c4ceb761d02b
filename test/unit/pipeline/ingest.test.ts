import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';

import { describe, expect, it } from 'vitest';

import { rowsOfIncrements } from '../../../src/domain/counter.ts';
import { ingest } from '../../../src/pipeline/ingest.ts';
import {
  AllItemsOverLimit,
  Unavailable,
  type Batch,
  type EarlierBatch,
  type IngestOutcome,
  type Intake,
  type Submission,
} from '../../../src/pipeline/ports.ts';

const item = { type: 'laptop', state: 'erased', timestamp: '2023-06-16T13:00:00Z' };
const badItem = { ...item, type: '' };
const receivedAt = Date.parse('2023-06-16T13:00:01.500Z');

const bodyOf = (...items: unknown[]) => Buffer.from(JSON.stringify({ processed_devices: items }));
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest();

/** Keeps in memory what it is given. */
class MemoryIntake implements Intake {
  readonly accepted: Batch[] = [];
  readonly calls: string[] = [];
  readonly #keys = new Map<string, EarlierBatch>();

  recall(caller: string, key: string): Promise<EarlierBatch | undefined> {
    this.calls.push('recall');
    return Promise.resolve(this.#keys.get(`${caller} ${key}`));
  }

  accept(batch: Batch): ReturnType<Intake['accept']> {
    this.calls.push('accept');
    this.accepted.push(batch);
    const batchId = `00000000-0000-8000-8000-${String(this.accepted.length).padStart(12, '0')}`;
    const stored = { batchId, receivedAt: receivedAt + this.accepted.length };
    const { caller, idempotency } = batch;
    if (idempotency !== undefined) {
      const { key, bodySha256 } = idempotency;
      this.#keys.set(`${caller} ${key}`, { ...stored, bodySha256 });
    }
    return Promise.resolve({ stored });
  }
}

const limits = { bodyBytesMax: 10_000 };

function submit(intake: Intake, body: Uint8Array, more: Partial<Submission> = {}) {
  const submission: Submission = {
    body,
    encoding: 'identity',
    strict: false,
    caller: '',
    idempotencyKey: undefined,
    ...more,
  };
  return ingest(submission, intake, limits);
}

function problemOf(outcome: IngestOutcome) {
  if (outcome.accepted) return expect.fail('the batch was accepted');
  return outcome.problem;
}

describe('a batch', () => {
  it('is stored as it came, with what it counts, and answered with its key', async () => {
    const intake = new MemoryIntake();
    const body = bodyOf(item, badItem, item);

    const outcome = await submit(intake, body, { caller: 'line 7' });

    expect(outcome).toEqual({
      accepted: true,
      batchId: '00000000-0000-8000-8000-000000000001',
      rawKey: 'raw/2023-06-16T13:00:01.501Z-00000000-0000-8000-8000-000000000001.json',
      enqueued: 2,
      rejected: 1,
      rejectedByCode: new Map([['blank', 1]]),
      errors: [
        {
          index: 1,
          field: 'type',
          code: 'blank',
          message: 'type must not be empty or only white space',
        },
      ],
    });
    expect(intake.calls).toEqual(['accept']);
    const [batch] = intake.accepted;
    expect(batch).toMatchObject({
      caller: 'line 7',
      accepted: 2,
      rejected: 1,
      encoding: 'identity',
    });
    expect(batch?.idempotency).toBeUndefined();
    expect(batch?.body).toBe(body);
    expect(batch && [...rowsOfIncrements(batch.increments)]).toEqual([
      { date: '2023-06-16', type: 'laptop', state: 'erased', count: 2 },
    ]);
  });

  it('that is empty is stored', async () => {
    const intake = new MemoryIntake();
    expect(await submit(intake, bodyOf())).toMatchObject({ accepted: true, enqueued: 0 });
    expect(await submit(intake, bodyOf(), { strict: true })).toMatchObject({ accepted: true });
    expect(intake.accepted).toHaveLength(2);
  });

  it('without a valid item is refused, strict or not, and not stored', async () => {
    const intake = new MemoryIntake();
    for (const strict of [false, true]) {
      const problem = problemOf(await submit(intake, bodyOf(badItem, null), { strict }));
      expect(problem).toMatchObject({ code: 'no_valid_items', rejected: 2 });
      expect(problem.errors).toHaveLength(2);
    }
    expect(intake.calls).toEqual([]);
  });

  it.each<[items: unknown[], excluded: number[], strict: boolean, detail: string]>([
    [[badItem], [], false, 'The item is not valid; nothing was stored.'],
    [[badItem, null], [], false, 'None of the 2 items is valid; nothing was stored.'],
    [
      [item],
      [0],
      false,
      'The item is valid, but its day has reached the counter limit; nothing was stored.',
    ],
    [
      [item, badItem],
      [0],
      false,
      'None of the 2 items can be counted; nothing was stored. One of them is valid, but its day has reached the counter limit.',
    ],
    [
      [item, item],
      [0, 1],
      false,
      'None of the 2 items can be counted; nothing was stored. 2 of them are valid, but their days have reached the counter limit.',
    ],
    [
      [item, badItem],
      [],
      true,
      '1 of 2 items is not valid and handling is strict; nothing was stored.',
    ],
  ])(
    'that is refused for its items says how many: %j, over the limit: %j',
    async (items, excluded, strict, detail) => {
      const intake = new MemoryIntake();
      intake.accept = () => Promise.reject(new AllItemsOverLimit(excluded));
      const problem = problemOf(await submit(intake, bodyOf(...items), { strict }));
      expect(problem.detail).toBe(detail);
    },
  );

  it('with one bad item is refused where handling is strict, and not stored', async () => {
    const intake = new MemoryIntake();
    const problem = problemOf(await submit(intake, bodyOf(item, badItem), { strict: true }));
    expect(problem).toMatchObject({ code: 'invalid_items', rejected: 1 });
    expect(problem.errors).toMatchObject([{ index: 1, code: 'blank' }]);
    expect(intake.calls).toEqual([]);
  });

  it.each([
    ['empty_body', Buffer.alloc(0)],
    ['invalid_json', Buffer.from('{')],
    ['invalid_body', Buffer.from('{}')],
  ])('that cannot be read is refused as %s before its key is looked up', async (code, body) => {
    const intake = new MemoryIntake();
    const outcome = await submit(intake, body, { idempotencyKey: 'a', strict: true });
    expect(problemOf(outcome).code).toBe(code);
    expect(intake.calls).toEqual([]);
  });
});

describe('a compressed batch', () => {
  const body = bodyOf(item);

  it('is read inflated and stored compressed', async () => {
    const intake = new MemoryIntake();
    const compressed = gzipSync(body);
    const outcome = await submit(intake, compressed, { encoding: 'gzip' });
    expect(outcome).toMatchObject({ accepted: true, enqueued: 1 });
    expect(intake.accepted).toMatchObject([{ encoding: 'gzip', accepted: 1 }]);
    expect(intake.accepted[0]?.body).toBe(compressed);
  });

  it('may be of several gzip members', async () => {
    const members = [body.subarray(0, 20), body.subarray(20)].map((part) => gzipSync(part));
    const outcome = await submit(new MemoryIntake(), Buffer.concat(members), { encoding: 'gzip' });
    expect(outcome).toMatchObject({ accepted: true, enqueued: 1 });
  });

  it.each([
    ['no gzip', body],
    ['cut short', gzipSync(body).subarray(0, -1)],
    ['cut to its header', gzipSync(body).subarray(0, 10)],
    ['empty', Buffer.alloc(0)],
    ['with a wrong checksum', wrongChecksum(gzipSync(body))],
  ])('that is %s is refused as invalid_gzip', async (_, broken) => {
    const intake = new MemoryIntake();
    const outcome = await submit(intake, broken, { encoding: 'gzip', idempotencyKey: 'a' });
    expect(problemOf(outcome).code).toBe('invalid_gzip');
    expect(intake.calls).toEqual([]);
  });

  it('that inflates to nothing is an empty body', async () => {
    const outcome = await submit(new MemoryIntake(), gzipSync(''), { encoding: 'gzip' });
    expect(problemOf(outcome).code).toBe('empty_body');
  });

  it('may inflate to the limit and not a byte more', async () => {
    const padded = (bytes: number) => Buffer.concat([body, Buffer.alloc(bytes - body.length, ' ')]);
    const full = gzipSync(padded(limits.bodyBytesMax));
    const over = gzipSync(padded(limits.bodyBytesMax + 1));
    const intake = new MemoryIntake();
    expect(await submit(intake, full, { encoding: 'gzip' })).toMatchObject({ accepted: true });
    const problem = problemOf(await submit(intake, over, { encoding: 'gzip' }));
    expect(problem.code).toBe('body_too_large');
    expect(intake.accepted).toHaveLength(1);
  });
});

describe('a batch with an idempotency key', () => {
  const idempotencyKey = 'key-1';
  const body = bodyOf(item, badItem);

  it('is stored with the key and the hash of its body', async () => {
    const intake = new MemoryIntake();
    await submit(intake, body, { idempotencyKey });
    const [batch] = intake.accepted;
    expect(batch?.idempotency?.key).toBe(idempotencyKey);
    expect(sha256(body).equals(batch?.idempotency?.bodySha256 ?? new Uint8Array())).toBe(true);
    expect(intake.calls).toEqual(['recall', 'accept']);
  });

  it('that is repeated gets the same response, and is not stored again', async () => {
    const intake = new MemoryIntake();
    const first = await submit(intake, body, { idempotencyKey });
    const second = await submit(intake, Buffer.from(body), { idempotencyKey });
    expect(second).toEqual(first);
    expect(intake.accepted).toHaveLength(1);
  });

  it('that is repeated gets that response even if handling is strict now', async () => {
    const intake = new MemoryIntake();
    const first = await submit(intake, body, { idempotencyKey });
    expect(await submit(intake, body, { idempotencyKey, strict: true })).toEqual(first);
  });

  it('that was refused is not stored', async () => {
    const intake = new MemoryIntake();
    const refused = await submit(intake, body, { idempotencyKey, strict: true });
    expect(problemOf(refused).code).toBe('invalid_items');
    expect(await submit(intake, body, { idempotencyKey })).toMatchObject({ accepted: true });
  });

  it('used with another body is refused, though no item of it be valid', async () => {
    const intake = new MemoryIntake();
    await submit(intake, body, { idempotencyKey });
    for (const other of [bodyOf(item), bodyOf(badItem), Buffer.concat([body, Buffer.from(' ')])]) {
      const problem = problemOf(await submit(intake, other, { idempotencyKey, strict: true }));
      expect(problem.code).toBe('idempotency_key_reused');
    }
    expect(intake.accepted).toHaveLength(1);
  });

  it('is another batch under another key, or from another caller', async () => {
    const intake = new MemoryIntake();
    await submit(intake, body, { idempotencyKey });
    await submit(intake, body, { idempotencyKey: 'key-2' });
    await submit(intake, body, { idempotencyKey, caller: 'another' });
    expect(intake.accepted).toHaveLength(3);
  });

  it('is the same batch however it is compressed', async () => {
    const intake = new MemoryIntake();
    const gzip = { idempotencyKey, encoding: 'gzip' } as const;
    const first = await submit(intake, gzipSync(body, { level: 9 }), gzip);
    expect(await submit(intake, gzipSync(body, { level: 0 }), gzip)).toEqual(first);
    expect(await submit(intake, body, { idempotencyKey })).toEqual(first);
    expect(intake.accepted).toHaveLength(1);
  });

  describe('that another request has stored meanwhile', () => {
    const earlier = { batchId: '00000000-0000-8000-8000-00000000000e', receivedAt };
    const racing = (bodySha256: Uint8Array): Intake => ({
      recall: () => Promise.resolve(undefined),
      accept: () => Promise.resolve({ earlier: { ...earlier, bodySha256 } }),
    });

    it('gets the answer of that one', async () => {
      const outcome = await submit(racing(sha256(body)), body, { idempotencyKey });
      expect(outcome).toMatchObject({
        accepted: true,
        batchId: earlier.batchId,
        rawKey: `raw/2023-06-16T13:00:01.500Z-${earlier.batchId}.json`,
        enqueued: 1,
        rejected: 1,
      });
    });

    it('with another body is refused', async () => {
      const outcome = await submit(racing(sha256(bodyOf())), body, { idempotencyKey });
      expect(problemOf(outcome).code).toBe('idempotency_key_reused');
    });
  });
});

describe('an intake that takes nothing', () => {
  const failing = (error: Error): Intake => ({
    recall: () => Promise.resolve(undefined),
    accept: () => Promise.reject(error),
  });

  it.each([
    ['overloaded', 1],
    ['stopping', 5],
    ['storage_failed', 5],
  ] as const)('is %s: the batch may be sent again after %i s', async (code, retryAfterSeconds) => {
    const outcome = await submit(failing(new Unavailable(code, 'Why.')), bodyOf(item));
    expect(problemOf(outcome)).toEqual({ code, detail: 'Why.', retryAfterSeconds });
  });

  it('may say so when the key is looked up', async () => {
    const intake: Intake = {
      ...failing(new Error('not to be called')),
      recall: () => Promise.reject(new Unavailable('storage_failed', 'Why.')),
    };
    const outcome = await submit(intake, bodyOf(item), { idempotencyKey: 'a' });
    expect(problemOf(outcome).code).toBe('storage_failed');
  });

  it('does not include unexpected errors', async () => {
    const defect = new TypeError('a defect');
    await expect(submit(failing(defect), bodyOf(item))).rejects.toBe(defect);
  });
});

/** The eight bytes at the end are the checksum and the length. */
function wrongChecksum(compressed: Buffer): Buffer {
  const broken = Buffer.from(compressed);
  const at = broken.length - 8;
  broken[at] = (broken[at] ?? 0) ^ 1;
  return broken;
}
