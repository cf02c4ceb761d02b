import { randomUUID } from 'node:crypto';

import {
  ConditionalCheckFailedException,
  GetItemCommand,
  PutItemCommand,
  TransactionCanceledException,
  TransactWriteItemsCommand,
  type TransactWriteItem,
} from '@aws-sdk/client-dynamodb';

import { rowsOfIncrements, typeStateKey } from '../../../src/domain/counter.ts';
import { isRetryable, nameOf } from '../../../src/engines/aws/errors.ts';
import { waitForRetry } from '../../../src/util/backoff.ts';
import {
  sumOf,
  type CounterStoreOptions,
  type LedgerDelivery,
} from '../../../src/engines/aws/counters/counter-store.ts';
import {
  expiry,
  keyItem,
  messageKey,
  type Item,
  type LedgerKey,
} from '../../../src/engines/aws/ledger/ledger-table.ts';
import type { QueueMessage } from '../../../src/pipeline/counting/count-messages.ts';
import { PermanentFailure, type CounterStore } from '../../../src/pipeline/ports.ts';

type Store = CounterStore<LedgerKey, LedgerDelivery>;
type Deliveries = readonly LedgerDelivery[];

const isNew = { ConditionExpression: 'attribute_not_exists(id)' };

/** Adds without dedup records. */
export function withoutLedger(options: CounterStoreOptions): Store {
  return storeOf(async (deliveries) => {
    await transact(options, () => increments(options, deliveries));
    return deliveries;
  });
}

/** Writes dedup records and counters in two steps, in either order. */
export function withLedgerApart(order: 'before' | 'after') {
  return (options: CounterStoreOptions): Store =>
    storeOf(async (deliveries) => {
      const fresh: LedgerDelivery[] = [];
      for (const delivery of distinct(deliveries)) {
        const isFresh =
          order === 'before'
            ? writeDedupRecord(options, delivery)
            : hasNoDedupRecord(options, delivery);
        if (await isFresh) fresh.push(delivery);
      }
      if (fresh.length > 0) await transact(options, () => increments(options, fresh));
      if (order === 'after')
        for (const delivery of fresh) await writeDedupRecord(options, delivery);
      return fresh;
    });
}

/** Identifies a message by its queue id; the chunk's row serves only the receipt. */
export function byMessageId(
  options: CounterStoreOptions,
  messageOf: (delivery: LedgerDelivery) => QueueMessage,
): Store {
  return storeOf(async (deliveries) => {
    const counted: LedgerDelivery[] = [];
    for (const delivery of deliveries) {
      const seen = messageKey(messageOf(delivery).messageId, 'counted');
      const isChunk = delivery.dedupKey.id.startsWith('batch:');
      const isCounted = await transact(options, () => [
        { Put: { ...rowOf(options, { ...delivery, dedupKey: seen }), ...isNew } },
        ...(isChunk ? [{ Put: rowOf(options, delivery) }] : []),
        ...increments(options, [delivery]),
      ]);
      if (isCounted) counted.push(delivery);
    }
    return counted;
  });
}

/** Repeats a request of unknown outcome as a new one, without the condition on dedup records. */
export function withoutConditionWhenRepeated(options: CounterStoreOptions): Store {
  return storeOf(async (deliveries) => {
    const counted: LedgerDelivery[] = [];
    for (const delivery of deliveries) {
      const isCounted = await transact(options, (attempts) => [
        { Put: { ...rowOf(options, delivery), ...(attempts === 0 && isNew) } },
        ...increments(options, [delivery]),
      ]);
      if (isCounted) counted.push(delivery);
    }
    return counted;
  });
}

/** Treats all deliveries of a transaction as counted if one was. */
export function withoutIndexes(options: CounterStoreOptions): Store {
  return storeOf(async (deliveries) => {
    const open = distinct(deliveries);
    const isCounted = await transact(options, () => [
      ...open.map((delivery) => ({ Put: { ...rowOf(options, delivery), ...isNew } })),
      ...increments(options, open),
    ]);
    return isCounted ? open : [];
  });
}

function storeOf(count: (deliveries: Deliveries) => Promise<Deliveries>): Store {
  return {
    async apply(deliveries) {
      const counted = deliveries.length === 0 ? [] : await count(deliveries);
      const repeated = deliveries.filter((delivery) => !counted.includes(delivery));
      return { counted, repeated };
    },
  };
}

/** False if a condition does not hold. Retries transient errors with a new request. */
async function transact(
  { client, backoff }: CounterStoreOptions,
  writes: (attempts: number) => TransactWriteItem[],
): Promise<boolean> {
  for (let attempts = 0; ;) {
    try {
      const request = { TransactItems: writes(attempts), ClientRequestToken: randomUUID() };
      await client.send(new TransactWriteItemsCommand(request));
      return true;
    } catch (error) {
      const isCancelled = error instanceof TransactionCanceledException;
      const codes = isCancelled ? (error.CancellationReasons ?? []).map(({ Code }) => Code) : [];
      if (codes.includes('ConditionalCheckFailed')) return false;
      if (nameOf(error) === 'ValidationException') throw new PermanentFailure('too much at once');
      if (!isCancelled && !isRetryable(error)) throw error;
      if (!(await waitForRetry(backoff, ++attempts))) throw error;
    }
  }
}

function increments({ countersTable }: CounterStoreOptions, deliveries: Deliveries) {
  return [...rowsOfIncrements(sumOf(deliveries))].map(({ date, type, state, count }) => ({
    Update: {
      TableName: countersTable,
      Key: { date: { S: date }, type_state: { S: typeStateKey(type, state) } },
      UpdateExpression: 'SET #type = :type, #state = :state ADD #count :count',
      ExpressionAttributeNames: { '#type': 'type', '#state': 'state', '#count': 'count' },
      ExpressionAttributeValues: {
        ':type': { S: type },
        ':state': { S: state },
        ':count': { N: String(count) },
      },
    },
  }));
}

function rowOf(
  { ledgerTable, keepMs, backoff }: CounterStoreOptions,
  { dedupKey: key, items }: LedgerDelivery,
): { TableName: string; Item: Item } {
  const expires_at = expiry(backoff.now() + keepMs);
  return {
    TableName: ledgerTable,
    Item: { ...keyItem(key), items: { N: String(items) }, expires_at },
  };
}

async function writeDedupRecord(
  options: CounterStoreOptions,
  delivery: LedgerDelivery,
): Promise<boolean> {
  try {
    await options.client.send(new PutItemCommand({ ...rowOf(options, delivery), ...isNew }));
    return true;
  } catch (error) {
    if (error instanceof ConditionalCheckFailedException) return false;
    throw error;
  }
}

async function hasNoDedupRecord(
  { client, ledgerTable: TableName }: CounterStoreOptions,
  { dedupKey: key }: LedgerDelivery,
): Promise<boolean> {
  const request = { TableName, Key: keyItem(key), ConsistentRead: true };
  return (await client.send(new GetItemCommand(request))).Item === undefined;
}

function distinct(deliveries: Deliveries): LedgerDelivery[] {
  const byMark = new Map(
    deliveries.map((each) => [`${each.dedupKey.id} ${each.dedupKey.entry}`, each]),
  );
  return [...byMark.values()];
}
