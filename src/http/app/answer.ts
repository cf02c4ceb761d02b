import type { AccessDenied } from '../../auth/check-access.ts';
import {
  problemDetails,
  statusOfProblem,
  type Problem,
  type ProblemCode,
} from '../../domain/problem.ts';
import type { ArchiveState, IngestOutcome, PipelineStatus, Receipt } from '../../pipeline/ports.ts';

/** A whole response, for any transport. Header names are lower case. */
export interface Answer<Body = string> {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Body;
  /** Set if the response is a refusal. */
  readonly problem?: ProblemCode;
}

/** A response with a binary or encoded body. */
export type BytesAnswer = Answer<Bytes>;
export type Bytes = Uint8Array<ArrayBuffer>;

/** A streamed response. */
export interface StreamAnswer extends Answer<Pieces> {
  readonly progress: Progress;
}

/** Produced on demand. Call `return` to stop early. */
export type Pieces = AsyncIterableIterator<Bytes>;

/** The progress of a streamed response. */
export interface Progress {
  /** The bytes read so far, before compression. */
  readonly bytes: number;
  /** Called if the rest of the response fails; closes the connection. Without it, `next` rejects. */
  fail?: (why: unknown) => void;
}

export type AnyAnswer = Answer | BytesAnswer | StreamAnswer;

export function isStream(answer: AnyAnswer): answer is StreamAnswer {
  return 'progress' in answer;
}

const baseHeaders = { 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' };

/**
 * Security headers for browsers: the response is not a page, cannot be framed, and other origins cannot
 * read it. Only the response to an accepted batch omits them, because only scripts request it.
 */
export const browserHeaders = {
  ...baseHeaders,
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
};

export function jsonAnswer(status: number, value: unknown): Answer {
  return textAnswer(status, 'application/json', JSON.stringify(value));
}

/** A response of a serialised body. */
function textAnswer(status: number, contentType: string, body: string): Answer {
  return { status, headers: { 'content-type': contentType, ...browserHeaders }, body };
}

/** Source: RFC 9457. */
export function problemAnswer(
  problem: Problem,
  headers: Readonly<Record<string, string>> = {},
): Answer {
  const retryAfter: Record<string, string> =
    problem.retryAfterSeconds === undefined
      ? {}
      : { 'retry-after': String(problem.retryAfterSeconds) };
  return {
    status: statusOfProblem(problem.code),
    headers: {
      'content-type': 'application/problem+json',
      ...browserHeaders,
      ...retryAfter,
      ...headers,
    },
    body: JSON.stringify(problemDetails(problem)),
    problem: problem.code,
  };
}

export const internalError = problemAnswer({
  code: 'internal',
  detail: 'Internal error while handling the request.',
});

export function notFound(path: string): Answer {
  return problemAnswer({ code: 'not_found', detail: `There is no resource at ${path}.` });
}

export function ingestAnswer(outcome: IngestOutcome, isStrict: boolean): Answer {
  // A retry gets the response to the first request, even if only the retry is strict.
  const isApplied = isStrict && (!outcome.accepted || outcome.rejected === 0);
  const preference: Record<string, string> = isApplied
    ? { 'preference-applied': 'handling=strict' }
    : {};
  if (!outcome.accepted) return problemAnswer(outcome.problem, preference);
  const { batchId, rawKey, enqueued, rejected, errors, isKnown } = outcome;
  const known = isKnown === undefined ? {} : { already_there: isKnown };
  const accepted = { status: 'accepted', raw_key: rawKey, enqueued, ...known };
  const location = `/ingest/${batchId}`;
  return {
    status: 200,
    headers: { 'content-type': 'application/json', ...baseHeaders, location, ...preference },
    body: JSON.stringify(rejected === 0 ? accepted : { ...accepted, rejected, errors }),
  };
}

export function receiptAnswer(receipt: Receipt): Answer {
  const { status, rawKey, enqueued, counted, rejected } = receipt;
  const received = new Date(receipt.receivedAt).toISOString();
  const counts = { enqueued, counted, rejected };
  return jsonAnswer(200, { status, raw_key: rawKey, ...counts, received_at: received });
}

export function readyAnswer(status: PipelineStatus, version: string): Answer {
  const { unavailable, pending, deadLetters, countedThrough, lastReceivedAt, latestDate, archive } =
    status;
  if (unavailable !== undefined) return problemAnswer({ ...unavailable, retryAfterSeconds: 1 });
  const timeOf = (time: number | undefined) =>
    time === undefined ? undefined : new Date(time).toISOString();
  return jsonAnswer(200, {
    status: 'ready',
    [`pending_${pending.unit}`]: pending.amount,
    pending_bytes: pending.bytes,
    dead_letters: deadLetters,
    dead_letter_reasons: status.deadLetterReasons,
    counted_through: timeOf(countedThrough),
    last_received_at: timeOf(lastReceivedAt),
    latest_date: latestDate,
    archive: archive && archiveMember(archive),
    version,
  });
}

function archiveMember({ isSync, lagBytes, lagSeconds, problem }: ArchiveState) {
  return {
    mode: isSync ? 'sync' : 'async',
    lag_bytes: lagBytes,
    lag_seconds: Math.round(lagSeconds * 10) / 10,
    problem,
  };
}

/** The response to a denied request. Source of the challenge: RFC 6750, section 3. */
export function refusalAnswer({ problem, challenge }: AccessDenied): Answer {
  if (problem.code === 'too_many_requests') return problemAnswer(problem);
  const more = challenge === undefined ? '' : `, ${challenge}`;
  return problemAnswer(problem, { 'www-authenticate': `Bearer realm="device-pipeline"${more}` });
}
