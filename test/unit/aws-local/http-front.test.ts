import { request as sendRequest, type IncomingMessage } from 'node:http';
import { gzipSync } from 'node:zlib';

import { describe, expect, it, onTestFinished } from 'vitest';

import {
  createHttpFront,
  type FrontRequest,
  type HttpFrontOptions,
} from '../../../infra/local/gateway/http-front.ts';
import type { InvocationResult } from '../../../infra/local/functions/lambda-runtime.ts';
import { eventually } from './stand-ins.ts';

interface Invoked {
  readonly role: string;
  readonly event: Record<string, unknown> & { headers: Record<string, string>; body?: string };
}

/** A front whose functions answer with `reply`; returns where it is and what they were called with. */
async function front(
  reply: unknown = { statusCode: 200 },
  options: Partial<HttpFrontOptions> = {},
): Promise<{ url: string; invoked: Invoked[] }> {
  const invoked: Invoked[] = [];
  const created = createHttpFront({
    routes: [
      { routeKey: 'POST /ingest', role: 'ingest', throttle: undefined },
      { routeKey: '$default', role: 'query', throttle: undefined },
    ],
    accountId: '000000000000',
    invoke(role, payload) {
      invoked.push({ role, event: JSON.parse(payload) as Invoked['event'] });
      return Promise.resolve({ kind: 'succeeded', payload: JSON.stringify(reply) });
    },
    ...options,
  });
  const port = await created.listen('127.0.0.1', 0);
  onTestFinished(() => created.stop(100));
  return { url: `http://127.0.0.1:${port}`, invoked };
}

/** Where functions end with this. */
const ending = (result: InvocationResult) => ({ invoke: () => Promise.resolve(result) });

interface Sent {
  readonly method?: string;
  readonly host?: string;
  /** Names and values in turns. */
  readonly headers?: string[];
  readonly body?: string | Buffer;
}

function send(
  url: string,
  { method = 'GET', host = new URL(url).host, headers = [], body }: Sent = {},
) {
  return new Promise<{ status: number; headers: IncomingMessage['headers']; text: string }>(
    (resolve, reject) => {
      const length = body === undefined ? [] : ['content-length', String(Buffer.byteLength(body))];
      const all = ['host', host, ...headers, ...length];
      // As it is: `new URL` would change the path.
      const path = url.slice(new URL(url).origin.length);
      const sent = sendRequest(url, { method, path, headers: all, agent: false }, (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (piece: string) => (text += piece));
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, headers: response.headers, text }),
        );
      });
      sent.on('error', reject);
      sent.end(body);
    },
  );
}

