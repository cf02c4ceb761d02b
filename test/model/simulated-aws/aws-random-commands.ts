import {
  DeleteItemCommand,
  GetItemCommand,
  PutItemCommand,
  QueryCommand,
  TransactWriteItemsCommand,
  type TransactWriteItem,
} from '@aws-sdk/client-dynamodb';
import {
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
} from '@aws-sdk/client-s3';

import { isKeyFree } from '../../../src/engines/aws/ledger/batch-records.ts';
import {
  anyRecord,
  droppedRecord,
  newRecords,
  removedFromBlock,
  type DedupKey,
} from '../../../src/engines/aws/ledger/dedup-records.ts';
import type { Random } from './aws-random.ts';
import type { Item } from './aws-simulated-dynamodb.ts';
import { bucket, countersTable, ledgerTable } from './aws-simulation.ts';

/** Few keys, so that they meet often; some beyond ASCII, whose order is that of UTF-8. */
const ids = ['sweep', 'batch:1'];
const entries = [
  'batch',
  'chunk:000000',
  'chunk:000001',
  'orphan:a',
  'orphan:\u{1f98a}',
  'orphan:\uff5e',
];
const types = ['lamp', 'a%23b', 'ä'];

function ledgerKey(random: Random): Item {
  return { id: { S: random.pick(ids) }, entry: { S: random.pick(entries) } };
}

function ledgerItem(random: Random): Item {
  return {
    ...ledgerKey(random),
    received_at: { N: String(random.below(4)) },
    next_at: { N: String(random.below(4)) },
    ...(random.chance(0.3) && { replayed_at: { N: String(random.below(4)) } }),
    ...(random.chance(0.5) && { batch_id: { S: random.pick(['x', 'y']) } }),
    ...(random.chance(0.3) && { body_sha256: { B: random.bytes(2) } }),
  };
}

function putItem(random: Random): object {
  const TableName = ledgerTable;
  const Item = ledgerItem(random);
  const kind = random.below(4);
  if (kind === 0) return new PutItemCommand({ TableName, Item });
  const returned = random.chance(0.5);
  const common = {
    ...{ TableName, Item },
    ...(returned && { ReturnValuesOnConditionCheckFailure: 'ALL_OLD' as const }),
  };
  if (kind === 1) {
    return new PutItemCommand({ ...common, ConditionExpression: 'attribute_not_exists(id)' });
  }
  return new PutItemCommand({
    ...common,
    ConditionExpression: isKeyFree,
    ExpressionAttributeValues: {
      ':expired': { N: String(random.below(4)) },
      ':replaced': { S: random.pick(['x', '-']) },
    },
  });
}

function query(random: Random): object {
  const common = { TableName: ledgerTable, ConsistentRead: true, Limit: 1 + random.below(4) };
  const id = { S: random.pick(ids) };
  const kind = random.below(3);
  if (kind === 0) {
    return new QueryCommand({
      ...common,
      KeyConditionExpression: 'id = :id',
      ExpressionAttributeValues: { ':id': id },
      ...(random.chance(0.5) && {
        ExclusiveStartKey: { id, entry: { S: random.pick(entries) } },
      }),
    });
  }
  if (kind === 1) {
    return new QueryCommand({
      ...common,
      KeyConditionExpression: 'id = :id AND begins_with(entry, :orphan)',
      FilterExpression: 'next_at <= :due',
      ExpressionAttributeValues: {
        ':id': id,
        ':orphan': { S: 'orphan:' },
        ':due': { N: String(random.below(4)) },
      },
    });
  }
  return new QueryCommand({
    ...{ ...common, TableName: countersTable },
    KeyConditionExpression: '#date = :date',
    ExpressionAttributeNames: { '#date': 'date' },
    ExpressionAttributeValues: { ':date': { S: '2023-06-16' } },
    ...(random.chance(0.3) && { ProjectionExpression: 'type_state' }),
  });
}

function counterKey(random: Random): Item {
  return { date: { S: '2023-06-16' }, type_state: { S: `${random.pick(types)}#on` } };
}

/** The key of one of two dedup blocks. */
function blockKeyOf(random: Random): Item {
  return { id: { S: random.pick(['block:a', 'block:b']) }, entry: { S: 'counted' } };
}

