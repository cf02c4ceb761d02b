import { setTimeout } from 'node:timers/promises';

import { describe, expect, test } from 'vitest';

import { DeliveryError, type GivenUpBatch } from '../../../src/client/index.ts';
import {
  accept,
  clientOf,
  event,
  json,
  numbers,
  quick,
  serverThat,
  type Answer,
} from '../../support/processes/scripted-server.ts';

describe('events', () => {
  test('go in batches by number, the rest with the flush', async () => {
    const { url, requests } = await serverThat();
    const client = clientOf(url, { batchItemsMax: 2, batchMsMax: 1e9, concurrency: 1 });
    for (let n = 0; n < 5; n += 1) await client.send(event(n));
    expect(await client.flush()).toEqual({ accepted: 5, refused: 0, givenUp: 0 });
    expect(requests.map(({ events }) => events.length)).toEqual([2, 2, 1]);
    expect(numbers(requests)).toEqual([0, 1, 2, 3, 4]);
    expect(new Set(requests.map(({ key }) => key)).size).toBe(3);
  });

  test('go in batches by bytes, as full as they can be', async () => {
    const { url, requests } = await serverThat();
    const each = { ...event(1), pad: 'é'.repeat(20) };
    const bytes = Buffer.byteLength(JSON.stringify(each));
    const frame = '{"processed_devices":[]}'.length;
    // Five of them with four commas, to the byte; and one byte less.
    const batchBytesMax = frame + 5 * bytes + 4;
    for (const [max, expected] of [
      [batchBytesMax, [5, 5, 1]],
      [batchBytesMax - 1, [4, 4, 3]],
    ] as const) {
      requests.length = 0;
      const client = clientOf(url, { batchBytesMax: max, batchMsMax: 1e9, concurrency: 1 });
      for (let n = 0; n < 11; n += 1) await client.send(each);
      await client.close();
      expect(requests.map(({ events }) => events.length)).toEqual(expected);
      expect(Math.max(...requests.map((request) => request.bytes))).toBeLessThanOrEqual(max);
    }
  });

  test('are refused where one alone is too large, by its own bytes', async () => {
    const { url } = await serverThat();
    const bytes = JSON.stringify(event(1)).length;
    const fits = clientOf(url, { batchBytesMax: bytes + 24 });
    await fits.send(event(1));
    expect(await fits.close()).toEqual({ accepted: 1, refused: 0, givenUp: 0 });
    const tooLarge = clientOf(url, { batchBytesMax: bytes + 23 }).send(event(1));
    await expect(tooLarge).rejects.toThrow(
      new RangeError(
        `an event of ${bytes} bytes is larger than a batch may be; batchBytesMax is ${bytes + 23}`,
      ),
    );
    const noRoom = clientOf(url, { bufferBytesMax: bytes }).send(event(1));
    await expect(noRoom).rejects.toThrow(`larger than the buffer; bufferBytesMax is ${bytes}`);
  });

  test('go after a time, without a flush', async () => {
    const arrived = Promise.withResolvers<undefined>();
    const { url } = await serverThat((response, request) => {
      accept(response, request);
      arrived.resolve(undefined);
    });
    await clientOf(url, { batchMsMax: 1 }).send(event(1));
    await arrived.promise;
  });

  test('are compressed in a large batch alone, and show the token', async () => {
    const { url, requests } = await serverThat();
    const client = clientOf(url, { token: 'abc' });
    await client.send(event(1));
    await client.flush();
    for (let n = 0; n < 50; n += 1) await client.send({ ...event(n), timestamp: new Date(0) });
    await client.close();
    expect(requests.map(({ headers }) => headers['content-encoding'])).toEqual([undefined, 'gzip']);
    expect(requests.map(({ headers }) => headers.authorization)).toEqual([
      'Bearer abc',
      'Bearer abc',
    ]);
    expect(requests[1]?.events[0]?.timestamp).toBe('1970-01-01T00:00:00.000Z');
  });
});

