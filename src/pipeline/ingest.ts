import {
  readBatch,
  countEvents,
  type BatchReading,
  type ItemError,
  type RejectedByCode,
} from '../domain/batch.ts';
import { rawKeyOf } from '../domain/batch-id.ts';
import type { Increments } from '../domain/counter.ts';
import type { DayOf } from '../domain/day.ts';
import { tooManyCounters } from '../domain/device-event.ts';
import type { Problem } from '../domain/problem.ts';
import { idempotencyOf, isRetryOf } from './idempotency.ts';
import { inflate } from './inflate.ts';
import {
  AllItemsOverLimit,
  Unavailable,
  type EarlierBatch,
  type Idempotency,
  type IngestOutcome,
  type Intake,
  type StoredBatch,
  type Submission,
} from './ports.ts';

export interface IngestRules {
  /** The largest body in bytes, as sent and inflated. */
  readonly bodyBytesMax: number;
  /** The day rule; default: the date as written. */
  readonly dayOf?: DayOf;
}

/** The result of reading a body. Without items, to save memory: many batches wait for one sync. */
interface Assessment {
  readonly increments: Increments;
  readonly accepted: number;
  readonly rejected: number;
  readonly rejectedByCode: RejectedByCode;
  readonly errors: readonly ItemError[];
  readonly idempotency: Idempotency | undefined;
  /** Why the batch is refused, unless it is a retry of an accepted one. */
  readonly problem: Problem | undefined;
}

/**
 * Reads a batch and then refuses it, or stores and queues it. It is stored if at least one item is valid
 * (if strict: all) or the list is empty. A retry, with the same key and the same body as an earlier
 * batch, gets the earlier response before any other check. Over-limit items are rejected like invalid
 * ones.
 */
export async function ingest(
  submission: Submission,
  intake: Intake,
  rules: IngestRules,
): Promise<IngestOutcome> {
  const assessment = assess(submission, rules);
  if ('code' in assessment) return refusedOutcome(assessment);
  try {
    return await store(submission, assessment, intake, rules);
  } catch (error) {
    return refusedOutcome(problemOf(error));
  }
}

function assess(
  { body, encoding, strict, idempotencyKey }: Submission,
  { bodyBytesMax, dayOf }: IngestRules,
  excluded: readonly number[] = [],
): Assessment | Problem {
  const inflated = inflate(body, encoding, bodyBytesMax);
  if (inflated.code !== undefined) return inflated;
  const reading = readBatch(inflated.body, dayOf, excluded, (event) => tooManyCounters(event));
  if (!reading.readable) return { code: reading.code, detail: reading.detail };
  return {
    increments: countEvents(reading.events),
    accepted: reading.events.length,
    rejected: reading.rejected,
    rejectedByCode: reading.rejectedByCode,
    errors: reading.errors,
    idempotency: idempotencyOf(idempotencyKey, inflated.body),
    problem: itemsProblem(reading, strict, excluded.length),
  };
}

async function store(
  submission: Submission,
  assessment: Assessment,
  intake: Intake,
  rules: IngestRules,
): Promise<IngestOutcome> {
  const { body, encoding, caller, strict } = submission;
  const { increments, accepted, rejected, idempotency, problem } = assessment;
  const assessmentOf = (excluded: readonly number[] | undefined) =>
    assessWithout(submission, assessment, rules, excluded);
  if (idempotency !== undefined) {
    const earlier = await intake.recall(caller, idempotency.key);
    if (earlier !== undefined) return outcomeOfRetry(earlier, idempotency, assessmentOf);
  }
  if (problem !== undefined) return refusedOutcome(problem);
  const batch = { body, encoding, caller, idempotency, accepted, rejected, increments, strict };
  try {
    const result = await intake.accept(batch);
    return result.earlier === undefined
      ? acceptedOutcome(result.stored, assessmentOf(result.stored.excluded))
      : outcomeOfRetry(result.earlier, idempotency, assessmentOf);
  } catch (error) {
    if (!(error instanceof AllItemsOverLimit)) throw error;
    const { problem: why } = assessmentOf(error.excluded);
    if (why === undefined) throw error;
    return refusedOutcome(why);
  }
}

/**
 * The outcome for a key that is already used: the earlier response, or a refusal if the body differs. The
 * response need not be stored: the same body with the same over-limit items gives it again.
 */
function outcomeOfRetry(
  earlier: EarlierBatch,
  idempotency: Idempotency | undefined,
  assessmentOf: (excluded: readonly number[] | undefined) => Assessment,
): IngestOutcome {
  if (isRetryOf(earlier, idempotency)) {
    return acceptedOutcome(earlier, assessmentOf(earlier.excluded));
  }
  const detail =
    'This Idempotency-Key was already used with another body. Use a new key for a new batch.';
  return refusedOutcome({ code: 'idempotency_key_reused', detail });
}

/** The assessment with over-limit items: the body is read again, and they are rejected. */
function assessWithout(
  submission: Submission,
  assessment: Assessment,
  rules: IngestRules,
  excluded: readonly number[] = [],
): Assessment {
  if (excluded.length === 0) return assessment;
  const again = assess(submission, rules, excluded);
  if ('code' in again) throw new Error(`the body is no longer readable: ${again.detail}`);
  return again;
}

function itemsProblem(
  { events, rejected, rejectedByCode, errors }: Extract<BatchReading, { readable: true }>,
  strict: boolean,
  excluded: number,
): Problem | undefined {
  if (rejected === 0) return undefined;
  const why =
    excluded === 0
      ? ''
      : excluded === 1
        ? ' One of them is valid, but its day has reached the counter limit.'
        : ` ${excluded} of them are valid, but their days have reached the counter limit.`;
  if (events.length === 0) {
    const detail = `${noneOf(rejected, excluded)}; nothing was stored.${rejected === 1 ? '' : why}`;
    return { code: 'no_valid_items', detail, rejected, rejectedByCode, errors };
  }
  if (strict) {
    const detail = `${rejected} of ${events.length + rejected} items ${rejected === 1 ? 'is' : 'are'} not valid and handling is strict; nothing was stored.${why}`;
    return { code: 'invalid_items', detail, rejected, rejectedByCode, errors };
  }
  return undefined;
}

function noneOf(rejected: number, excluded: number): string {
  if (rejected > 1)
    return `None of the ${rejected} items ${excluded === 0 ? 'is valid' : 'can be counted'}`;
  if (excluded === 0) return 'The item is not valid';
  return 'The item is valid, but its day has reached the counter limit';
}

function acceptedOutcome(
  { batchId, receivedAt }: StoredBatch,
  assessment: Assessment,
): IngestOutcome {
  const { accepted: enqueued, rejected, rejectedByCode, errors } = assessment;
  const rawKey = rawKeyOf(batchId, receivedAt);
  return { accepted: true, batchId, rawKey, enqueued, rejected, rejectedByCode, errors };
}

function refusedOutcome(problem: Problem): IngestOutcome {
  return { accepted: false, problem };
}

/** The problem of a batch that cannot be stored now. @throws any other error. */
export function problemOf(error: unknown): Problem {
  if (!(error instanceof Unavailable)) throw error;
  const { code, message: detail, retryAfterSeconds } = error;
  return { code, detail, retryAfterSeconds };
}
