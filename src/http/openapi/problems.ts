import type { ProblemCode } from '../../domain/problem.ts';

/** What a client should do about each problem; `detail` describes the particular request. */
export const remedies: Readonly<Record<ProblemCode, string>> = {
  empty_body: 'Send `{"processed_devices":[…]}`.',
  invalid_json: 'Send UTF-8 JSON that is nested no deeper than the limit.',
  invalid_body: 'Send an object whose member `processed_devices` is an array.',
  invalid_gzip: 'Send one complete gzip stream, or omit `Content-Encoding`.',
  no_valid_items: 'Correct the items listed in `errors`, and send the batch again.',
  invalid_items:
    'Correct the items listed in `errors`, or omit `Prefer: handling=strict` so that the valid items are accepted.',
  invalid_idempotency_key: 'Send a key of visible ASCII, such as a UUID.',
  invalid_replay: 'Send the header as the command `replay` writes it.',
  missing_date: 'Add `date`; `/stats` also accepts a range, `from` and `to`.',
  invalid_date: 'Send the date once, as YYYY-MM-DD.',
  invalid_range: 'Send `from` and `to` in order and without `date`; request fewer days.',
  invalid_group_by: 'Group by `date`, `type` or `state`.',
  invalid_filter: 'Filter by valid names, or omit the parameter.',
  invalid_format: 'Send one of the formats, once; `bom=1` is for CSV only.',
  unknown_parameter: 'Check the spelling of the parameter.',
  answer_too_large: 'Request fewer days, sums (`group_by`), or `Accept-Encoding: gzip`.',
  malformed_request: 'Send valid HTTP/1.1 with one Host header; client libraries do.',
  unauthorized: 'Send `Authorization: Bearer` with a known token that has not expired.',
  forbidden: 'Use a token with the scope that `WWW-Authenticate` names.',
  not_found: 'Check the path.',
  batch_not_found: 'Use the path from `Location`. Receipts are kept as long as raw bodies.',
  method_not_allowed: 'Use one of the methods in `Allow`.',
  request_timeout: 'Send headers and body without pauses. Try again.',
  body_too_large: 'Split the items into several batches.',
  unsupported_media_type: 'Send `Content-Type: application/json`, plain or gzip.',
  compression_not_supported:
    'The batch was not stored. Send it without `Content-Encoding`, with the same Idempotency-Key.',
  host_not_allowed:
    'Use `localhost` or the address that the server listens on, start the server with `--allowed-host NAME`, or create a token.',
  idempotency_key_reused: 'Use a new key for another body, or resend the original body.',
  replay_conflict: 'Do not send it again: another batch has this id.',
  replay_differs: 'Send it to an installation with the same day rule and the same validation.',
  replay_undecidable: 'Do not send it again: it may already be counted.',
  too_many_requests: 'Wait for `Retry-After`, then send the request again.',
  headers_too_large: 'Send fewer or smaller headers.',
  internal:
    'Try again; send a batch with the same Idempotency-Key. Report the error with its `X-Request-Id`.',
  overloaded: 'Nothing was stored. Wait for `Retry-After`, then send the request again.',
  stopping:
    'Nothing was acknowledged. Wait for `Retry-After`, then send it again with the same Idempotency-Key.',
  storage_failed:
    'Nothing was acknowledged. Send it again with the same Idempotency-Key. Check the disk or the tables.',
  archive_unavailable:
    'Wait for `Retry-After`, then send it again with the same Idempotency-Key: it may be stored, but is not in the archive yet.',
};

/** Problems found before the route is known. */
const beforeRouting = [
  'malformed_request',
  'request_timeout',
  'headers_too_large',
  'internal',
] as const;
const anyRoute = [...beforeRouting, 'host_not_allowed'] as const;
const withToken = ['unauthorized', 'forbidden', 'too_many_requests', ...anyRoute] as const;
const withStorage = [...withToken, 'overloaded', 'stopping', 'storage_failed'] as const;
const ofPage = [...anyRoute, 'overloaded'] as const;

/** The problems of each operation; `elsewhere`: of unknown paths and unsupported methods. */
export const problemsOf = {
  postBatch: [
    'empty_body',
    'invalid_json',
    'invalid_body',
    'invalid_gzip',
    'no_valid_items',
    'invalid_items',
    'invalid_idempotency_key',
    'invalid_replay',
    'body_too_large',
    'unsupported_media_type',
    'compression_not_supported',
    'idempotency_key_reused',
    'replay_conflict',
    'replay_differs',
    'replay_undecidable',
    ...withStorage,
    'archive_unavailable',
  ],
  getReceipt: ['batch_not_found', ...withStorage],
  getStats: [
    'missing_date',
    'invalid_date',
    'invalid_range',
    'invalid_group_by',
    'invalid_filter',
    'invalid_format',
    'unknown_parameter',
    'answer_too_large',
    ...withStorage,
  ],
  getStatsPage: [
    'missing_date',
    'invalid_date',
    'unknown_parameter',
    'answer_too_large',
    ...withStorage,
  ],
  getHealth: beforeRouting,
  getReadiness: withStorage,
  getMetrics: ['not_found', ...withStorage],
  getDashboard: ofPage,
  getAsset: [...anyRoute, 'not_found', 'overloaded'],
  getDocs: ofPage,
  getOpenApi: ofPage,
  elsewhere: ['not_found', 'method_not_allowed', ...withToken],
} as const satisfies Readonly<Record<string, readonly ProblemCode[]>>;

export type OperationId = Exclude<keyof typeof problemsOf, 'elsewhere'>;
