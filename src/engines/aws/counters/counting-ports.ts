import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';

import type { CarriedBatch } from '../../../pipeline/chunks/carried-batch.ts';
import type { MessageReading } from '../../../pipeline/chunks/queue-message.ts';
import type { CountingPorts, QueueMessage } from '../../../pipeline/counting/count-messages.ts';
import type { CounterStore, DeadLetterSink } from '../../../pipeline/ports.ts';
import { withRetries, type Backoff } from '../../../util/backoff.ts';
import { isRetryable } from '../errors.ts';
import type { BodyGroups } from '../intake/body-groups.ts';
import {
  dedupKeyOf,
  dedupStateIn,
  readDedupRows,
  recordTextOf,
  type DedupKey,
} from '../ledger/dedup-records.ts';
import { messageKey } from '../ledger/ledger-table.ts';
import { groupDeliveries, type LedgerDelivery } from './counter-store.ts';

interface CountingPortsOptions {
  readonly client: Pick<DynamoDBClient, 'send'>;
  readonly ledgerTable: string;
  readonly backoff: Backoff;
  /** The store for bodies that messages carry. */
  readonly groups: Pick<BodyGroups, 'put'>;
  /**
   * The backoff between attempts to store them. It should last as long as the invocation: while S3
   * fails, messages that return to the queue at once would soon reach their last receive.
   */
  readonly storing: Backoff;
}

/** Concurrent requests for dedup records. */
const parallelReads = 8;

/** The ports by which the processor counts into DynamoDB, as many deliveries in a transaction as fit. */
export function awsCountingPorts(
  store: CounterStore<DedupKey, LedgerDelivery>,
  deadLetters: DeadLetterSink,
  options: CountingPortsOptions,
): CountingPorts<DedupKey, LedgerDelivery> {
  const known = (deliveries: readonly LedgerDelivery[]) => knownIn(options, deliveries);
  const keepBodies = (batches: readonly CarriedBatch[]) =>
    withRetries(options.storing, isRetryable, () => options.groups.put(batches));
  return {
    ...{ store, deadLetters, deliveryOf, known, keepBodies, group: groupDeliveries },
    idOf: ({ dedupKey }) => recordTextOf(dedupKey),
  };
}

/** A chunk is identified by its batch and index, a foreign message by its message id. */
function deliveryOf(
  { originalId }: QueueMessage,
  reading: Exclude<MessageReading, { kind: 'unreadable' }>,
): LedgerDelivery {
  const { increments } = reading;
  return reading.kind === 'chunk'
    ? {
        dedupKey: dedupKeyOf(reading.batchId, reading.index),
        increments,
        items: reading.items,
      }
    : { dedupKey: messageKey(originalId, 'counted'), increments, items: 1 };
}

/** The deliveries whose dedup records exist. */
async function knownIn(
  { client, ledgerTable, backoff }: CountingPortsOptions,
  deliveries: readonly LedgerDelivery[],
): Promise<ReadonlySet<LedgerDelivery>> {
  const rowOf = await readDedupRows(
    { client, table: ledgerTable, isConsistent: true, width: parallelReads, backoff },
    deliveries.map(({ dedupKey }) => dedupKey),
  );
  const isKnown = ({ dedupKey }: LedgerDelivery) =>
    dedupStateIn(rowOf(dedupKey), dedupKey) !== undefined;
  return new Set(deliveries.filter(isKnown));
}
