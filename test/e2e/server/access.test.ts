import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';

import { describe, expect, it } from 'vitest';

import { tokenHash, type RateLimit, type Scope, type Token } from '../../../src/auth/token.ts';
import { rawKeyOf } from '../../../src/domain/batch-id.ts';
import { dataPaths } from '../../../src/engines/embedded/data-directory.ts';
import { changeTokens } from '../../../src/engines/embedded/tokens/token-file.ts';
import { readTokens } from '../../../src/entry/lambda/tokens-secret.ts';
import { serverAccess, TokenTable } from '../../../src/auth/check-access.ts';
import { run } from '../../support/processes/command-line.ts';
import { logLines } from '../../support/processes/server-log.ts';
import {
  afterTest,
  startServer as startProcess,
  temporaryDirectory,
  waitUntil,
} from '../../support/processes/server-process.ts';
import { exchange, postBatch, startServer, type Received } from '../../support/server.ts';

const item = { type: 'laptop', state: 'erased', timestamp: '2023-06-16T13:00:00Z' };
const body = JSON.stringify({ processed_devices: [item] });
const stats = '/stats?date=2023-06-16';
const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

/** The status, and the problem code of a refusal. */
function outcomeOf({ status, text }: Pick<Received, 'status' | 'text'>): string {
  const { code = '' } = text === '' ? {} : (JSON.parse(text) as { code?: string });
  return `${status} ${code}`.trim();
}

