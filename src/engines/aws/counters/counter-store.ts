import {
  TransactionCanceledException,
  type DynamoDBClient,
  type TransactWriteItem,
} from '@aws-sdk/client-dynamodb';

import {
  mergeIncrements,
  rowsOfIncrements,
  typeStateKey,
  type CounterRow,
  type Increments,
} from '../../../domain/counter.ts';
import { PermanentFailure, type CounterStore, type Delivery } from '../../../pipeline/ports.ts';
import type { Backoff } from '../../../util/backoff.ts';
import { nameOf } from '../errors.ts';
import {
  expiry,
  isMessageKey,
  keyItem,
  type Item,
  type LedgerKey,
} from '../ledger/ledger-table.ts';
import { ifNew } from '../ledger/items.ts';
import { isTransientCode, transact, transactionWritesMax } from '../ledger/transact.ts';

/** Increments, with the key of the dedup record that says that they are counted. */
export interface LedgerDelivery extends Delivery<LedgerKey> {
  /** The number of items counted; receipts add these up. */
  readonly items: number;
}

export interface CounterStoreOptions {
  /** A client that does not retry: the store decides which requests are sent again. */
  readonly client: Pick<DynamoDBClient, 'send'>;
  readonly countersTable: string;
  readonly ledgerTable: string;
  /** How long dedup records are kept, in milliseconds. */
  readonly keepMs: number;
  readonly backoff: Backoff;
}

/**
 * Counters and dedup records in DynamoDB. One TransactWriteItems writes the dedup record of each
 * delivery, on condition that it does not exist, and adds to the counters. So a delivery is counted
 * if and only if its dedup record exists, whatever is repeated, lost or interrupted.
 */
export function dynamodbCounterStore(
  options: CounterStoreOptions,
): CounterStore<LedgerKey, LedgerDelivery> {
  return { apply: (deliveries) => apply(options, deliveries) };
}

async function apply(options: CounterStoreOptions, deliveries: readonly LedgerDelivery[]) {
  const { distinct, duplicates } = splitDuplicates(deliveries);
  const repeated: LedgerDelivery[] = [];
  let open = distinct;
  while (open.length > 0) {
    const known = await countNew(options, open);
    if (known.length === 0) break;
    repeated.push(...known);
    open = open.filter((delivery) => !known.includes(delivery));
  }
  return { counted: open, repeated: [...repeated, ...duplicates] };
}

/** Counts all deliveries; if some are counted already, counts none and returns those. */
async function countNew(
  options: CounterStoreOptions,
  deliveries: readonly LedgerDelivery[],
): Promise<LedgerDelivery[]> {
  try {
    const outcome = await transact(options, () => writesOf(options, deliveries));
    if (outcome.kind === 'done') return [];
    // The dedup records are the first writes, in the order of the deliveries.
    return deliveries.filter((_, at) => outcome.places.has(at));
  } catch (error) {
    const refusal = whyRefused(error);
    if (refusal === undefined) throw error;
    throw new PermanentFailure(`DynamoDB refuses the transaction${refusal}`, { cause: error });
  }
}

/** Why DynamoDB refuses the transaction however often it is sent; undefined if it may accept it. */
function whyRefused(error: unknown): string | undefined {
  if (error instanceof TransactionCanceledException) {
    const reasons = error.CancellationReasons ?? [];
    const at = reasons.findIndex(({ Code = 'None' }) => !isTransientCode(Code));
    if (at < 0) return undefined;
    const { Code = error.name, Message = error.message } = reasons[at] ?? {};
    return `, write ${at}: ${Code}: ${Message}`;
  }
  if (nameOf(error) !== 'ValidationException') return undefined;
  return `: ${error instanceof Error ? error.message : String(error)}`;
}