describe('the event of a request', () => {
  it("is API Gateway's, in payload format 2.0", async () => {
    const { url, invoked } = await front();
    await send(`${url}/stats?date=2026-01-01&type=a%20b&type=c&empty=`, {
      headers: [
        ...['Accept', 'text/html', 'Accept', 'application/json', 'User-Agent', 'trial/1'],
        ...['Cookie', 'a=1; b=2', 'X-Odd', 'One', 'x-odd', 'Two'],
      ],
    });
    const { role, event } = invoked[0] ?? {};
    expect(role).toBe('query');
    expect(event).toMatchObject({
      ...{ version: '2.0', routeKey: '$default', rawPath: '/stats', isBase64Encoded: false },
      rawQueryString: 'date=2026-01-01&type=a%20b&type=c&empty=',
      queryStringParameters: { date: '2026-01-01', type: 'a b,c', empty: '' },
      cookies: ['a=1', 'b=2'],
      headers: {
        ...{ accept: 'text/html,application/json', 'x-odd': 'One,Two' },
        ...{ host: new URL(url).host, 'x-forwarded-for': '127.0.0.1' },
      },
      requestContext: {
        ...{ accountId: '000000000000', stage: '$default', routeKey: '$default' },
        domainName: '127.0.0.1',
        http: {
          ...{ method: 'GET', path: '/stats', protocol: 'HTTP/1.1' },
          ...{ sourceIp: '127.0.0.1', userAgent: 'trial/1' },
        },
        requestId: expect.stringMatching(/^[0-9a-f-]{36}$/) as string,
        time: expect.stringMatching(/^\d\d\/[A-Z][a-z]{2}\/\d{4}:\d\d:\d\d:\d\d \+0000$/) as string,
        timeEpoch: expect.any(Number) as number,
      },
    });
    expect(event?.headers).not.toHaveProperty('cookie');
    expect(event?.headers).not.toHaveProperty('connection');
    expect(event).not.toHaveProperty('body');
  });

  it('is answered to names and addresses of this machine alone', async () => {
    const { url, invoked } = await front();
    expect(await send(url, { host: 'evil.example' })).toMatchObject({
      ...{ status: 403, text: '{"message":"Forbidden"}' },
    });
    expect(invoked).toEqual([]);
    expect((await send(url, { host: 'localhost:8080' })).status).toBe(200);
  });

  it('names the proxies before it', async () => {
    const { url, invoked } = await front();
    await send(`${url}/`, { headers: ['X-Forwarded-For', '10.0.0.1'] });
    expect(invoked[0]?.event.headers['x-forwarded-for']).toBe('10.0.0.1, 127.0.0.1');
  });

  it('has no cookies and no parameters where there are none', async () => {
    const { url, invoked } = await front();
    await send(`${url}/`);
    expect(invoked[0]?.event).not.toHaveProperty('cookies');
    expect(invoked[0]?.event).not.toHaveProperty('queryStringParameters');
    expect(invoked[0]?.event['rawQueryString']).toBe('');
  });

  it('has the path decoded, and cut off at a question mark that comes out of that', async () => {
    const { url, invoked } = await front();
    await send(`${url}/a%20b%3Fc?d=%3F`);
    expect(invoked[0]?.event).toMatchObject({ rawPath: '/a b', rawQueryString: 'd=%3F' });
    expect((await send(`${url}/%ff`)).status).toBe(400);
  });

  it.each([
    ['application/json; charset=utf-8', undefined, false],
    ['text/csv', undefined, false],
    ['application/xml', undefined, false],
    ['application/json', 'identity', true],
    ['application/x-www-form-urlencoded', undefined, true],
    ['application/problem+json', undefined, true],
    [undefined, undefined, true],
  ])('a body of %s, encoded %s: in base64 %s', async (type, encoding, isBase64Encoded) => {
    const { url, invoked } = await front();
    const headers = [
      ...(type === undefined ? [] : ['content-type', type]),
      ...(encoding === undefined ? [] : ['content-encoding', encoding]),
    ];
    await send(`${url}/ingest`, { method: 'POST', headers, body: '{"ü":1}' });
    const { role, event } = invoked[0] ?? {};
    expect(role).toBe('ingest');
    const body = isBase64Encoded ? Buffer.from('{"ü":1}').toString('base64') : '{"ü":1}';
    expect(event).toMatchObject({ routeKey: 'POST /ingest', isBase64Encoded, body });
  });

  it('has a compressed body byte for byte', async () => {
    const { url, invoked } = await front();
    const body = gzipSync('{"processed_devices":[]}');
    const headers = ['content-type', 'application/json', 'content-encoding', 'gzip'];
    await send(`${url}/ingest`, { method: 'POST', headers, body });
    expect(Buffer.from(invoked[0]?.event.body ?? '', 'base64')).toEqual(body);

    const asText = await front({ statusCode: 200 }, { compressedAs: 'text' });
    await send(asText.url, { method: 'POST', headers, body });
    expect(asText.invoked[0]?.event).toMatchObject({
      ...{ isBase64Encoded: false, body: body.toString('utf8') },
    });
    const pictures = ['content-type', 'image/png', 'content-encoding', 'gzip'];
    await send(asText.url, { method: 'POST', headers: pictures, body });
    expect(asText.invoked[1]?.event).toMatchObject({ isBase64Encoded: true });
  });
});

describe('the reply of a function becomes the answer', () => {
  it('with its status, headers, cookies and body', async () => {
    const { url } = await front({
      statusCode: 201,
      headers: { Location: '/ingest/1', 'content-length': '999', 'x-number': 5 },
      cookies: ['a=1', 'b=2'],
      body: 'grüße',
    });
    const answer = await send(url + '/');
    expect(answer).toMatchObject({ status: 201, text: 'grüße' });
    expect(answer.headers).toMatchObject({
      ...{ location: '/ingest/1', 'x-number': '5', 'content-length': '7' },
      'set-cookie': ['a=1', 'b=2'],
    });
  });

  it('with a body in base64', async () => {
    const body = Buffer.from('bytes').toString('base64');
    const { url } = await front({ statusCode: 200, body, isBase64Encoded: true });
    expect((await send(url + '/')).text).toBe('bytes');
  });

  it('without a body for HEAD, but with its length', async () => {
    const { url, invoked } = await front({ statusCode: 200, body: 'seven b' });
    const answer = await send(url + '/', { method: 'HEAD' });
    expect(answer).toMatchObject({ status: 200, text: '' });
    expect(answer.headers['content-length']).toBe('7');
    expect(invoked[0]?.event['requestContext']).toMatchObject({ http: { method: 'HEAD' } });
  });

  it('as a 200 in JSON where it has no status code', async () => {
    const { url } = await front({ rows: [1] });
    const answer = await send(url + '/');
    expect(answer).toMatchObject({ status: 200, text: '{"rows":[1]}' });
    expect(answer.headers['content-type']).toBe('application/json');
  });

  it.each([{ statusCode: 'x' }, { statusCode: 99 }, { statusCode: 200, body: {} }])(
    'as a 500 where it is malformed: %o',
    async (reply) => {
      const { url } = await front(reply);
      expect(await send(url + '/')).toMatchObject({
        ...{ status: 500, text: '{"message":"Internal Server Error"}' },
      });
    },
  );

  it.each<[string, InvocationResult, number, string]>([
    [
      'a failed function',
      { kind: 'failed', errorType: 'E', errorMessage: 'm' },
      ...([500, 'Internal Server Error'] as const),
    ],
    ['a throttled function', { kind: 'throttled' }, 503, 'Service Unavailable'],
    ['an event that is too large', { kind: 'too-large', bytes: 7e6 }, 413, 'Request Too Long'],
  ])('%s: %o → %i', async (_, result, status, message) => {
    const { url } = await front({}, ending(result));
    expect(await send(url + '/')).toMatchObject({ status, text: JSON.stringify({ message }) });
  });

  it('as a 503 where it does not come in time', async () => {
    const never = new Promise<InvocationResult>(() => undefined);
    const { url } = await front({}, { invoke: () => never, integrationMs: 50 });
    expect(await send(url + '/')).toMatchObject({
      ...{ status: 503, text: '{"message":"Service Unavailable"}' },
    });
  });
});

