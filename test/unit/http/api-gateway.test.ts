import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';

import { describe, expect, it } from 'vitest';

import { answerGatewayEvent } from '../../../src/http/app/api-gateway.ts';
import { routeOf } from '../../../src/http/server/observer.ts';
import { gatewayEvent } from '../../support/aws/lambda.ts';
import type { Sent } from '../../support/server.ts';

/** The request to the app, and its response. */
async function exchange(
  sent: Sent,
  form: 'text' | 'base64' = 'text',
  response = new Response('{}', { headers: { 'x-one': '1' } }),
) {
  const requests: Request[] = [];
  const result = await answerGatewayEvent(
    (request) => {
      requests.push(request);
      return response;
    },
    gatewayEvent(sent, form),
  );
  const [request] = requests;
  const body = request && Buffer.from(await request.arrayBuffer());
  return { request, body, result };
}

const headers = { 'content-type': 'application/json' };
const post = { method: 'POST', path: '/ingest', headers };

describe('an event of API Gateway', () => {
  it.each([
    ['text', 'ä 🦊 \ufeff{"a":1}\r\n'],
    ['base64', 'ä 🦊 \ufeff{"a":1}\r\n'],
    ['base64', Buffer.from([0xff, 0xfe, 0x00, 0x80])],
    ['text', ''],
  ] as const)('gives the body byte for byte: as %s', async (form, body) => {
    const asked = await exchange({ ...post, body }, form);
    expect(asked.body).toEqual(Buffer.from(body));
    expect(asked.request?.headers.get('content-length')).toBe(String(Buffer.byteLength(body)));
  });

  it.each([
    ['bytes that are no UTF-8', Buffer.from([0x7b, 0xff, 0x7d])],
    ['a lone surrogate', Buffer.from([0x22, 0xed, 0xa0, 0x80, 0xed, 0xa0, 0x80, 0x22, 0xff])],
    ['an overlong form', Buffer.from([0x22, 0xc0, 0x80, 0x22])],
    ['a character cut short, as long as what stands for it', Buffer.from('22f09f9822', 'hex')],
    ['the character that stands for it', Buffer.from('"\ufffd"')],
  ])('with a body that was lost on the way is refused, not read otherwise: %s', async (_, body) => {
    const { request, result } = await exchange({ ...post, body });
    expect(request).toBeUndefined();
    expect(result.statusCode).toBe(400);
    expect(JSON.parse(result.body ?? '')).toMatchObject({ code: 'invalid_json', status: 400 });
  });

  const compressed = '{"processed_devices":[]}';
  it.each([
    ['gzip', gzipSync(compressed)],
    ['GZIP', gzipSync(compressed)],
    ['x-gzip', gzipSync('x'.repeat(2_000))],
    ['deflate', deflateSync(compressed)],
    ['br', brotliCompressSync(compressed)],
    ['gzip', Buffer.from('gzip, but not JSON')],
  ])('with a body of %s that came as text is to be sent uncompressed', async (encoding, body) => {
    const event = gatewayEvent({ ...post, body }, 'text');
    event.headers['content-encoding'] = encoding;
    const result = await answerGatewayEvent(() => expect.unreachable(), event);
    expect(result).toMatchObject({ statusCode: 415, headers: { 'accept-encoding': 'identity' } });
    expect(JSON.parse(result.body ?? '')).toMatchObject({ code: 'compression_not_supported' });
  });

  it.each([
    ['plain JSON labelled gzip', 'gzip', compressed, 'text'],
    ['plain JSON labelled identity', 'identity', compressed, 'text'],
    ['JSON that is none, labelled identity', 'identity', '{', 'text'],
    ['nothing labelled gzip', 'gzip', '', 'text'],
    ['gzip as base64', 'gzip', gzipSync(compressed), 'base64'],
  ] as const)('gives the app %s as it came', async (_, encoding, body, form) => {
    const event = gatewayEvent({ ...post, body }, form);
    event.headers['content-encoding'] = encoding;
    const bodies: Buffer[] = [];
    const fetch = async (request: Request) => {
      bodies.push(Buffer.from(await request.arrayBuffer()));
      return new Response('{}');
    };
    expect(await answerGatewayEvent(fetch, event)).toMatchObject({ statusCode: 200 });
    expect(bodies).toEqual([Buffer.from(body)]);
  });

  it('gives method, path, query and headers as they were sent', async () => {
    const path = '/stats?type=a%20b&type=c&x=%F0%9F%A6%8A+1';
    const { request } = await exchange({ path, headers: { 'idempotency-key': '', prefer: 'a' } });
    expect(request?.url).toBe(`https://localhost${path}`);
    expect(request?.method).toBe('GET');
    expect(request?.headers.get('idempotency-key')).toBe('');
    expect(request?.headers.get('prefer')).toBe('a');
  });

  it.each([
    ['/prod/stats?date=2023-06-16', '/stats?date=2023-06-16'],
    ['/prod/', '/'],
    ['/prod', '/'],
    ['/prod/prod', '/prod'],
    ['/production', '/production'],
    ['/stats', '/stats'],
  ])('of a named stage is routed by the path after its name: %s', async (path, asked) => {
    const event = gatewayEvent({ path }, 'text');
    event.requestContext.stage = 'prod';
    const urls: string[] = [];
    const routes: string[] = [];
    await answerGatewayEvent(
      ({ url }) => {
        urls.push(url);
        return new Response('{}');
      },
      event,
      ({ route }) => routes.push(route),
    );
    expect(urls).toEqual([`https://localhost${asked}`]);
    expect(routes).toEqual([routeOf(asked)]);
  });

  it('is answered whatever its domain is called', async () => {
    const event = gatewayEvent({ path: '/stats' }, 'text');
    event.requestContext.domainName = 'pipeline.1';
    const result = await answerGatewayEvent(() => new Response('{}'), event);
    expect(result.statusCode).toBe(200);
  });

  it('with a path that was decoded names the same resource', async () => {
    const { request } = await exchange({ path: '/ingest/%3Fa%23b%20%C3%A4' });
    expect(new URL(request?.url ?? '').pathname).toBe('/ingest/%3Fa%23b%20%C3%A4');
  });

  it('with a header beyond Latin 1 is read as a server reads its bytes', async () => {
    const { request } = await exchange({ ...post, headers: { 'idempotency-key': 'clé 🦊' } });
    const value = request?.headers.get('idempotency-key') ?? '';
    expect(Buffer.from(value, 'latin1').toString()).toBe('clé 🦊');
  });

  it('with what HTTP does not allow is refused', async () => {
    for (const sent of [
      { ...post, headers: { 'x-one': 'a\nb' } },
      { path: '/', method: 'TRACE' },
    ]) {
      const { request, result } = await exchange(sent);
      expect(request).toBeUndefined();
      expect(JSON.parse(result.body ?? '')).toMatchObject({ code: 'malformed_request' });
    }
  });

  it('is answered with status, headers and text', async () => {
    const response = new Response('ä', { status: 404, headers: { 'x-one': '1', allow: 'GET' } });
    expect((await exchange({}, 'text', response)).result).toMatchObject({
      statusCode: 404,
      headers: { 'x-one': '1', allow: 'GET' },
      body: 'ä',
      isBase64Encoded: false,
    });
  });

  it.each([
    ['of an image', { 'content-type': 'image/png' }],
    ['of compressed text', { 'content-type': 'text/plain', 'content-encoding': 'gzip' }],
  ])('is answered with the bytes %s', async (_, sent) => {
    const bytes = Buffer.from([0x1f, 0x8b, 0xff, 0x00, 0x80]);
    const { result } = await exchange({}, 'text', new Response(bytes, { headers: sent }));
    expect(result).toMatchObject({ body: bytes.toString('base64'), isBase64Encoded: true });
  });
});
