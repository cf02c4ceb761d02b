import { tokenCharactersMax } from '../../auth/access-token.ts';
import { anyScope } from '../app/access.ts';
import { getReceipt, postBatch } from './batches.ts';
import { getStats, getStatsPage } from './counters.ts';
import { example, host, html, textPlan, type OperationPlan } from './plan.ts';
import { refTo } from './schemas.ts';

const getHealth: OperationPlan = {
  ...{ id: 'getHealth', tag: 'Operation', summary: 'Is it up', parameters: [], scopes: [] },
  description:
    'Whether the process answers; it looks at nothing else. `access` says whether the others ask for a token, `day_zone` on which day an item counts.',
  successes: {
    200: {
      description: 'It is up.',
      headers: [],
      content: {
        'application/json': {
          schema: refTo('Health'),
          examples: {
            up: example('Up', { status: 'ok', access: 'token', day_zone: 'as-written' }),
          },
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
              latest_date: '2026-11-25',
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
