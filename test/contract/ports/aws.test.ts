import { randomBytes, randomUUID } from 'node:crypto';

import {
  DeleteItemCommand,
  PutItemCommand,
  TransactionCanceledException,
  UpdateItemCommand,
} from '@aws-sdk/client-dynamodb';
import { PutObjectCommand } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, expect } from 'vitest';

import { carriedMessage } from '../../../src/pipeline/chunks/carried-batch.ts';
import { earlierCarriedId } from '../../support/aws/earlier-ids.ts';
import { cutIntoChunks } from '../../../src/pipeline/chunks/chunk.ts';
import { batchIdMaker, rawKeyOf } from '../../../src/domain/batch-id.ts';
import type { Increments } from '../../../src/domain/counter.ts';
import { batchKey, chunkKey, keyItem } from '../../../src/engines/aws/ledger/ledger-table.ts';
import { dedupKeyOf, type DedupKey } from '../../../src/engines/aws/ledger/dedup-records.ts';
import { dynamodbCounterReader } from '../../../src/engines/aws/counters/counter-reader.ts';
import { dynamodbSweepProgress } from '../../../src/engines/aws/ledger/sweep-progress.ts';
import { ensureDayRule, shortestRetentionMs } from '../../../src/engines/aws/ledger/settings.ts';
import { deadLetterOnce } from '../../../src/engines/aws/dead-letters/dead-letter-once.ts';
import type { LedgerDelivery } from '../../../src/engines/aws/counters/counter-store.ts';
import type { QueueMessage } from '../../../src/pipeline/counting/count-messages.ts';
import type { Batch } from '../../../src/pipeline/ports.ts';
import { listBodies } from '../../support/list-bodies.ts';
import {
  awsError,
  AwsEngine,
  type AwsEngineOptions,
  type Fault,
} from '../../support/aws/aws-engine.ts';
import {
  readCountersDirectly,
  createStore,
  scan,
  startAws,
  type AwsEmulators,
} from '../../support/aws/aws-store.ts';
import { readCounters } from '../../support/counters.ts';
import { describeCounterStore } from './counter-store-contract.ts';
import { batchOf, describeIntake, itemOf, sortedRows } from './intake-contract.ts';
import { describeRawStore } from './raw-store-contract.ts';
import { describeReceipts } from './receipts-contract.ts';
import { needs } from '../../support/run/needs.ts';

const { describe, it } = needs('Java');

let aws: AwsEmulators;
beforeAll(async () => {
  aws = await startAws();
});
afterAll(() => aws.stop());

const start = Date.UTC(2023, 5, 16, 12);

async function openEngine(options: AwsEngineOptions = {}): Promise<AwsEngine> {
  return new AwsEngine(aws, await createStore(aws), start, options);
}

async function put(engine: AwsEngine, batch: Batch) {
  const result = await engine.intake.accept(batch);
  if (result.earlier !== undefined) throw new Error('the batch was known already');
  return result.stored;
}

/** Runs the processor and the sweep. */
async function drain(engine: AwsEngine): Promise<void> {
  engine.fault = undefined;
  await engine.process();
  await engine.sweep(-1);
  await engine.process();
}

const done = () => Promise.resolve();

const refuse =
  (commands: RegExp, error: Error): Fault =>
  (command, proceed) =>
    commands.test(command) ? Promise.reject(error) : proceed();

/** Carries the calls out and loses the replies. */
const loseReply =
  (commands: RegExp): Fault =>
  async (command, proceed) => {
    const reply = await proceed();
    if (commands.test(command)) throw awsError('TimeoutError', 0);
    return reply;
  };

const unavailable = awsError('ServiceUnavailable', 503);
const storageFaults: Record<string, Fault> = {
  'S3 accepts no body': refuse(/^PutObject/, unavailable),
  'SQS accepts no message': refuse(/^SendMessage/, unavailable),
  'SQS loses its replies': loseReply(/^SendMessage/),
  'DynamoDB accepts no row': refuse(/^PutItem/, unavailable),
  'nothing answers': refuse(/./, awsError('TimeoutError', 0)),
  'access is denied': refuse(/./, awsError('AccessDenied', 403)),
};

