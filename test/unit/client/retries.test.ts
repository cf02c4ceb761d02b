import { afterEach, describe, expect, it, vi } from 'vitest';

import {
  defaultRetryLimits,
  postBatch,
  serverAt,
  type Effects,
  type Retry,
} from '../../../src/client/post-batch.ts';
import { RetryReporter } from '../../../src/client/retry-reporter.ts';
import { commandClient } from '../../../src/entry/cli/sending.ts';
import type { Client } from '../../../src/client/index.ts';
import {
  clientOf,
  event,
  serverThat,
  type Answer,
} from '../../support/processes/scripted-server.ts';

afterEach(() => vi.restoreAllMocks());

const hangUp: Answer = (response) => response.destroy();

/** A clock that advances with each reading. */
function clockThatJumps(ms: number): void {
  let now = Date.now();
  vi.spyOn(Date, 'now').mockImplementation(() => (now += ms));
}

/** The lines that are written to stderr. */
function linesOnStderr(): string[] {
  const lines: string[] = [];
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    lines.push(String(text));
    return true;
  });
  return lines;
}

it('each retry of a batch is reported before its wait', async () => {
  let now = 0;
  const refused = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' });
  const effects: Effects = {
    request: () => Promise.reject(refused),
    random: () => 0.5,
    now: () => now,
    sleep: (ms) => {
      now += ms;
      return Promise.resolve();
    },
  };
  const retries: Retry[] = [];
  const limits = { ...defaultRetryLimits, attemptsMax: 4, firstContactMsMax: 600_000 };
  const [server, batch] = [serverAt('http://127.0.0.1:9'), { body: '{}', key: 'mine' }];
  const { signal } = new AbortController();
  await postBatch(server, batch, signal, limits, effects, {
    onRetry: (retry) => retries.push(retry),
  });
  const what = { reason: 'connect ECONNREFUSED', key: 'mine' };
  expect(retries).toEqual([
    { ...what, attempts: 1, elapsedMs: 0, waitMs: 100 },
    { ...what, attempts: 2, elapsedMs: 100, waitMs: 200 },
    { ...what, attempts: 3, elapsedMs: 300, waitMs: 400 },
  ]);
});

it('a line is written after five seconds, and again after thirty at the earliest', () => {
  const lines: string[] = [];
  let now = 0;
  const { onRetry: report } = new RetryReporter(
    'http://a',
    (text) => lines.push(text),
    () => now,
  );
  for (const elapsedMs of [0, 4_998, 5_600, 20_000, 35_599, 35_600]) {
    now = elapsedMs;
    report({ reason: `after ${elapsedMs}`, attempts: 1, elapsedMs, waitMs: 1, key: undefined });
  }
  expect(lines).toEqual([
    'http://a has not accepted a batch for 5 s; retrying: after 5600',
    'http://a has not accepted a batch for 35 s; retrying: after 35600',
  ]);
  now = 70_000;
  report({ reason: '503', attempts: 1, elapsedMs: 20, waitMs: 300_000, key: undefined });
  expect(lines.at(-1)).toBe('http://a has not accepted a batch; retrying in 300 s: 503');
});

describe('the user of a client', () => {
  it('is called back before each retry, and an error of that is a loss', async () => {
    const { url } = await serverThat(hangUp, hangUp);
    const retries: number[] = [];
    const client = clientOf(url, {
      onRetry: ({ attempts }) => {
        retries.push(attempts);
        throw new Error('ours');
      },
    });
    await client.send(event(1));
    await expect(client.close()).rejects.toThrow('a callback has failed: Error: ours (and 1 more)');
    expect(retries).toEqual([1, 2]);
  });

  const clients: [string, (url: string) => Client][] = [
    ['an application', clientOf],
    ['a command', (url) => commandClient({ url })],
  ];

  it.each(clients)('sees a line on stderr where a server answers nothing: %s', async (_, open) => {
    const { url } = await serverThat(() => undefined);
    const lines = linesOnStderr();
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] });
    const client = open(url);
    const leaving = new AbortController();
    const outcome = client.sendBatch({ body: '{}', key: 'mine' }, leaving.signal);
    vi.advanceTimersByTime(9_999);
    expect(lines).toEqual([]);
    vi.advanceTimersByTime(35_000);
    leaving.abort();
    expect(await outcome).toMatchObject({ kind: 'gave_up' });
    vi.advanceTimersByTime(600_000);
    vi.useRealTimers();
    const line = (seconds: number) =>
      `${url} has not responded to a batch for ${seconds} s; still waiting`;
    expect(lines).toEqual([`device-pipeline: ${line(10)}\n`, `device-pipeline: ${line(40)}\n`]);
  });

  it.each(clients)('sees a line on stderr without a callback: %s', async (_, open) => {
    const { url } = await serverThat(hangUp, hangUp, hangUp);
    const client = open(url);
    const lines = linesOnStderr();
    clockThatJumps(2_000);
    await client.send(event(1));
    await client.close();
    expect(lines).toEqual([
      expect.stringMatching(
        /^device-pipeline: http:\S+ has not accepted a batch for \d+ s; retrying: .+\n$/,
      ),
    ]);
  });
});
