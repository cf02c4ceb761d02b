import { PurgeQueueCommand } from '@aws-sdk/client-sqs';
import { afterAll, beforeAll, expect } from 'vitest';

import { rawKeyOf } from '../../../src/domain/batch-id.ts';
import { cutIntoChunks } from '../../../src/pipeline/chunks/chunk.ts';
import { dayRule } from '../../../src/domain/day.ts';
import {
  forEachDeadLetter,
  type StoredDeadLetter,
} from '../../../src/engines/aws/dead-letters/dead-letter-pass.ts';
import { droppedDeadLetters, dropDeadLetters } from '../../../src/engines/aws/dead-letters/drop.ts';
import { keepDeadBodies } from '../../../src/engines/aws/dead-letters/keep-bodies.ts';
import { chunkKey } from '../../../src/engines/aws/ledger/ledger-table.ts';
import { redriveDeadLetters } from '../../../src/engines/aws/dead-letters/redrive.ts';
import { sendAll } from '../../../src/engines/aws/queue/send-messages.ts';
import { deadLetterBodyOfBatch } from '../../../src/pipeline/chunks/dead-letter-content.ts';
import { awsError, AwsEngine } from '../../support/aws/aws-engine.ts';
import {
  readCountersDirectly,
  createStore,
  scan,
  startAws,
  type AwsEmulators,
} from '../../support/aws/aws-store.ts';
import { listBodies } from '../../support/list-bodies.ts';
import { batchOf, itemOf } from './intake-contract.ts';
import { needs } from '../../support/run/needs.ts';

const { describe, it } = needs('Java');

let aws: AwsEmulators;
beforeAll(async () => {
  aws = await startAws();
});
afterAll(() => aws.stop());

const start = Date.UTC(2023, 5, 16, 12);
const dayMs = 86_400_000;
const everything = () => true;
const backoff = {
  ...{ attemptsMax: 3, delayMsMax: 0, deadline: Number.POSITIVE_INFINITY, now: () => start },
  ...{ sleep: () => Promise.resolve(), random: () => 0 },
};

async function openEngine(): Promise<AwsEngine> {
  return new AwsEngine(aws, await createStore(aws), start);
}

/** Puts messages into the dead-letter queue as SQS itself does: without a reason. */
async function die(
  engine: AwsEngine,
  bodies: readonly string[],
  attributes: Record<string, string> = {},
): Promise<void> {
  const queueUrl = engine.store.deadLetterQueueUrl;
  const messages = bodies.map((body) => ({ body, attributes }));
  const { sent } = await sendAll({ client: aws.sqs, queueUrl, backoff }, messages);
  expect(sent.size).toBe(bodies.length);
}

async function redrive(engine: AwsEngine) {
  const letters: [string, string | undefined][] = [];
  const queue = { client: aws.sqs, queueUrl: engine.store.queueUrl, backoff };
  await redriveDeadLetters(
    {
      ...{ pass: engine.pass(), queue, dayOf: dayRule('as-written') },
      redriveBatch: (rawKey) => engine.sweepBatch(rawKey),
      ageMsMax: engine.keepMs - 7 * dayMs,
    },
    everything,
    { onDeadLetter: ({ id }, left) => letters.push([id, left]) },
  );
  return letters;
}

async function drop(engine: AwsEngine) {
  const outcomes: string[] = [];
  const { ledgerTable } = engine.store;
  await dropDeadLetters(
    {
      ...{ pass: engine.pass(), client: aws.dynamodb, ledgerTable, backoff },
      groups: engine.groups,
    },
    everything,
    (_, outcome) => outcomes.push(outcome),
  );
  return outcomes.sort();
}

function chunkOf(index: number): string {
  const event = { ...itemOf(0), date: '2023-06-16' };
  const batchId = '019b770e-7be9-7000-9f05-000000000000';
  const chunks = cutIntoChunks({ batchId, receivedAt: start }, Array(3).fill(event) as never, 1);
  return chunks[index]?.message ?? '';
}

const itemText = (type: string) => JSON.stringify({ ...itemOf(0), type });

