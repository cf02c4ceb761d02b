import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';

import {
  GetQueueAttributesCommand,
  ReceiveMessageCommand,
  SendMessageCommand,
} from '@aws-sdk/client-sqs';
import { afterAll, afterEach, beforeAll, expect } from 'vitest';

import { ingestFunction } from '../../src/entry/lambda/ingest-function.ts';
import { processFunction } from '../../src/entry/lambda/process-function.ts';
import { queryFunction } from '../../src/entry/lambda/query-function.ts';
import { readCountersDirectly, startAws, type AwsEmulators } from '../support/aws/aws-store.ts';
import type { Token } from '../../src/auth/token.ts';
import { serverAccess, TokenTable } from '../../src/auth/check-access.ts';
import { pageOf } from '../../src/http/app/pages.ts';
import { Lambdas } from '../support/aws/lambda.ts';
import { exchange, startServer, type Received, type Sent } from '../support/server.ts';
import { needs } from '../support/run/needs.ts';

const { describe, it } = needs('Java');

let aws: AwsEmulators;
beforeAll(async () => {
  aws = await startAws();
});
afterAll(() => aws.stop());

const item = { type: 'phone', state: 'erased', timestamp: '2023-06-16T13:00:00Z' };
const json = { 'content-type': 'application/json' };

function send(lambdas: Lambdas, items: readonly unknown[], headers: Record<string, string> = {}) {
  const body = JSON.stringify({ processed_devices: items });
  return lambdas.ask({ method: 'POST', path: '/ingest', headers: { ...json, ...headers }, body });
}

function codeOf({ status, text }: Received): string {
  return `${status} ${(JSON.parse(text) as { code: string }).code}`;
}

/** When a batch was received, by its raw key. */
function receivedIn({ text }: Received): string {
  const { raw_key: rawKey } = JSON.parse(text) as { raw_key: string };
  return rawKey.slice('raw/'.length, 'raw/2026-11-25T05:22:40.123Z'.length);
}

/** A response without what a connection adds. */
function withoutConnection({ status, headers, text }: Received) {
  const added = new Set('connection content-length date transfer-encoding x-request-id'.split(' '));
  const kept = Object.entries(headers).filter(([name]) => !added.has(name));
  return { status, headers: Object.fromEntries(kept), text };
}

async function queued(lambdas: Lambdas, queueUrl = lambdas.store.queueUrl): Promise<number> {
  const { Attributes } = await aws.sqs.send(
    new GetQueueAttributesCommand({ QueueUrl: queueUrl, AttributeNames: ['All'] }),
  );
  return Number(Attributes?.ApproximateNumberOfMessages);
}

