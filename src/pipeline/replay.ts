import { readBatch, countEvents } from '../domain/batch.ts';
import { rawKeyOf } from '../domain/batch-id.ts';
import type { Problem } from '../domain/problem.ts';
import { inflate } from './inflate.ts';
import { idempotencyOf, problemOf, type IngestRules } from './ingest.ts';
import type {
  IngestOutcome,
  ReplayedBatch,
  ReplayIntake,
  ReplayOrigin,
  Submission,
} from './ports.ts';

/**
 * Accepts a batch of another installation as it was there: with its id and time, and with the same
 * items accepted and rejected. If its body is read differently here, nothing is stored, because the
 * counts of both installations could never agree.
 */
export async function replay(
  submission: Submission,
  origin: ReplayOrigin,
  intake: ReplayIntake,
  rules: IngestRules,
): Promise<IngestOutcome> {
  const batch = readAsAtSource(submission, origin, rules);
  if ('code' in batch) return { accepted: false, problem: batch };
  const { accepted: enqueued, rejected } = origin;
  const taken = ({ batchId, receivedAt } = origin, isKnown = false): IngestOutcome => {
    const rawKey = rawKeyOf(batchId, receivedAt);
    return { accepted: true, batchId, rawKey, enqueued, rejected, errors: [], isKnown };
  };
  try {
    const result = await intake.replay(batch);
    switch (result.kind) {
      case 'stored':
        return taken();
      case 'known':
        return taken({ ...origin, ...result.batch }, true);
      case 'conflict':
        return { accepted: false, problem: { code: 'replay_conflict', detail: result.detail } };
      case 'undecidable':
        return { accepted: false, problem: { code: 'replay_undecidable', detail: result.detail } };
    }
  } catch (error) {
    return { accepted: false, problem: problemOf(error) };
  }
}

function readAsAtSource(
  { body, encoding, caller, idempotencyKey }: Submission,
  origin: ReplayOrigin,
  { bodyBytesMax, dayOf }: IngestRules,
): ReplayedBatch | Problem {
  const { accepted, rejected, excluded } = origin;
  const inflated = inflate(body, encoding, bodyBytesMax);
  if (inflated.code !== undefined) return inflated;
  const reading = readBatch(inflated.body, dayOf, excluded);
  if (!reading.readable) {
    return { code: 'replay_differs', detail: `The body is not valid here: ${reading.detail}` };
  }
  if (reading.events.length !== accepted || reading.rejected !== rejected) {
    const here = `${reading.events.length} items are valid here and ${reading.rejected} are not`;
    const detail = `${here}; the source accepted ${accepted} and rejected ${rejected}. Nothing was stored.`;
    return { code: 'replay_differs', detail };
  }
  const idempotency = idempotencyOf(idempotencyKey, inflated.body);
  return {
    ...{ body, encoding, caller, idempotency, accepted, rejected, origin },
    ...(excluded !== undefined && { excluded }),
    increments: countEvents(reading.events),
  };
}
