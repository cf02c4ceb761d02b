import type { CountingPorts, QueueMessage } from '../../pipeline/count-messages.ts';
import type { CounterStore, Parking } from '../../pipeline/ports.ts';
import type { MessageReading } from '../../domain/queue-message.ts';
import type { LedgerDelivery } from './dynamodb-counter-store.ts';
import { chunkKey, messageKey, type LedgerKey } from './ledger-table.ts';
import { groupDeliveries } from './transaction-groups.ts';

/** Counting into DynamoDB, as many deliveries in a transaction as it takes. */
export function awsCountingPorts(
  store: CounterStore<LedgerKey, LedgerDelivery>,
  parking: Parking,
): CountingPorts<LedgerKey, LedgerDelivery> {
  return { store, parking, deliveryOf, group: groupDeliveries };
}

/** A chunk is known by its batch and index, what others queued by the message's own id. */
function deliveryOf(
  { originalId }: QueueMessage,
  reading: Exclude<MessageReading, { kind: 'unreadable' }>,
): LedgerDelivery {
  const { tally } = reading;
  return reading.kind === 'chunk'
    ? { mark: chunkKey(reading.batchId, reading.index), tally, items: reading.items }
    : { mark: messageKey(originalId, 'counted'), tally, items: 1 };
}
