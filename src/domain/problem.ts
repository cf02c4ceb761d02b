import type { ItemError, RejectedByCode } from './batch.ts';

/** Every way a request can be refused: the stable code, its HTTP status, and what it is. */
const problems = {
  empty_body: [400, 'The body is empty'],
  invalid_json: [400, 'The body is not JSON'],
  invalid_body: [400, 'The body is not a batch'],
  invalid_gzip: [400, 'The body is not gzip'],
  no_valid_items: [400, 'No item of the batch is valid'],
  invalid_items: [400, 'The batch has invalid items'],
  invalid_idempotency_key: [400, 'The idempotency key is not valid'],
  invalid_replay: [400, 'What is said of the replayed batch is not valid'],
  missing_date: [400, 'A date is missing'],
  invalid_date: [400, 'The date is not valid'],
  invalid_range: [400, 'The range of dates is not valid'],
  invalid_group_by: [400, 'The grouping is not valid'],
  invalid_filter: [400, 'The filter is not valid'],
  invalid_format: [400, 'The format is not valid'],
  unknown_parameter: [400, 'A parameter is not known'],
  answer_too_large: [400, 'The answer is too large'],
  malformed_request: [400, 'The request is not HTTP'],
  unauthorized: [401, 'A token is needed'],
  forbidden: [403, 'The token is not for this'],
  not_found: [404, 'There is nothing here'],
  batch_not_found: [404, 'There is no such batch'],
  method_not_allowed: [405, 'The method is not allowed here'],
  request_timeout: [408, 'The request came too slowly'],
  body_too_large: [413, 'The body is too large'],
  unsupported_media_type: [415, 'The body is of a kind that is not taken'],
  compression_not_supported: [415, 'Compressed bodies do not reach this server intact'],
  host_not_allowed: [421, 'The host is not allowed here'],
  idempotency_key_reused: [422, 'The idempotency key was used with another body'],
  replay_conflict: [422, 'Another batch has the id of the replayed one'],
  replay_differs: [422, 'The replayed batch reads otherwise here'],
  replay_undecidable: [422, 'Whether the replayed batch was counted is not known'],
  too_many_requests: [429, 'More requests come than are allowed'],
  headers_too_large: [431, 'The headers are too large'],
  internal: [500, 'Something went wrong here'],
  overloaded: [503, 'Too much is waiting'],
  stopping: [503, 'The server is stopping'],
  storage_failed: [503, 'The storage failed'],
} as const satisfies Record<string, readonly [status: number, title: string]>;

export type ProblemCode = keyof typeof problems;

export const problemCodes = Object.keys(problems) as ProblemCode[];

/** A refusal, before it is written as `application/problem+json`. */
export interface Problem {
  readonly code: ProblemCode;
  /** One or two sentences: what is wrong with this request, and what to do. */
  readonly detail: string;
  readonly errors?: readonly ItemError[];
  readonly rejected?: number;
  /** For who keeps count; the client is told `errors`. */
  readonly rejectedByCode?: RejectedByCode;
  /** Present where the same request may succeed later. */
  readonly retryAfterSeconds?: number;
}

export function statusOfProblem(code: ProblemCode): number {
  return problems[code][0];
}

/** The members of a problem details document (RFC 9457). `type` is a name, not an address. */
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