/** A write to a dedup block, of few numbers. */
function blockWrite(random: Random): TransactWriteItem {
  const [a, b] = [random.below(4), 4 + random.below(4)];
  const { id } = blockKeyOf(random);
  const key: DedupKey = { id: id?.S ?? '', entry: 'counted' };
  const keyOf = (number: number) => ({ ...key, number });
  const recordOf = (number: number) => ({ key: keyOf(number), items: 1 });
  const kept = { now: random.below(9_000), keepMs: 1_000 };
  return random.pick([
    () => newRecords(ledgerTable, [recordOf(a)], kept),
    () => newRecords(ledgerTable, [recordOf(a), recordOf(b)], kept),
    () => anyRecord(ledgerTable, recordOf(b), kept),
    () => droppedRecord(ledgerTable, keyOf(a), { droppedAt: 1, reason: 'x' }),
    () => removedFromBlock(ledgerTable, key, b),
  ])();
}

function write(random: Random): TransactWriteItem {
  if (random.chance(0.3)) return blockWrite(random);
  if (random.chance(0.5)) {
    return {
      Put: {
        TableName: ledgerTable,
        Item: ledgerItem(random),
        ConditionExpression: 'attribute_not_exists(id)',
      },
    };
  }
  return {
    Update: {
      TableName: countersTable,
      Key: counterKey(random),
      UpdateExpression: 'SET #type = :type, #state = :state ADD #count :count',
      ExpressionAttributeNames: { '#type': 'type', '#state': 'state', '#count': 'count' },
      ExpressionAttributeValues: {
        ':type': { S: random.pick(types) },
        ':state': { S: 'on' },
        ':count': { N: String(random.chance(0.1) ? 2 ** 53 : 1 + random.below(9)) },
      },
    },
  };
}

/**
 * DynamoDB refuses a transaction that writes a row twice; DynamoDB Local does so only where no
 * condition fails before. (Nor is a count that is no number in here: there the one cancels, and
 * the other calls the request invalid.) The engine never asks for either.
 */
function distinct(writes: readonly TransactWriteItem[]): TransactWriteItem[] {
  const keyOf = ({ Put, Update }: TransactWriteItem) =>
    JSON.stringify([Put?.Item?.['id'], Put?.Item?.['entry'], Update?.Key]);
  return [...new Map(writes.map((each) => [keyOf(each), each])).values()];
}

/** Makes commands of which some repeat an earlier token, with the same writes or with others. */
export function dynamodbCommands(random: Random): () => object {
  const sent: { TransactItems: TransactWriteItem[]; ClientRequestToken: string }[] = [];
  const transaction = () => {
    const earlier = random.chance(0.25) ? sent.at(-1) : undefined;
    const writes = 1 + random.below(4);
    const request = {
      TransactItems: distinct(Array.from({ length: writes }, () => write(random))),
      ClientRequestToken: random.uuid(),
      ...(earlier !== undefined && { ClientRequestToken: earlier.ClientRequestToken }),
      ...(random.chance(0.6) && earlier),
    };
    sent.push(request);
    return new TransactWriteItemsCommand(request);
  };
  const ledger = { TableName: ledgerTable };
  return () =>
    random.pick([
      () => putItem(random),
      () => query(random),
      transaction,
      transaction,
      () => new GetItemCommand({ ...ledger, Key: blockKeyOf(random), ConsistentRead: true }),
      () => new GetItemCommand({ ...ledger, Key: ledgerKey(random), ConsistentRead: true }),
      () => new DeleteItemCommand({ ...ledger, Key: ledgerKey(random) }),
    ])();
}

const rawKeys = Array.from(
  { length: 6 },
  (_, at) => `raw/2026-01-0${at + 1}T00:00:00.000Z-019b770e-7be9-7000-9f05-8bc0e846c02${at}.json`,
);

export function s3Commands(random: Random): () => object {
  const Bucket = bucket;
  return () =>
    random.pick([
      () =>
        new PutObjectCommand({
          ...{ Bucket, Key: random.pick(rawKeys), Body: random.bytes(random.below(9)) },
          ContentType: 'application/json',
          ...(random.chance(0.3) && { ContentEncoding: 'gzip' }),
          Metadata: { accepted: String(random.below(9)), 'items-per-message': 'packed' },
        }),
      () => new HeadObjectCommand({ Bucket, Key: random.pick(rawKeys) }),
      () => new GetObjectCommand({ Bucket, Key: random.pick(rawKeys) }),
      () =>
        new ListObjectsV2Command({
          ...{ Bucket, Prefix: 'raw/', MaxKeys: 1 + random.below(4) },
          StartAfter: random.pick(['raw/2026-01-03', ...rawKeys]),
        }),
    ])();
}
