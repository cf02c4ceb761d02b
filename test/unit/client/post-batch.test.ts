import { describe, expect, test } from 'vitest';

import {
  defaultRetryLimits,
  parseRetryAfter,
  postBatch,
  serverAt,
} from '../../../src/client/post-batch.ts';
import type { HttpRequest } from '../../../src/client/http-request.ts';
import type { Effects, RetryLimits } from '../../../src/client/post-batch.ts';
import { forEachConcurrently, watchInterrupt } from '../../../src/entry/cli/sending.ts';

const url = 'http://127.0.0.1:8080';
const rawKey = 'raw/2026-06-17T12:00:00.000Z-id.json';
const never = new AbortController().signal;
const startedAt = Date.UTC(2026, 5, 17, 12);

function accepted(body: object = { status: 'accepted', raw_key: rawKey, enqueued: 3 }): Response {
  return Response.json(body);
}

function problem(status: number, code: string, headers: Record<string, string> = {}): Response {
  const body = { type: 'about:blank', title: 'Title', status, detail: 'Detail.', code };
  return new Response(JSON.stringify(body), {
    status,
    headers: { 'content-type': 'application/problem+json', ...headers },
  });
}

function networkFailure(code: string): TypeError {
  const cause = Object.assign(new Error(`it failed with ${code}`), { code });
  return new TypeError('fetch failed', { cause });
}

/** A network that gives these answers, the last one forever, and a clock that only sleeping moves. */
function world(...answers: (Response | Error)[]) {
  const requests: { url: string; init: HttpRequest }[] = [];
  const slept: number[] = [];
  let now = startedAt;
  const effects: Effects = {
    request: (address, init) => {
      requests.push({ url: address, init });
      const answer = answers[Math.min(requests.length, answers.length) - 1];
      return answer instanceof Response
        ? Promise.resolve(answer.clone())
        : Promise.reject(answer ?? new Error('no answer'));
    },
    random: () => 0.5,
    now: () => now,
    sleep: (ms) => {
      slept.push(ms);
      now += ms;
      return Promise.resolve();
    },
  };
  return { effects, requests, slept, elapsedMs: () => now - startedAt };
}

function post(
  { effects }: { effects: Effects },
  limits: Partial<RetryLimits> = {},
  server = serverAt(url),
  strict = false,
) {
  const batch = { body: '{"processed_devices":[]}', key: 'key-1', strict };
  return postBatch(server, batch, never, { ...defaultRetryLimits, ...limits }, effects);
}

describe('a batch', () => {
  test('is posted as JSON with its idempotency key', async () => {
    const it = world(accepted());
    await post(it, {}, serverAt(url), true);
    expect(it.requests).toHaveLength(1);
    expect(it.requests[0]).toMatchObject({
      url: `${url}/ingest`,
      init: {
        method: 'POST',
        body: '{"processed_devices":[]}',
        headers: {
          'content-type': 'application/json',
          'idempotency-key': 'key-1',
          prefer: 'handling=strict',
        },
      },
    });
  });

  test('shows the token, if there is one', async () => {
    const it = world(accepted(), accepted());
    await post(it, {}, serverAt(url, { token: 'abc' }));
    await post(it, {}, serverAt(url));
    const shown = it.requests.map(({ init }) => new Headers(init.headers).get('authorization'));
    expect(shown).toEqual(['Bearer abc', null]);
  });

  test('that is accepted says how much of it was', async () => {
    const error = { index: 1, field: 'state', code: 'missing', message: 'No state.' };
    const answer = {
      status: 'accepted',
      raw_key: rawKey,
      enqueued: 2,
      rejected: 1,
      errors: [error],
    };
    expect(await post(world(accepted(answer)))).toEqual({
      kind: 'accepted',
      enqueued: 2,
      rejected: 1,
      errors: [error],
      rawKey,
      attempts: 1,
    });
  });

  test.each([400, 401, 403, 404, 409, 413, 415, 422, 501, 505])(
    'that is refused with %i is not sent again',
    async (status) => {
      const it = world(problem(status, 'some_code'));
      expect(await post(it)).toEqual({
        kind: 'refused',
        status,
        code: 'some_code',
        detail: 'Detail.',
        errors: [],
        attempts: 1,
      });
      expect(it.requests).toHaveLength(1);
    },
  );

  test('is refused by a redirect, which it does not follow', async () => {
    const redirect = new Response(null, {
      status: 308,
      headers: { location: 'https://a.example/' },
    });
    expect(await post(world(redirect))).toMatchObject({
      kind: 'refused',
      status: 308,
      detail: 'it redirects to https://a.example/',
    });
  });

  test.each([
    ['http://a:1/ingest', 405, "Detail. Give the server's address, without /ingest: http://a:1"],
    ['https://a/x/stats', 404, "Detail. Give the server's address, without /stats: https://a/x"],
    ['http://a:1/ingest', 401, 'Detail.'],
    ['http://a:1/mine', 404, 'Detail.'],
  ])('that is refused at %s with %i says: %3$s', async (address, status, detail) => {
    const it = world(problem(status, 'some_code'));
    expect(await post(it, {}, serverAt(address))).toMatchObject({ kind: 'refused', detail });
  });

  test.each([['<html>hello</html>'], ['{}'], ['null'], ['{"enqueued":1}']])(
    'is refused by a server that answers 200 with %s: it is another one',
    async (body) => {
      expect(await post(world(new Response(body)))).toMatchObject({
        kind: 'refused',
        code: 'unexpected_answer',
      });
    },
  );
});

