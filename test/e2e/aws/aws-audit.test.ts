import { hash, randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';

import { DeleteItemCommand, PutItemCommand, UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import { DeleteObjectCommand, GetObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { SendMessageCommand } from '@aws-sdk/client-sqs';
import { afterAll, beforeAll, beforeEach, expect } from 'vitest';

import { batchIdMaker, rawKeyOf, readRawKey } from '../../../src/domain/batch-id.ts';
import { dropReplaced, restoreReplaced } from '../../../src/engines/aws/counters/corrections.ts';
import { encodeOverLimitItems } from '../../../src/engines/aws/ledger/over-limit-items.ts';
import { FencedWrites } from '../../../src/engines/aws/ledger/fenced-writes.ts';
import {
  chunkKey,
  keyIdOf,
  keyItem,
  keyPrefix,
  type Item,
} from '../../../src/engines/aws/ledger/ledger-table.ts';
import type { Difference } from '../../../src/pipeline/findings.ts';
import { AwsEngine } from '../../support/aws/aws-engine.ts';
import { auditOf, rebuildOf, testBackoff } from '../../support/aws/aws-verify.ts';
import {
  readCountersDirectly,
  scan,
  startAws,
  type AwsEmulators,
} from '../../support/aws/aws-store.ts';
import { Lambdas } from '../../support/aws/lambda.ts';
import { needs } from '../../support/run/needs.ts';
import { isNightly, rounds } from '../../support/run/tier.ts';

const { describe, it } = needs('Java');

const audits = rounds({ what: 'audits beside traffic on AWS', quick: 1, nightly: 10 });
const date = '2026-03-01';

let aws: AwsEmulators;
let lambdas: Lambdas;
let rawKeys: string[];

beforeAll(async () => {
  aws = await startAws();
});
afterAll(() => aws.stop());

/** Each batch has its own counter and a shared one; two chunks each. */
async function post(n: number, count = 2, key?: string): Promise<string> {
  const items = Array.from({ length: count }, (_, at) => ({
    type: 'laptop',
    state: at === 0 ? `own ${n}` : 'shared',
    timestamp: `${date}T10:00:00Z`,
  }));
  const body = JSON.stringify({ processed_devices: items });
  const headers = {
    'content-type': 'application/json',
    ...(key !== undefined && { 'idempotency-key': key }),
  };
  const answer = await lambdas.ask({ method: 'POST', path: '/ingest', headers, body });
  expect(answer, answer.text).toMatchObject({ status: 200 });
  return (JSON.parse(answer.text) as { raw_key: string }).raw_key;
}

beforeEach(async () => {
  lambdas = await Lambdas.create(aws, { ITEMS_PER_MESSAGE: '1' });
  rawKeys = [];
  for (let n = 0; n < 12; n++) rawKeys.push(await post(n));
  await lambdas.drain();
});

const codesOf = (differences: readonly Difference[]) => differences.map(({ code }) => code).sort();
const counterRow = (state: string) => ({ date: { S: date }, type_state: { S: `laptop#${state}` } });

async function setCount(state: string, count: number) {
  await aws.dynamodb.send(
    new UpdateItemCommand({
      TableName: lambdas.store.countersTable,
      Key: counterRow(state),
      UpdateExpression: 'SET #type = :type, #state = :state, #count = :count',
      ExpressionAttributeNames: { '#type': 'type', '#state': 'state', '#count': 'count' },
      ExpressionAttributeValues: {
        ':type': { S: 'laptop' },
        ':state': { S: state },
        ':count': { N: String(count) },
      },
    }),
  );
}

async function deleteMark(rawKey: string, index: number) {
  const { batchId = '' } = readRawKey(rawKey) ?? {};
  await aws.dynamodb.send(
    new DeleteItemCommand({
      TableName: lambdas.store.ledgerTable,
      Key: keyItem(chunkKey(batchId, index)),
    }),
  );
}

/** The rows of keys, by the batch that each names. */
async function keyRows(): Promise<Map<string, Item>> {
  const rows = await scan(aws.dynamodb, lambdas.store.ledgerTable);
  const keys = rows.filter(({ id }) => id?.S?.startsWith(keyPrefix));
  return new Map(keys.map((row) => [row['batch_id']?.S ?? '', row]));
}

async function keyRowOf(rawKey: string): Promise<Item> {
  const row = (await keyRows()).get(readRawKey(rawKey)?.batchId ?? '');
  if (row === undefined) throw new Error(`no key names ${rawKey}`);
  return row;
}

async function putLedgerRow(Item: Item) {
  await aws.dynamodb.send(new PutItemCommand({ TableName: lambdas.store.ledgerTable, Item }));
}

async function deleteKeyRow({ id, entry }: Item) {
  const Key = { id: id ?? { S: '' }, entry: entry ?? { S: '' } };
  await aws.dynamodb.send(new DeleteItemCommand({ TableName: lambdas.store.ledgerTable, Key }));
}

async function damage(rawKey: string) {
  const at = { Bucket: lambdas.store.bucket, Key: rawKey };
  const object = await aws.s3.send(new GetObjectCommand(at));
  const text = (await object.Body?.transformToString()) ?? '';
  // It is still as long, and reads as well as before.
  const Body = Buffer.from(text.replace('shared', 'sharec'));
  await aws.s3.send(new PutObjectCommand({ ...at, Body, Metadata: object.Metadata }));
}

async function deleteBody(rawKey: string) {
  await aws.s3.send(new DeleteObjectCommand({ Bucket: lambdas.store.bucket, Key: rawKey }));
}

const audit = (options = {}) => auditOf(aws, lambdas.store, options);
const rebuild = (options = {}) => rebuildOf(aws, lambdas.store, options);
const counters = () => readCountersDirectly(aws.dynamodb, lambdas.store.countersTable);
const tables = () => ({
  client: aws.dynamodb,
  countersTable: lambdas.store.countersTable,
  ledgerTable: lambdas.store.ledgerTable,
});

describe('audit of a store on AWS', () => {
  it('agrees with an unchanged stack', async () => {
    const { differences, summary } = await audit();
    expect(differences).toEqual([]);
    expect(summary).toMatchObject({
      ...{ batches: 12, items: 24, counters: 13, differences: 0, unsettled: 0, inFlight: 0 },
    });
    expect(await audit({ received: { from: 0, to: Date.now() + 60_000 } })).toMatchObject({
      differences: [],
      summary: { batches: 12, counters: 0 },
    });
  });

  it('names a counter that was changed, one deleted and one added, and the batches', async () => {
    await setCount('own 3', 7);
    await aws.dynamodb.send(
      new DeleteItemCommand({ TableName: lambdas.store.countersTable, Key: counterRow('own 4') }),
    );
    await setCount('unknown', 5);
    const { differences } = await audit();
    const [changed, deleted, added] = ['own 3', 'own 4', 'unknown'].map((state) =>
      differences.find(({ counter }) => counter?.state === state),
    );
    expect(differences).toHaveLength(3);
    expect(changed).toMatchObject({
      code: 'counter_differs',
      counted: 7,
      recounted: 1,
      rawKeys: [rawKeys[3]],
    });
    expect(deleted).toMatchObject({ code: 'counter_missing', recounted: 1, rawKeys: [rawKeys[4]] });
    expect(added).toMatchObject({ code: 'counter_unexplained', counted: 5, rawKeys: [] });
    const dates = { from: '2026-03-02', to: '2026-03-31' };
    expect((await audit({ dates })).differences).toEqual([]);
  });

  it('names the batch that would explain a difference', async () => {
    await setCount('own 3', 0);
    await setCount('shared', 11);
    const { differences } = await audit();
    expect(codesOf(differences)).toEqual(['counter_differs', 'counter_differs']);
    for (const { explainedBy } of differences) expect(explainedBy).toEqual([rawKeys[3]]);
  });

  it('names a chunk whose row of the ledger was deleted', async () => {
    await deleteMark(rawKeys[5] ?? '', 1);
    expect((await audit()).differences).toMatchObject([
      { code: 'ledger_missing', rawKeys: [rawKeys[5]] },
    ]);
  });

  it('names batches that are not counted, and those that are in part', async () => {
    const late = await post(20);
    const part = await post(21);
    await deleteMark(part, 0);
    expect(codesOf((await audit()).differences)).toEqual([
      'batch_not_counted',
      'batch_not_counted',
    ]);
    // What came lately may be on its way.
    expect(await audit({ inFlightMs: 60_000 })).toMatchObject({
      differences: [],
      summary: { inFlight: 2 },
    });
    await lambdas.drain();
    await deleteMark(part, 0);
    await setCount('own 21', 0);
    const { differences } = await audit();
    expect(differences.find(({ code }) => code === 'batch_counted_in_part')).toMatchObject({
      rawKeys: [part],
    });
    expect(late).not.toBe(part);
    const received = { from: 0, to: Date.now() + 60_000 };
    expect(codesOf((await audit({ received })).differences)).toEqual(['batch_counted_in_part']);
  });

  it('reports a raw body with a changed byte, and a missing one', async () => {
    await damage(rawKeys[6] ?? '');
    await deleteBody(rawKeys[7] ?? '');
    const { differences } = await audit();
    expect(codesOf(differences)).toEqual([
      ...['counter_differs', 'counter_unexplained', 'counter_unexplained'],
      ...['raw_damaged', 'raw_missing'],
    ]);
    const { batchId = '' } = readRawKey(rawKeys[7] ?? '') ?? {};
    expect(differences.find(({ code }) => code === 'raw_missing')?.detail).toContain(batchId);
    expect(differences.find(({ code }) => code === 'raw_damaged')?.rawKeys).toEqual([rawKeys[6]]);
  });

  it('identifies messages of other programs by their marks', async () => {
    const item = { type: 'laptop', state: 'shared', timestamp: `${date}T11:00:00Z` };
    await aws.sqs.send(
      new SendMessageCommand({
        QueueUrl: lambdas.store.queueUrl,
        MessageBody: JSON.stringify(item),
      }),
    );
    await lambdas.drain();
    expect(await audit()).toMatchObject({ differences: [], summary: { foreignMessages: 1 } });
    // Marks of earlier versions do not say which counter it was.
    const [mark] = (await scan(aws.dynamodb, lambdas.store.ledgerTable)).filter(({ id }) =>
      id?.S?.startsWith('message:'),
    );
    const { id, entry, items } = mark ?? {};
    const Item = { id: id ?? { S: '' }, entry: entry ?? { S: '' }, items: items ?? { N: '1' } };
    await aws.dynamodb.send(new PutItemCommand({ TableName: lambdas.store.ledgerTable, Item }));
    expect(await audit()).toMatchObject({ differences: [], summary: { unattributed: 1 } });
    await setCount('own 1', 2);
    expect((await audit()).differences).toHaveLength(2);
  });

  it('says what it will read, and takes no more lists and gets than that', async () => {
    let estimated: object | undefined;
    await audit({ onEstimate: (estimate: object) => (estimated = estimate) });
    expect(estimated).toMatchObject({ objects: 12, s3Gets: 12, s3Lists: 2 });
  });
});

describe('idempotency keys', () => {
  it('that are lost, changed or of no batch are named, and made good', async () => {
    const keyed: string[] = [];
    for (let n = 20; n < 25; n++) keyed.push(await post(n, 2, `key-${n}`));
    await lambdas.drain();
    expect(await audit()).toMatchObject({ differences: [], summary: { keys: 5 } });
    const before = await keyRows();

    const [lost, hashed, renamed] = keyed as [string, string, string];
    await deleteKeyRow(await keyRowOf(lost));
    await putLedgerRow({ ...(await keyRowOf(hashed)), body_sha256: { B: Buffer.alloc(32) } });
    const { batchId } = readRawKey(keyed[3] ?? '') ?? { batchId: '' };
    await putLedgerRow({ ...(await keyRowOf(renamed)), batch_id: { S: batchId } });
    const madeUp = {
      ...(await keyRowOf(keyed[4] ?? '')),
      id: { S: `${keyPrefix}${'0'.repeat(64)}` },
    };
    await putLedgerRow(madeUp);

    const { differences } = await audit();
    expect(codesOf(differences)).toEqual([
      ...['key_differs', 'key_differs', 'key_missing', 'key_unexplained'],
    ]);
    const rawKeysOf = (code: string) =>
      differences.flatMap((each) => (each.code === code ? [...(each.rawKeys ?? [])] : [])).sort();
    expect(rawKeysOf('key_missing')).toEqual([lost]);
    expect(rawKeysOf('key_differs')).toEqual([hashed, renamed]);
    const received = { from: 0, to: Date.now() + 60_000 };
    expect(codesOf((await audit({ received })).differences)).toEqual([
      ...['key_differs', 'key_differs', 'key_missing'],
    ]);

    expect((await rebuild()).summary).toMatchObject({ ledgerRows: 4, corrected: 0 });
    expect((await audit()).differences).toEqual([]);
    expect(await keyRows()).toEqual(before);
    // A retry is recognised.
    expect(await post(20, 2, 'key-20')).toBe(lost);
    await lambdas.drain();
    expect((await counters()).find(({ state }) => state === 'own 20')?.count).toBe(1);
  });

  it('of attempts that were given up are no difference, but those of two counted batches are', async () => {
    const first = await post(20, 2, 'key-20');
    const given = await keyRowOf(first);
    await lambdas.drain();
    // Nothing of this batch was ever stored.
    const attempt = { batch_id: { S: '01980000-0000-7000-8000-000000000000' } };
    await putLedgerRow({ ...given, ...attempt, id: { S: `${keyPrefix}${keyIdOf('', 'other')}` } });
    expect((await audit()).differences).toEqual([]);
    // The same under the key of a stored batch would let a retry count twice, unless it is recent.
    await putLedgerRow({ ...given, ...attempt });
    expect(codesOf((await audit()).differences)).toEqual(['key_differs']);
    await putLedgerRow({ ...given, ...attempt, received_at: { N: String(Date.now() + 1) } });
    expect((await audit()).differences).toEqual([]);
    await deleteKeyRow(given);
    const second = await post(21, 2, 'key-20');
    await lambdas.drain();
    expect((await audit()).differences).toMatchObject([
      { code: 'key_reused', rawKeys: [first, second] },
    ]);
  });

  it('of batches from elsewhere are theirs, or those of a later one', async () => {
    const engine = new AwsEngine(aws, lambdas.store, Date.now());
    const replayed = async (receivedAt: number, state: string) => {
      const items = [{ type: 'laptop', state, timestamp: `${date}T10:00:00Z` }];
      const body = Buffer.from(JSON.stringify({ processed_devices: items }));
      const batchId = batchIdMaker(randomBytes)(receivedAt);
      const result = await engine.replayIntake.replay({
        ...{ body, encoding: 'identity', caller: 'there', accepted: 1, rejected: 0 },
        idempotency: { key: 'key-20', bodySha256: hash('sha256', body, 'buffer') },
        increments: new Map(),
        origin: { batchId, receivedAt, accepted: 1, rejected: 0 },
      });
      expect(result).toEqual({ kind: 'stored' });
      return rawKeyOf(batchId, receivedAt);
    };
    const dayAgo = Date.now() - 86_400_000;
    const [first, last] = [await replayed(dayAgo, 'first'), await replayed(dayAgo + 1, 'last')];
    await lambdas.drain();
    expect((await audit()).differences).toEqual([]);
    const row = await keyRowOf(last);
    await deleteKeyRow(row);
    expect((await audit()).differences).toMatchObject([{ code: 'key_missing', rawKeys: [last] }]);
    const { batchId = '' } = readRawKey(first) ?? {};
    await putLedgerRow({ ...row, batch_id: { S: batchId }, received_at: { N: String(dayAgo) } });
    expect((await audit()).differences).toMatchObject([{ code: 'key_differs', rawKeys: [last] }]);
    await rebuild();
    expect((await audit()).differences).toEqual([]);
    expect(await keyRowOf(last)).toEqual(row);
  });

  it('are not read once they may have expired, and keep the over-limit items', async () => {
    const excluded = { excluded: { B: encodeOverLimitItems([0]) } };
    const given = await keyRowOf(await post(20, 2, 'key-20'));
    await putLedgerRow({ ...given, ...excluded });
    await lambdas.drain();
    expect(codesOf((await audit()).differences)).toEqual(['key_differs']);
    await deleteKeyRow(given);
    const later = { ...testBackoff, now: () => Date.now() + 91 * 86_400_000 };
    const codes = codesOf((await audit({ backoff: later })).differences);
    expect(codes).not.toContain('key_missing');
  });
});

describe('rebuild of a store on AWS', () => {
  it('makes good a counter changed, deleted and added, and a deleted row of the ledger', async () => {
    const before = await counters();
    await setCount('own 3', 7);
    await aws.dynamodb.send(
      new DeleteItemCommand({ TableName: lambdas.store.countersTable, Key: counterRow('own 4') }),
    );
    await setCount('unknown', 5);
    await deleteMark(rawKeys[5] ?? '', 1);
    const damaged = await counters();

    const dry = await rebuild({ dryRun: true });
    expect(dry.summary).toMatchObject({ isSwitched: false });
    expect(dry.differences).toHaveLength(4);
    expect(await counters()).toEqual(damaged);

    const { summary } = await rebuild();
    expect(summary).toMatchObject({ isSwitched: true, corrected: 3, steps: 1, left: 0 });
    expect(await counters()).toEqual(before);
    expect((await audit()).differences).toEqual([]);

    // What was before is kept, and can be brought back.
    const fence = { ...tables(), backoff: testBackoff };
    expect(await restoreReplaced(tables(), await FencedWrites.takeOver(fence))).toBe(3);
    expect((await counters()).filter(({ count }) => count !== 0)).toEqual(damaged);
    await rebuild();
    expect(await dropReplaced(tables())).toBe(3);
    expect(await restoreReplaced(tables(), await FencedWrites.takeOver(fence))).toBe(0);
    expect((await audit()).differences).toEqual([]);
  });

  it('takes away marks of chunks that no body has, and no dropped ones', async () => {
    const [batchId = '', other = ''] = rawKeys.map((key) => readRawKey(key)?.batchId);
    const putMark = (chunk: number, more: Item, batch = batchId) =>
      putLedgerRow({ ...keyItem(chunkKey(batch, chunk)), ...more });
    await putMark(7, { items: { N: '3' } });
    await putMark(8, { items: { S: 'three' } });
    await putMark(9, {}, other);
    await putMark(10, { dropped_at: { N: '1' } }, other);
    const before = await counters();
    const { differences } = await audit();
    expect(codesOf(differences)).toEqual(['raw_missing', 'raw_missing', 'raw_missing']);
    const { summary } = await rebuild();
    expect(summary).toMatchObject({ ledgerRows: 3, corrected: 0, withoutDamaged: 0 });
    expect((await audit()).differences).toEqual([]);
    expect(await counters()).toEqual(before);
    const rows = await scan(aws.dynamodb, lambdas.store.ledgerTable);
    expect(rows.filter(({ entry }) => /^chunk:0*(?:[7-9]|10)$/.test(entry?.S ?? ''))).toMatchObject(
      [{ entry: { S: chunkKey(other, 10).entry } }],
    );
  });

  it('counts what was not counted, once', async () => {
    await post(20, 2, 'key-20');
    const { summary } = await rebuild();
    expect(summary).toMatchObject({ chunksCounted: 2, corrected: 0 });
    // The messages still come.
    await lambdas.drain();
    expect((await audit()).differences).toEqual([]);
    expect((await counters()).find(({ state }) => state === 'own 20')?.count).toBe(1);
  });

  it('skips damaged bodies only if requested', async () => {
    await damage(rawKeys[6] ?? '');
    await deleteBody(rawKeys[7] ?? '');
    const before = await counters();
    await expect(rebuild()).rejects.toThrow('2 batches are damaged or missing');
    expect(await counters()).toEqual(before);
    expect((await rebuild({ withoutDamaged: true })).summary).toMatchObject({ withoutDamaged: 2 });
    expect(await audit()).toMatchObject({ differences: [], summary: { dropped: 2 } });
    expect((await counters()).find(({ state }) => state === 'shared')?.count).toBe(10);
    expect(await lambdas.sweep()).toMatchObject({ failed: 0, parked: 0 });
  });
});

describe('a store whose raw bodies are deleted by rule', () => {
  const dayMs = 86_400_000;
  const rawExpiryMs = 90 * dayMs;

  it('reports counters of early days above the recount, but not as differences', async () => {
    await setCount('own 3', 7);
    await setCount('unknown', 5);
    expect(await audit({ rawExpiryMs })).toMatchObject({
      differences: [],
      summary: { aboveExpired: 2, differences: 0 },
    });
    await setCount('own 3', 0);
    expect(codesOf((await audit({ rawExpiryMs })).differences)).toEqual(['counter_differs']);
    // A rule that has not come to those days yet explains nothing.
    const later = { rawExpiryMs: 36_500 * dayMs };
    expect((await audit(later)).differences).toHaveLength(2);
  });

  it('misses no bodies that are so old', async () => {
    await deleteBody(rawKeys[7] ?? '');
    expect(codesOf((await audit({ rawExpiryMs })).differences)).toContain('raw_missing');
    const backoff = { ...testBackoff, now: () => Date.now() + rawExpiryMs + dayMs };
    expect(codesOf((await audit({ rawExpiryMs, backoff })).differences)).not.toContain(
      'raw_missing',
    );
  });

  it('is rebuilt only from a day of which all are there', async () => {
    await setCount('unknown', 5);
    const before = await counters();
    const first = new Date(Date.now() - rawExpiryMs + 2 * dayMs).toISOString().slice(0, 10);
    await expect(rebuild({ rawExpiryMs })).rejects.toThrow(/deleted after 90 days .* --from /);
    const dates = { from: date, to: '9999-12-31' };
    await expect(rebuild({ rawExpiryMs, dates })).rejects.toThrow(/Nothing was changed/);
    await rebuild({ rawExpiryMs, dryRun: true });
    await rebuild({ rawExpiryMs, dates: { from: first, to: '9999-12-31' } });
    expect(await counters()).toEqual(before);
  });
});

describe('beside traffic', () => {
  /** Leaves most of the CPU to the work; some dozens of batches come meanwhile. */
  const pauseMs = isNightly() ? 0 : 30;

  /** Posts and counts while the work continues. */
  async function withTraffic(work: () => Promise<void>): Promise<number> {
    let isOver = false;
    let posted = 0;
    const client = async (who: number) => {
      for (; !isOver; posted++) {
        await post(100 + (posted % 5), 4, `key-${who}-${posted}`);
        await delay(pauseMs);
      }
    };
    const processor = async () => {
      while (!isOver) {
        await lambdas.drain();
        await delay(pauseMs);
      }
    };
    const clients = [client(1), client(2), processor()];
    try {
      await work();
    } finally {
      isOver = true;
      await Promise.all(clients);
    }
    await lambdas.drain();
    return posted;
  }

  it('an audit finds no difference that is none', async () => {
    const posted = await withTraffic(async () => {
      for (let round = 0; round < audits; round++) {
        const { differences } = await audit({ inFlightMs: 60_000 });
        expect(differences.filter(({ code }) => code !== 'counter_unsettled')).toEqual([]);
      }
    });
    expect(posted).toBeGreaterThan(0);
    expect((await audit()).differences).toEqual([]);
  });

  it('a rebuild corrects what differs, and loses nothing of what comes', async () => {
    await setCount('own 3', 7);
    await setCount('unknown', 5);
    await deleteMark(rawKeys[5] ?? '', 0);
    await aws.dynamodb.send(
      new DeleteItemCommand({ TableName: lambdas.store.countersTable, Key: counterRow('shared') }),
    );
    const posted = await withTraffic(async () => {
      await rebuild({ inFlightMs: 10_000 });
    });
    // A counter that was written to all the time may be left for a quiet moment, and is named.
    await rebuild();
    expect((await audit()).differences).toEqual([]);
    const shared = (await counters()).find(({ state }) => state === 'shared');
    expect(shared?.count).toBe(12 + 3 * posted);
  });
});
