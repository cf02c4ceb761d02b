import { tokenCharactersMax, type Scope } from '../domain/access-token.ts';
import { fieldBytesMax } from '../domain/device-event.ts';
import { dimensions, statsFormats } from '../pipeline/stats-text.ts';
import { anyScope, ingestScope, replayScope } from './access.ts';
import { contentTypeOf } from './stats-answer.ts';
import { idempotencyKeyCharactersMax } from './ingest-headers.ts';
import type { OperationId } from './openapi-problems.ts';
import { refTo, type Schema } from './openapi-schemas.ts';
import { replayHeaderBytesMax } from './replay-header.ts';
import { filterValuesMax, rangeDaysMax } from './stats-query.ts';

export interface Parameter {
  readonly name: string;
  readonly in: 'query' | 'path' | 'header';
  readonly required?: boolean;
  readonly description: string;
  readonly schema: Schema;
  readonly explode?: boolean;
  readonly example?: unknown;
}

export interface MediaType {
  readonly schema: Schema;
  readonly examples?: Readonly<
    Record<string, { readonly summary: string; readonly value: unknown }>
  >;
}

/** An answer that is no refusal. `headers` are names in `components.headers`. */
export interface Success {
  readonly description: string;
  readonly headers: readonly string[];
  readonly content?: Readonly<Record<string, MediaType>>;
}

export interface OperationPlan {
  readonly id: OperationId;
  readonly tag: string;
  readonly summary: string;
  readonly description: string;
  readonly parameters: readonly Parameter[];
  readonly body?: { readonly description: string; readonly content: Record<string, MediaType> };
  readonly successes: Readonly<Record<number, Success>>;
  /** Empty: no token is needed. */
  readonly scopes: readonly Scope[];
  readonly samples: readonly { readonly label: string; readonly source: string }[];
}

const rawKey = 'raw/2026-11-23T09:41:07.512Z-00000000-0040-8f3a-9c41-5d0e6f2b7a18.json';
const batchId = '00000000-0040-8f3a-9c41-5d0e6f2b7a18';
const host = 'http://127.0.0.1:8080';
const day: Schema = { type: 'string', format: 'date' };
const batch = {
  processed_devices: [
    { type: 'laptop', state: 'erased', timestamp: '2023-06-16T13:00:00Z' },
    { type: 'phone', state: 'erasure failed', timestamp: '2023-06-16T23:30:00-05:00' },
  ],
};

function header(name: string, schema: Schema, description: string): Parameter {
  return { name, in: 'header', description, schema };
}

function query(name: string, schema: Schema, description: string, more: Partial<Parameter> = {}) {
  return { name, in: 'query', description, schema, ...more } as const;
}

function example(summary: string, value: unknown) {
  return { summary, value };
}

const ifNoneMatch = header(
  'If-None-Match',
  { type: 'string' },
  'The `ETag` of the answer at hand: what has not changed since is 304.',
);
const acceptEncoding = header(
  'Accept-Encoding',
  { type: 'string', examples: ['gzip'] },
  'With `gzip`, an answer of 1 KiB or more is compressed.',
);