/** Where the body of a small batch is until it is counted; and which faults meet each batch. */
const forms = {
  'S3, SQS and DynamoDB': { carriesBodies: false, faults: Object.keys(storageFaults) },
  'SQS, which carries small bodies': {
    carriesBodies: true,
    faults: Object.keys(storageFaults).filter((name) => !/^S3|^DynamoDB/.test(name)),
  },
};

describe('the ports on AWS', () => {
  describe.each(Object.entries(forms))('%s', (name, { faults, ...form }) => {
    describeIntake(name, faults, async () => {
      const engine = await openEngine(form);
      return {
        intake: engine.intake,
        rawStore: engine.bodies,
        keepKeysMs: engine.keepMs,
        showsOnceCounted: form.carriesBodies,
        drain: () => drain(engine),
        counters: () => readCountersDirectly(aws.dynamodb, engine.store.countersTable),
        advance: (milliseconds) => void (engine.now += milliseconds),
        restart: () => {
          engine.fault = undefined;
          return done();
        },
        failStorage: (fault) => {
          engine.fault = storageFaults[fault];
        },
        overload: () => {
          engine.fault = refuse(/^(?:PutObject|SendMessage)/, awsError('SlowDown', 503));
          return done();
        },
        close: done,
      };
    });

    describeRawStore(name, async () => {
      const engine = await openEngine(form);
      return {
        rawStore: engine.bodies,
        hasLooseOrder: form.carriesBodies,
        put: (batch, receivedAt) => {
          engine.now = receivedAt;
          return put(engine, batch);
        },
        close: done,
      };
    });

    describeReceipts(name, async () => {
      const engine = await openEngine(form);
      return {
        receipts: engine.receipts,
        readsIds: form.carriesBodies,
        put: (batch) => put(engine, batch),
        drain: () => drain(engine),
        close: done,
      };
    });
  });

  const counterFaults: Record<string, Fault> = {
    'everything is throttled': refuse(/^Transact/, awsError('ThrottlingException', 400)),
    'the service is down': refuse(/^Transact/, awsError('InternalServerError', 500)),
    'access is denied': refuse(/^Transact/, awsError('AccessDeniedException', 400)),
    'it is cancelled without a reason': refuse(
      /^Transact/,
      new TransactionCanceledException({ message: 'cancelled', $metadata: {} }),
    ),
  };
  const badRow = 'the row of a counter holds no number';

  /** Where the dedup records are. */
  const records: Record<string, () => () => DedupKey> = {
    'rows of their own': () => {
      const batchId = randomUUID();
      let index = 0;
      return () => chunkKey(batchId, index++);
    },
    'dedup blocks': () => {
      const make = batchIdMaker(randomBytes);
      let time = start;
      return () => dedupKeyOf(make(time++, 1), 0);
    },
  };

  const allFaults = [...Object.keys(counterFaults), badRow];
  describe.each(Object.entries(records))('with %s', (name, keys) => {
    describeCounterStore(`DynamoDB with ${name}`, allFaults, () => openStore(keys()));
  });

  async function openStore(nextKey: () => DedupKey) {
    const engine = await openEngine();
    const TableName = engine.store.countersTable;
    const Key = { date: { S: '2023-06-16' }, type_state: { S: 'obstructed#ready' } };
    let pending = done();
    return {
      store: {
        apply: async (deliveries: readonly LedgerDelivery[]) => {
          await pending;
          return await engine.counterStore.apply(deliveries);
        },
      },
      deliveriesOf: (all: readonly Increments[]) =>
        all.map((increments) => ({
          dedupKey: nextKey(),
          increments,
          items: 1,
        })),
      counters: async () => {
        await pending;
        const rows = await readCountersDirectly(aws.dynamodb, TableName);
        return rows.filter(({ count }) => !Number.isNaN(count));
      },
      obstruct: (fault: string) => {
        if (fault !== badRow) {
          engine.fault = counterFaults[fault];
          return () => void (engine.fault = undefined);
        }
        const Item = { ...Key, count: { S: 'many' } };
        pending = aws.dynamodb.send(new PutItemCommand({ TableName, Item })).then(() => undefined);
        return () => {
          const request = new DeleteItemCommand({ TableName, Key });
          pending = aws.dynamodb.send(request).then(() => undefined);
        };
      },
      reopen: done,
      close: done,
    };
  }

  // --- Particular to these adapters
});