describe('a pass over the dead letters', () => {
  it('visits each once, and all of them again in the next pass', async () => {
    const engine = await openEngine();
    await die(
      engine,
      Array.from({ length: 35 }, (_, at) => `letter ${at}`),
    );
    for (let times = 0; times < 2; times++) {
      const bodies = (await engine.deadLetters.list()).map(({ body }) => body);
      expect(bodies).toHaveLength(35);
      expect(new Set(bodies).size).toBe(35);
    }
  });

  it('ends at its limit, and reports that there may be more', async () => {
    const engine = await openEngine();
    await die(
      engine,
      Array.from({ length: 15 }, (_, at) => `letter ${at}`),
    );
    const visit = () => Promise.resolve(new Set<StoredDeadLetter>());
    expect(await forEachDeadLetter(engine.pass(12), visit)).toEqual({ visited: 12, isMore: true });
    expect(await forEachDeadLetter(engine.pass(16), visit)).toEqual({ visited: 15, isMore: false });
  });

  it('leaves them visible if it fails', async () => {
    const engine = await openEngine();
    await die(engine, ['letter']);
    const visit = () => Promise.reject(new Error('no'));
    await expect(forEachDeadLetter(engine.pass(), visit)).rejects.toThrow('no');
    expect(await engine.deadLetters.list()).toHaveLength(1);
  });
});

describe('a redrive', () => {
  it('counts nothing twice after a kill between the send and the delete', async () => {
    const engine = await openEngine();
    await die(engine, [itemText('foreign'), chunkOf(0)]);
    engine.fault = (command, proceed) =>
      command === 'DeleteMessageBatch' ? Promise.reject(awsError('AbortError', 0)) : proceed();
    await expect(redrive(engine)).rejects.toThrow('AbortError');
    engine.fault = undefined;
    expect(await redrive(engine)).toMatchObject([
      [expect.any(String), undefined],
      [expect.any(String), undefined],
    ]);
    expect(await engine.process()).toBe(4);
    expect(await counts(engine)).toEqual([1, 1]);
    expect(await engine.deadLetters.list()).toEqual([]);
  });

  it('keeps the time of the first failure, and the identity', async () => {
    const engine = await openEngine();
    const messageId = 'first';
    await engine.count([
      { messageId, originalId: messageId, body: '{', sentAt: start, receives: 1 },
    ]);
    engine.now += 3_600_000;
    await redrive(engine);
    await engine.process();
    expect(await engine.deadLetters.list()).toMatchObject([
      { id: messageId, sentAt: start, firstFailedAt: start, lastFailedAt: start + 3_600_000 },
    ]);
  });

  it('leaves a dead letter that is too old', async () => {
    const engine = await openEngine();
    await die(engine, [chunkOf(0)]);
    engine.now += 84 * dayMs;
    const [[, reason] = []] = await redrive(engine);
    expect(reason).toMatch(/^too_old: received at 2023-06-16/);
    expect(await engine.process()).toBe(0);
    expect(await engine.deadLetters.list()).toHaveLength(1);
  });

  it('sends an old message that was replayed recently, with the time of the replay', async () => {
    const engine = await openEngine();
    engine.now += 84 * dayMs;
    const replayed = { replayed_at: new Date(engine.now).toISOString() };
    await die(engine, [chunkOf(0)], replayed);
    expect(await redrive(engine)).toMatchObject([[expect.any(String), undefined]]);
    const [message] = await lettersOf(engine, engine.store.queueUrl);
    expect(message?.attributes).toMatchObject(replayed);
  });

  it('queues the missing chunks of a whole batch, or gives the reason why not', async () => {
    const engine = await openEngine();
    const [sound, damaged] = [await storeUnqueued(engine), await storeUnqueued(engine)];
    const raw = await engine.rawStore.get(damaged);
    if (raw === undefined) throw new Error('it is not stored');
    await engine.rawStore.put({ ...raw, accepted: 7 });
    const gone = 'raw/2023-06-16T12:00:00.000Z-019b770e-7be9-7000-9f05-000000000000.json';
    await die(engine, [sound, damaged, gone].map(deadLetterBodyOfBatch));
    const reasons = (await redrive(engine)).map(([, reason]) => reason?.split(':')[0]);
    expect(reasons.sort()).toEqual(['raw_missing', 'recount_differs', undefined]);
    expect(await engine.process()).toBe(1);
    expect(await counts(engine)).toEqual([1]);
    // The rejected ones need no further check.
    expect(await drop(engine)).toEqual(['dropped', 'dropped']);
    await engine.sweep(-1);
    expect(await engine.deadLetters.list()).toEqual([]);
    expect(await engine.process()).toBe(0);
  });
});

