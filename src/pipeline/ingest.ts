import { hash } from 'node:crypto';

import { readBatch, tallyEvents, type BatchReading } from '../domain/batch.ts';
import { rawKeyOf } from '../domain/batch-id.ts';
import type { Problem } from '../domain/problem.ts';
import { inflate } from './body.ts';
import {
  Unavailable,
  type EarlierBatch,
  type IngestOutcome,
  type Intake,
  type StoredBatch,
  type Submission,
} from './ports.ts';

export interface IngestLimits {
  /** The largest body, as it came and inflated, in bytes. */
  readonly bodyBytesMax: number;
}

type Readable = Extract<BatchReading, { readable: true }>;

/**
 * Takes in one batch: reads it, refuses it or stores and queues it. It is stored if at least one
 * item is valid (all, if strict) or the list is empty. A key that came before with the same body
 * gets the answer it got then, before any other check: a retry is the same batch.
 */
export async function ingest(
  submission: Submission,
  intake: Intake,
  limits: IngestLimits,
): Promise<IngestOutcome> {
  const inflated = inflate(submission.body, submission.encoding, limits.bodyBytesMax);
  if (inflated.code !== undefined) return refused(inflated);
  const reading = readBatch(inflated.body);
  if (!reading.readable) return refused(reading);
  try {
    return await store(submission, inflated.body, reading, intake);
  } catch (error) {
    if (!(error instanceof Unavailable)) throw error;
    const { code, message: detail, retryAfterSeconds } = error;
    return refused({ code, detail, retryAfterSeconds });
  }
}

async function store(
  { body, encoding, strict, caller, idempotencyKey }: Submission,
  inflated: Uint8Array,
  reading: Readable,
  intake: Intake,
): Promise<IngestOutcome> {
  const idempotency =
    idempotencyKey === undefined
      ? undefined
      : { key: idempotencyKey, bodySha256: hash('sha256', inflated, 'buffer') };
  if (idempotency !== undefined) {
    const earlier = await intake.recall(caller, idempotency.key);
    if (earlier !== undefined) return repeated(earlier, idempotency.bodySha256, reading);
  }
  const problem = itemsProblem(reading, strict);
  if (problem !== undefined) return refused(problem);
  const result = await intake.accept({
    body,
    encoding,
    caller,
    idempotency,
    accepted: reading.events.length,
    rejected: reading.rejected,
    tally: tallyEvents(reading.events),
  });
  if (result.earlier === undefined) return accepted(result.stored, reading);
  return repeated(result.earlier, idempotency?.bodySha256 ?? new Uint8Array(), reading);
}

/** The same body has the same reading, so that the earlier answer need not have been kept. */
function repeated(earlier: EarlierBatch, bodySha256: Uint8Array, reading: Readable): IngestOutcome {
  if (Buffer.compare(earlier.bodySha256, bodySha256) === 0) return accepted(earlier, reading);
  const detail =
    'This Idempotency-Key came before with another body. Use a new key for a new batch.';
  return refused({ code: 'idempotency_key_reused', detail });
}

function itemsProblem(
  { events, rejected, errors }: Readable,
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

function accepted({ batchId, receivedAt }: StoredBatch, reading: Readable): IngestOutcome {
  const { events, rejected, errors } = reading;
  const rawKey = rawKeyOf(batchId, receivedAt);
  return { accepted: true, batchId, rawKey, enqueued: events.length, rejected, errors };
}

function refused({ code, detail, errors, rejected, retryAfterSeconds }: Problem): IngestOutcome {
  return {
    accepted: false,
    problem: {
      code,
      detail,
      ...(errors && { errors }),
      ...(rejected !== undefined && { rejected }),
      ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
    },
  };
}