describe('an interrupted attempt', () => {
  const batch = batchOf(
    Array.from({ length: 300 }, (_, serial) => ({ ...itemOf(0), type: `type ${serial}` })),
    { key: 'a' },
  );
  /** PutItem, PutObject, SendMessageBatch, PutItem: see `awsIntake`. */
  const calls = 4;

  it.each(
    Array.from({ length: calls }, (_, at) =>
      ['before', 'after'].map((when) => [when, at] as const),
    ).flat(),
  )('%s call %i is the same batch when it is repeated, and counted once', async (when, at) => {
    const engine = await openEngine();
    let made = 0;
    engine.fault = async (_command, proceed) => {
      const isCut = made++ === at;
      if (isCut && when === 'before') throw awsError('TimeoutError', 0);
      const reply = await proceed();
      if (isCut) throw awsError('TimeoutError', 0);
      return reply;
    };
    // The attempt itself sends again what SQS did not answer.
    const first = await engine.intake.accept(batch).catch((error: unknown) => error);
    engine.fault = undefined;
    if (first instanceof Error) expect(first).toMatchObject({ name: 'Unavailable' });
    else expect(at).toBe(2);

    const again = await engine.intake.accept(batch);
    const { batchId } = again.earlier ?? again.stored;
    expect(await listBodies(engine.rawStore)).toMatchObject([{ batchId }]);
    expect((await engine.intake.recall('', 'a'))?.batchId).toBe(batchId);
    await drain(engine);
    const counters = () => readCountersDirectly(aws.dynamodb, engine.store.countersTable);
    expect(await counters()).toEqual(sortedRows(batch.increments));
    expect(await engine.receipts.find(batchId)).toMatchObject({ status: 'counted', counted: 300 });
  });

  it('is continued at once, awaited after minutes, and replaced after more', async () => {
    for (const [minutes, result] of [
      [2, 'the same'],
      [4, 'refused'],
      [6, 'another'],
    ] as const) {
      const engine = await openEngine();
      engine.fault = refuse(/^PutObject/, unavailable);
      await expect(engine.intake.accept(batch)).rejects.toMatchObject({ name: 'Unavailable' });
      engine.fault = undefined;
      engine.now += minutes * 60_000;
      const again = await engine.intake.accept(batch).catch(() => undefined);
      const receivedAt = again && (again.earlier ?? again.stored).receivedAt;
      const expected = { 'the same': start, refused: undefined, another: engine.now };
      expect(receivedAt, `${minutes} minutes`).toBe(expected[result]);
    }
  });

  it('is stored under a new time after a late retry, so that the sweep finds it', async () => {
    const engine = await openEngine();
    engine.fault = refuse(/^PutObject/, unavailable);
    await expect(engine.intake.accept(batch)).rejects.toMatchObject({ name: 'Unavailable' });
    engine.now += 24 * 3_600_000;
    engine.fault = refuse(/^SendMessage/, unavailable);
    await expect(engine.intake.accept(batch)).rejects.toMatchObject({ name: 'Unavailable' });
    engine.fault = undefined;
    expect(await listBodies(engine.rawStore)).toMatchObject([{ receivedAt: engine.now }]);
    expect(await engine.sweep()).toMatchObject({ batches: 0 });
    engine.now += 16 * 60_000;
    expect(await engine.sweep()).toMatchObject({ batches: 1, orphans: 1, resent: 4 });
    await engine.process();
    expect(await readCountersDirectly(aws.dynamodb, engine.store.countersTable)).toEqual(
      sortedRows(batch.increments),
    );
  });
});