const postBatch: OperationPlan = {
  id: 'postBatch',
  tag: 'Batches',
  summary: 'Take in a batch',
  description: [
    '200 means that the raw body is durable, and that every accepted item will be counted exactly once, whatever breaks then. No answer, or a 5xx, means that all of it is counted or nothing: send it again with the same `Idempotency-Key`.',
    'Good items are taken and bad ones named, unless `Prefer: handling=strict` is sent. A retry with the same key and body is the same batch, with the same answer, counted once. Keys belong to the name of the token, and are remembered for a limited time (90 days, unless set otherwise).',
  ].join('\n\n'),
  parameters: [
    header(
      'Idempotency-Key',
      { type: 'string', minLength: 1, maxLength: idempotencyKeyCharactersMax, pattern: '^[!-~]+$' },
      'Makes a retry safe. Visible ASCII; a new one, such as a UUID, for each batch.',
    ),
    header(
      'Prefer',
      { type: 'string', examples: ['handling=strict'] },
      '`handling=strict`: one bad item refuses the whole batch, and nothing is stored (RFC 7240).',
    ),
    header(
      'Content-Encoding',
      { enum: ['identity', 'gzip', 'x-gzip'], default: 'identity' },
      'How the body is encoded. The limit holds for both, as sent and inflated.',
    ),
    header(
      'Replay-Of',
      { type: 'string', maxLength: replayHeaderBytesMax },
      `For moving batches between installations, with a token for \`${replayScope.join()}\`: JSON in ASCII, \`{"raw_key","accepted","rejected"}\` and perhaps \`"excluded"\`, \`"caller"\`, \`"log_id"\`. The command \`replay\` writes it.`,
    ),
  ],
  body: {
    description: 'UTF-8 JSON.',
    content: {
      'application/json': {
        schema: refTo('Batch'),
        examples: { batch: example('Two items', batch) },
      },
    },
  },
  successes: {
    200: {
      description: 'The batch is durable; its accepted items are counted, or will be.',
      headers: ['Location', 'Preference-Applied'],
      content: {
        'application/json': {
          schema: refTo('Acceptance'),
          examples: {
            all: example('All items taken', { status: 'accepted', raw_key: rawKey, enqueued: 2 }),
            some: example('One item refused', {
              ...{ status: 'accepted', raw_key: rawKey, enqueued: 1, rejected: 1 },
              errors: [
                {
                  ...{ index: 1, field: 'type', code: 'blank' },
                  message: 'type must not be empty or only white space',
                },
              ],
            }),
          },
        },
      },
    },
  },
  scopes: [...ingestScope, ...replayScope],
  samples: [
    {
      label: 'Send a batch',
      source: `curl -s ${host}/ingest \\
  -H 'Content-Type: application/json' \\
  -H 'Idempotency-Key: gateway-7-000001' \\
  -d '${JSON.stringify(batch).replaceAll('{"type', '\n    {"type')}'`,
    },
    {
      label: 'Compressed, with a token',
      source: `gzip -c batch.json | curl -s ${host}/ingest \\
  -H "Authorization: Bearer $TOKEN" \\
  -H 'Content-Type: application/json' \\
  -H 'Content-Encoding: gzip' \\
  --data-binary @-`,
    },
  ],
};

const getReceipt: OperationPlan = {
  id: 'getReceipt',
  tag: 'Batches',
  summary: 'Read the receipt of a batch',
  description: 'Whether its items are counted. `Location` of an accepted batch leads here.',
  parameters: [
    {
      ...{ name: 'batchId', in: 'path', required: true, example: batchId },
      description: 'The id of the batch.',
      schema: { type: 'string', format: 'uuid' },
    },
  ],
  successes: {
    200: {
      description: 'The receipt.',
      headers: [],
      content: {
        'application/json': {
          schema: refTo('Receipt'),
          examples: {
            counted: example('Counted', {
              ...{ status: 'counted', raw_key: rawKey, enqueued: 2, counted: 2, rejected: 0 },
              received_at: '2026-11-23T09:41:07.512Z',
            }),
          },
        },
      },
    },
  },
  scopes: anyScope,
  samples: [{ label: 'Ask', source: `curl -s ${host}/ingest/${batchId}` }],
};

const rows = [
  { date: '2023-06-16', type: 'laptop', state: 'erased', count: 1 },
  { date: '2023-06-16', type: 'phone', state: 'erasure failed', count: 1 },
];

const statsParameters = [
  query('date', day, 'One day, or else a range: `from` and `to`.', { example: '2023-06-16' }),
  query('from', day, `The first day of a range of at most ${rangeDaysMax} days.`),
  query('to', day, 'Its last day, counted in.'),
  ...(['type', 'state'] as const).map((name) =>
    query(
      name,
      {
        ...{ type: 'array', maxItems: filterValuesMax },
        items: { type: 'string', minLength: 1, maxLength: fieldBytesMax },
      },
      `Only these, exactly as written. Repeat it for several, at most ${filterValuesMax}. Without: all.`,
      { explode: true },
    ),
  ),
  query(
    'group_by',
    { type: 'array', items: { enum: dimensions }, minItems: 1 },
    'Sums over what is not named here. Without: no sums, a row for each counter.',
    { explode: false },
  ),
  query(
    'format',
    { enum: statsFormats, default: 'json' },
    'Goes before `Accept`, by which the format may be asked for too.',
  ),
];

const statsHeaders = [
  ...['ETag', 'Cache-Control', 'Vary', 'Content-Encoding', 'Pipeline-Counted-Through'],
  ...['Pipeline-Pending', 'Pipeline-Dead-Letters'],
];