describe('a running server', () => {
  const post = async (url: string, token?: string) =>
    outcomeOf(await postBatch(url, body, token === undefined ? {} : bearer(token)));
  const read = async (url: string, token: string) =>
    outcomeOf(await exchange(url, { path: stats, headers: bearer(token) }));
  const becomes = (what: string, ask: () => Promise<string>) =>
    waitUntil(what, async () => (await ask()) === what);

  async function token(dataDir: string, ...args: string[]): Promise<string> {
    const outcome = await run(['token', ...args, '--data-dir', dataDir]);
    expect(outcome.code, outcome.stderr).toBe(0);
    return outcome.stdout.trim();
  }

  it('accepts tokens that are created, rotated and revoked while it runs', async () => {
    const dataDir = temporaryDirectory();
    const { url } = await startProcess(dataDir);
    expect(await post(url)).toBe('200');

    const sender = await token(dataDir, 'create', '--name', 'gateway', '--for', 'ingest');
    expect(sender).toMatch(/^dpl_[\w-]{43}$/);
    await becomes('401 unauthorized', () => post(url));
    expect(await post(url, sender)).toBe('200');
    expect(await read(url, sender)).toBe('403 forbidden');
    expect(outcomeOf(await exchange(url, { path: '/healthz' }))).toBe('200');
    for (const path of [stats, '/stats-html', '/readyz', '/ingest/x', '/ingest', '/no']) {
      expect(outcomeOf(await exchange(url, { path })), path).toBe('401 unauthorized');
    }

    const reader = await token(dataDir, 'create', '--name', 'reports', '--for', 'read');
    await becomes('200', () => read(url, reader));
    expect(await post(url, reader)).toBe('403 forbidden');

    const next = await token(dataDir, 'rotate', 'gateway', '--overlap', '1h');
    await becomes('200', () => post(url, next));
    expect(await post(url, sender)).toBe('200');
    const list = await token(dataDir, 'list');
    expect(list).toMatch(/^gateway {2}for ingest, until [^]*\ngateway {2}for ingest {2}sha256/);
    expect(list).not.toContain(sender.slice(4));
    const last = await token(dataDir, 'rotate', 'gateway', '--overlap', '0');
    await becomes('401 unauthorized', () => post(url, next));
    expect(await post(url, sender)).toBe('401 unauthorized');
    expect(await post(url, last)).toBe('200');

    await token(dataDir, 'revoke', 'gateway');
    await becomes('401 unauthorized', () => post(url, last));
    // Revoking the last token must not open the server to everybody.
    await token(dataDir, 'revoke', 'reports');
    await token(dataDir, 'create', '--name', 'again', '--for', 'ingest').then((again) =>
      becomes('200', () => post(url, again)),
    );
    await token(dataDir, 'revoke', 'again');
    expect(await post(url)).toBe('401 unauthorized');
  });

  it('refuses an expired token, also if it is the only one', async () => {
    const dataDir = temporaryDirectory();
    changeTokens(dataPaths(dataDir), () => [tokenOf('old', ['ingest'], { expiresAt: 1 })]);
    const { url } = await startProcess(dataDir);
    const answer = await postBatch(url, body, bearer('old'));
    expect(outcomeOf(answer)).toBe('401 unauthorized');
    expect(answer.text).toContain('has expired');
  });

  it('lets feed through at the allowed rate, and no batch is lost', async () => {
    const dataDir = temporaryDirectory();
    const { url } = await startProcess(dataDir, { args: ['--rate-limit', '5'] });
    const args = ['feed', url, '--batches', '12', '--items', '2', '--concurrency', '4'];
    const outcome = await run(args);
    expect(outcome.code, outcome.stderr).toBe(0);
    await waitUntil('all to be counted', async () => {
      const rows = await run(['stats', '--data-dir', dataDir, '--from', '2000-01-01', '--json']);
      const counts = (JSON.parse(rows.stdout) as { count: number }[]).map(({ count }) => count);
      return counts.reduce((sum, count) => sum + count, 0) === 24;
    });
  });

  it('accepts batches of another installation only with a token that has the scope replay', async () => {
    const dataDir = temporaryDirectory();
    changeTokens(dataPaths(dataDir), () => [
      tokenOf('gateway', ['ingest', 'read']),
      tokenOf('mover', ['replay']),
    ]);
    const { url } = await startProcess(dataDir);
    const raw_key = rawKeyOf('00000010-0040-8f3a-9c41-5d0e6f2b7a18', Date.now() - 1_000);
    const claim = { raw_key, accepted: 0, rejected: 0, caller: 'gateway' };
    const send = (token: string, more = {}) =>
      postBatch(url, '{"processed_devices":[]}', { ...bearer(token), ...more });
    const replayOf = { 'replay-of': JSON.stringify(claim), 'idempotency-key': 'one' };
    expect(outcomeOf(await send('gateway', replayOf))).toBe('403 forbidden');
    expect(outcomeOf(await send('mover'))).toBe('403 forbidden');
    expect(await send('mover', replayOf)).toMatchObject({ status: 200 });
    // The key belongs to the original client, not to the one that replayed the batch.
    const retry = await send('gateway', { 'idempotency-key': 'one' });
    expect(JSON.parse(retry.text)).toMatchObject({ raw_key });
  });

  it('writes nothing that was sent to it into its log', async () => {
    const dataDir = temporaryDirectory();
    changeTokens(dataPaths(dataDir), () => [tokenOf('gateway', ['ingest'])]);
    const { server, url } = await startProcess(dataDir, { args: ['--log-level', 'debug'] });
    const secret = 'dpl_MARKED-secret';
    const marked = { 'x-marked': secret, cookie: secret, 'x-request-id': secret };
    for (const authorization of [`Bearer ${secret}`, secret, `Basic ${secret}`, 'Bearer gateway']) {
      const headers = { ...marked, authorization, 'idempotency-key': secret };
      await postBatch(url, secret, headers);
      await postBatch(url, `{"processed_devices":[{"${secret}":`, headers);
      await postBatch(url, secret, { ...headers, 'content-encoding': 'gzip' });
      await postBatch(url, secret, { ...headers, 'content-type': secret });
      await exchange(url, { path: `/stats?date=${secret}`, headers });
      await exchange(url, { path: `/${secret}?${secret}`, headers });
    }
    const { port } = new URL(url);
    await talk(Number(port), `POST /ingest HTTP/1.1\r\nhost: x\r\n${secret}\r\n\r\n`, 1);
    await talk(Number(port), `GET //[${secret} HTTP/1.1\r\nhost: ${secret}\r\n\r\n`, 1);
    server.kill('SIGTERM');
    await server.waitExit();
    expect(server.stderr).toBe('');
    const lines = logLines(server.log);
    expect(lines.filter(({ event }) => event === 'request_refused').length).toBeGreaterThan(10);
    expect(server.log).not.toMatch(/MARKED|Bearer|Basic/);
  });
});

it('token create prints a token for AWS with its entry for the secret, and stores nothing', async () => {
  const dataDir = join(temporaryDirectory(), 'none');
  const args = ['--name', 'a', '--for', 'ingest,read', '--expires', '2099-01-01'];
  const outcome = await run(['token', 'create', '--print-entry', ...args, '--data-dir', dataDir]);
  const { token, entry } = JSON.parse(outcome.stdout) as { token: string; entry: object };
  const expiresAt = Date.UTC(2099, 0);
  expect(readTokens(JSON.stringify({ tokens: [entry] }))).toEqual([
    { name: 'a', sha256: tokenHash(token), for: ['ingest', 'read'], expiresAt },
  ]);
  expect(existsSync(dataDir)).toBe(false);
});