describe('messages', () => {
  const item = { type: 'phone', state: 'erased', timestamp: '2023-06-16T13:00:00Z' };
  let serial = 0;
  const messageOf = (body: string, more: Partial<QueueMessage> = {}): QueueMessage => {
    const messageId = `message ${serial++}`;
    return { messageId, originalId: messageId, body, sentAt: start, receives: 1, ...more };
  };
  const counters = (engine: AwsEngine) =>
    readCountersDirectly(aws.dynamodb, engine.store.countersTable);

  it('of other programs are counted, one item each, by their message id', async () => {
    const engine = await openEngine();
    const messages = [messageOf(JSON.stringify(item)), messageOf(JSON.stringify(item))];
    expect(await engine.count(messages)).toEqual(new Set());
    expect(await engine.count(messages)).toEqual(new Set());
    // A redrive: another message with the same item.
    const [{ originalId } = messageOf('')] = messages;
    await engine.count([messageOf(JSON.stringify(item), { originalId })]);
    expect(await counters(engine)).toEqual([
      { date: '2023-06-16', type: 'phone', state: 'erased', count: 2 },
    ]);
  });

  it('that are unreadable become dead letters with their reason, once, and block no other', async () => {
    const engine = await openEngine();
    const bad = [
      'not JSON',
      '[]',
      'null',
      '"text"',
      '{"type":"phone","state":"","timestamp":"2023-06-16T13:00:00Z"}',
      '{"version":2,"batch_id":"x","items":[]}',
      '{"version":1,"batch_id":"x","index":0,"raw_key":"raw/x.json","items":[{}]}',
      `${'['.repeat(100)}${']'.repeat(100)}`,
    ].map((body) => messageOf(body));
    const good = messageOf(JSON.stringify(item));
    expect(await engine.count([...bad, good, ...bad])).toEqual(new Set());
    expect(await engine.count([...bad, good])).toEqual(new Set());
    expect(await counters(engine)).toMatchObject([{ count: 1 }]);
    const letters = await engine.deadLetters.list();
    expect(letters.map(({ id }) => id).sort()).toEqual(
      bad.map(({ originalId }) => originalId).sort(),
    );
    const reasonOf = (at: number) => letters.find(({ id }) => id === bad[at]?.originalId)?.reason;
    expect(reasonOf(0)).toMatch(/^invalid_json: /);
    expect(reasonOf(1)).toMatch(/^invalid_message: /);
    expect(reasonOf(4)).toMatch(/^invalid_item: state must not be empty/);
    expect(reasonOf(5)).toMatch(/^unsupported_version: expected version 1, not 2/);
    expect(reasonOf(6)).toMatch(/^invalid_message: raw_key/);
    expect(reasonOf(7)).toMatch(/^invalid_json: nested deeper/);
  });

  it('that fail again after a redrive become dead letters again', async () => {
    const engine = await openEngine();
    const first = messageOf('{');
    await engine.count([first]);
    await engine.count([messageOf('{', { originalId: first.originalId })]);
    const letters = await engine.deadLetters.list();
    expect(letters.map(({ id }) => id)).toEqual([first.originalId, first.originalId]);
  });

  it('whose counter cannot be incremented block no other, and give the reason', async () => {
    const engine = await openEngine();
    const Item = {
      date: { S: '2023-06-16' },
      type_state: { S: 'broken#erased' },
      count: { S: 'many' },
    };
    const TableName = engine.store.countersTable;
    await aws.dynamodb.send(new PutItemCommand({ TableName, Item }));
    const bad = messageOf(JSON.stringify({ ...item, type: 'broken' }));
    const good = ['a', 'b', 'c'].map((type) => messageOf(JSON.stringify({ ...item, type })));
    expect(await engine.count([...good, bad, ...good])).toEqual(new Set());
    expect((await counters(engine)).map(({ type }) => type)).toEqual(['', 'a', 'b', 'c']);
    const [letter] = await engine.deadLetters.list();
    expect(letter).toMatchObject({
      id: bad.originalId,
      reason: expect.stringMatching(/^not_counted: /) as string,
    });
  });

  it('that cannot be counted now are delivered again, and become dead letters at the last receive', async () => {
    const engine = await openEngine();
    const once = messageOf(JSON.stringify(item), { receives: 4 });
    engine.fault = refuse(/^Transact/, awsError('ThrottlingException', 400));
    expect(await engine.count([once])).toEqual(new Set([once]));
    const last = { ...once, receives: 5 };
    expect(await engine.count([last])).toEqual(new Set());
    engine.fault = undefined;
    expect(await engine.deadLetters.list()).toMatchObject([
      { id: once.originalId, reason: expect.stringMatching(/^not_counted: Throttling/) as string },
    ]);
    // Redriven, it is counted.
    await engine.count([messageOf(once.body, { originalId: once.originalId })]);
    expect(await counters(engine)).toMatchObject([{ count: 1 }]);
  });

  it('are counted once if the reply of the transaction is lost', async () => {
    const engine = await openEngine();
    let losses = 0;
    engine.fault = async (command, proceed) => {
      const reply = await proceed();
      if (command !== 'TransactWriteItems' || losses++ > 0) return reply;
      engine.now += 1_234;
      throw awsError('TimeoutError', 0);
    };
    const message = messageOf(JSON.stringify(item), { receives: 5 });
    expect(await engine.count([message])).toEqual(new Set());
    expect(losses).toBe(2);
    expect(await engine.deadLetters.list()).toEqual([]);
    expect(await counters(engine)).toMatchObject([{ count: 1 }]);
  });

  it('that carry bodies are counted once, also together with messages of an earlier version', async () => {
    const engine = await openEngine({ carriesBodies: true });
    const make = batchIdMaker(randomBytes);
    const earlier = batchIdMaker(randomBytes);
    const carried = Array.from({ length: 150 }, (_, at) => {
      const now = start + at;
      const batchId = at % 5 === 0 ? earlierCarriedId(earlier(now), 1) : make(now, 1);
      const body = Buffer.from(JSON.stringify({ processed_devices: [item] }));
      const known = { batchId, receivedAt: now, accepted: 1, rejected: 0 } as const;
      return messageOf(carriedMessage({ ...known, encoding: 'identity', body }));
    });
    let transactions = 0;
    engine.fault = (command, proceed) => {
      if (command === 'TransactWriteItems') transactions++;
      return proceed();
    };
    expect(await engine.count(carried.slice(0, 60))).toEqual(new Set());
    expect(transactions).toBe(1);
    // A lookup would find them: the transactions meet each unexpected one.
    expect(await engine.count([...carried, ...carried.slice(70)])).toEqual(new Set());
    expect(transactions).toBe(3);
    expect(await engine.count(carried)).toEqual(new Set());
    expect(await counters(engine)).toMatchObject([{ count: 150 }]);
    const blocks = (await scan(aws.dynamodb, engine.store.ledgerTable)).filter(
      ({ numbers }) => numbers !== undefined,
    );
    expect(blocks.map(({ numbers }) => numbers?.NS?.length).sort()).toEqual([100, 20]);
  });

  it('of a batch whose dedup records may have expired are dead-lettered, not counted', async () => {
    const engine = await openEngine();
    await put(engine, batchOf([itemOf(0)]));
    engine.now += 83 * 86_400_000 + 1;
    await engine.process();
    expect(await counters(engine)).toEqual([]);
    expect(await engine.deadLetters.list()).toMatchObject([
      { reason: expect.stringMatching(/^too_old: received at 2023-06-16T12:00:00/) as string },
    ]);
  });
});