/** The raw key of a batch whose intake ended before it was queued. */
async function storeUnqueued(engine: AwsEngine): Promise<string> {
  const keys: string[] = [];
  engine.fault = (command, proceed) =>
    command === 'SendMessageBatch' ? Promise.reject(awsError('AccessDenied', 403)) : proceed();
  await engine.intake.accept(batchOf([itemOf(0)])).catch(() => undefined);
  engine.fault = undefined;
  for await (const page of engine.rawStore.keys({ after: '' })) keys.push(...page);
  return keys.sort().at(-1) ?? '';
}

async function counts(engine: AwsEngine): Promise<number[]> {
  const rows = await readCountersDirectly(aws.dynamodb, engine.store.countersTable);
  return rows.map(({ count }) => count);
}

describe('a drop', () => {
  it('is permanent, and leaves what was counted before unchanged', async () => {
    const engine = await openEngine();
    const message = (messageId: string, body: string) => {
      return { messageId, originalId: messageId, body, sentAt: start, receives: 1 };
    };
    await engine.count([message('a', chunkOf(0))]);
    await die(engine, [chunkOf(0), chunkOf(1), itemText('foreign'), 'not json']);
    const [foreign] = (await engine.deadLetters.list()).filter(({ body }) =>
      body.includes('foreign'),
    );
    expect(await drop(engine)).toEqual(['counted', 'dropped', 'dropped', 'dropped']);
    expect(await engine.deadLetters.list()).toEqual([]);
    // Late copies, and the same drop once more.
    await engine.count([message('b', chunkOf(1)), message(foreign?.id ?? '', foreign?.body ?? '')]);
    await die(engine, [chunkOf(1)]);
    expect(await drop(engine)).toEqual(['dropped']);
    expect(await counts(engine)).toEqual([1]);

    const found = [];
    for await (const page of droppedDeadLetters(aws.dynamodb, engine.store.ledgerTable)) {
      found.push(...page);
    }
    expect(found).toHaveLength(3);
    expect(found.find(({ id }) => id === foreign?.id)).toMatchObject({
      ...{ droppedAt: start, body: foreign?.body },
      reason: expect.stringMatching(/^not_counted/) as string,
    });
    const { id, entry } = chunkKey('019b770e-7be9-7000-9f05-000000000000', 1);
    const rows = await scan(aws.dynamodb, engine.store.ledgerTable);
    const mark = rows.find((row) => row['id']?.S === id && row['entry']?.S === entry);
    expect(mark).toMatchObject({ items: { N: '0' }, dropped_at: { N: String(start) } });
    expect(mark).not.toHaveProperty('expires_at');
  });

  it('leaves the receipt pending, without the dropped items, and nothing for the sweep', async () => {
    const engine = new AwsEngine(aws, await createStore(aws), start, { itemsPerMessage: 1 });
    const taken = await engine.intake.accept(batchOf([itemOf(0), itemOf(1), itemOf(2)]));
    const { batchId } = taken.earlier ?? taken.stored;
    const [first] = await lettersOf(engine, engine.store.queueUrl);
    await die(engine, [first?.body ?? '']);
    await drop(engine);
    await engine.process();
    expect(await engine.receipts.find(batchId)).toMatchObject({ status: 'pending', counted: 2 });
    expect(await engine.sweep(-1)).toMatchObject({ orphans: 0, resent: 0 });
  });
});

