import type { ItemError, RejectedByCode } from './batch.ts';

/** Every problem that a request can be refused with: its stable code, HTTP status and title. */
const problems = {
  empty_body: [400, 'Empty request body'],
  invalid_json: [400, 'Invalid JSON'],
  invalid_body: [400, 'Request body is not a batch'],
  invalid_gzip: [400, 'Invalid gzip stream'],
  no_valid_items: [400, 'Batch has no valid items'],
  invalid_items: [400, 'Batch has invalid items'],
  invalid_idempotency_key: [400, 'Invalid Idempotency-Key header'],
  invalid_replay: [400, 'Invalid Replay-Of header'],
  missing_date: [400, 'Missing date'],
  invalid_date: [400, 'Invalid date'],
  invalid_range: [400, 'Invalid date range'],
  invalid_group_by: [400, 'Invalid group_by parameter'],
  invalid_filter: [400, 'Invalid filter'],
  invalid_format: [400, 'Invalid format'],
  unknown_parameter: [400, 'Unknown query parameter'],
  answer_too_large: [400, 'Response too large'],
  malformed_request: [400, 'Malformed HTTP request'],
  unauthorized: [401, 'Missing or invalid bearer token'],
  forbidden: [403, 'Insufficient token scope'],
  not_found: [404, 'Not found'],
  batch_not_found: [404, 'Batch not found'],
  method_not_allowed: [405, 'Method not allowed'],
  request_timeout: [408, 'Request timeout'],
  body_too_large: [413, 'Request body too large'],
  unsupported_media_type: [415, 'Unsupported media type'],
  compression_not_supported: [415, 'Compressed request bodies not supported'],
  host_not_allowed: [421, 'Host not allowed'],
  idempotency_key_reused: [422, 'Idempotency key already used with another body'],
  replay_conflict: [422, 'Batch id already used by another batch'],
  replay_differs: [422, 'Replayed batch is interpreted differently here'],
  replay_undecidable: [422, 'Cannot determine whether the replayed batch was counted'],
  too_many_requests: [429, 'Too many requests'],
  headers_too_large: [431, 'Request header fields too large'],
  internal: [500, 'Internal server error'],
  overloaded: [503, 'Server overloaded'],
  stopping: [503, 'Server is shutting down'],
  storage_failed: [503, 'Storage failure'],
  archive_unavailable: [503, 'Archive unavailable'],
} as const satisfies Record<string, readonly [status: number, title: string]>;

export type ProblemCode = keyof typeof problems;

export const problemCodes = Object.keys(problems) as ProblemCode[];

/** A problem of one request, before it is serialised as `application/problem+json`. */
export interface Problem {
  readonly code: ProblemCode;
  /** One or two sentences: what is wrong with this request, and what to do. */
  readonly detail: string;
  readonly errors?: readonly ItemError[];
  readonly rejected?: number;
  /** For metrics; not sent to the client. */
  readonly rejectedByCode?: RejectedByCode;
  /** Set if the same request may succeed later. */
  readonly retryAfterSeconds?: number;
}

export function statusOfProblem(code: ProblemCode): number {
  return problems[code][0];
}

/** The members of a problem details document (RFC 9457). `type` is a URN. */
export function problemDetails({ code, detail, errors, rejected }: Problem) {
  const [status, title] = problems[code];
  const type = `urn:problem-type:device-pipeline:${code}`;
  return {
    type,
    title,
    status,
    detail,
    code,
    ...(rejected === undefined ? {} : { rejected }),
    ...(errors === undefined ? {} : { errors }),
  };
}