const getStats: OperationPlan = {
  id: 'getStats',
  tag: 'Counters',
  summary: 'Read the counters',
  description: [
    'Rows by date, then type and state in the order of their UTF-8 bytes. They are of one moment on one machine; on AWS each day is of one moment.',
    'How complete they are is in the `Pipeline-…` headers, which are asked for before the rows are read. A large answer comes in pieces: where the connection ends before the last chunk, it is not all. On AWS an answer has at most 6 MB, compressed too.',
    'In CSV, a name that a spreadsheet would take for a formula, or that begins with an apostrophe, has an apostrophe in front.',
  ].join('\n\n'),
  parameters: [...statsParameters, ifNoneMatch, acceptEncoding],
  successes: {
    200: {
      description: 'The counters.',
      headers: statsHeaders,
      content: {
        [contentTypeOf.json]: {
          schema: { type: 'array', items: refTo('StatsRow') },
          examples: {
            day: example('A day', rows),
            sums: example('With group_by=type', [
              { type: 'laptop', count: 1 },
              { type: 'phone', count: 1 },
            ]),
          },
        },
        [contentTypeOf.csv]: {
          schema: { type: 'string', description: 'RFC 4180, the first line names the columns.' },
          examples: {
            day: example(
              'A day',
              'date,type,state,count\r\n2023-06-16,laptop,erased,1\r\n2023-06-16,phone,erasure failed,1\r\n',
            ),
          },
        },
        [contentTypeOf.ndjson]: {
          schema: { type: 'string', description: 'A row, as in JSON, on each line.' },
          examples: {
            day: example('A day', rows.map((row) => `${JSON.stringify(row)}\n`).join('')),
          },
        },
      },
    },
    304: {
      description: 'Nothing has changed since the answer that `If-None-Match` names.',
      headers: statsHeaders.filter((name) => name !== 'Content-Encoding'),
    },
  },
  scopes: ['read'],
  samples: [
    { label: 'A day', source: `curl -s '${host}/stats?date=2023-06-16'` },
    {
      label: 'Sums of a month as CSV',
      source: `curl -s --compressed '${host}/stats?from=2023-06-01&to=2023-06-30&group_by=date,state&format=csv'`,
    },
    {
      label: 'Two types, with a token, and the headers',
      source: `curl -si '${host}/stats?date=2023-06-16&type=laptop&type=phone' \\
  -H "Authorization: Bearer $TOKEN"`,
    },
  ],
};

/** A page, a file, or a text for programs that are no JSON. */
function textPlan(
  plan: Pick<OperationPlan, 'id' | 'tag' | 'summary' | 'description' | 'scopes'> & {
    readonly path: string;
    readonly types: readonly string[];
    readonly isCached: boolean;
    readonly parameters?: readonly Parameter[];
    readonly schema?: Schema;
  },
): OperationPlan {
  const { path, types, isCached, parameters = [], schema = { type: 'string' }, ...rest } = plan;
  const headers = isCached
    ? ['ETag', 'Cache-Control', 'Vary', 'Content-Encoding']
    : ['Vary', 'Content-Encoding'];
  return {
    ...rest,
    parameters: [...parameters, ...(isCached ? [ifNoneMatch] : []), acceptEncoding],
    successes: {
      200: {
        description: 'It is there.',
        headers,
        content: Object.fromEntries(types.map((type) => [type, { schema }])),
      },
      ...(isCached && {
        304: {
          description: 'It is what the client has.',
          headers: headers.filter((name) => name !== 'Content-Encoding'),
        },
      }),
    },
    samples: [{ label: 'Ask', source: `curl -s '${host}${path}'` }],
  };
}

const html = ['text/html; charset=utf-8'];

const getStatsPage = textPlan({
  ...{ id: 'getStatsPage', tag: 'Counters', path: '/stats-html?date=2023-06-16', types: html },
  summary: 'A day as a page',
  description: 'A table with bars and totals, without scripts, of at most 10,000 rows.',
  parameters: [query('date', day, 'The day.', { required: true, example: '2023-06-16' })],
  ...{ isCached: false, scopes: ['read'] },
});