it('token commands refuse names that do not exist, or exist already', async () => {
  const dataDir = temporaryDirectory();
  const token = (...args: string[]) => run(['token', ...args, '--data-dir', dataDir]);
  expect((await token('list')).stdout).toBe('no tokens\n');
  expect((await token('create', '--name', 'a', '--for', 'read')).code).toBe(0);
  const again = await token('create', '--name', 'a', '--for', 'read');
  expect(again).toMatchObject({ code: 1, stdout: '' });
  expect(again.stderr).toMatch(/The token a exists already/);
  for (const command of ['rotate', 'revoke']) {
    const unknown = await token(command, 'b');
    expect(unknown).toMatchObject({ code: 1, stdout: '' });
    expect(unknown.stderr).toMatch(/There is no token b/);
  }
});

function tokenOf(name: string, scopes: readonly Scope[], more: Partial<Token> = {}): Token {
  return { name, sha256: tokenHash(name), for: scopes, expiresAt: undefined, ...more };
}

/** A server in this process whose tokens have their names as texts. */
async function serverWith(
  { rate, corsOrigins = [] }: { rate?: RateLimit; corsOrigins?: string[] },
  ...tokens: Token[]
) {
  const table = new TokenTable(tokens.length === 0 ? undefined : tokens);
  const access = serverAccess({ tokens: () => table, isOpenWithoutTokens: true, rate });
  const server = await startServer({ http: { access, corsOrigins } });
  afterTest(() => server.stop());
  return server;
}

interface WireAnswer {
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly text: string;
}

/** Sends bytes and reads a number of responses, or those until the server ends the connection. */
async function talk(port: number, bytes: string | Buffer, count: number) {
  const socket = connect(port, '127.0.0.1');
  afterTest(() => void socket.destroy());
  const answers: WireAnswer[] = [];
  let received = '';
  socket.setEncoding('latin1').on('data', (text: string) => (received += text));
  socket.on('error', () => undefined);
  const closed = once(socket, 'close');
  socket.write(bytes);
  while (answers.length < count) {
    const answer = takeAnswer(received);
    if (answer !== undefined) {
      answers.push(answer);
      received = received.slice(answer.length);
    } else if (socket.readableEnded || socket.destroyed) break;
    else await Promise.race([once(socket, 'data'), once(socket, 'end'), closed]);
  }
  return answers;
}

function takeAnswer(received: string): (WireAnswer & { length: number }) | undefined {
  const end = received.indexOf('\r\n\r\n') + 4;
  if (end < 4) return undefined;
  const [start = '', ...lines] = received.slice(0, end - 4).split('\r\n');
  const headers = Object.fromEntries(
    lines.map((line) => [line.split(':')[0]?.toLowerCase(), line.slice(line.indexOf(':') + 2)]),
  ) as Record<string, string>;
  const length = end + Number(headers['content-length'] ?? 0);
  if (received.length < length) return undefined;
  return {
    status: Number(start.split(' ')[1]),
    headers,
    text: received.slice(end, length),
    length,
  };
}

function requestOf(headers: Record<string, string>, content: string | Buffer = body): Buffer {
  const all = { host: 'x', 'content-type': 'application/json', ...headers };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  const length = `content-length: ${Buffer.byteLength(content)}\r\n\r\n`;
  const head = `POST /ingest HTTP/1.1\r\n${lines.join('')}${length}`;
  return Buffer.concat([Buffer.from(head), Buffer.from(content)]);
}

/** The kinds of POST: the first is read from its connection, the others by node:http. */
const ways: Record<string, (headers: Record<string, string>) => Buffer> = {
  plain: (headers) => requestOf(headers),
  compressed: (headers) => requestOf({ 'content-encoding': 'gzip', ...headers }, gzipSync(body)),
  'with an unusual header': (headers) => requestOf({ 'x-any': 'thing', ...headers }),
};

