import { GetItemCommand, PutItemCommand, type DynamoDBClient } from '@aws-sdk/client-dynamodb';

import type { DeadLetter, DeadLetterSink } from '../../../pipeline/ports.ts';
import { inParallel } from '../../../util/in-parallel.ts';
import { expiry, keyItem, messageKey } from '../ledger/ledger-table.ts';

export interface DeadLetterOnceOptions {
  readonly client: Pick<DynamoDBClient, 'send'>;
  readonly ledgerTable: string;
  /** How long it is known what was parked, in milliseconds. */
  readonly keepMs: number;
  readonly now: () => number;
}

const parallelReads = 8;

/**
 * Parks each message once, however often the queue delivers it: the ledger knows which were. (A
 * message that was redriven is another one to the queue, and is parked again. Who is killed between the sending and the row leaves a second letter, which changes no count.)
 */
export function deadLetterOnce(
  inner: DeadLetterSink,
  options: DeadLetterOnceOptions,
): DeadLetterSink {
  return {
    async add(letters) {
      const known = await inParallel(parallelReads, letters, (letter) => isKnown(options, letter));
      const fresh = letters.filter((_, at) => known[at] !== true);
      const sent = fresh.length === 0 ? new Set<string>() : await inner.add(fresh);
      const parked = fresh.filter(({ messageId }) => sent.has(messageId));
      await inParallel(parallelReads, parked, (letter) => remember(options, letter));
      const before = letters.filter((_, at) => known[at] === true);
      return new Set([...before, ...parked].map(({ messageId }) => messageId));
    },
  };
}

async function isKnown({ client, ledgerTable }: DeadLetterOnceOptions, { messageId }: DeadLetter) {
  const Key = keyItem(messageKey(messageId, 'parked'));
  const request = { TableName: ledgerTable, Key, ConsistentRead: true };
  return (await client.send(new GetItemCommand(request))).Item !== undefined;
}

async function remember(
  { client, ledgerTable, keepMs, now }: DeadLetterOnceOptions,
  { messageId }: DeadLetter,
): Promise<void> {
  const Item = {
    ...keyItem(messageKey(messageId, 'parked')),
    expires_at: expiry(now() + keepMs),
  };
  await client.send(new PutItemCommand({ TableName: ledgerTable, Item }));
}
