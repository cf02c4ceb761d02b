import type { LedgerDelivery } from '../../../engines/aws/counters/counter-store.ts';
import type { DedupKey } from '../../../engines/aws/ledger/dedup-records.ts';
import type { CountingPorts } from '../../../pipeline/counting/count-messages.ts';
import { readDeadLetterContent } from '../../../pipeline/chunks/dead-letter-content.ts';
import type { DeadLetter, DeadLetterSink } from '../../../pipeline/ports.ts';
import type { SweepResult } from '../../../pipeline/sweep/ports.ts';
import { errorDetails } from '../clients.ts';
import type { Telemetry } from './telemetry.ts';

type Ports = CountingPorts<DedupKey, LedgerDelivery>;

/** The ports with metrics of counted and repeated chunks. */
export function observedPorts(ports: Ports, { count, log }: Telemetry): Ports {
  return {
    ...ports,
    store: {
      async apply(deliveries) {
        const result = await ports.store.apply(deliveries);
        count('ChunksCounted', result.counted.length);
        for (const { items } of result.counted) count('ItemsCounted', items);
        count('ChunksRepeated', result.repeated.length);
        return result;
      },
    },
    async known(deliveries) {
      const known = await ports.known(deliveries).catch((error: unknown) => {
        // The processor continues without them, more slowly.
        log('WARN', 'dedup records could not be looked up', errorDetails(error));
        throw error;
      });
      count('ChunksRepeated', known.size);
      return known;
    },
    async keepBodies(batches) {
      await ports.keepBodies(batches).catch((error: unknown) => {
        // The processor leaves their messages on the queue.
        log('ERROR', 'bodies were not stored', { batches: batches.length, ...errorDetails(error) });
        throw error;
      });
    },
  };
}

/** The dead-letter queue with a log line and a metric for each call. */
export function observedDeadLetters(
  inner: DeadLetterSink,
  { log, count }: Telemetry,
): DeadLetterSink {
  return {
    async add(deadLetters) {
      const stored = await inner.add(deadLetters);
      const added = deadLetters.filter(({ messageId }) => stored.has(messageId));
      count('DeadLettersParked', added.length);
      if (added.length > 0) {
        const reasons = [...new Set(added.map(reasonCode))];
        const ids = batchIdsOf(added.map(({ body }) => body));
        log('WARN', 'messages dead-lettered', { letters: added.length, reasons, ...ids });
      }
      return stored;
    },
  };
}

export function countSweep(result: SweepResult, { count }: Telemetry): void {
  count('BatchesSwept', result.batches);
  count('OrphansFound', result.orphans);
  count('MessagesResent', result.resent);
  count('BatchesNotSwept', result.failed);
  count('BatchesForgotten', result.forgotten);
  count('SweepBehindSeconds', Math.round(result.behindMs / 1000));
  count('UncountedSeconds', Math.round(result.waitingMs / 1000));
  if (result.failed === 0) count('SweepsDone', 1);
}

/** The code of a reason; the rest may quote a request. */
function reasonCode({ reason }: DeadLetter): string {
  return /^[a-z_]{1,40}(?=:)/.exec(reason)?.[0] ?? 'other';
}

const batchIdsMax = 20;

/** The batches of messages, at most 20, for a log line. */
export function batchIdsOf(bodies: readonly string[]): { batch_ids: string[] } {
  const ids = new Set<string>();
  for (const body of bodies) {
    if (ids.size === batchIdsMax) break;
    const content = readDeadLetterContent(body);
    if (content.kind !== 'message') ids.add(content.batchId);
  }
  return { batch_ids: [...ids] };
}