/** The dedup records first, in the order of the deliveries; then the counters. */
function writesOf(
  { countersTable, ledgerTable, keepMs, backoff }: CounterStoreOptions,
  deliveries: readonly LedgerDelivery[],
): TransactWriteItem[] {
  const now = backoff.now();
  const records = deliveries.map(({ dedupKey, items, increments }) => ({
    Put: {
      TableName: ledgerTable,
      Item: {
        ...dedupRecord(dedupKey, items, now, keepMs),
        ...(isMessageKey(dedupKey) && counterAttributes(increments)),
      },
      ...ifNew,
    },
  }));
  const counters = [...rowsOfIncrements(sumOf(deliveries))].map((row) =>
    increment(countersTable, row),
  );
  const writes = [...records, ...counters];
  if (writes.length <= transactionWritesMax) return writes;
  throw new PermanentFailure(
    `${deliveries.length} deliveries with ${counters.length} counters exceed the ${transactionWritesMax} writes of a transaction`,
  );
}

/** The ledger row that says that a chunk or message is counted; times in milliseconds. */
export function dedupRecord(key: LedgerKey, items: number, now: number, keepMs: number): Item {
  return {
    ...keyItem(key),
    items: { N: String(items) },
    counted_at: { N: String(now) },
    expires_at: expiry(now + keepMs),
  };
}

/** Names the counter in the dedup record of a foreign message, which has no raw body for an audit. */
function counterAttributes(increments: Increments): Item {
  const [row] = rowsOfIncrements(increments);
  if (row === undefined) return {};
  return { date: { S: row.date }, type: { S: row.type }, state: { S: row.state } };
}

/**
 * Adds to a counter, or creates its row. Use it only in a transaction with a condition that holds
 * once. `typeState`: the sort key of a row that another program created under a key of its own.
 */
export function increment(
  TableName: string,
  { date, type, state, count }: CounterRow,
  typeState = typeStateKey(type, state),
): TransactWriteItem {
  return {
    Update: {
      TableName,
      Key: { date: { S: date }, type_state: { S: typeState } },
      UpdateExpression: 'SET #type = :type, #state = :state ADD #count :count',
      ExpressionAttributeNames: { '#type': 'type', '#state': 'state', '#count': 'count' },
      ExpressionAttributeValues: {
        ':type': { S: type },
        ':state': { S: state },
        ':count': { N: String(count) },
      },
    },
  };
}

/** A transaction must not write a row twice. */
function splitDuplicates(deliveries: readonly LedgerDelivery[]) {
  const seen = new Set<string>();
  const distinct: LedgerDelivery[] = [];
  const duplicates: LedgerDelivery[] = [];
  for (const delivery of deliveries) {
    const id = `${delivery.dedupKey.id} ${delivery.dedupKey.entry}`;
    (seen.has(id) ? duplicates : distinct).push(delivery);
    seen.add(id);
  }
  return { distinct, duplicates };
}

/**
 * Groups deliveries, in order, so that the dedup records and distinct counters of each group fit into
 * one transaction. Deliveries that share counters share their cost.
 */
export function groupDeliveries<D extends Delivery<unknown>>(deliveries: readonly D[]): D[][] {
  const groups: { deliveries: D[]; sum: Increments; counters: number }[] = [];
  for (const delivery of deliveries) {
    const open = groups.at(-1);
    const more = open === undefined ? 0 : newCounters(open.sum, delivery.increments);
    const hasRoom =
      open !== undefined &&
      open.deliveries.length + 1 + open.counters + more <= transactionWritesMax;
    if (hasRoom) {
      open.deliveries.push(delivery);
      open.counters += mergeIncrements(open.sum, delivery.increments);
    } else {
      const sum: Increments = new Map();
      const counters = mergeIncrements(sum, delivery.increments);
      groups.push({ deliveries: [delivery], sum, counters });
    }
  }
  return groups.map((group) => group.deliveries);
}

/** The sum of all their increments. */
export function sumOf(deliveries: readonly Delivery<unknown>[]): Increments {
  const sum: Increments = new Map();
  for (const { increments } of deliveries) mergeIncrements(sum, increments);
  return sum;
}

function newCounters(sum: Increments, more: Increments): number {
  let added = 0;
  for (const { date, type, state } of rowsOfIncrements(more)) {
    if (sum.get(date)?.get(type)?.get(state) === undefined) added++;
  }
  return added;
}
