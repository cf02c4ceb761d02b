import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';

import type { DeadLetter, DeadLetterSink } from '../../../pipeline/ports.ts';
import { inParallel } from '../../../util/in-parallel.ts';
import { getRow, putRow } from '../ledger/items.ts';
import { expiry, keyItem, messageKey } from '../ledger/ledger-table.ts';

interface DeadLetterOnceOptions {
  readonly client: Pick<DynamoDBClient, 'send'>;
  readonly ledgerTable: string;
  /** How long the ledger keeps the record of a dead-lettered message, in milliseconds. */
  readonly keepMs: number;
  readonly now: () => number;
}

const parallelReads = 8;

/**
 * Dead-letters each message once, however often the queue delivers it: the ledger records the
 * dead-lettered ones. A redriven message has a new id and is dead-lettered again. A kill between
 * the send and the record leaves a second dead letter, which changes no count.
 */
export function deadLetterOnce(
  inner: DeadLetterSink,
  options: DeadLetterOnceOptions,
): DeadLetterSink {
  return {
    async add(deadLetters) {
      const known = await inParallel(parallelReads, deadLetters, (each) => isKnown(options, each));
      const fresh = deadLetters.filter((_, at) => known[at] !== true);
      const sent = fresh.length === 0 ? new Set<string>() : await inner.add(fresh);
      const added = fresh.filter(({ messageId }) => sent.has(messageId));
      await inParallel(parallelReads, added, (each) => recordSent(options, each));
      const before = deadLetters.filter((_, at) => known[at] === true);
      return new Set([...before, ...added].map(({ messageId }) => messageId));
    },
  };
}

async function isKnown({ client, ledgerTable }: DeadLetterOnceOptions, { messageId }: DeadLetter) {
  return (await getRow(client, ledgerTable, messageKey(messageId, 'parked'))) !== undefined;
}

async function recordSent(
  { client, ledgerTable, keepMs, now }: DeadLetterOnceOptions,
  { messageId }: DeadLetter,
): Promise<void> {
  const key = keyItem(messageKey(messageId, 'parked'));
  await putRow(client, ledgerTable, { ...key, expires_at: expiry(now() + keepMs) });
}
