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
  dedupStateIn,
  newRecords,
  recordTextOf,
  rowTextOf,
  type DedupKey,
} from '../ledger/dedup-records.ts';
import { isMessageKey, type Item } from '../ledger/ledger-table.ts';
import { isTransientCode, transact, transactionWritesMax } from '../ledger/transact.ts';

/** Increments, with the key of the dedup record that marks them as counted. */
export interface LedgerDelivery extends Delivery<DedupKey> {
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
 * Counters and dedup records in DynamoDB. One TransactWriteItems writes the dedup records of all
 * deliveries, on condition that none exists, and adds to the counters. So a delivery is counted
 * if and only if its dedup record exists, whatever is repeated, lost or interrupted.
 */
export function dynamodbCounterStore(
  options: CounterStoreOptions,
): CounterStore<DedupKey, LedgerDelivery> {
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

/** Counts all deliveries; if some are counted already, counts none and returns the counted ones. */
async function countNew(
  options: CounterStoreOptions,
  deliveries: readonly LedgerDelivery[],
): Promise<LedgerDelivery[]> {
  try {
    const rows = byRow(deliveries);
    const outcome = await transact(options, () => writesOf(options, rows));
    if (outcome.kind === 'done') return [];
    // The rows of dedup records are the first writes, in their order.
    const known = rows.flatMap((row, at) =>
      outcome.failedWrites.has(at) ? recordedIn(outcome.failedWrites.get(at), row) : [],
    );
    if (known.length > 0) return known;
    throw new Error('DynamoDB refuses dedup records that do not exist', { cause: outcome.cause });
  } catch (error) {
    const refusal = whyRefused(error);
    if (refusal === undefined) throw error;
    throw new PermanentFailure(`DynamoDB refuses the transaction${refusal}`, { cause: error });
  }
}

/**
 * The deliveries of a refused row that have their dedup records. A row that is not a dedup block is
 * such a record.
 */
function recordedIn(row: Item | undefined, deliveries: readonly LedgerDelivery[]) {
  return deliveries.filter(
    ({ dedupKey }) => dedupKey.number === undefined || dedupStateIn(row, dedupKey) !== undefined,
  );
}

/** Why DynamoDB would refuse the transaction again; undefined if a retry may succeed. */
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

/** The deliveries whose dedup records share a row, for each row. */
function byRow<D extends Delivery<DedupKey>>(deliveries: readonly D[]): D[][] {
  return [...Map.groupBy(deliveries, ({ dedupKey }) => rowTextOf(dedupKey)).values()];
}

/**
 * Returns one write for each row of dedup records, in their order, and then those of the counters.
 */
function writesOf(
  { countersTable, ledgerTable, keepMs, backoff }: CounterStoreOptions,
  rows: readonly (readonly LedgerDelivery[])[],
): TransactWriteItem[] {
  const kept = { now: backoff.now(), keepMs };
  const records = rows.map((row) => newRecords(ledgerTable, row.map(recordOf), kept));
  const counters = [...rowsOfIncrements(sumOf(rows.flat()))].map((row) =>
    increment(countersTable, row),
  );
  const writes = [...records, ...counters];
  if (writes.length <= transactionWritesMax) return writes;
  throw new PermanentFailure(
    `${records.length} rows of dedup records with ${counters.length} counters exceed the ${transactionWritesMax} writes of a transaction`,
  );
}

function recordOf({ dedupKey: key, items, increments }: LedgerDelivery) {
  return { key, items, ...(isMessageKey(key) && { more: counterAttributes(increments) }) };
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

/** Two deliveries of a chunk in one transaction would both count. */
function splitDuplicates(deliveries: readonly LedgerDelivery[]) {
  const seen = new Set<string>();
  const distinct: LedgerDelivery[] = [];
  const duplicates: LedgerDelivery[] = [];
  for (const delivery of deliveries) {
    const id = recordTextOf(delivery.dedupKey);
    (seen.has(id) ? duplicates : distinct).push(delivery);
    seen.add(id);
  }
  return { distinct, duplicates };
}

/**
 * Groups deliveries so that the rows of dedup records and the distinct counters of each group fit into
 * one transaction. Deliveries that share a row or counters share their cost; those of a row are together.
 */
export function groupDeliveries<D extends Delivery<DedupKey>>(deliveries: readonly D[]): D[][] {
  const groups: Group<D>[] = [];
  for (const delivery of byRow(deliveries).flat()) {
    const open = groups.at(-1);
    if (open === undefined || !addIfRoom(open, delivery)) {
      const next: Group<D> = { deliveries: [], rows: new Set(), sum: new Map(), counters: 0 };
      addTo(next, delivery);
      groups.push(next);
    }
  }
  return groups.map((group) => group.deliveries);
}

interface Group<D> {
  readonly deliveries: D[];
  readonly rows: Set<string>;
  readonly sum: Increments;
  counters: number;
}

function addIfRoom<D extends Delivery<DedupKey>>(group: Group<D>, delivery: D): boolean {
  const { rows, counters, sum } = group;
  const more = newCounters(sum, delivery.increments);
  const isNewRow = !rows.has(rowTextOf(delivery.dedupKey));
  if (rows.size + (isNewRow ? 1 : 0) + counters + more > transactionWritesMax) return false;
  addTo(group, delivery);
  return true;
}

function addTo<D extends Delivery<DedupKey>>(group: Group<D>, delivery: D): void {
  group.deliveries.push(delivery);
  group.rows.add(rowTextOf(delivery.dedupKey));
  group.counters += mergeIncrements(group.sum, delivery.increments);
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