describe('a retry', () => {
  test.each([408, 429, 500, 502, 503, 504, 507, 520])(
    'follows %i, with the same key and body',
    async (status) => {
      const it = world(problem(status, 'busy'), problem(status, 'busy'), accepted());
      expect(await post(it)).toMatchObject({ kind: 'accepted', attempts: 3 });
      const [first, ...others] = it.requests.map(({ init: { headers, body } }) => ({
        headers,
        body,
      }));
      expect(others).toEqual([first, first]);
    },
  );

  test('follows no 500 without a key: the batch may be counted', async () => {
    const it = world(problem(500, 'internal'));
    const batch = { body: '{}', key: undefined };
    const outcome = await postBatch(serverAt(url), batch, never, defaultRetryLimits, it.effects);
    expect(outcome).toMatchObject({ kind: 'refused', status: 500, attempts: 1 });
  });

  test.each(['ECONNRESET', 'ERR_STREAM_PREMATURE_CLOSE', 'ECONNREFUSED', 'ENOTFOUND', 'EPIPE'])(
    'follows a network failure with %s',
    async (code) => {
      expect(await post(world(networkFailure(code), accepted()))).toMatchObject({
        kind: 'accepted',
        attempts: 2,
      });
    },
  );

  test('waits twice as long each time, up to the longest wait, times a random share', async () => {
    const it = world(...Array.from({ length: 6 }, () => problem(503, 'busy')), accepted());
    await post(it, { backoffMsMin: 200, backoffMsMax: 2000 });
    expect(it.slept).toEqual([100, 200, 400, 800, 1000, 1000]);
  });

  test('waits at least as long as Retry-After asks, and its own share on top', async () => {
    const date = new Date(startedAt + 7000 + 100).toUTCString();
    const it = world(
      problem(503, 'busy', { 'retry-after': '5' }),
      problem(429, 'busy', { 'retry-after': date }),
      accepted(),
    );
    await post(it);
    expect(it.slept[0]).toBe(5000 + 100);
    expect(it.elapsedMs()).toBe(7000 + 200);
  });

  test('does not outlast the number of attempts', async () => {
    const it = world(problem(503, 'busy'));
    expect(await post(it, { attemptsMax: 4 })).toEqual({
      kind: 'gave_up',
      reason: '503 busy: Detail., after 4 attempts',
      neverReached: false,
      attempts: 4,
    });
    expect(it.requests).toHaveLength(4);
  });

  test('does not outlast the total time', async () => {
    const it = world(problem(503, 'busy'));
    expect(await post(it, { totalMsMax: 60_000, attemptsMax: 1e9 })).toMatchObject({
      kind: 'gave_up',
    });
    expect(it.elapsedMs()).toBeLessThanOrEqual(60_000);
    expect(it.elapsedMs()).toBeGreaterThan(30_000);
  });

  test('is not waited for where Retry-After lies beyond the total time', async () => {
    const it = world(problem(503, 'busy', { 'retry-after': '86400' }));
    expect(await post(it)).toEqual({
      kind: 'gave_up',
      attempts: 1,
      neverReached: false,
      reason:
        '503 busy: Detail., after 1 attempt; the server asks to wait 86400 s, but a batch is retried for at most 600 s',
    });
    expect(it.slept).toEqual([]);
  });

  test('is not waited for where Retry-After lies beyond what is left of the total time', async () => {
    const wait = problem(503, 'busy', { 'retry-after': '400' });
    expect(await post(world(wait))).toMatchObject({
      attempts: 2,
      reason: expect.stringMatching(/after 2 attempts; the server asks to wait 400 s/) as string,
    });
  });

  test('ends after a few seconds if the server has never answered', async () => {
    const it = world(networkFailure('ECONNREFUSED'));
    expect(await post(it)).toMatchObject({
      kind: 'gave_up',
      neverReached: true,
      reason: `nothing listens at ${url}; start a server with \`npx device-pipeline serve\``,
    });
    expect(it.elapsedMs()).toBeLessThanOrEqual(defaultRetryLimits.firstContactMsMax);
    expect(it.requests.length).toBeGreaterThan(3);
  });

  test('is made for the whole time where the server has answered before', async () => {
    const it = world(networkFailure('ECONNREFUSED'));
    const server = { ...serverAt(url), reached: true };
    expect(await post(it, {}, server)).toMatchObject({ kind: 'gave_up', neverReached: false });
    expect(it.elapsedMs()).toBeGreaterThan(300_000);
  });

  test('is retried for the whole time if the server accepts connections but drops them', async () => {
    const it = world(networkFailure('ECONNRESET'));
    expect(await post(it)).toMatchObject({ kind: 'gave_up' });
    expect(it.elapsedMs()).toBeGreaterThan(300_000);
  });

  test('is not made once the user is leaving', async () => {
    const leaving = new AbortController();
    const it = world(problem(503, 'busy'));
    const sleep = (): Promise<void> => {
      leaving.abort();
      return Promise.resolve();
    };
    const request: Effects['request'] = (address, init) =>
      leaving.signal.aborted
        ? Promise.reject(new Error('aborted'))
        : it.effects.request(address, init);
    const effects = { ...it.effects, sleep, request };
    const batch = { body: '', key: 'k' };
    const { signal } = leaving;
    const outcome = await postBatch(serverAt(url), batch, signal, defaultRetryLimits, effects);
    expect(outcome).toMatchObject({ kind: 'gave_up', reason: 'interrupted' });
    expect(it.requests).toHaveLength(1);
  });
});