describe('a dead letter that carries the body of its batch', () => {
  const small = { carriesBodies: true };
  const batch = batchOf([itemOf(0)]);

  /** An engine with such a dead letter, as SQS moves it; nothing else has the body. */
  async function openWithDead() {
    const engine = new AwsEngine(aws, await createStore(aws), start, small);
    const taken = await engine.intake.accept(batch);
    const { batchId, receivedAt } = taken.earlier ?? taken.stored;
    const [message] = await lettersOf(engine, engine.store.queueUrl);
    await aws.sqs.send(new PurgeQueueCommand({ QueueUrl: engine.store.queueUrl }));
    await die(engine, [message?.body ?? '']);
    const rawKey = rawKeyOf(batchId, receivedAt);
    expect(await engine.groups.find(rawKey)).toBeUndefined();
    const keep = () =>
      keepDeadBodies({
        pass: engine.pass(),
        deadLetters: engine.deadLetters,
        groups: engine.groups,
      });
    return { engine, rawKey, batchId, keep };
  }

  it('is stored before its time ends, once, and keeps its identity and its reason', async () => {
    const { engine, rawKey, batchId, keep } = await openWithDead();
    const [before] = await engine.deadLetters.list();
    expect([await keep(), await keep()]).toEqual([1, 0]);
    expect((await engine.groups.find(rawKey))?.body).toEqual(batch.body);
    const [letter, ...others] = await engine.deadLetters.list();
    expect(others).toEqual([]);
    expect(letter).toMatchObject({ id: before?.id, body: before?.body, content: { batchId } });
    expect(letter?.reason).toMatch(/^not_counted: SQS moved the message/);
    await redrive(engine);
    await engine.process();
    expect(await counts(engine)).toEqual([1]);
    expect(await engine.receipts.find(batchId)).toMatchObject({ status: 'counted', counted: 1 });
  });

  it('stays in its queue where its body cannot be stored', async () => {
    const { engine, keep } = await openWithDead();
    engine.fault = (command, proceed) =>
      command === 'PutObject' ? Promise.reject(awsError('SlowDown', 503)) : proceed();
    await expect(keep()).rejects.toThrow('SlowDown');
    await expect(drop(engine)).rejects.toThrow('SlowDown');
    engine.fault = undefined;
    expect(await engine.deadLetters.list()).toHaveLength(1);
    expect(await keep()).toBe(1);
  });

  it('is stored when it is dropped', async () => {
    const { engine, rawKey, batchId } = await openWithDead();
    expect(await drop(engine)).toEqual(['dropped']);
    expect((await engine.groups.find(rawKey))?.body).toEqual(batch.body);
    expect(await engine.receipts.find(batchId)).toMatchObject({ status: 'pending', counted: 0 });
  });
});

describe('messages that carry bodies, while S3 accepts none', () => {
  it('stay on the queue: they are neither counted nor dead letters, at the last receive neither', async () => {
    const engine = new AwsEngine(aws, await createStore(aws), start, { carriesBodies: true });
    await engine.intake.accept(batchOf([itemOf(0)]));
    const [letter] = await lettersOf(engine, engine.store.queueUrl);
    const { id = '', body = '' } = letter ?? {};
    const message = { messageId: id, originalId: id, body, sentAt: start, receives: 5 };
    const late = { ...message, messageId: 'late', sentAt: start };
    const item = { ...message, messageId: 'i', originalId: 'i', body: itemText('foreign') };
    engine.fault = (command, proceed) =>
      command === 'PutObject' ? Promise.reject(awsError('SlowDown', 503)) : proceed();
    expect(await engine.count([message, item])).toEqual(new Set([message]));
    engine.now += engine.keepMs;
    expect(await engine.count([late])).toEqual(new Set([late]));
    expect(await engine.deadLetters.list()).toEqual([]);
    expect(await counts(engine)).toEqual([1]);
    engine.fault = undefined;
    expect(await engine.count([late])).toEqual(new Set());
    expect(await engine.deadLetters.list()).toMatchObject([
      { reason: expect.stringMatching(/^too_old/) as string },
    ]);
    expect(await listBodies(engine.bodies)).toHaveLength(1);
  });
});

/** The messages on a queue, which stay there. */
async function lettersOf(engine: AwsEngine, queueUrl: string): Promise<StoredDeadLetter[]> {
  const found: StoredDeadLetter[] = [];
  await forEachDeadLetter({ ...engine.pass(), queueUrl }, (letters) => {
    found.push(...letters);
    return Promise.resolve(new Set());
  });
  return found;
}