describe('limits', () => {
  const tooLong = { status: 413, text: '{"message":"Request Too Long"}' };

  it('a body above 10 MB is refused, with or without a declared length', async () => {
    const { url, invoked } = await front();
    const body = Buffer.alloc(10 * 1024 * 1024 + 1, 'x');
    expect(await send(`${url}/ingest`, { method: 'POST', body })).toMatchObject(tooLong);
    const streamed = await fetch(`${url}/ingest`, {
      method: 'POST',
      body: new Blob([body]).stream(),
      duplex: 'half',
    });
    expect([streamed.status, await streamed.text()]).toEqual([tooLong.status, tooLong.text]);
    expect(invoked).toEqual([]);
  });

  it('a body of 10 MB is handed over whole', async () => {
    const { url, invoked } = await front();
    const body = 'x'.repeat(10 * 1024 * 1024);
    const headers = ['content-type', 'text/plain'];
    expect((await send(`${url}/ingest`, { method: 'POST', headers, body })).status).toBe(200);
    expect(invoked[0]?.event.body).toHaveLength(body.length);
  });

  it('headers above 10,240 bytes are refused', async () => {
    const { url, invoked } = await front();
    const answer = await send(url + '/', { headers: ['x-long', 'x'.repeat(10_240)] });
    expect(answer.status).toBe(431);
    expect(invoked).toEqual([]);
  });

  it('beyond burst and rate the answer is 429', async () => {
    const seen: FrontRequest[] = [];
    // No machine is so slow that it sends the four requests within that rate.
    const throttle = { ratePerSecond: 0.001, burst: 3 };
    const routes = [{ routeKey: '$default', role: 'query' as const, throttle }];
    const { url } = await front({ statusCode: 200 }, { routes, observe: (one) => seen.push(one) });
    const answers = [];
    for (let sent = 0; sent < 4; sent++) answers.push(await send(url + '/'));
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 429]);
    expect(answers[3]?.text).toBe('{"message":"Too Many Requests"}');
    expect(seen.map(({ status }) => status)).toEqual([200, 200, 200, 429]);
  });

  it('requests of one route do not reduce the limit of another', async () => {
    const throttle = { ratePerSecond: 0.001, burst: 1 };
    const { url } = await front(
      { statusCode: 200 },
      {
        routes: [
          { routeKey: 'POST /ingest', role: 'ingest', throttle },
          { routeKey: '$default', role: 'query', throttle },
        ],
      },
    );
    const read = async () => (await send(url + '/')).status;
    const write = async () => (await send(`${url}/ingest`, { method: 'POST' })).status;
    expect([await read(), await read(), await write(), await write()]).toEqual([
      200, 429, 200, 429,
    ]);
  });

  it('after a 429 the rate admits requests again', async () => {
    const throttle = { ratePerSecond: 20, burst: 1 };
    const { url } = await front(
      { statusCode: 200 },
      { routes: [{ routeKey: '$default', role: 'query', throttle }] },
    );
    expect((await send(url + '/')).status).toBe(200);
    await eventually(async () => (await send(url + '/')).status === 200);
  });

  it('without a route for it the answer is 404', async () => {
    const route = { routeKey: 'POST /ingest', role: 'ingest' as const, throttle: undefined };
    const { url } = await front({ statusCode: 200 }, { routes: [route] });
    expect(await send(`${url}/ingest`)).toMatchObject({
      ...{ status: 404, text: '{"message":"Not Found"}' },
    });
  });
});