describe('the function URL of the ingest function', () => {
  it('accepts batches, and links to their receipts at the API', async () => {
    const apiUrl = 'https://api.example/fleet';
    const lambdas = await Lambdas.create(aws, { API_URL: apiUrl });
    const sent = {
      ...{ method: 'POST', path: '/ingest', headers: { 'content-type': 'application/json' } },
      body: JSON.stringify({ processed_devices: [item] }),
    };
    for (const form of ['text', 'base64'] as const) {
      const answer = await lambdas.askUrl(sent, form);
      expect([answer.status, answer.text]).toEqual([200, expect.stringContaining('"enqueued":1')]);
      const location = answer.headers['location'] ?? '';
      expect(location.startsWith(`${apiUrl}/ingest/`)).toBe(true);
      const path = location.slice(apiUrl.length);
      expect(JSON.parse((await lambdas.ask({ path })).text)).toMatchObject({ status: 'pending' });
    }
    expect((await lambdas.ask(sent)).headers['location']).toMatch(/^\/ingest\//);
    await lambdas.drain();
    const rows = await readCountersDirectly(aws.dynamodb, lambdas.store.countersTable);
    expect(rows).toMatchObject([{ type: 'phone', count: 3 }]);
  });

  it('accepts compressed batches, and serves nothing else', async () => {
    const lambdas = await Lambdas.create(aws);
    const path = '/ingest';
    const headers = { 'content-type': 'application/json', 'content-encoding': 'gzip' };
    const body = gzipSync(JSON.stringify({ processed_devices: [item] }));
    const whole = await lambdas.askUrl({ method: 'POST', path, headers, body });
    expect(whole.status).toBe(200);
    for (const other of ['/stats?date=2023-06-16', '/', '/docs', '/readyz', '/ingest/1']) {
      expect((await lambdas.askUrl({ path: other })).status).toBe(404);
    }
    expect((await lambdas.askUrl({ path })).status).toBe(405);
  });
});

describe('the path of a receipt', () => {
  const sent = {
    ...{ method: 'POST', path: '/ingest', headers: { 'content-type': 'application/json' } },
    body: JSON.stringify({ processed_devices: [item] }),
  };

  it.each([
    ['the stage', { stage: 'prod' }, /^\/prod\/ingest\//],
    ['the base path of a custom domain', { domainName: 'events.example' }, /^\/fleet\/ingest\//],
    [
      'that of a domain whose mapping leads to a stage',
      { domainName: 'events.example', stage: 'prod' },
      /^\/fleet\/ingest\//,
    ],
    ['nothing where the API is called by default', {}, /^\/ingest\//],
  ])('comes after %s', async (_, place, expected) => {
    const lambdas = await Lambdas.create(aws, { BASE_PATH: 'fleet' });
    const { status, headers } = await lambdas.ask(sent, 'text', place);
    expect(status).toBe(200);
    expect(headers['location']).toMatch(expected);
  });

  it('is its own where a custom domain has no base path', async () => {
    const lambdas = await Lambdas.create(aws);
    const { headers } = await lambdas.ask(sent, 'text', { domainName: 'events.example' });
    expect(headers['location']).toMatch(/^\/ingest\//);
  });
});

describe('a batch', () => {
  it('is packed into as few messages as possible, or sent item by item', async () => {
    const packed = await Lambdas.create(aws);
    await send(packed, [item, item, item]);
    expect(await queued(packed)).toBe(1);
    const single = await Lambdas.create(aws, { ITEMS_PER_MESSAGE: '1' });
    await send(single, [item, item, item]);
    expect(await queued(single)).toBe(3);
    for (const lambdas of [packed, single]) {
      await lambdas.drain();
      const rows = await readCountersDirectly(aws.dynamodb, lambdas.store.countersTable);
      expect(rows).toMatchObject([{ type: 'phone', count: 3 }]);
    }
  });

  it('has a receipt, and the backlog is known', async () => {
    const lambdas = await Lambdas.create(aws);
    const sent = await send(lambdas, [item, { type: 1 }, item]);
    const { headers } = sent;
    const path = String(headers['location']);
    const received = receivedIn(sent);
    const receipt = async () => JSON.parse((await lambdas.ask({ path })).text) as object;
    expect(await receipt()).toMatchObject({ status: 'pending', enqueued: 2, counted: 0 });
    const ready = async () => JSON.parse((await lambdas.ask({ path: '/readyz' })).text) as object;
    const version: unknown = expect.any(String);
    const known = { status: 'ready', dead_letters: 0, last_received_at: received, version };
    expect(await ready()).toEqual({ ...known, pending_messages: 1 });
    await lambdas.drain();
    expect(await receipt()).toMatchObject({ status: 'counted', counted: 2, rejected: 1 });
    expect(await ready()).toEqual({ ...known, pending_messages: 0 });
  });

  it('and the sweeper says through which moment all is counted', async () => {
    const lambdas = await Lambdas.create(aws, { SWEEP_AFTER_SECONDS: '0' });
    const ready = async () =>
      JSON.parse((await lambdas.ask({ path: '/readyz' })).text) as Record<string, string>;
    expect(Object.keys(await ready())).toEqual([
      ...['status', 'pending_messages', 'dead_letters', 'version'],
    ]);
    const [first, second] = [await send(lambdas, [item]), await send(lambdas, [item])];
    // A sweep checks batches of earlier milliseconds.
    await setTimeout(2);
    // Neither is counted: the sweeper has to look after them again.
    await lambdas.sweep();
    expect(await ready()).toMatchObject({ counted_through: receivedIn(first) });
    await lambdas.drain();
    expect(await ready()).toMatchObject({ counted_through: receivedIn(first) });
    await lambdas.sweep();
    const { counted_through: through = '' } = await ready();
    expect(through > receivedIn(second), through).toBe(true);
  });

  it('under a known key is the same batch, with the same response', async () => {
    const lambdas = await Lambdas.create(aws);
    const first = await send(lambdas, [item], { 'idempotency-key': 'a' });
    const again = await send(lambdas, [item], { 'idempotency-key': 'a' });
    expect(again).toEqual(first);
    expect(codeOf(await send(lambdas, [item, item], { 'idempotency-key': 'a' }))).toBe(
      '422 idempotency_key_reused',
    );
    expect(codeOf(await send(lambdas, [item], { 'idempotency-key': '' }))).toBe(
      '400 invalid_idempotency_key',
    );
  });

  it('to a path that only decodes to /ingest is not accepted', async () => {
    const lambdas = await Lambdas.create(aws);
    const body = JSON.stringify({ processed_devices: [item] });
    const answer = await lambdas.ask({ method: 'POST', path: '/%69ngest', headers: json, body });
    expect(codeOf(answer)).toBe('404 not_found');
  });
});

describe('what others put on the queue', () => {
  it('is counted if it is an item, and else a dead letter, and holds back nothing', async () => {
    const lambdas = await Lambdas.create(aws);
    const { queueUrl: QueueUrl, deadLetterQueueUrl, countersTable } = lambdas.store;
    for (const MessageBody of [JSON.stringify(item), 'garbage', JSON.stringify(item)]) {
      await aws.sqs.send(new SendMessageCommand({ QueueUrl, MessageBody }));
    }
    await send(lambdas, [item]);
    await lambdas.drain();
    expect(await readCountersDirectly(aws.dynamodb, countersTable)).toMatchObject([{ count: 3 }]);
    expect(await queued(lambdas, deadLetterQueueUrl)).toBe(1);
  });
});

describe('a dead letter that is put back', () => {
  it('is the message that it was: counted once, and as old as it is', async () => {
    const lambdas = await Lambdas.create(aws);
    const { queueUrl: QueueUrl, deadLetterQueueUrl, countersTable } = lambdas.store;
    const put = (id: string, sentAt: Date) =>
      aws.sqs.send(
        new SendMessageCommand({
          QueueUrl,
          MessageBody: JSON.stringify(item),
          MessageAttributes: {
            original_message_id: { DataType: 'String', StringValue: id },
            original_sent_at: { DataType: 'String', StringValue: sentAt.toISOString() },
            first_failed_at: { DataType: 'String', StringValue: '2026-01-01T00:00:00.000Z' },
          },
        }),
      );
    await put('one', new Date());
    await put('one', new Date());
    await put('two', new Date());
    await put('old', new Date(Date.now() - 84 * 86_400_000));
    await lambdas.drain();
    expect(await readCountersDirectly(aws.dynamodb, countersTable)).toMatchObject([{ count: 2 }]);
    expect(await queued(lambdas, deadLetterQueueUrl)).toBe(1);
    const { Messages: [letter] = [] } = await aws.sqs.send(
      new ReceiveMessageCommand({ QueueUrl: deadLetterQueueUrl, MessageAttributeNames: ['All'] }),
    );
    const attributes = letter?.MessageAttributes ?? {};
    expect(attributes['original_message_id']?.StringValue).toBe('old');
    expect(attributes['first_failed_at']?.StringValue).toBe('2026-01-01T00:00:00.000Z');
    expect(attributes['failed_at']?.StringValue).not.toBe('2026-01-01T00:00:00.000Z');
  });
});

describe('where AWS does not answer', () => {
  const nowhere = 'http://127.0.0.1:9';

  afterEach(() => void Object.assign(process.env, aws.environment));

  it.each(['AWS_ENDPOINT_URL_DYNAMODB', 'AWS_ENDPOINT_URL_S3', 'AWS_ENDPOINT_URL_SQS'])(
    'a batch is refused with 503 and may be sent again: %s',
    async (variable) => {
      const { store } = await Lambdas.create(aws);
      const broken = new Lambdas(aws, store, {});
      process.env[variable] = nowhere;
      // The clients read their endpoints when they are first used. A queue's is in its URL.
      const queueUrl = { QUEUE_URL: `${nowhere}/000000000000/queue` };
      const lambdas =
        variable === 'AWS_ENDPOINT_URL_SQS' ? new Lambdas(aws, store, queueUrl) : broken;
      const answer = await send(lambdas, [item], { 'idempotency-key': 'a' });
      expect(codeOf(answer)).toBe('503 storage_failed');
      expect(answer.headers['retry-after']).toBe('5');

      Object.assign(process.env, aws.environment);
      const healed = new Lambdas(aws, store, {});
      expect((await send(healed, [item], { 'idempotency-key': 'a' })).status).toBe(200);
      await healed.drain();
      await healed.sweep();
      const rows = await readCountersDirectly(aws.dynamodb, store.countersTable);
      expect(rows).toMatchObject([{ count: 1 }]);
    },
  );

  it('a request that is held is given up, and tried again', async () => {
    let requests = 0;
    const silent = createServer((_, response) => {
      requests++;
      if (requests > 1) response.writeHead(400).end('{"__type":"AccessDeniedException"}');
    });
    await new Promise<void>((resolve) => void silent.listen(0, '127.0.0.1', resolve));
    const { port } = silent.address() as AddressInfo;
    const lambdas = await Lambdas.create(aws);
    process.env['AWS_ENDPOINT_URL_DYNAMODB'] = `http://127.0.0.1:${port}`;
    const answer = await lambdas.ask({ path: '/stats?date=2023-06-16' });
    silent.closeAllConnections();
    silent.close();
    expect(codeOf(answer)).toBe('503 storage_failed');
    expect(requests).toBe(2);
  });

  it('a query is refused with 503', async () => {
    const lambdas = await Lambdas.create(aws);
    process.env['AWS_ENDPOINT_URL_DYNAMODB'] = nowhere;
    for (const path of ['/stats?date=2023-06-16', '/stats-html?date=2023-06-16']) {
      expect(codeOf(await lambdas.ask({ path }))).toBe('503 storage_failed');
    }
    expect((await lambdas.ask({ path: '/healthz' })).status).toBe(200);
  });
});

describe('settings', () => {
  it('that are missing or wrong are named when a function starts', async () => {
    const { environment } = await Lambdas.create(aws);
    const { LEDGER_TABLE, ...without } = environment;
    expect(LEDGER_TABLE).toBeDefined();
    expect(() => ingestFunction(without)).toThrow(
      'The environment variable LEDGER_TABLE is not set.',
    );
    expect(() => processFunction({ ...environment, MAX_RECEIVES: '0' })).toThrow(
      "MAX_RECEIVES must be a whole number of at least 1, got '0'.",
    );
    expect(() => ingestFunction({ ...environment, ITEMS_PER_MESSAGE: 'all' })).toThrow(
      "Items per message must be packed or a whole number from 1 to 10000, got 'all'.",
    );
    expect(() => queryFunction({ ...environment, DAY_ZONE: 'Mars' })).toThrow(/Mars/);
  });

  it('of the day apply to all functions of a store, forever', async () => {
    const lambdas = await Lambdas.create(aws, { DAY_ZONE: 'UTC' });
    expect((await lambdas.ask({ path: '/healthz' })).text).toContain('"day_zone":"UTC"');
    await send(lambdas, [{ ...item, timestamp: '2023-06-16T23:30:00-05:00' }]);
    await lambdas.drain();
    const rows = await readCountersDirectly(aws.dynamodb, lambdas.store.countersTable);
    expect(rows).toMatchObject([{ date: '2023-06-17', count: 1 }]);
    const other = new Lambdas(aws, lambdas.store, {});
    expect(codeOf(await send(other, [item]))).toBe('503 storage_failed');
  });
});

describe('with tokens', () => {
  const secrets = createServer((request, response) => {
    request.resume();
    const SecretString = JSON.stringify({ tokens, initial: 'first' });
    response.setHeader('content-type', 'application/x-amz-json-1.1');
    if (isDown) response.writeHead(500).end('{}');
    else response.end(JSON.stringify({ SecretString }));
  });
  const hashed = (text: string) => createHash('sha256').update(text).digest('hex');
  const tokens = [
    { name: 'gateway', sha256: hashed('g'), for: ['ingest'] },
    { name: 'other', sha256: hashed('o'), for: ['ingest'] },
    { name: 'reader', sha256: hashed('r'), for: ['read'] },
  ];
  let isDown = false;
  let lambdas: Lambdas;

  beforeAll(async () => {
    await new Promise<void>((resolve) => void secrets.listen(0, '127.0.0.1', resolve));
    const { port } = secrets.address() as AddressInfo;
    process.env['AWS_ENDPOINT_URL_SECRETS_MANAGER'] = `http://127.0.0.1:${port}`;
    lambdas = await Lambdas.create(aws, { TOKENS_SECRET_ARN: 'arn:aws:secretsmanager:tokens' });
  });
  afterAll(() => void secrets.close());

  const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
  const read = (path: string, headers: Record<string, string> = {}) =>
    lambdas.ask({ path, headers });

  it('nothing but /healthz is answered without one', async () => {
    expect((await read('/healthz')).status).toBe(200);
    for (const path of [
      '/stats?date=2023-06-16',
      '/stats-html?date=2023-06-16',
      '/readyz',
      '/ingest/x',
    ]) {
      const answer = await read(path);
      expect(codeOf(answer), path).toBe('401 unauthorized');
      expect(answer.headers['www-authenticate']).toBe('Bearer realm="device-pipeline"');
      expect(answer.headers['content-type']).toBe('application/problem+json');
    }
    expect(codeOf(await send(lambdas, [item]))).toBe('401 unauthorized');
    expect(codeOf(await send(lambdas, [item], bearer('x')))).toBe('401 unauthorized');
    expect(await queued(lambdas)).toBe(0);
  });

  it('each is for what it is for', async () => {
    const stats = '/stats?date=2023-06-16';
    expect((await send(lambdas, [item], bearer('g'))).status).toBe(200);
    expect((await send(lambdas, [item], bearer('first'))).status).toBe(200);
    expect(codeOf(await send(lambdas, [item], bearer('r')))).toBe('403 forbidden');
    expect((await read(stats, bearer('r'))).status).toBe(200);
    expect((await read(stats, bearer('first'))).status).toBe(200);
    expect(codeOf(await read(stats, bearer('g')))).toBe('403 forbidden');
    // A receipt is for who sent the batch, too.
    expect(codeOf(await read('/ingest/x', bearer('g')))).toBe('404 batch_not_found');
  });

  it('the idempotency keys of different callers are different keys', async () => {
    const keyed = (token: string) =>
      send(lambdas, [item], { 'idempotency-key': 'k', ...bearer(token) });
    const one = (await keyed('g')).headers['location'];
    expect((await keyed('g')).headers['location']).toBe(one);
    expect((await keyed('o')).headers['location']).not.toBe(one);
  });

  it('each is answered as by the embedded server, also on pages of other origins', async () => {
    const origin = 'https://app.example';
    const bodies = { identity: new TextEncoder().encode('a') };
    const page = (isForever: boolean) => pageOf({ contentType: 'text/html', isForever, bodies });
    const pages = new Map([
      ['/', page(false)],
      ['/assets/a.js', page(true)],
    ]);
    const here = await Lambdas.create(
      aws,
      {
        TOKENS_SECRET_ARN: 'arn:aws:secretsmanager:tokens',
        CORS_ORIGINS: `https://other.example,${origin}`,
      },
      pages,
    );
    const table = new TokenTable(
      tokens.map((token) => ({ ...token, expiresAt: undefined }) as Token),
    );
    const access = serverAccess({ tokens: () => table, isOpenWithoutTokens: true });
    const corsOrigins = ['https://other.example', origin];
    await using server = await startServer({ http: { access, corsOrigins, pages } });

    const batch = { method: 'POST', path: '/ingest', body: 'no' };
    const requests: Sent[] = [undefined, 'g', 'r', 'x'].flatMap((token) => {
      const headers = token === undefined ? {} : bearer(token);
      return [{}, { origin }, { origin: 'https://no.example' }].flatMap((more) => [
        ...['/', '/assets/a.js', '/no', '/stats', '/ingest', '/ingest/x', '/healthz'].map(
          (path) => {
            return { path, headers: { ...headers, ...more } };
          },
        ),
        { ...batch, headers: { ...json, ...headers, ...more } },
        { ...batch, headers: { 'content-type': 'text/plain', ...headers, ...more } },
        ...['/ingest', '/stats'].map((path) => ({
          method: 'OPTIONS',
          path,
          headers: { 'access-control-request-method': 'POST', ...more },
        })),
      ]);
    });
    const statuses = new Set<number>();
    for (const asked of requests) {
      // Refusals of both give it back.
      const request = { ...asked, headers: { ...asked.headers, 'x-request-id': 'request-1' } };
      const [one, other] = [await here.ask(request), await exchange(server.url, request)];
      expect(withoutConnection(one), JSON.stringify(request)).toEqual(withoutConnection(other));
      statuses.add(one.status);
    }
    expect([...statuses].sort()).toEqual([200, 204, 400, 401, 403, 404, 405, 415]);
  });

  it('all requests are refused with Retry-After while the tokens cannot be read', async () => {
    isDown = true;
    const fresh = await Lambdas.create(aws, { TOKENS_SECRET_ARN: 'arn:aws:secretsmanager:tokens' });
    const answer = await send(fresh, [item], bearer('g'));
    expect(codeOf(answer)).toBe('503 storage_failed');
    isDown = false;
    expect((await send(fresh, [item], bearer('g'))).status).toBe(200);
  });
});