describe('a batch without a valid response', () => {
  test.each<[string, Answer]>([
    ['429', (response) => json(response, 429, {}, { 'retry-after': '0' })],
    ['503', (response) => json(response, 503, {})],
    ['a broken connection', (response) => response.destroy()],
    [
      'half an answer',
      (response) => (
        response.writeHead(200, { 'content-length': '9' }),
        response.write('{'),
        response.destroy()
      ),
    ],
  ])('is sent again under its key: %s', async (_, answer) => {
    const { url, requests } = await serverThat(answer, answer);
    const client = clientOf(url);
    await client.send(event(1));
    expect(await client.close()).toEqual({ accepted: 1, refused: 0, givenUp: 0 });
    expect(requests).toHaveLength(3);
    expect(new Set(requests.map(({ key }) => key)).size).toBe(1);
  });

  test('is given up at once where Retry-After says to wait longer than it is tried', async () => {
    const { url, requests } = await serverThat((response) =>
      json(response, 503, {}, { 'retry-after': '3600' }),
    );
    const given: GivenUpBatch[] = [];
    const client = clientOf(url, { onGaveUp: (batch) => given.push(batch) });
    await client.send(event(1));
    await client.close();
    expect(requests).toHaveLength(1);
    expect(given[0]?.reason).toContain('503');
    expect(given[0]?.reason).toContain('the server asks to wait 3600 s');
    expect(given[0]?.key).toBe(requests[0]?.key);
  });

  test('is given up with its body and key where the answers are garbage', async () => {
    const { url, requests } = await serverThat((response) => response.end('<html>hello'));
    const given: GivenUpBatch[] = [];
    const client = clientOf(url, { onGaveUp: (batch) => given.push(batch) });
    await client.send(event(1));
    expect(await client.close()).toEqual({ accepted: 0, refused: 0, givenUp: 1 });
    const [batch] = given;
    expect(batch).toMatchObject({ key: requests[0]?.key, events: [event(1)] });
    expect(batch?.reason).toContain('check that the URL is that of a device-pipeline server');
    // What was given up can be sent again as it is.
    const again = clientOf(url);
    expect((await again.sendBatch(batch ?? { body: '', key: '' })).kind).toBe('accepted');
    expect(requests[1]).toMatchObject({ key: batch?.key, events: [event(1)] });
  });

  test('is given up where no answer ever comes, by the bounds and by close', async () => {
    const silent: Answer = () => undefined;
    const { url } = await serverThat(silent, silent, silent);
    const given: string[] = [];
    const onGaveUp = ({ reason }: GivenUpBatch) => void given.push(reason);
    const bounded = clientOf(url, {
      onGaveUp,
      retry: { ...quick, attemptsMax: 2, attemptMsMax: 5 },
    });
    await bounded.send(event(1));
    await bounded.flush();
    const closed = clientOf(url, { onGaveUp });
    await closed.send(event(2));
    await closed.close(5);
    expect(given).toEqual([expect.stringContaining('after 2 attempts'), 'interrupted']);
    await expect(closed.send(event(3))).rejects.toThrow('closed');
  });

  test('without a callback makes the flush fail, once', async () => {
    const { url } = await serverThat((response) => json(response, 401, { code: 'unauthorized' }));
    const client = clientOf(url);
    await client.send(event(1));
    await expect(client.flush()).rejects.toThrow(DeliveryError);
    expect(await client.flush()).toEqual({ accepted: 0, refused: 0, givenUp: 1 });
  });
});

test('refused events are reported one by one, and the others are sent', async () => {
  const { url, requests } = await serverThat((response) =>
    json(response, 400, {
      code: 'invalid_items',
      errors: [{ index: 1, field: 'state', code: 'blank', message: 'No state.' }],
    }),
  );
  const refused: unknown[] = [];
  const client = clientOf(url, { onRefused: (...each) => refused.push(each) });
  const events = [event(0), event(1), event(2)];
  for (const each of events) await client.send(each);
  expect(await client.close()).toEqual({ accepted: 2, refused: 1, givenUp: 0 });
  expect(refused).toEqual([[events[1], { field: 'state', code: 'blank', message: 'No state.' }]]);
  expect(numbers(requests)).toEqual([0, 1, 2, 0, 2]);
  expect(requests[0]?.key).not.toBe(requests[1]?.key);
});

test('a batch that is too large for the server goes in parts; one event that is, is given up', async () => {
  const atMost =
    (items: number): Answer =>
    (response, request) =>
      request.events.length > items || request.events.some(({ n }) => n === 5)
        ? json(response, 413, { code: 'body_too_large', detail: 'too large' })
        : accept(response, request);
  const { url } = await serverThat(...Array.from({ length: 30 }, () => atMost(3)));
  const given: GivenUpBatch[] = [];
  const client = clientOf(url, { onGaveUp: (batch) => given.push(batch) });
  for (let n = 0; n < 10; n++) await client.send(event(n));
  expect(await client.close()).toEqual({ accepted: 9, refused: 0, givenUp: 1 });
  expect(given.map(({ events }) => events)).toEqual([[event(5)]]);
});

test('times that no timer has are long, not short; what is no time is refused', async () => {
  const busy: Answer = (response) => json(response, 503, {}, { 'retry-after': '3000000' });
  const { url, requests } = await serverThat(...Array.from({ length: 50 }, () => busy));
  const abort = new AbortController();
  const client = clientOf(url, {
    batchMsMax: Infinity,
    signal: abort.signal,
    retry: { totalMsMax: Infinity, attemptsMax: Infinity },
    onGaveUp: () => undefined,
  });
  await client.send(event(1));
  await setTimeout(50);
  expect(requests).toEqual([]);
  const flushed = client.flush();
  await expect.poll(() => requests.length).toBe(1);
  await setTimeout(100);
  expect(requests).toHaveLength(1);
  abort.abort(new Error('enough'));
  expect(await flushed).toMatchObject({ givenUp: 1 });
  expect(() => clientOf(url, { batchMsMax: -1 })).toThrow(RangeError);
});

test('send waits while the buffer is full, and an abort ends the wait', async () => {
  const held: (() => void)[] = [];
  const hold: Answer = (response, request) => held.push(() => accept(response, request));
  const arrivals = Promise.withResolvers<undefined>();
  const { url } = await serverThat((response, request) => {
    hold(response, request);
    arrivals.resolve(undefined);
  });
  const abort = new AbortController();
  const given: GivenUpBatch[] = [];
  // Room for two events of 134 bytes, 64 of them for the account.
  const client = clientOf(url, {
    bufferBytesMax: 350,
    batchMsMax: 1e9,
    signal: abort.signal,
    onGaveUp: (batch) => given.push(batch),
  });
  await client.send(event(0));
  await client.send(event(1));
  let isIn = false;
  const third = client.send(event(2)).then(() => (isIn = true));
  // The full buffer sends what it has.
  await arrivals.promise;
  expect(isIn).toBe(false);
  held[0]?.();
  await third;

  await client.send(event(3));
  const fifth = client.send(event(4));
  const rejected = expect(fifth).rejects.toThrow('stop');
  abort.abort(new Error('stop'));
  await rejected;
  expect((await client.flush()).accepted).toBeGreaterThanOrEqual(2);
});