describe.each(Object.entries(ways))('a batch that is sent %s', (_, request) => {
  it('is accepted with a token for it, and refused at once with another one or none', async () => {
    const { port } = await serverWith(
      {},
      tokenOf('sender', ['ingest']),
      tokenOf('reader', ['read']),
      tokenOf('old', ['ingest'], { expiresAt: 1 }),
    );
    const answer = async (headers: Record<string, string>) => {
      const [first] = await talk(port, request(headers), 2);
      return {
        outcomeOf: outcomeOf(first ?? expect.fail('no answer')),
        headers: first?.headers ?? {},
      };
    };
    const [taken] = await talk(port, request(bearer('sender')), 1);
    expect(taken?.status).toBe(200);
    const realm = 'Bearer realm="device-pipeline"';
    const refusals = [
      [{}, '401 unauthorized', realm],
      [bearer('unknown'), '401 unauthorized', `${realm}, error="invalid_token"`],
      [bearer('old'), '401 unauthorized', `${realm}, error="invalid_token"`],
      [bearer('reader'), '403 forbidden', `${realm}, error="insufficient_scope", scope="ingest"`],
    ] as const;
    for (const [headers, expected, challenge] of refusals) {
      const refused = await answer(headers);
      expect(refused.outcomeOf).toBe(expected);
      expect(refused.headers).toMatchObject({
        'content-type': 'application/problem+json',
        'www-authenticate': challenge,
        connection: 'close',
      });
    }
  });

  it('is another batch if another client sends it under the same key', async () => {
    const { port } = await serverWith({}, tokenOf('a', ['ingest']), tokenOf('b', ['ingest']));
    const place = async (name: string) => {
      const headers = { ...bearer(name), 'idempotency-key': 'k' };
      const [answer] = await talk(port, request(headers), 1);
      return answer?.headers['location'] ?? expect.fail('no batch');
    };
    const first = await place('a');
    expect(await place('a')).toBe(first);
    expect(await place('b')).not.toBe(first);
    expect(await place('b')).toBe(await place('b'));
  });

  it('is refused beyond the rate with Retry-After, and the connection stays open', async () => {
    const rate = { perSecond: 0.001, burst: 2 };
    const { port } = await serverWith({ rate }, tokenOf('a', ['ingest']), tokenOf('b', ['ingest']));
    const stream = Buffer.concat(['a', 'a', 'a', 'b', 'a'].map((name) => request(bearer(name))));
    const answers = await talk(port, stream, 5);
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 429, 200, 429]);
    expect(JSON.parse(answers[2]?.text ?? '')).toMatchObject({ code: 'too_many_requests' });
    expect(answers[2]?.headers).toMatchObject({
      'content-type': 'application/problem+json',
      'retry-after': '1000',
      connection: 'keep-alive',
    });
    // Also on another connection.
    const [alone] = await talk(port, request(bearer('a')), 1);
    expect(alone?.headers['retry-after']).toBe('1000');
  });
});

describe('a batch', () => {
  it('is refused before its body is sent if the client waits for 100 Continue', async () => {
    const { port } = await serverWith({}, tokenOf('a', ['ingest']));
    const [head = ''] = requestOf({ expect: '100-continue', ...bearer('x') })
      .toString()
      .split('{');
    const [refused] = await talk(port, head, 1);
    expect(refused?.status).toBe(401);
    const [leave] = await talk(port, head.replace('Bearer x', 'Bearer a'), 1);
    expect(leave?.status).toBe(100);
  });

  it('is refused before its body is complete if it has no token', async () => {
    const { port } = await serverWith({}, tokenOf('a', ['ingest']));
    const whole = requestOf(bearer('x'), body.padEnd(1_000_000));
    const answers = await talk(port, whole.subarray(0, 2_000), 1);
    expect(answers.map(({ status }) => status)).toEqual([401]);
  });

  it('counts once against the rate if another component takes the connection over', async () => {
    const rate = { perSecond: 0.001, burst: 2 };
    const { port, http } = await serverWith({ rate }, tokenOf('a', ['ingest']));
    const begun = once(http.server, 'connection').then(([accepted]) =>
      once(accepted as Socket, 'data'),
    );
    // The next request follows the body: such a connection goes to node:http.
    const two = Buffer.concat([requestOf(bearer('a')), requestOf(bearer('a'))]);
    const socket = connect(port, '127.0.0.1');
    afterTest(() => void socket.destroy());
    let received = '';
    socket.setEncoding('latin1').on('data', (text: string) => (received += text));
    socket.write(two.subarray(0, 150));
    await begun;
    socket.write(two.subarray(150));
    while (received.split('HTTP/1.1 200').length < 3) await once(socket, 'data');
    const [third] = await talk(port, requestOf(bearer('a')), 1);
    expect(third?.status).toBe(429);
  });

  it('is stored with the name of its sender', async () => {
    const { port, dataDir } = await serverWith(
      {},
      tokenOf('a name', ['ingest'], { sha256: tokenHash('t') }),
    );
    await talk(port, requestOf(bearer('t')), 1);
    const { LogReader } = await import('../../../src/engines/embedded/log/log-reader.ts');
    const { nodeFileSystem } = await import('../../../src/engines/embedded/log/file-system.ts');
    const reader = new LogReader(nodeFileSystem, dataPaths(dataDir).log);
    expect([...reader.records()].map(({ record }) => record.caller)).toEqual(['a name']);
    reader.close();
  });
});

