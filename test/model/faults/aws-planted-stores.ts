import { randomUUID } from 'node:crypto';

import {
  GetItemCommand,
  TransactionCanceledException,
  TransactWriteItemsCommand,
  type CancellationReason,
  type TransactWriteItem,
} from '@aws-sdk/client-dynamodb';

import { rowsOfIncrements, typeStateKey } from '../../../src/domain/counter.ts';
import { isRetryable, nameOf } from '../../../src/engines/aws/errors.ts';
import { waitForRetry } from '../../../src/util/backoff.ts';
import {
  dynamodbCounterStore,
  sumOf,
  type CounterStoreOptions,
  type LedgerDelivery,
} from '../../../src/engines/aws/counters/counter-store.ts';
import {
  anyRecord,
  dedupStateIn,
  newRecords,
  recordTextOf,
  rowTextOf,
  type DedupKey,
} from '../../../src/engines/aws/ledger/dedup-records.ts';
import { isMessageKey, keyItem, messageKey } from '../../../src/engines/aws/ledger/ledger-table.ts';
import type { QueueMessage } from '../../../src/pipeline/counting/count-messages.ts';
import { PermanentFailure, type CounterStore } from '../../../src/pipeline/ports.ts';

type Store = CounterStore<DedupKey, LedgerDelivery>;
type Deliveries = readonly LedgerDelivery[];

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
      const isChunk = !isMessageKey(delivery.dedupKey);
      const isCounted = await transact(options, () => [
        newRecord(options, { ...delivery, dedupKey: seen }),
        ...(isChunk ? [repeatedRecord(options, delivery)] : []),
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
        attempts === 0 ? newRecord(options, delivery) : repeatedRecord(options, delivery),
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
      ...byRow(open).map((row) =>
        newRecords(options.ledgerTable, row.map(recordOf), kept(options)),
      ),
      ...increments(options, open),
    ]);
    return isCounted ? open : [];
  });
}

/** Counts each delivery that it gets, also repeated ones in the same call. */
export function withDuplicates(options: CounterStoreOptions): Store {
  return storeOf(async (deliveries) => {
    const isCounted = await transact(options, () => [
      ...byRow(distinct(deliveries)).map((row) =>
        newRecords(options.ledgerTable, row.map(recordOf), kept(options)),
      ),
      ...increments(options, deliveries),
    ]);
    return isCounted ? deliveries : [];
  });
}

/** The engine's own store, with changes to the writes of its transactions, or to their refusals. */
export function withTampering({
  writes = (unchanged) => unchanged,
  refusal = (unchanged) => unchanged,
}: {
  readonly writes?: (write: TransactWriteItem) => TransactWriteItem;
  readonly refusal?: (reason: CancellationReason, write: TransactWriteItem) => CancellationReason;
}) {
  return (options: CounterStoreOptions): CounterStore<DedupKey, LedgerDelivery> => {
    const send = async (command: object) => {
      if (!(command instanceof TransactWriteItemsCommand)) return await sendAsIs(command);
      const TransactItems = (command.input.TransactItems ?? []).map(writes);
      const request = new TransactWriteItemsCommand({ ...command.input, TransactItems });
      return await sendAsIs(request).catch((error: unknown) => {
        if (!(error instanceof TransactionCanceledException)) throw error;
        const CancellationReasons = error.CancellationReasons?.map((reason, at) =>
          refusal(reason, TransactItems[at] ?? {}),
        );
        throw new TransactionCanceledException({
          ...{ message: error.message, $metadata: error.$metadata },
          ...(CancellationReasons && { CancellationReasons }),
        });
      });
    };
    const sendAsIs = (command: object) => options.client.send(command as never) as Promise<unknown>;
    return dynamodbCounterStore({ ...options, client: { send } as CounterStoreOptions['client'] });
  };
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

function recordOf({ dedupKey: key, items }: LedgerDelivery) {
  return { key, items };
}

function kept({ keepMs, backoff }: CounterStoreOptions) {
  return { now: backoff.now(), keepMs };
}

function newRecord(options: CounterStoreOptions, delivery: LedgerDelivery): TransactWriteItem {
  return newRecords(options.ledgerTable, [recordOf(delivery)], kept(options));
}

function repeatedRecord(options: CounterStoreOptions, delivery: LedgerDelivery): TransactWriteItem {
  return anyRecord(options.ledgerTable, recordOf(delivery), kept(options));
}

function writeDedupRecord(
  options: CounterStoreOptions,
  delivery: LedgerDelivery,
): Promise<boolean> {
  return transact(options, () => [newRecord(options, delivery)]);
}

async function hasNoDedupRecord(
  { client, ledgerTable: TableName }: CounterStoreOptions,
  { dedupKey: key }: LedgerDelivery,
): Promise<boolean> {
  const request = { TableName, Key: keyItem(key), ConsistentRead: true };
  const { Item } = await client.send(new GetItemCommand(request));
  return dedupStateIn(Item, key) === undefined;
}

function distinct(deliveries: Deliveries): LedgerDelivery[] {
  return [...new Map(deliveries.map((each) => [recordTextOf(each.dedupKey), each])).values()];
}

function byRow(deliveries: Deliveries): LedgerDelivery[][] {
  return [...Map.groupBy(deliveries, ({ dedupKey }) => rowTextOf(dedupKey)).values()];
}
