import { randomUUID } from 'node:crypto';

import {
  TransactWriteItemsCommand,
  TransactionCanceledException,
  type CancellationReason,
  type DynamoDBClient,
  type TransactWriteItem,
  type TransactWriteItemsCommandInput,
} from '@aws-sdk/client-dynamodb';

import {
  rowsOfIncrements,
  typeStateKey,
  type CounterRow,
  type Increments,
} from '../../../domain/counter.ts';
import { PermanentFailure, type CounterStore, type Delivery } from '../../../pipeline/ports.ts';
import { isRetryable, isRetryableCode, nameOf } from '../errors.ts';
import { waitForRetry, type Backoff } from '../../../util/backoff.ts';
import {
  expiry,
  isMessageKey,
  keyItem,
  type Item,
  type LedgerKey,
} from '../ledger/ledger-table.ts';
import { sumOf, transactionWritesMax } from './transaction-groups.ts';

/** Increments, with the row of the ledger that marks them as counted. */
export interface LedgerDelivery extends Delivery<LedgerKey> {
  /** How many items they are of: receipts add these up. */
  readonly items: number;
}

export interface CounterStoreOptions {
  /** One that tries once: what is tried again, and how, is decided here. */
  readonly client: Pick<DynamoDBClient, 'send'>;
  readonly countersTable: string;
  readonly ledgerTable: string;
  /** How long marks are kept, in milliseconds. */
  readonly keepMs: number;
  readonly backoff: Backoff;
}

/**
 * Counters and ledger in DynamoDB: one TransactWriteItems puts a row into the ledger for each
 * delivery, on condition that it is not there, and adds to the counters. So a delivery is counted
 * if and only if its mark stands, whatever is repeated, lost or cut off.
 */
export function dynamodbCounterStore(
  options: CounterStoreOptions,
): CounterStore<LedgerKey, LedgerDelivery> {
  return { apply: (deliveries) => apply(options, deliveries) };
}

async function apply(options: CounterStoreOptions, deliveries: readonly LedgerDelivery[]) {
  const { first, again } = splitRepeated(deliveries);
  let open = first;
  const known: LedgerDelivery[] = [];
  let request = requestOf(options, open);
  for (let attempts = 0; open.length > 0;) {
    const result = await transact(options, open, request);
    if (result.kind === 'done') break;
    if (result.kind === 'marked') {
      known.push(...result.deliveries);
      open = open.filter((delivery) => !result.deliveries.includes(delivery));
      request = requestOf(options, open);
      continue;
    }
    attempts++;
    if (!(await waitForRetry(options.backoff, attempts))) throw result.error;
    // A request whose reply was lost is sent again as it was, with its token: DynamoDB then answers
    // what it would have answered. Any other is another request.
    if (result.kind === 'cancelled') request = requestOf(options, open);
  }
  return { counted: open, repeated: [...known, ...again], early: [] };
}

type Attempt =
  | { readonly kind: 'done' }
  /** Nothing was written: these are counted already. */
  | { readonly kind: 'marked'; readonly deliveries: readonly LedgerDelivery[] }
  /** Nothing was written: others wrote there, or too much was written at once. */
  | { readonly kind: 'cancelled'; readonly error: unknown }
  /** Nobody knows. */
  | { readonly kind: 'unknown'; readonly error: unknown };

/** @throws what trying again cannot mend. */
async function transact(
  options: CounterStoreOptions,
  deliveries: readonly LedgerDelivery[],
  request: TransactWriteItemsCommandInput,
): Promise<Attempt> {
  try {
    await options.client.send(new TransactWriteItemsCommand(request));
    return { kind: 'done' };
  } catch (error) {
    if (error instanceof TransactionCanceledException) {
      return whyCancelled(error, error.CancellationReasons ?? [], deliveries);
    }
    if (isRetryable(error)) return { kind: 'unknown', error };
    if (nameOf(error) !== 'ValidationException') throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw new PermanentFailure(`DynamoDB refuses the transaction: ${why}`, { cause: error });
  }
}

/** The marks stand first, in the order of the deliveries. */
function requestOf(
  { countersTable, ledgerTable, keepMs, backoff }: CounterStoreOptions,
  deliveries: readonly LedgerDelivery[],
): TransactWriteItemsCommandInput {
  const now = backoff.now();
  const marks = deliveries.map(({ dedupKey: mark, items, increments: tally }) => ({
    Put: {
      TableName: ledgerTable,
      Item: {
        ...keyItem(mark),
        items: { N: String(items) },
        ...(isMessageKey(mark) && counterNote(tally)),
        counted_at: { N: String(now) },
        expires_at: expiry(now + keepMs),
      },
      ConditionExpression: 'attribute_not_exists(id)',
    },
  }));
  const counters = [...rowsOfIncrements(sumOf(deliveries))].map((row) =>
    increment(countersTable, row),
  );
  const TransactItems = [...marks, ...counters];
  if (TransactItems.length > transactionWritesMax) {
    throw new PermanentFailure(
      `${deliveries.length} deliveries with ${counters.length} counters are more than the ${transactionWritesMax} writes of a transaction`,
    );
  }
  return { TransactItems, ClientRequestToken: randomUUID() };
}

/** No raw body tells what somebody else's message counted: its mark does. */
function counterNote(tally: Increments): Item {
  const [row] = rowsOfIncrements(tally);
  if (row === undefined) return {};
  return { date: { S: row.date }, type: { S: row.type }, state: { S: row.state } };
}

/**
 * Adds to a counter, or makes its row. Only ever beside a row that makes it count once. `typeState`:
 * the sort key of a row that somebody else made, where it is not ours.
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

/** The reasons stand in the order of the writes: the marks first, one for each delivery. */
function whyCancelled(
  error: TransactionCanceledException,
  reasons: readonly CancellationReason[],
  deliveries: readonly LedgerDelivery[],
): Attempt {
  const marked = deliveries.filter((_, at) => reasons[at]?.Code === 'ConditionalCheckFailed');
  if (marked.length > 0) return { kind: 'marked', deliveries: marked };
  const failed = reasons.filter(({ Code = 'None' }) => Code !== 'None');
  const lasting = failed.find(({ Code = '' }) => !isRetryableCode(Code));
  // Without a reason, too: it is no reason to take a chunk for one that never can be counted.
  if (lasting === undefined) return { kind: 'cancelled', error };
  const { Code = error.name, Message = error.message } = lasting;
  throw new PermanentFailure(
    `DynamoDB refuses the transaction, write ${reasons.findIndex((each) => each === lasting)}: ${Code}: ${Message}`,
    { cause: error },
  );
}

/** One transaction must not write a row twice. */
function splitRepeated(deliveries: readonly LedgerDelivery[]) {
  const seen = new Set<string>();
  const first: LedgerDelivery[] = [];
  const again: LedgerDelivery[] = [];
  for (const delivery of deliveries) {
    const mark = `${delivery.dedupKey.id} ${delivery.dedupKey.entry}`;
    (seen.has(mark) ? again : first).push(delivery);
    seen.add(mark);
  }
  return { first, again };
}