describe('pages of other origins', () => {
  const origin = 'https://app.example';
  const preflight = { origin, 'access-control-request-method': 'POST' };

  it('may not send requests unless their origin is allowed', async () => {
    const { url, port } = await serverWith({});
    const [answer] = await talk(port, requestOf({ origin }), 1);
    expect(answer?.status).toBe(200);
    const options = await exchange(url, { method: 'OPTIONS', path: '/ingest', headers: preflight });
    expect(outcomeOf(options)).toBe('204');
    for (const headers of [answer?.headers, options.headers]) {
      expect(Object.keys(headers ?? {}).join()).not.toMatch(/access-control|vary/);
    }
  });

  it('may send requests if their origin is allowed, and can read refusals', async () => {
    const { url, port } = await serverWith({ corsOrigins: [origin] }, tokenOf('a', ['ingest']));
    const allowed = {
      'access-control-allow-origin': origin,
      'access-control-expose-headers':
        'ETag, Location, Retry-After, X-Request-Id, Pipeline-Counted-Through, Pipeline-Pending, Pipeline-Dead-Letters',
      vary: 'Origin',
    };
    for (const path of ['/ingest', '/stats', '/ingest/x']) {
      const answer = await exchange(url, { method: 'OPTIONS', path, headers: preflight });
      expect(outcomeOf(answer)).toBe('204');
      expect(answer.headers).toMatchObject({
        ...allowed,
        'access-control-allow-methods': 'GET, HEAD, POST',
        'access-control-allow-headers': expect.stringContaining('Authorization') as string,
      });
    }
    for (const [headers, status] of [
      [bearer('a'), 200],
      [{}, 401],
      [{ ...bearer('a'), 'content-type': 'text/plain' }, 415],
    ] as const) {
      const [answer] = await talk(port, requestOf({ origin, ...headers }), 1);
      expect(answer).toMatchObject({ status, headers: allowed });
    }
    const read = await exchange(url, { path: '/ingest/x', headers: { origin, ...bearer('a') } });
    expect(read).toMatchObject({ status: 404, headers: allowed });
    // Other origins get only Vary.
    const other = { ...preflight, origin: 'https://app.example.evil' };
    const refused = await exchange(url, { method: 'OPTIONS', path: '/ingest', headers: other });
    expect(outcomeOf(refused)).toBe('401 unauthorized');
    expect(refused.headers['access-control-allow-origin']).toBeUndefined();
    expect(refused.headers.vary).toBe('Origin');
  });

  it('may send requests from any origin if * is allowed', async () => {
    const { url } = await serverWith({ corsOrigins: ['*'] });
    const { headers } = await exchange(url, { path: '/healthz', headers: { origin } });
    expect(headers['access-control-allow-origin']).toBe('*');
    expect(headers.vary).toBeUndefined();
  });
});

describe('every answer', () => {
  it('tells browsers not to interpret it', async () => {
    const { url, port } = await serverWith({});
    const answers: { headers: Received['headers'] }[] = [];
    for (const path of ['/healthz', stats, '/no', '/ingest/x', '/stats', '/readyz']) {
      answers.push(await exchange(url, { path }));
    }
    answers.push(await postBatch(url, 'no'));
    answers.push(...(await talk(port, 'no request\r\n\r\n', 1)));
    answers.push(...(await talk(port, requestOf({}, 'no'), 1)));
    expect(answers).toHaveLength(9);
    for (const [at, { headers }] of answers.entries()) {
      expect(headers).toMatchObject({
        // The second response has counters, which their readers may cache.
        'cache-control': at === 1 ? 'private, max-age=60, must-revalidate' : 'no-store',
        'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
        'cross-origin-resource-policy': 'same-origin',
        'referrer-policy': 'no-referrer',
        'x-content-type-options': 'nosniff',
      });
      expect(headers).not.toHaveProperty('strict-transport-security');
    }
    const page = await exchange(url, { path: '/stats-html?date=2023-06-16' });
    expect(page.headers).toMatchObject({
      'content-security-policy': expect.stringMatching(
        /^default-src 'none'; style-src 'sha256-\S+'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'$/,
      ) as string,
      'cross-origin-opener-policy': 'same-origin',
      'cross-origin-resource-policy': 'same-origin',
      'referrer-policy': 'no-referrer',
      'x-content-type-options': 'nosniff',
      'x-frame-options': 'DENY',
    });
  });
});
