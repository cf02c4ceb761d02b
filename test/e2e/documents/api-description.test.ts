import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { Validator } from '@seriousme/openapi-schema-validator';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { itemErrors } from '../../../src/domain/device-event.ts';
import { problemCodes, statusOfProblem } from '../../../src/domain/problem.ts';
import { createApp } from '../../../src/http/app/app.ts';
import { plans } from '../../../src/http/openapi/operations.ts';
import { problemsOf, remedies, type OperationId } from '../../../src/http/openapi/problems.ts';
import { openApi } from '../../../src/http/openapi/openapi.ts';
import { pageOf } from '../../../src/http/app/pages.ts';
import type { Queries } from '../../../src/pipeline/ports.ts';
import { ApiCheck } from '../../support/api-check.ts';
import { closedServer, provocations } from '../../support/provocations.ts';
import {
  exchange,
  startServer,
  waitUntilCounted,
  type Sent,
  type TestServer,
} from '../../support/server.ts';

const settings = { version: '1.2.3', bodyBytesMax: 4 * 1024 * 1024 };
const document = openApi(settings);
const check = new ApiCheck(document);

interface Case {
  readonly name: string;
  readonly seed?: readonly unknown[];
  readonly request: Sent & { readonly bodyBase64?: string };
}

function readCases(name: string): readonly Case[] {
  const file = join(import.meta.dirname, '../../contract/cases', name);
  return JSON.parse(readFileSync(file, 'utf8')) as readonly Case[];
}

describe('the document', () => {
  it('is OpenAPI 3.1', async () => {
    const validator = new Validator();
    const copy = JSON.parse(JSON.stringify(document)) as Parameters<Validator['validate']>[0];
    const { valid, errors } = await validator.validate(copy);
    expect([valid, errors]).toEqual([true, undefined]);
    expect(validator.version).toBe('3.1');
    expect(document.info.version).toBe('1.2.3');
  });

  it('has every route of the app, and no other', () => {
    const app = createApp(
      { queries: {} as Queries },
      {
        ...settings,
        onUnexpectedError: () => undefined,
        metrics: () => Promise.reject(new Error('not asked')),
      },
    );
    const routed = app.routes
      .filter(({ method }) => method !== 'ALL')
      .map(({ method, path }) => `${method} ${path.replace(/:(\w+)/g, '{$1}')}`);
    const described = Object.entries(document.paths).flatMap(([path, item]) =>
      Object.keys(item)
        .filter((method) => method !== 'head')
        .map((method) => `${method.toUpperCase()} ${path}`),
    );
    expect(described.sort()).toEqual([...new Set(routed)].sort());
    for (const [path, item] of Object.entries(document.paths)) {
      expect([path, 'head' in item]).toEqual([path, 'get' in item]);
    }
  });

  it('has every problem code and every item error, and says what to do', () => {
    const inOperations = new Set(Object.values(problemsOf).flat());
    expect([...inOperations].sort()).toEqual([...problemCodes].sort());
    expect(Object.keys(remedies).sort()).toEqual([...problemCodes].sort());
    for (const code of problemCodes) {
      const { properties } = document.components.schemas[`problem.${code}`] as {
        properties: { code: unknown; status: unknown };
      };
      expect(properties).toMatchObject({
        code: { const: code },
        status: { const: statusOfProblem(code) },
      });
    }
    const text = JSON.stringify(document);
    for (const code of Object.keys(itemErrors)) expect(text).toContain(`\`${code}\``);
  });

  it('has examples that are of its schemas', () => {
    expect(check.examples()).toBeGreaterThan(10);
  });
});