describe('Retry-After', () => {
  test.each([
    [null, 0],
    ['0', 0],
    ['120', 120_000],
    [new Date(startedAt + 9000).toUTCString(), 9000],
    [new Date(startedAt - 9000).toUTCString(), 0],
    ['soon', 0],
    ['-5', 0],
  ])('%s', (header, ms) => {
    expect(parseRetryAfter(header, startedAt)).toBe(ms);
  });
});

describe('work on many values', () => {
  async function* numbers(count: number): AsyncGenerator<number, void> {
    for (let number = 0; number < count; number += 1) yield await Promise.resolve(number);
  }

  test('runs for each, a limited number at a time', async () => {
    const done: number[] = [];
    let atOnce = 0;
    let atOnceMost = 0;
    await forEachConcurrently(numbers(20), 3, never, async (number) => {
      atOnceMost = Math.max(atOnceMost, (atOnce += 1));
      await new Promise(setImmediate);
      atOnce -= 1;
      done.push(number);
    });
    expect(done.sort((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, number) => number));
    expect(atOnceMost).toBe(3);
  });

  test('takes no more values once it is to stop, and ends what it began', async () => {
    const stop = new AbortController();
    const done: number[] = [];
    await forEachConcurrently(numbers(20), 2, stop.signal, async (number) => {
      if (number === 3) stop.abort();
      await new Promise(setImmediate);
      done.push(number);
    });
    expect(done).toContain(3);
    expect(done.length).toBeLessThan(20);
  });

  test('ends what it began before it fails with its source', async () => {
    async function* broken(): AsyncGenerator<number, void> {
      yield* numbers(3);
      throw new Error('broken');
    }
    const done: number[] = [];
    const work = async (number: number) => {
      await new Promise((resolve) => setTimeout(resolve, 5));
      done.push(number);
    };
    await expect(forEachConcurrently(broken(), 4, never, work)).rejects.toThrow('broken');
    expect(done).toHaveLength(3);
  });
});

describe('an interruption', () => {
  test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)('by %s stops', (signal) => {
    const interruption = watchInterrupt();
    try {
      expect(interruption.stopping.aborted).toBe(false);
      process.emit(signal, signal);
      expect(interruption.stopping.aborted).toBe(true);
      expect(interruption.isByUser()).toBe(true);
      expect(interruption.exitCode()).toBe({ SIGINT: 130, SIGTERM: 143, SIGHUP: 129 }[signal]);
      process.emit('SIGHUP', 'SIGHUP');
      expect(interruption.aborting.aborted).toBe(false);
    } finally {
      interruption.dispose();
    }
  });

  test('by Ctrl-C stops, and a second one leaves', () => {
    const interruption = watchInterrupt();
    try {
      process.emit('SIGINT', 'SIGINT');
      expect(interruption.stopping.aborted).toBe(true);
      expect(interruption.aborting.aborted).toBe(false);
      process.emit('SIGINT', 'SIGINT');
      expect(interruption.aborting.aborted).toBe(true);
      expect(interruption.isByUser()).toBe(true);
    } finally {
      interruption.dispose();
    }
  });

  test('by the work itself is not by the user', () => {
    const interruption = watchInterrupt();
    interruption.stop();
    expect(interruption.stopping.aborted).toBe(true);
    expect(interruption.isByUser()).toBe(false);
    interruption.dispose();
  });
});
