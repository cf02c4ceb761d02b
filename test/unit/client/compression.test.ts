import { gzipSync } from 'node:zlib';

import { afterEach, expect, test, vi } from 'vitest';

import {
  defaultRetryLimits,
  postBatch,
  serverAt,
  type Effects,
} from '../../../src/client/post-batch.ts';
import { commandClient } from '../../../src/entry/cli/sending.ts';
import {
  accept,
  clientOf,
  event,
  json,
  numbers,
  serverThat,
  type Answer,
} from '../../support/processes/scripted-server.ts';

afterEach(() => vi.restoreAllMocks());

const code = 'compression_not_supported';

/** As a server whose gateway loses compressed bodies. */
const takePlain: Answer = (response, request) => {
  if (request.headers['content-encoding'] === undefined) accept(response, request);
  else json(response, 415, { code, detail: 'Send it plain.' });
};
const gateway = () => serverThat(...Array.from({ length: 20 }, () => takePlain));

const large = (n: number) => ({ ...event(n), pad: 'x'.repeat(2_000) });
const body = JSON.stringify({ processed_devices: [event(1)] });
const compressed = { body: gzipSync(body), headers: { 'Content-Encoding': 'gzip' } };

test('a batch whose compressed body is lost goes again plain, and later ones go plain at once', async () => {
  const { url, requests } = await gateway();
  const reasons: string[] = [];
  const client = clientOf(url, {
    concurrency: 1,
    batchItemsMax: 1,
    onRetry: () => expect.unreachable(),
    onCompressionOff: (reason) => reasons.push(reason),
  });
  for (let n = 0; n < 3; n += 1) await client.send(large(n));
  expect(await client.close()).toEqual({ accepted: 3, refused: 0, givenUp: 0 });
  const encodings = requests.map(({ headers }) => headers['content-encoding']);
  expect(encodings).toEqual(['gzip', undefined, undefined, undefined]);
  expect(numbers(requests)).toEqual([0, 0, 1, 2]);
  expect(requests[1]?.key).toBe(requests[0]?.key);
  expect(requests[1]?.headers['prefer']).toBe('handling=strict');
  expect(reasons).toEqual([`415 ${code}: Send it plain.`]);
});

test('of batches under way at a time each goes again, and the notice is given once', async () => {
  const held: (() => void)[] = [];
  const together: Answer = (response, request) => {
    held.push(() => takePlain(response, request));
    if (held.length === 4) for (const go of held) go();
  };
  const rest = Array.from({ length: 4 }, () => takePlain);
  const { url, requests } = await serverThat(together, together, together, together, ...rest);
  const reasons: string[] = [];
  const onCompressionOff = (reason: string) => reasons.push(reason);
  const client = clientOf(url, { batchItemsMax: 1, onCompressionOff });
  for (let n = 0; n < 4; n += 1) await client.send(large(n));
  expect(await client.close()).toEqual({ accepted: 4, refused: 0, givenUp: 0 });
  expect(requests).toHaveLength(8);
  expect(new Set(requests.map(({ key }) => key)).size).toBe(4);
  expect(reasons).toHaveLength(1);
});

test('it takes no attempt and no wait', async () => {
  const answers = [Response.json({ code, detail: 'x' }, { status: 415 })];
  const bodies: unknown[] = [];
  const effects: Effects = {
    request: (_, sent) => {
      bodies.push(sent.body);
      return Promise.resolve(answers.shift() ?? Response.json({ raw_key: 'raw/x', enqueued: 1 }));
    },
    random: () => 1,
    now: () => 0,
    sleep: () => expect.unreachable(),
  };
  const [server, batch] = [serverAt('http://a'), { ...compressed, key: 'mine' }];
  const limits = { ...defaultRetryLimits, attemptsMax: 1 };
  const outcome = await postBatch(server, batch, new AbortController().signal, limits, effects);
  expect(outcome).toMatchObject({ kind: 'accepted', attempts: 1 });
  expect(bodies.map(String)).toEqual([String(compressed.body), body]);
});

test('a batch that cannot be inflated, or was plain, is refused with that answer', async () => {
  const refuse: Answer = (response) => json(response, 415, { code, detail: 'x' });
  const { url, requests } = await serverThat(refuse);
  const client = clientOf(url, { onCompressionOff: () => expect.unreachable() });
  expect(await client.sendBatch({ body, key: 'plain' })).toMatchObject({ kind: 'refused', code });
  expect(requests).toHaveLength(1);
  const effects: Effects = {
    request: () => Promise.resolve(Response.json({ code, detail: 'x' }, { status: 415 })),
    ...{ random: () => 1, now: () => 0, sleep: () => expect.unreachable() },
  };
  const broken = { body: 'no gzip', key: 'broken', headers: { 'content-encoding': 'gzip' } };
  const { signal } = new AbortController();
  const outcome = await postBatch(serverAt(url), broken, signal, defaultRetryLimits, effects);
  expect(outcome).toMatchObject({ kind: 'refused', code });
});

test('with compress: false nothing is sent compressed, and nothing is reported', async () => {
  const { url, requests } = await gateway();
  const client = clientOf(url, { compress: false, onCompressionOff: () => expect.unreachable() });
  await client.send(large(1));
  await client.flush();
  expect(await client.sendBatch({ ...compressed, key: 'mine' })).toMatchObject({ enqueued: 1 });
  expect(requests.map(({ headers }) => headers['content-encoding'])).toEqual([
    undefined,
    undefined,
  ]);
});

test.each([
  ['an application', clientOf],
  ['a command', (url: string) => commandClient({ url })],
])('without a callback a line on stderr says so, once: %s', async (_, open) => {
  const { url } = await gateway();
  const lines: string[] = [];
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => lines.push(String(text)) > 0);
  const client = open(url);
  for (const key of ['one', 'two']) {
    expect(await client.sendBatch({ ...compressed, key })).toMatchObject({ kind: 'accepted' });
  }
  expect(lines).toEqual([
    `device-pipeline: compressed batches do not reach ${url} intact; sending uncompressed from now on: 415 ${code}: Send it plain.\n`,
  ]);
});

test('the character that stands for lost bytes goes as an escape', async () => {
  const { url, requests } = await serverThat();
  const client = clientOf(url);
  await client.send({ ...event(1), note: 'a\ufffdb' });
  await client.close();
  expect(requests[0]?.events).toEqual([{ ...event(1), note: 'a\ufffdb' }]);
  expect(requests[0]?.text).toContain('a\\ufffdb');
});
