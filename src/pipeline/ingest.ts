import { hash } from 'node:crypto';

import { readBatch, tallyEvents, type BatchReading, type ItemError } from '../domain/batch.ts';
import { rawKeyOf } from '../domain/batch-id.ts';
import type { Tally } from '../domain/counter.ts';
import type { DayOf } from '../domain/day.ts';
import type { Problem } from '../domain/problem.ts';
import { inflate } from './body.ts';
import {
  Unavailable,
  type EarlierBatch,
  type Idempotency,
  type IngestOutcome,
  type Intake,
  type StoredBatch,
  type Submission,
} from './ports.ts';

export interface IngestRules {
  /** The largest body, as it came and inflated, in bytes. */
  readonly bodyBytesMax: number;
  /** As the timestamp is written, where nothing else is said. */
  readonly dayOf?: DayOf;
}

/** What is kept of a body once it is read: no item of it, since many batches wait for one sync. */
interface Judgement {
  readonly tally: Tally;
  readonly accepted: number;
  readonly rejected: number;
  readonly errors: readonly ItemError[];
  readonly idempotency: Idempotency | undefined;
  /** Why the batch is refused, unless its key came before. */
  readonly problem: Problem | undefined;
}

/**
 * Takes in one batch: reads it, refuses it or stores and queues it. It is stored if at least one
 * item is valid (all, if strict) or the list is empty. A key that came before with the same body
 * gets the answer it got then, before any other check: a retry is the same batch.
 */
export async function ingest(
  submission: Submission,
  intake: Intake,
  rules: IngestRules,
): Promise<IngestOutcome> {
  const judgement = judge(submission, rules);
  if ('code' in judgement) return refused(judgement);
  try {
    return await store(submission, judgement, intake);
  } catch (error) {
    if (!(error instanceof Unavailable)) throw error;
    const { code, message: detail, retryAfterSeconds } = error;
    return refused({ code, detail, retryAfterSeconds });
  }
}

function judge(
  { body, encoding, strict, idempotencyKey }: Submission,
  { bodyBytesMax, dayOf }: IngestRules,
): Judgement | Problem {
  const inflated = inflate(body, encoding, bodyBytesMax);
  if (inflated.code !== undefined) return inflated;
  const reading = readBatch(inflated.body, dayOf);
  if (!reading.readable) return { code: reading.code, detail: reading.detail };
  return {
    tally: tallyEvents(reading.events),
    accepted: reading.events.length,
    rejected: reading.rejected,
    errors: reading.errors,
    idempotency:
      idempotencyKey === undefined
        ? undefined
        : { key: idempotencyKey, bodySha256: hash('sha256', inflated.body, 'buffer') },
    problem: itemsProblem(reading, strict),
  };
}

async function store(
  { body, encoding, caller }: Submission,
  judgement: Judgement,
  intake: Intake,
): Promise<IngestOutcome> {
  const { tally, accepted, rejected, idempotency, problem } = judgement;
  if (idempotency !== undefined) {
    const earlier = await intake.recall(caller, idempotency.key);
    if (earlier !== undefined) return repeated(earlier, judgement);
  }
  if (problem !== undefined) return refused(problem);
  const batch = { body, encoding, caller, idempotency, accepted, rejected, tally };
  const result = await intake.accept(batch);
  return result.earlier === undefined
    ? acknowledged(result.stored, judgement)
    : repeated(result.earlier, judgement);
}

/** The same body is judged the same, so that the earlier answer need not have been kept. */
function repeated(earlier: EarlierBatch, judgement: Judgement): IngestOutcome {
  const { bodySha256 = new Uint8Array() } = judgement.idempotency ?? {};
  if (Buffer.compare(earlier.bodySha256, bodySha256) === 0) {
    return acknowledged(earlier, judgement);
  }
  const detail =
    'This Idempotency-Key came before with another body. Use a new key for a new batch.';
  return refused({ code: 'idempotency_key_reused', detail });
}

function itemsProblem(
  { events, rejected, errors }: Extract<BatchReading, { readable: true }>,
  strict: boolean,
): Problem | undefined {
  if (rejected === 0) return undefined;
  if (events.length === 0) {
    const detail = `None of the ${rejected} items is valid; nothing was stored.`;
    return { code: 'no_valid_items', detail, rejected, errors };
  }
  if (strict) {
    const detail = `${rejected} of ${events.length + rejected} items are not valid and handling is strict; nothing was stored.`;
    return { code: 'invalid_items', detail, rejected, errors };
  }
  return undefined;
}

function acknowledged({ batchId, receivedAt }: StoredBatch, judgement: Judgement): IngestOutcome {
  const { accepted: enqueued, rejected, errors } = judgement;
  const rawKey = rawKeyOf(batchId, receivedAt);
  return { accepted: true, batchId, rawKey, enqueued, rejected, errors };
}

function refused(problem: Problem): IngestOutcome {
  return { accepted: false, problem };
}