describe('a transaction that is cancelled without a reason', () => {
  it('is retried, and its chunk is not dead-lettered', async () => {
    const engine = await openEngine();
    await put(engine, batchOf([itemOf(0)]));
    let isFirst = true;
    engine.fault = (command, proceed) => {
      const isCancelled = isFirst && command.startsWith('Transact');
      isFirst &&= !isCancelled;
      const error = new TransactionCanceledException({ message: 'cancelled', $metadata: {} });
      return isCancelled ? Promise.reject(error) : proceed();
    };
    expect(await engine.process()).toBe(1);
    expect(await engine.deadLetters.list()).toEqual([]);
    const rows = await readCountersDirectly(aws.dynamodb, engine.store.countersTable);
    expect(rows).toMatchObject([{ count: 1 }]);
  });
});

describe('a sweep of an earlier version', () => {
  it('leaves the second position unchanged, since that version has only one', async () => {
    const { ledgerTable: TableName } = await createStore(aws);
    const progress = dynamodbSweepProgress(aws.dynamodb, TableName);
    expect(await progress.position()).toEqual({ intakesThrough: '', countedThrough: '' });
    await progress.moveTo('raw/b');
    expect(await progress.position()).toMatchObject({ countedThrough: 'raw/b' });
    await progress.countedTo('raw/a', start);
    for (const more of [
      { entry: { S: 'position' }, raw_key: { S: 'raw/z' } },
      { entry: { S: 'swept' }, received_before: { N: String(start + 1) } },
    ]) {
      const Item = { id: { S: 'sweep' }, ...more };
      await aws.dynamodb.send(new PutItemCommand({ TableName, Item }));
    }
    expect(await progress.position()).toEqual({
      intakesThrough: 'raw/z',
      countedThrough: 'raw/a',
    });
  });
});

