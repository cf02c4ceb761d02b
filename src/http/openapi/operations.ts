import { tokenCharactersMax } from '../../auth/token.ts';
import { anyScope } from '../../auth/check-access.ts';
import { getReceipt, postBatch } from './batches.ts';
import { getStats, getStatsPage } from './counters.ts';
import { example, host, html, json, textPlan, type OperationPlan } from './plan.ts';

const getHealth: OperationPlan = {
  ...{ id: 'getHealth', tag: 'Operation', summary: 'Liveness', parameters: [], scopes: [] },
  description:
    'Checks only that the process responds. `access` says whether the other routes need a token, `day_zone` on which day an item counts.',
  successes: {
    200: {
      description: 'The server is up.',
      headers: [],
      content: json('Health', {
        up: example('Up', { status: 'ok', access: 'token', day_zone: 'as-written' }),
      }),
    },
  },
  samples: [{ label: 'Request', source: `curl -s ${host}/healthz` }],
};

const getReadiness: OperationPlan = {
  ...{ id: 'getReadiness', tag: 'Operation', parameters: [], scopes: anyScope },
  summary: 'Readiness',
  description:
    'Whether a batch would be accepted now (200) or not (503), how much waits to be counted, and the moment before which everything is counted.',
  successes: {
    200: {
      description: 'A batch would be accepted.',
      headers: [],
      content: json('Ready', {
        embedded: example('On one machine', {
          ...{ status: 'ready', pending_items: 12, pending_bytes: 3456, dead_letters: 0 },
          counted_through: '2026-11-25T05:22:40.123Z',
          last_received_at: '2026-11-25T05:22:40.119Z',
          latest_date: '2026-11-25',
          version: '0.1.0',
        }),
        aws: example('On AWS', {
          ...{ status: 'ready', pending_messages: 3, dead_letters: 0, version: '0.1.0' },
        }),
      }),
    },
  },
  samples: [{ label: 'Request', source: `curl -s ${host}/readyz` }],
};

const getMetrics = textPlan({
  ...{ id: 'getMetrics', tag: 'Operation', path: '/metrics', isCached: false, scopes: ['read'] },
  types: [
    'text/plain; version=0.0.4; charset=utf-8',
    'application/openmetrics-text; version=1.0.0; charset=utf-8',
  ],
  summary: 'Metrics for Prometheus',
  description:
    'Embedded server only. On AWS the response is `not_found`, and the metrics are in CloudWatch. Send `Accept: application/openmetrics-text` for OpenMetrics. docs/operations.md explains each metric.',
});

const getDashboard = textPlan({
  ...{ id: 'getDashboard', tag: 'Pages', path: '/', types: html, isCached: true, scopes: [] },
  summary: 'The dashboard',
  description: 'A page that requests `/stats` and `/readyz`, with a token where one is needed.',
});

const getAsset = textPlan({
  ...{ id: 'getAsset', tag: 'Pages', path: '/assets/script-0123456789ab.js', isCached: true },
  types: ['text/javascript; charset=utf-8', 'text/css; charset=utf-8', 'image/svg+xml'],
  scopes: [],
  summary: 'A file of the dashboard',
  description: 'The name contains a hash of the content, so it can be cached forever.',
  parameters: [
    {
      ...{ name: 'file', in: 'path', required: true, schema: { type: 'string' } },
      description: 'The file name, as in the page.',
    },
  ],
});

const getDocs = textPlan({
  ...{ id: 'getDocs', tag: 'Pages', path: '/docs', types: html, isCached: true, scopes: [] },
  summary: 'The API documentation as a page',
  description: 'Generated from `/openapi.json`, without scripts.',
});

const getOpenApi = textPlan({
  ...{ id: 'getOpenApi', tag: 'Pages', path: '/openapi.json', isCached: true, scopes: [] },
  types: ['application/json'],
  schema: { type: 'object', required: ['openapi', 'info', 'paths'] },
  summary: 'The API description',
  description: 'OpenAPI 3.1.',
});

/** The operations of every path. HEAD follows from GET. */
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

export const bearerDescription = `\`Authorization: Bearer\` with a token of at most ${tokenCharactersMax} characters, from \`token create\`. A server on one machine needs no token until the first one is created. Scopes: \`ingest\` sends batches, \`read\` reads counters and metrics, \`replay\` sends batches of another installation.`;