describe('what the server answers', () => {
  let shared: TestServer;
  beforeAll(async () => {
    shared = await startServer();
  });
  afterAll(() => shared.stop());

  it.each(problemCodes)('to provoke %s is what the document says', async (code) => {
    const answer = await provocations(shared.url)[code]();
    expect(JSON.parse(answer.received.text), answer.received.text).toMatchObject({ code });
    check.answer(answer.method, answer.path, answer.received);
    if (answer.path !== undefined) {
      expect(problemsOf[idOf(answer.method, answer.path)]).toContain(code);
    }
  });

  it('to all that is described, and to HEAD, is what the document says', async () => {
    await using server = await startServer({
      http: {
        metrics: () => Promise.resolve(metricsAnswer),
        pages: new Map([
          ['/', page],
          ['/assets/script-0123456789ab.js', script],
        ]),
      },
    });
    const post = await exchange(server.url, {
      ...{ method: 'POST', path: '/ingest', headers: { 'content-type': 'application/json' } },
      body: JSON.stringify(batchExample),
    });
    check.answer('post', '/ingest', post);
    await waitUntilCounted(server.url);
    const targets: readonly (readonly [string, string])[] = [
      ['/ingest/{batchId}', post.headers.location ?? ''],
      ...['', '&format=csv', '&format=ndjson', '&format=markdown', '&group_by=date,type'].map(
        (more) => ['/stats', `/stats?date=2023-06-16${more}`] as const,
      ),
      ['/stats-html', '/stats-html?date=2023-06-16'],
      ['/assets/{file}', '/assets/script-0123456789ab.js'],
      ...['/healthz', '/readyz', '/metrics', '/', '/docs', '/openapi.json'].map(
        (path) => [path, path] as const,
      ),
    ];
    const asked = new Set(['/ingest', ...targets.map(([path]) => path)]);
    expect([...asked].sort()).toEqual(Object.keys(document.paths).sort());
    for (const [path, target] of targets) {
      const given = await exchange(server.url, { path: target });
      expect([target, given.status]).toEqual([target, 200]);
      check.answer('get', path, given);
      check.answer('head', path, await exchange(server.url, { method: 'HEAD', path: target }));
      const { etag } = given.headers;
      expect([path, etag !== undefined]).toEqual([path, check.hasStatus('get', path, 304)]);
      if (etag === undefined) continue;
      const again = { path: target, headers: { 'if-none-match': etag } };
      const unchanged = await exchange(server.url, again);
      expect([target, unchanged.status]).toEqual([target, 304]);
      check.answer('get', path, unchanged);
    }
    const served = await exchange(server.url, { path: '/openapi.json' });
    expect((JSON.parse(served.text) as { paths: object }).paths).toEqual(
      JSON.parse(JSON.stringify(document.paths)),
    );
  });

  it('to the question whether a page of another origin may ask is what the document says', async () => {
    const origin = 'https://app.example';
    await using server = await startServer({ http: { corsOrigins: [origin] } });
    const headers = { origin, 'access-control-request-method': 'GET' };
    const answer = await exchange(server.url, { method: 'OPTIONS', path: '/stats', headers });
    expect(answer.status).toBe(204);
    check.answer('options', undefined, answer);
    check.answer(
      'options',
      undefined,
      await exchange(server.url, { method: 'OPTIONS', path: '/' }),
    );
  });

  it('to the cases of the contract is what the document says', async () => {
    await using server = await startServer();
    for (const { request, seed } of [...readCases('ingest.json'), ...readCases('query.json')]) {
      if (seed !== undefined) continue;
      const { bodyBase64, ...sent } = request;
      const body = bodyBase64 === undefined ? sent.body : Buffer.from(bodyBase64, 'base64');
      const received = await exchange(server.url, { ...sent, ...(body !== undefined && { body }) });
      const path = check.pathOf(sent.path ?? '/', sent.method ?? 'GET');
      check.answer((sent.method ?? 'GET').toLowerCase(), path, received);
    }
    await waitUntilCounted(server.url);
    for (const { request } of readCases('query.json')) {
      const path = check.pathOf(request.path ?? '/', request.method ?? 'GET');
      const received = await exchange(server.url, request);
      check.answer((request.method ?? 'GET').toLowerCase(), path, received);
    }
  });

  it('needs no token for the description, and asks for one where it says so', async () => {
    await using server = await closedServer();
    for (const [path, { get, post }] of Object.entries(plans)) {
      const plan = get ?? post;
      const received = await exchange(server.url, {
        path: path.replace(/\{\w+\}/, 'x'),
        method: get === undefined ? 'POST' : 'GET',
      });
      const isRefused = received.status === 401;
      expect([path, isRefused]).toEqual([path, (plan?.scopes.length ?? 0) > 0]);
    }
  });
});

const batchExample =
  plans['/ingest']?.post?.body?.content['application/json']?.examples?.['batch']?.value;
const bodies = { identity: new TextEncoder().encode('<!doctype html><title>Page</title>') };
const page = pageOf({ contentType: 'text/html; charset=utf-8', bodies });
const script = pageOf({
  ...{ contentType: 'text/javascript; charset=utf-8', isForever: true },
  bodies,
});

const metricsAnswer = {
  status: 200,
  headers: { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' },
  body: 'up 1\n',
};

function idOf(method: string, path: string): OperationId {
  const plan = plans[path];
  const id = method === 'post' ? plan?.post?.id : plan?.get?.id;
  if (id === undefined) throw new Error(`there is no ${method} ${path} in the document`);
  return id;
}