describe('data of other programs', () => {
  it('blocks no sweep: a second raw key of a batch, a row without its number of chunks', async () => {
    const engine = await openEngine();
    const [twice, odd, cutOff] = [await put(engine, batchOf([itemOf(0)])), randomUUID(), 3];
    const { bucket: Bucket, ledgerTable: TableName } = engine.store;
    const body = Buffer.from(JSON.stringify({ processed_devices: [itemOf(1)] }));
    const other = rawKeyOf(twice.batchId, twice.receivedAt + 1);
    for (const Key of [other, rawKeyOf(odd, start + 2), rawKeyOf(randomUUID(), start + cutOff)]) {
      const Metadata = { accepted: '1', rejected: '0' };
      await aws.s3.send(new PutObjectCommand({ Bucket, Key, Body: body, Metadata }));
    }
    const Item = { ...keyItem(batchKey(odd)), received_at: { N: String(start) } };
    await aws.dynamodb.send(new PutItemCommand({ TableName, Item }));
    await engine.process();
    engine.now += 16 * 60_000;
    const failed: string[] = [];
    engine.onSweepFailure = (_, rawKey) => failed.push(rawKey);
    expect(await engine.sweep()).toMatchObject({ batches: 4, orphans: 1, resent: 1, failed: 1 });
    expect(failed).toEqual([rawKeyOf(odd, start + 2)]);
    expect(await engine.sweep()).toMatchObject({ batches: 0, failed: 0 });
  });
});

describe('a batch that was queued in part', () => {
  it('is completed by the sweep, once', async () => {
    const engine = await openEngine();
    const batch = batchOf(
      Array.from({ length: 25 }, (_, serial) => ({ ...itemOf(0), type: `type ${serial}` })),
    );
    const cut = new AwsEngine(aws, engine.store, start, { itemsPerMessage: 1 });
    let sends = 0;
    cut.fault = (command, proceed) =>
      command === 'SendMessageBatch' && sends++ > 0 ? Promise.reject(unavailable) : proceed();
    await expect(cut.intake.accept(batch)).rejects.toMatchObject({ name: 'Unavailable' });
    expect(await engine.process()).toBe(10);
    // Not yet: an intake may be in progress.
    engine.now += 14 * 60_000;
    expect(await engine.sweep()).toMatchObject({ batches: 0, resent: 0 });
    engine.now += 2 * 60_000;
    // The sweep has another setting, but cuts the batch as it was cut before.
    expect(await engine.sweep()).toMatchObject({ batches: 1, orphans: 1, resent: 15 });
    expect(await engine.sweep()).toMatchObject({ batches: 0, orphans: 0, resent: 0 });
    expect(await engine.process()).toBe(15);
    engine.now += 24 * 3_600_000;
    expect(await engine.sweep()).toMatchObject({ batches: 0, orphans: 0, resent: 0 });
    expect(await engine.sweep()).toMatchObject({ batches: 0 });
    expect(await engine.process()).toBe(0);
    expect(await readCountersDirectly(aws.dynamodb, engine.store.countersTable)).toEqual(
      sortedRows(batch.increments),
    );
    const [raw] = await listBodies(engine.rawStore);
    expect(await engine.receipts.find(raw?.batchId ?? '')).toMatchObject({ status: 'counted' });
  });

  it('is sent again at growing intervals while nothing is counted', async () => {
    const engine = await openEngine();
    engine.fault = refuse(/^SendMessage/, unavailable);
    await engine.intake.accept(batchOf([itemOf(0)])).catch(() => undefined);
    engine.fault = undefined;
    const sent: number[] = [];
    for (let minute = 0; minute <= 300; minute += 5) {
      engine.now = start + minute * 60_000;
      const { resent } = await engine.sweep();
      if (resent > 0) sent.push(minute);
    }
    expect(sent).toEqual([20, 35, 50, 80, 140, 260]);
  });
});

