import { randomUUID } from 'node:crypto';

import {
  GetItemCommand,
  QueryCommand,
  TransactionCanceledException,
  TransactWriteItemsCommand,
  type DynamoDBClient,
} from '@aws-sdk/client-dynamodb';

import { isRetryable, isRetryableCode } from '../errors.ts';
import { waitForRetry, type Backoff } from '../../../util/backoff.ts';
import { forEachDeadLetter, type PassOptions, type StoredDeadLetter } from './dead-letter-pass.ts';
import { inParallel } from '../../../util/in-parallel.ts';
import {
  chunkKey,
  droppedBatchKey,
  isDropped,
  keyItem,
  messageKey,
  numberOf,
  textOf,
  type Item,
  type LedgerKey,
} from '../ledger/ledger-table.ts';

export interface DropOptions {
  /** Over the dead-letter queue. */
  readonly pass: PassOptions;
  readonly client: Pick<DynamoDBClient, 'send'>;
  readonly ledgerTable: string;
  readonly backoff: Backoff;
}

/** `counted`: it was counted before, from another copy, and nothing can be dropped of it. */
export type DropOutcome = 'dropped' | 'counted';

const parallelDrops = 8;
const droppedId = 'dropped';
/** A row of DynamoDB has 400 KB. */
const bodyBytesMax = 256 * 1024;

/**
 * Decides that letters are never counted. What is written is the very mark that counting would
 * write, on the same condition, and without an end: so whatever copy of it comes later counts
 * nothing, and who was counted before is not dropped. Only then the letter is deleted. Who was
 * dropped stays on record.
 */
export async function dropDeadLetters(
  options: DropOptions,
  isChosen: (letter: StoredDeadLetter) => boolean,
  onLetter: (letter: StoredDeadLetter, outcome: DropOutcome) => void,
): Promise<{ readonly isMore: boolean }> {
  return forEachDeadLetter(options.pass, async (letters) => {
    const chosen = letters.filter(isChosen);
    const outcomes = await inParallel(parallelDrops, chosen, (letter) => drop(options, letter));
    for (const [at, letter] of chosen.entries()) onLetter(letter, outcomes[at] ?? 'dropped');
    return new Set(chosen);
  });
}

async function drop(options: DropOptions, letter: StoredDeadLetter): Promise<DropOutcome> {
  const { client, ledgerTable: TableName, backoff } = options;
  const mark = markOf(letter);
  const droppedAt = { N: String(backoff.now()) };
  const note = { dropped_at: droppedAt, reason: { S: letter.reason } };
  const Put = {
    TableName,
    Item: { ...keyItem(mark), items: { N: '0' }, ...note },
    ConditionExpression: 'attribute_not_exists(id)',
  };
  const request = new TransactWriteItemsCommand({
    TransactItems: [{ Put }, { Put: { TableName, Item: recordOf(letter, droppedAt) } }],
    // Sent again as it is: DynamoDB answers what it would have answered.
    ClientRequestToken: randomUUID(),
  });
  for (let attempts = 0; ;) {
    try {
      await client.send(request);
      return 'dropped';
    } catch (error) {
      const codes =
        error instanceof TransactionCanceledException
          ? (error.CancellationReasons ?? []).map(({ Code = 'None' }) => Code)
          : [];
      if (codes[0] === 'ConditionalCheckFailed') return outcomeOf(options, mark);
      const failed = codes.filter((code) => code !== 'None');
      const passes = failed.length > 0 ? failed.every(isRetryableCode) : isRetryable(error);
      if (!passes || !(await waitForRetry(backoff, ++attempts))) throw error;
    }
  }
}

/** What stands where the mark was to be written. */
async function outcomeOf(
  { client, ledgerTable }: DropOptions,
  mark: LedgerKey,
): Promise<DropOutcome> {
  const request = { TableName: ledgerTable, Key: keyItem(mark), ConsistentRead: true };
  const { Item } = await client.send(new GetItemCommand(request));
  return Item !== undefined && isDropped(Item) ? 'dropped' : 'counted';
}

function markOf({ id, content }: StoredDeadLetter): LedgerKey {
  switch (content.kind) {
    case 'chunk':
      return chunkKey(content.batchId, content.index);
    case 'batch':
      return droppedBatchKey(content.batchId);
    case 'message':
      return messageKey(id, 'counted');
  }
}

/** A letter that was dropped, as it is remembered. */
export interface DroppedLetter extends Omit<
  StoredDeadLetter,
  'receives' | 'attributes' | 'body' | 'sentAt'
> {
  readonly droppedAt: number;
  /** Undefined where the raw store has it; shortened where it is long. */
  readonly body: string | undefined;
}

function recordOf(letter: StoredDeadLetter, droppedAt: { N: string }): Item {
  const { id, content, reason, firstFailedAt, lastFailedAt, body } = letter;
  const mark = markOf(letter);
  const time = (name: string, at: number | undefined) =>
    at === undefined ? {} : { [name]: { N: String(at) } };
  const text = Buffer.from(body).subarray(0, bodyBytesMax).toString();
  return {
    ...keyItem({ id: droppedId, entry: `${mark.id} ${mark.entry}` }),
    ...{ letter_id: { S: id }, kind: { S: content.kind }, reason: { S: reason } },
    ...time('first_failed_at', firstFailedAt),
    ...time('last_failed_at', lastFailedAt),
    dropped_at: droppedAt,
    ...(content.kind === 'message' && { body: { S: text } }),
    ...(content.kind !== 'message' && {
      batch_id: { S: content.batchId },
      raw_key: { S: content.rawKey },
    }),
    ...(content.kind === 'chunk' && {
      index: { N: String(content.index) },
      items: { N: String(content.items) },
    }),
  };
}

/** Those that were dropped, a page at a time. */
export async function* droppedLetters(
  client: Pick<DynamoDBClient, 'send'>,
  TableName: string,
): AsyncGenerator<readonly DroppedLetter[]> {
  let ExclusiveStartKey: Item | undefined;
  do {
    const page = await client.send(
      new QueryCommand({
        TableName,
        KeyConditionExpression: 'id = :id',
        ExpressionAttributeValues: { ':id': { S: droppedId } },
        ConsistentRead: true,
        ExclusiveStartKey,
      }),
    );
    yield (page.Items ?? []).map(readRecord);
    ExclusiveStartKey = page.LastEvaluatedKey;
  } while (ExclusiveStartKey !== undefined);
}

function readRecord(item: Item): DroppedLetter {
  const time = (name: string) => (item[name] === undefined ? undefined : numberOf(item, name));
  return {
    id: textOf(item, 'letter_id'),
    content: readContent(item),
    reason: textOf(item, 'reason'),
    firstFailedAt: time('first_failed_at'),
    lastFailedAt: time('last_failed_at'),
    droppedAt: numberOf(item, 'dropped_at'),
    body: item['body']?.S,
  };
}

function readContent(item: Item): StoredDeadLetter['content'] {
  const kind = textOf(item, 'kind');
  if (kind !== 'chunk' && kind !== 'batch') return { kind: 'message' };
  const batch = { batchId: textOf(item, 'batch_id'), rawKey: textOf(item, 'raw_key') };
  if (kind === 'batch') return { kind, ...batch };
  return { kind, ...batch, index: numberOf(item, 'index'), items: numberOf(item, 'items') };
}
