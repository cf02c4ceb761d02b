import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';

import { inParallel } from '../../../util/in-parallel.ts';
import {
  chunkKey,
  droppedBatchKey,
  keyItem,
  messageKey,
  numberOf,
  textOf,
  type Item,
  type LedgerKey,
} from '../ledger/ledger-table.ts';
import {
  dedupKeyOf,
  dedupStateIn,
  droppedRecord,
  rowTextOf,
  type DedupKey,
} from '../ledger/dedup-records.ts';
import { getRow, rowPages } from '../ledger/items.ts';
import { transact, type TransactOptions } from '../ledger/transact.ts';
import type { BodyGroups } from '../intake/body-groups.ts';
import { keepBodies } from './keep-bodies.ts';
import { forEachDeadLetter, type PassOptions, type StoredDeadLetter } from './dead-letter-pass.ts';

interface DropOptions extends TransactOptions {
  /** The pass over the dead-letter queue. */
  readonly pass: PassOptions;
  readonly ledgerTable: string;
  /** The store for bodies that dropped dead letters carry. */
  readonly groups: Pick<BodyGroups, 'put'>;
}

/** `counted`: another copy was counted before, so that nothing can be dropped. */
export type DropOutcome = 'dropped' | 'counted';

const parallelDrops = 8;
const droppedId = 'dropped';
/** DynamoDB's limit of a row is 400 KB. */
const bodyBytesMax = 256 * 1024;

/**
 * Decides that dead letters are never counted. A drop writes the dedup record that counting would
 * write, on the same condition, and without an expiry: any later copy counts nothing, and what was
 * counted before is not dropped. Then the dead letter is deleted; a ledger row remains as a record.
 */
export async function dropDeadLetters(
  options: DropOptions,
  isChosen: (deadLetter: StoredDeadLetter) => boolean,
  onDeadLetter: (deadLetter: StoredDeadLetter, outcome: DropOutcome) => void,
): Promise<{ readonly isMore: boolean }> {
  return forEachDeadLetter(options.pass, async (deadLetters) => {
    const chosen = deadLetters.filter(isChosen);
    // A dead letter may have the only copy of a body, which stays when it is deleted.
    await keepBodies(options.groups, chosen);
    const outcomes = await inParallel(parallelDrops, chosen, (each) => drop(options, each));
    for (const [at, each] of chosen.entries()) onDeadLetter(each, outcomes[at] ?? 'dropped');
    return new Set(chosen);
  });
}

async function drop(options: DropOptions, deadLetter: StoredDeadLetter): Promise<DropOutcome> {
  const { ledgerTable: TableName, backoff } = options;
  const key = recordKeyOf(deadLetter);
  const droppedAt = backoff.now();
  const outcome = await transact(options, () => [
    droppedRecord(TableName, key, { droppedAt, reason: deadLetter.reason }),
    { Put: { TableName, Item: rowOf(deadLetter, { N: String(droppedAt) }) } },
  ]);
  return outcome.kind === 'done' ? 'dropped' : await existingOutcome(options, key);
}

/** Whether the existing dedup record means counted or dropped. */
async function existingOutcome(
  { client, ledgerTable }: DropOptions,
  key: DedupKey,
): Promise<DropOutcome> {
  const state = dedupStateIn(await getRow(client, ledgerTable, key), key);
  return state === 'dropped' ? 'dropped' : 'counted';
}

/** The key of the dedup record under which the dead letter would be counted. */
function recordKeyOf(deadLetter: StoredDeadLetter): DedupKey {
  const { content } = deadLetter;
  return content.kind === 'chunk'
    ? dedupKeyOf(content.batchId, content.index)
    : contentKeyOf(deadLetter);
}

/** A key that names the content of the dead letter: a chunk, a batch or a message. */
function contentKeyOf({ id, content }: StoredDeadLetter): LedgerKey {
  switch (content.kind) {
    case 'chunk':
      return chunkKey(content.batchId, content.index);
    case 'batch':
      return droppedBatchKey(content.batchId);
    case 'message':
      return messageKey(id, 'counted');
  }
}

/** A dropped dead letter, as the ledger records it. */
export interface DroppedDeadLetter extends Omit<
  StoredDeadLetter,
  'receives' | 'attributes' | 'body' | 'sentAt' | 'isMovedBySqs'
> {
  readonly droppedAt: number;
  /** Undefined if the raw store has it; shortened if it is long. */
  readonly body: string | undefined;
}

function rowOf(deadLetter: StoredDeadLetter, droppedAt: { N: string }): Item {
  const { id, content, reason, firstFailedAt, lastFailedAt, body } = deadLetter;
  const time = (name: string, at: number | undefined) =>
    at === undefined ? {} : { [name]: { N: String(at) } };
  const text = Buffer.from(body).subarray(0, bodyBytesMax).toString();
  return {
    ...keyItem({ id: droppedId, entry: rowTextOf(contentKeyOf(deadLetter)) }),
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

/** The dropped dead letters, a page at a time. */
export async function* droppedDeadLetters(
  client: Pick<DynamoDBClient, 'send'>,
  TableName: string,
): AsyncGenerator<readonly DroppedDeadLetter[]> {
  for await (const page of rowPages(client, TableName, droppedId)) yield page.map(readRow);
}

function readRow(item: Item): DroppedDeadLetter {
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