describe('the counters', () => {
  const day = { from: '2023-06-16', to: '2023-06-16', types: [], states: [] };

  it('include rows that other programs wrote, and increment them', async () => {
    const engine = await openEngine();
    const TableName = engine.store.countersTable;
    const date = { S: '2023-06-16' };
    const rows = [
      { type_state: { S: 'laptop#erased' }, count: { N: '3' } },
      { type_state: { S: 'a%23b#c' }, count: { N: '1' } },
      { type_state: { S: 'a#b#c' }, type: { S: 'a#b' }, state: { S: 'c' }, count: { N: '5' } },
      { type_state: { S: '100%#ok' }, count: { N: '2' } },
    ];
    for (const row of rows) {
      await aws.dynamodb.send(new PutItemCommand({ TableName, Item: { date, ...row } }));
    }
    await put(engine, batchOf([itemOf(0)]));
    const own = { ...itemOf(0), type: 'laptop', state: 'erased' };
    await put(engine, batchOf([own, own]));
    await engine.process();
    // The plain update of a program that uses only the table.
    await aws.dynamodb.send(
      new UpdateItemCommand({
        TableName,
        Key: { date, type_state: { S: 'laptop#erased' } },
        UpdateExpression: 'SET #t = :t, #s = :s ADD #c :one',
        ExpressionAttributeNames: { '#t': 'type', '#s': 'state', '#c': 'count' },
        ExpressionAttributeValues: {
          ':t': { S: 'laptop' },
          ':s': { S: 'erased' },
          ':one': { N: '1' },
        },
      }),
    );
    const reader = dynamodbCounterReader(aws.dynamodb, TableName);
    expect(await readCounters(reader, day)).toEqual([
      { date: '2023-06-16', type: '100%', state: 'ok', count: 2 },
      { date: '2023-06-16', type: 'a#b', state: 'c', count: 6 },
      { date: '2023-06-16', type: 'laptop', state: 'erased', count: 6 },
      { date: '2023-06-16', type: 'type 0', state: 'ready', count: 1 },
    ]);
  });

  it('are rows with exactly these attributes', async () => {
    const engine = await openEngine();
    await put(engine, batchOf([{ ...itemOf(0), type: '50%#1' }]));
    await engine.process();
    expect(await scan(aws.dynamodb, engine.store.countersTable)).toEqual([
      {
        date: { S: '2023-06-16' },
        type_state: { S: '50%25%231#ready' },
        type: { S: '50%#1' },
        state: { S: 'ready' },
        count: { N: '1' },
      },
    ]);
  });

  it('are read completely: all pages of a day, and all days of a range', async () => {
    const engine = await openEngine();
    // In the key of a row a type has three bytes for each of these: a day has more than a page.
    const long = '%'.repeat(100);
    const rows = Array.from({ length: 3600 }, (_, serial) => ({
      type: `${long}${serial}`,
      state: long,
      timestamp: `2023-0${1 + (serial % 2)}-01T00:00:00Z`,
    }));
    const batch = batchOf(rows);
    await put(engine, batch);
    await engine.process();
    const reader = dynamodbCounterReader(aws.dynamodb, engine.store.countersTable);
    const range = { ...day, from: '2022-12-31', to: '2023-12-31' };
    expect(await readCounters(reader, range)).toEqual(sortedRows(batch.increments));
    const one = { ...range, types: [`${long}17`], states: [long] };
    expect(await readCounters(reader, one)).toMatchObject([{ type: `${long}17`, count: 1 }]);
  });

  it('lose no increment of concurrent writers', async () => {
    const engine = await openEngine();
    const item = JSON.stringify({ type: 'a', state: 'b', timestamp: '2023-06-16T13:00:00Z' });
    const messages = Array.from({ length: 40 }, (_, at) => {
      const id = `${at}`;
      return { messageId: id, originalId: id, body: item, sentAt: start, receives: 1 };
    });
    const patient = new AwsEngine(aws, engine.store, start, { attemptsMax: 100 });
    const deliveries = messages.map((message) => [message, ...messages.slice(0, 3)]);
    const left = await Promise.all(deliveries.map((each) => patient.count(each)));
    expect(left.map(({ size }) => size)).toEqual(messages.map(() => 0));
    expect(await readCountersDirectly(aws.dynamodb, engine.store.countersTable)).toMatchObject([
      { count: 40 },
    ]);
  });
});

