import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';

import type { MessageReading } from '../../../pipeline/chunks/queue-message.ts';
import type { CountingPorts, QueueMessage } from '../../../pipeline/counting/count-messages.ts';
import type { CounterStore, DeadLetterSink } from '../../../pipeline/ports.ts';
import type { Backoff } from '../../../util/backoff.ts';
import { batchGet } from '../ledger/batch-get.ts';
import type { LedgerDelivery } from './counter-store.ts';
import { chunkKey, keyItem, messageKey, textOf, type LedgerKey } from '../ledger/ledger-table.ts';
import { groupDeliveries } from './transaction-groups.ts';

export interface CountingPortsOptions {
  readonly client: Pick<DynamoDBClient, 'send'>;
  readonly ledgerTable: string;
  readonly backoff: Backoff;
}

/** Messages of one invocation take no more requests than that. */
const parallelReads = 8;

/** Counting into DynamoDB, as many deliveries in a transaction as it takes. */
export function awsCountingPorts(
  store: CounterStore<LedgerKey, LedgerDelivery>,
  parking: DeadLetterSink,
  ledger: CountingPortsOptions,
): CountingPorts<LedgerKey, LedgerDelivery> {
  const known = (deliveries: readonly LedgerDelivery[]) => knownIn(ledger, deliveries);
  return {
    ...{ store, parking, deliveryOf, known, group: groupDeliveries },
    nameOf: ({ dedupKey: mark }) => nameOf(mark),
  };
}

/** A chunk is known by its batch and index, what others queued by the message's own id. */
function deliveryOf(
  { originalId }: QueueMessage,
  reading: Exclude<MessageReading, { kind: 'unreadable' }>,
): LedgerDelivery {
  const { increments: tally } = reading;
  return reading.kind === 'chunk'
    ? {
        dedupKey: chunkKey(reading.batchId, reading.index),
        increments: tally,
        items: reading.items,
      }
    : { dedupKey: messageKey(originalId, 'counted'), increments: tally, items: 1 };
}

/** Those whose marks stand. */
async function knownIn(
  { client, ledgerTable, backoff }: CountingPortsOptions,
  deliveries: readonly LedgerDelivery[],
): Promise<ReadonlySet<LedgerDelivery>> {
  const keys = new Map(deliveries.map(({ dedupKey: mark }) => [nameOf(mark), keyItem(mark)]));
  const options = { client, table: ledgerTable, isConsistent: true, attributes: 'id, entry' };
  const marks = await batchGet({ ...options, width: parallelReads, backoff }, [...keys.values()]);
  const names = new Set(
    marks.map((item) => nameOf({ id: textOf(item, 'id'), entry: textOf(item, 'entry') })),
  );
  return new Set(deliveries.filter(({ dedupKey: mark }) => names.has(nameOf(mark))));
}

function nameOf({ id, entry }: LedgerKey): string {
  return `${id} ${entry}`;
}
