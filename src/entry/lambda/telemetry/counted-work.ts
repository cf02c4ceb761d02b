import type { LedgerDelivery } from '../../../engines/aws/counters/counter-store.ts';
import type { LedgerKey } from '../../../engines/aws/ledger/ledger-table.ts';
import type { CountingPorts } from '../../../pipeline/counting/count-messages.ts';
import { readDeadLetterContent } from '../../../pipeline/chunks/letter-content.ts';
import type { DeadLetter, DeadLetterSink } from '../../../pipeline/ports.ts';
import type { SweepResult } from '../../../pipeline/sweep-ports.ts';
import { errorDetails } from '../clients.ts';
import type { Telemetry } from './telemetry.ts';

type Ports = CountingPorts<LedgerKey, LedgerDelivery>;

/** The ports, with counts of what is counted by them, and of what was counted before. */
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
        // It goes on without them, more slowly.
        log('WARN', 'marks could not be looked up', errorDetails(error));
        throw error;
      });
      count('ChunksRepeated', known.size);
      return known;
    },
  };
}

/** The dead-letter queue, with a line of log for what is put there. */
export function observedDeadLetters(
  inner: DeadLetterSink,
  { log, count }: Telemetry,
): DeadLetterSink {
  return {
    async add(letters) {
      const parked = await inner.add(letters);
      const told = letters.filter(({ messageId }) => parked.has(messageId));
      count('DeadLettersParked', told.length);
      if (told.length > 0) {
        const reasons = [...new Set(told.map(reasonCode))];
        const ids = batchIdsOf(told.map(({ body }) => body));
        log('WARN', 'dead letters parked', { letters: told.length, reasons, ...ids });
      }
      return parked;
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

/** What is behind the code of a reason may quote what was sent. */
function reasonCode({ reason }: DeadLetter): string {
  return /^[a-z_]{1,40}(?=:)/.exec(reason)?.[0] ?? 'other';
}

const batchIdsMax = 20;

/** Which batches messages are of, as far as they are of any: 20 at the most, for a log. */
export function batchIdsOf(bodies: readonly string[]): { batch_ids: string[] } {
  const ids = new Set<string>();
  for (const body of bodies) {
    if (ids.size === batchIdsMax) break;
    const content = readDeadLetterContent(body);
    if (content.kind !== 'message') ids.add(content.batchId);
  }
  return { batch_ids: [...ids] };
}