describe('the lifetime of dedup records', () => {
  it('is the shortest that was ever set', async () => {
    const { ledgerTable } = await createStore(aws);
    const least = (days: number) => shortestRetentionMs(aws.dynamodb, ledgerTable, days);
    expect([await least(90), await least(120), await least(30), await least(90)]).toEqual([
      90, 90, 30, 30,
    ]);
    await Promise.all([28, 20, 25, 30].map(least));
    expect(await least(90)).toBe(20);
  });
});

describe('a batch for which another program queued a chunk that it does not have', () => {
  it('is complete when its own chunks are counted, not when as many are', async () => {
    const engine = new AwsEngine(aws, await createStore(aws), start, { itemsPerMessage: 1 });
    const { batchId, receivedAt } = await put(engine, batchOf([itemOf(0), itemOf(1)]));
    const event = { ...itemOf(0), date: '2023-06-16' };
    const [first] = cutIntoChunks({ batchId, receivedAt }, [event], 1);
    const own = first?.message ?? '';
    const forged = own.replace('"index":0', '"index":7');
    const messages = [own, forged].map((body, at) => {
      const id = `forged ${at}`;
      return { messageId: id, originalId: id, body, sentAt: start, receives: 1 };
    });
    await engine.count(messages);
    expect(await engine.receipts.find(batchId)).toMatchObject({ status: 'pending' });
    engine.now += 16 * 60_000;
    expect(await engine.sweep()).toMatchObject({ orphans: 0, resent: 1 });
  });
});

describe('dead letters', () => {
  it('that could not all be sent are named one by one', async () => {
    const engine = await openEngine();
    const sent: string[] = [];
    const deadLetters = deadLetterOnce(
      {
        add: (letters) => {
          const taken = letters.filter(({ messageId }) => messageId !== 'b');
          sent.push(...taken.map(({ messageId }) => messageId));
          return Promise.resolve(new Set(taken.map(({ messageId }) => messageId)));
        },
      },
      { client: aws.dynamodb, ledgerTable: engine.store.ledgerTable, keepMs: 1, now: () => start },
    );
    const letters = ['a', 'b', 'c'].map((messageId) => {
      return { messageId, originalId: messageId, sentAt: start, body: '{', reason: 'x: y' };
    });
    expect(await deadLetters.add(letters)).toEqual(new Set(['a', 'c']));
    expect(await deadLetters.add(letters)).toEqual(new Set(['a', 'c']));
    expect(sent).toEqual(['a', 'c']);
  });
});

describe('the day rule', () => {
  it('belongs to the store: another one is refused', async () => {
    const { ledgerTable } = await createStore(aws);
    await ensureDayRule(aws.dynamodb, ledgerTable, 'UTC');
    await ensureDayRule(aws.dynamodb, ledgerTable, 'UTC');
    await expect(ensureDayRule(aws.dynamodb, ledgerTable, 'as-written')).rejects.toThrow(
      'This store has the day rule "UTC", but dayZone is "as-written".',
    );
  });
});
