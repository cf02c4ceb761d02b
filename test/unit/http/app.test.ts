import { expect, it } from 'vitest';

import { createApp, type Served } from '../../../src/http/app/app.ts';
import type { Exchange } from '../../../src/http/app/exchange.ts';
import type { IngestOutcome, Queries } from '../../../src/pipeline/ports.ts';

const outcome: IngestOutcome = {
  ...{ accepted: true, batchId: 'x', rawKey: 'raw/x', enqueued: 1, rejected: 0 },
  errors: [],
};
const batches = { ingest: () => Promise.resolve(outcome) };
const queries = {} as Queries;
const batch = { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{}' };

/** The status, the document, and what the transport learns. */
async function ask(served: Served, path: string, init: RequestInit = {}) {
  const exchange: Exchange = { requestId: 'request-1' };
  const options = { bodyBytesMax: 100, onUnexpectedError: () => expect.unreachable() };
  const response = await createApp(served, options).request(path, init, exchange);
  const { status, headers } = response;
  const text = await response.text();
  const { problem, size } = exchange;
  return { status, text, problem, size, requestId: headers.get('x-request-id') };
}

it('an app of batches has no other route', async () => {
  expect(await ask({ batches }, '/ingest', batch)).toMatchObject({ status: 200, requestId: null });
  for (const path of ['/stats', '/ingest/x', '/healthz', '/openapi.json', '/']) {
    expect(await ask({ batches }, path)).toMatchObject({ status: 404, problem: 'not_found' });
  }
});

it('an app of queries describes batches, and says where they go', async () => {
  const { status, text, problem } = await ask({ queries }, '/ingest', batch);
  expect([status, problem]).toEqual([404, 'not_found']);
  expect(text).toContain('Send batches to the exact path /ingest.');
  expect((await ask({ queries }, '/openapi.json')).text).toContain('"/ingest":{"post":');
  expect((await ask({ queries }, '/ingest')).status).toBe(405);
});

it('an exchange has the size of the answer, and a refusal has the id of the request', async () => {
  const { size, text, requestId } = await ask({ queries }, '/nothing');
  expect([size, requestId]).toEqual([Buffer.byteLength(text), 'request-1']);
  expect(await ask({ queries }, '/docs', { method: 'HEAD' })).toMatchObject({
    status: 200,
    size: 0,
  });
});
