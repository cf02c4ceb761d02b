import type { ProblemCode } from '../../domain/problem.ts';

/** What a client does about each refusal; its `detail` says more of the request at hand. */
export const remedies: Readonly<Record<ProblemCode, string>> = {
  empty_body: 'Send `{"processed_devices":[…]}`.',
  invalid_json: 'Send UTF-8 JSON that nests no deeper than the limit.',
  invalid_body: 'Send an object whose member `processed_devices` is a list.',
  invalid_gzip: 'Send one whole gzip stream, or leave out `Content-Encoding`.',
  no_valid_items: 'Correct the items that `errors` names, and send the batch again.',
  invalid_items:
    'Correct the items that `errors` names, or leave out `Prefer: handling=strict` to have the good ones taken.',
  invalid_idempotency_key: 'Send a key of visible ASCII, such as a UUID.',
  invalid_replay: 'Send the header as `replay` writes it.',
  missing_date: 'Name a day with `date`; `/stats` also takes a range with `from` and `to`.',
  invalid_date: 'Write the day once, as YYYY-MM-DD.',
  invalid_range: 'Name both ends, in order, and no `date` beside them; ask for fewer days.',
  invalid_group_by: 'Group by `date`, `type` or `state`.',
  invalid_filter: 'Filter by names that a counter can have, or leave the parameter out.',
  invalid_format: 'Ask for one of the formats, once; `bom=1` goes with CSV alone.',
  unknown_parameter: 'Look for a misspelt parameter.',
  answer_too_large: 'Ask for fewer days, for sums (`group_by`), or with `Accept-Encoding: gzip`.',
  malformed_request: 'Send sound HTTP/1.1 with one Host. A client library does.',
  unauthorized: 'Send `Authorization: Bearer` with a token that is known here and has not expired.',
  forbidden: 'Use a token for the scope that `WWW-Authenticate` names.',
  not_found: 'Check the path.',
  batch_not_found: 'Take the path from `Location`; receipts are kept as long as raw bodies.',
  method_not_allowed: 'Use one of the methods in `Allow`.',
  request_timeout: 'Send headers and body without pausing. Try again.',
  body_too_large: 'Send the items in several batches.',
  unsupported_media_type: 'Send `Content-Type: application/json`, plain or gzip.',
  compression_not_supported:
    'Send the same batch without `Content-Encoding`, under the same Idempotency-Key: nothing of it was stored.',
  host_not_allowed:
    'Ask by `localhost` or an address, start the server with `--allowed-host NAME`, or make a token.',
  idempotency_key_reused: 'Use a new key for another body; with this one send the same body again.',
  replay_conflict: 'Do not send it again: under this id another batch is here.',
  replay_differs: 'Move it to a server with the same rules for days and items.',
  replay_undecidable: 'Do not send it again: it may be counted already.',
  too_many_requests: 'Wait for `Retry-After`, then send it again.',
  headers_too_large: 'Send fewer or smaller headers.',
  internal: 'Try again, a batch with the same Idempotency-Key; report it with its `X-Request-Id`.',
  overloaded: 'Nothing was taken. Wait for `Retry-After`, then send it again.',
  stopping:
    'Nothing was acknowledged. Wait for `Retry-After`, then send it again with the same Idempotency-Key.',
  storage_failed:
    'Nothing was acknowledged. Send it again with the same Idempotency-Key; look after the disk or the tables.',
};

/** Before anybody knows what is asked for. */
const beforeRouting = [
  'malformed_request',
  'request_timeout',
  'headers_too_large',
  'internal',
] as const;
const anyRoute = [...beforeRouting, 'host_not_allowed'] as const;
const accessProblems = ['unauthorized', 'forbidden', 'too_many_requests'] as const;
const storageProblems = ['overloaded', 'stopping', 'storage_failed'] as const;

/** Which refusals each operation can answer with; those elsewhere are of other paths and methods. */
export const problemsOf: Readonly<Record<OperationId | 'elsewhere', readonly ProblemCode[]>> = {
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
    ...accessProblems,
    ...anyRoute,
    ...storageProblems,
  ],
  getReceipt: ['batch_not_found', ...accessProblems, ...anyRoute, ...storageProblems],
  getStats: [
    'missing_date',
    'invalid_date',
    'invalid_range',
    'invalid_group_by',
    'invalid_filter',
    'invalid_format',
    'unknown_parameter',
    'answer_too_large',
    ...accessProblems,
    ...anyRoute,
    ...storageProblems,
  ],
  getStatsPage: [
    'missing_date',
    'invalid_date',
    'unknown_parameter',
    'answer_too_large',
    ...accessProblems,
    ...anyRoute,
    ...storageProblems,
  ],
  getHealth: beforeRouting,
  getReadiness: [...accessProblems, ...anyRoute, ...storageProblems],
  getMetrics: ['not_found', ...accessProblems, ...anyRoute, ...storageProblems],
  getDashboard: [...anyRoute, 'overloaded'],
  getAsset: [...anyRoute, 'not_found', 'overloaded'],
  getDocs: [...anyRoute, 'overloaded'],
  getOpenApi: [...anyRoute, 'overloaded'],
  elsewhere: ['not_found', 'method_not_allowed', ...accessProblems, ...anyRoute],
};

export type OperationId =
  | 'postBatch'
  | 'getReceipt'
  | 'getStats'
  | 'getStatsPage'
  | 'getHealth'
  | 'getReadiness'
  | 'getMetrics'
  | 'getDashboard'
  | 'getAsset'
  | 'getDocs'
  | 'getOpenApi';