const getHealth: OperationPlan = {
  ...{ id: 'getHealth', tag: 'Operation', summary: 'Is it up', parameters: [], scopes: [] },
  description: 'Whether the process answers; it looks at nothing else.',
  successes: {
    200: {
      description: 'It is up.',
      headers: [],
      content: {
        'application/json': {
          schema: refTo('Health'),
          examples: { up: example('Up', { status: 'ok' }) },
        },
      },
    },
  },
  samples: [{ label: 'Ask', source: `curl -s ${host}/healthz` }],
};

const getReadiness: OperationPlan = {
  ...{ id: 'getReadiness', tag: 'Operation', parameters: [], scopes: anyScope },
  summary: 'Would it take a batch',
  description:
    'And how much waits to be counted, and through which moment everything is. 503 where a batch would not be taken now.',
  successes: {
    200: {
      description: 'A batch would be taken.',
      headers: [],
      content: {
        'application/json': {
          schema: refTo('Ready'),
          examples: {
            embedded: example('On one machine', {
              ...{ status: 'ready', pending_items: 12, pending_bytes: 3456, dead_letters: 0 },
              counted_through: '2026-11-25T05:22:40.123Z',
              last_received_at: '2026-11-25T05:22:40.119Z',
            }),
            aws: example('On AWS', { status: 'ready', pending_messages: 3, dead_letters: 0 }),
          },
        },
      },
    },
  },
  samples: [{ label: 'Ask', source: `curl -s ${host}/readyz` }],
};

const getMetrics = textPlan({
  ...{ id: 'getMetrics', tag: 'Operation', path: '/metrics', isCached: false, scopes: ['read'] },
  types: [
    'text/plain; version=0.0.4; charset=utf-8',
    'application/openmetrics-text; version=1.0.0; charset=utf-8',
  ],
  summary: 'Metrics for Prometheus',
  description:
    'Of the embedded server; elsewhere the answer is `not_found`, and CloudWatch has them. `Accept: application/openmetrics-text` asks for OpenMetrics. What each means is in docs/operations.md.',
});

const getDashboard = textPlan({
  ...{ id: 'getDashboard', tag: 'Pages', path: '/', types: html, isCached: true, scopes: [] },
  summary: 'The dashboard',
  description: 'A page that asks `/stats` and `/readyz`, with a token where one is needed.',
});

const getAsset = textPlan({
  ...{ id: 'getAsset', tag: 'Pages', path: '/assets/script-0123456789ab.js', isCached: true },
  types: ['text/javascript; charset=utf-8', 'text/css; charset=utf-8', 'image/svg+xml'],
  scopes: [],
  summary: 'A file of the dashboard',
  description: 'Its name holds a hash of its content, so that it may be kept for good.',
  parameters: [
    {
      ...{ name: 'file', in: 'path', required: true, schema: { type: 'string' } },
      description: 'As the page names it.',
    },
  ],
});

const getDocs = textPlan({
  ...{ id: 'getDocs', tag: 'Pages', path: '/docs', types: html, isCached: true, scopes: [] },
  summary: 'This description, to read',
  description: 'Made from `/openapi.json`, without scripts.',
});

const getOpenApi = textPlan({
  ...{ id: 'getOpenApi', tag: 'Pages', path: '/openapi.json', isCached: true, scopes: [] },
  types: ['application/json'],
  schema: { type: 'object', required: ['openapi', 'info', 'paths'] },
  summary: 'This description, for programs',
  description: 'OpenAPI 3.1.',
});

/** Every path, with what can be asked of it; whatever takes GET takes HEAD too. */
export const plans: Readonly<
  Record<string, { readonly get?: OperationPlan; readonly post?: OperationPlan }>
> = {
  '/ingest': { post: postBatch },
  '/ingest/{batchId}': { get: getReceipt },
  '/stats': { get: getStats },
  '/stats-html': { get: getStatsPage },
  '/healthz': { get: getHealth },
  '/readyz': { get: getReadiness },
  '/metrics': { get: getMetrics },
  '/': { get: getDashboard },
  '/assets/{file}': { get: getAsset },
  '/docs': { get: getDocs },
  '/openapi.json': { get: getOpenApi },
};

export const bearerDescription = `\`Authorization: Bearer\` with a token of at most ${tokenCharactersMax} characters, made by \`token create\`. As long as nobody has made one, a server on one machine asks for none. Scopes: \`ingest\` sends batches, \`read\` reads counters and metrics, \`replay\` brings batches of another installation.`;
