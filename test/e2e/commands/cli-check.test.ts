import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';

import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';

import { check } from '../../../src/entry/check/check.ts';
import { exchange, startServer, type TestServer } from '../../support/server.ts';

const bodyBytesMax = 64 * 1024;

let server: TestServer;
beforeAll(async () => {
  server = await startServer({ bodyBytesMax });
});
afterAll(() => server.stop());
afterEach(() => vi.restoreAllMocks());

/** What is printed, by the lines, and the exit code. */
async function checked(url: string, more: { token?: string; maxBody?: number } = {}) {
  let text = '';
  const stdout = vi.spyOn(process.stdout, 'write').mockImplementation((part) => {
    text += String(part);
    return true;
  });
  const options = { url, maxBody: bodyBytesMax, ...more };
  const code = await check(options, {});
  stdout.mockRestore();
  return { code, lines: text.trimEnd().split('\n') };
}

interface Reply {
  readonly status: number;
  readonly body: unknown;
}

interface Asked {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly bytes: number;
}

/** Something in front of the server that answers in its place, or changes the headers. */
async function inFront(answer: (asked: Asked) => Reply | undefined): Promise<string> {
  const proxy = createServer((request, response) => {
    void (async () => {
      const parts: Buffer[] = [];
      for await (const part of request as AsyncIterable<Buffer>) parts.push(part);
      const body = Buffer.concat(parts);
      const { method = 'GET', url: path = '/', headers } = request;
      const reply = answer({ method, path, headers, bytes: body.length });
      if (reply !== undefined) {
        response.writeHead(reply.status, { 'content-type': 'application/json' });
        response.end(JSON.stringify(reply.body));
        return;
      }
      const sent = { method, path, headers: headers as Record<string, string>, body };
      const { status, text } = await exchange(server.url, method === 'GET' ? { path } : sent);
      response.writeHead(status).end(text);
    })();
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void proxy.close());
  return `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
}

const lost = { status: 415, body: { code: 'compression_not_supported', detail: 'As text.' } };

describe('check', () => {
  it('reports that each step works, and changes no counter', async () => {
    expect(await checked(server.url)).toEqual({
      code: 0,
      lines: [
        `checking ${server.url}`,
        'ok       health      up, requires no token',
        'ok       readiness   ready, no dead letters',
        'ok       batch       accepted',
        'ok       repeat      recognised as the same batch',
        expect.stringMatching(/^ok {7}receipt {5}says (pending|counted)$/) as string,
        'ok       compressed  accepted, and the same as the plain batch',
        'ok       too large   65537 bytes refused with 413',
        'ok       counters    can be read',
        'all steps passed; no items were sent, so no counter changed and counting was not tested; 2 raw bodies without items remain',
      ],
    });
    const range = 'from=2000-01-01&to=2000-12-31';
    expect((await exchange(server.url, { path: `/stats?${range}` })).text).toBe('[]');
  });

  it('warns, and exits with 0, if a gateway breaks compressed bodies', async () => {
    const url = await inFront(({ headers }) =>
      headers['content-encoding'] === undefined ? undefined : lost,
    );
    const { code, lines } = await checked(url);
    expect([code, lines.at(-1)]).toEqual([
      0,
      'all steps passed, with 1 warning; no items were sent, so no counter changed and counting was not tested; 2 raw bodies without items remain',
    ]);
    expect(lines[6]).toMatch(
      /^warning {2}compressed {2}compressed bodies do not .*: 415 .*: As text\.$/,
    );
  });

  const counters = { status: 200, body: { rows: 1 } };
  const ready = { status: 200, body: { status: 'ready', dead_letters: 2 } };
  const taken = { status: 200, body: { raw_key: 'raw/x', enqueued: 0 } };
  const broken = { status: 400, body: { code: 'invalid_json', detail: 'The body is not UTF-8.' } };
  it.each<[string, RegExp, (asked: Asked) => Reply | undefined]>([
    [
      'a proxy drops the key',
      /^failed {3}repeat .*as a new batch/,
      ({ headers }) => {
        delete headers['idempotency-key'];
        return undefined;
      },
    ],
    [
      'compressed bodies are lost otherwise',
      /^failed {3}compressed {2}400 invalid_json: The body is not UTF-8\.$/,
      ({ headers }) => (headers['content-encoding'] === undefined ? undefined : broken),
    ],
    [
      'not even the plain one is taken',
      /^failed {3}compressed {2}415 /,
      ({ method }) => (method === 'POST' ? lost : undefined),
    ],
    [
      'no body is too large',
      /^failed {3}too large {3}65537 bytes were accepted; .*--max-body$/,
      ({ bytes }) => (bytes > bodyBytesMax ? taken : undefined),
    ],
    [
      'the receipt is of another batch',
      /^failed {3}receipt .*another batch/,
      ({ path }) => (path.startsWith('/ingest/') ? taken : undefined),
    ],
    [
      'the counters are none',
      /^failed {3}counters {4}the response is not a list of counters$/,
      ({ path }) => (path.startsWith('/stats') ? counters : undefined),
    ],
    [
      'there are dead letters',
      /^warning {2}readiness {3}ready; 2 dead letters: .*dlq list/,
      ({ path }) => (path === '/readyz' ? ready : undefined),
    ],
    [
      'it is something else',
      /^failed {3}health {6}404: Not Found; check that the URL is that of a device-pipeline server$/,
      () => ({ status: 404, body: { message: 'Not Found' } }),
    ],
  ])('says what is wrong if %s', async (_, line, answer) => {
    const { code, lines } = await checked(await inFront(answer));
    expect(lines).toContainEqual(expect.stringMatching(line));
    expect(code).toBe(line.source.startsWith('^failed') ? 1 : 0);
  });

  it('ends at once if no server listens or a token is missing', async () => {
    const nowhere = await checked('http://127.0.0.1:1');
    expect(nowhere.code).toBe(1);
    expect(nowhere.lines[1]).toMatch(/^failed {3}health {6}nothing listens at http/);
    expect(nowhere.lines).toHaveLength(3);
    const url = await inFront(({ path }) =>
      path === '/healthz'
        ? { status: 200, body: { status: 'ok', access: 'token' } }
        : {
            status: 401,
            body: { code: 'unauthorized', detail: 'The token is unknown or revoked.' },
          },
    );
    const without = await checked(url);
    expect([without.code, without.lines[1], without.lines.length]).toEqual([
      ...[1, 'failed   health      the server requires a token; set DEVICE_PIPELINE_TOKEN', 3],
    ]);
    const wrong = await checked(url, { token: 'x' });
    expect([wrong.code, wrong.lines[2], wrong.lines.length]).toEqual([
      ...[1, 'failed   readiness   401 unauthorized: The token is unknown or revoked.', 4],
    ]);
  });
});
