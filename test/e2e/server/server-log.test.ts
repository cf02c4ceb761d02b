import { pino } from 'pino';
import { describe, expect, it } from 'vitest';

import { Traffic } from '../../../src/entry/metrics/traffic.ts';
import { LineLimiter, observers, ServerLog } from '../../../src/entry/serve/server-log.ts';
import { logLines } from '../../support/processes/server-log.ts';
import { startServer, temporaryDirectory } from '../../support/processes/server-process.ts';
import { exchange, postBatch } from '../../support/server.ts';

const good = { type: 'laptop', state: 'erased', timestamp: '2023-06-16T13:00:00Z' };

async function ended({ server }: Awaited<ReturnType<typeof startServer>>): Promise<string> {
  server.kill('SIGTERM');
  expect(await server.waitExit()).toEqual({ code: 0, signal: null });
  return server.log;
}

it('an answer that is cut off is logged and counted by its reason', async () => {
  const written: string[] = [];
  const log = new ServerLog(pino({ level: 'info' }, { write: (line) => void written.push(line) }));
  const traffic = new Traffic();
  const exchange = { requestId: 'mine', route: '/stats', method: 'GET', status: 200, seconds: 61 };
  const observer = observers(traffic, log);
  observer.answered({ ...exchange, cut: 'too_slow' });
  observer.answered(exchange);
  expect(written.map((line) => JSON.parse(line) as unknown)).toEqual([
    expect.objectContaining({
      ...{ event: 'answer_cut', request_id: 'mine', method: 'GET', route: '/stats' },
      reason: 'too_slow',
    }),
  ]);
  expect([...traffic.answersCut]).toEqual([['too_slow', 1]]);
  await log.close();
});

describe('the log of serve', () => {
  it('has the start, refusals with their ids, and the stop, each as a JSON line', async () => {
    const started = await startServer(temporaryDirectory());
    const { url } = started;
    await postBatch(url, [good]);
    const refused = await postBatch(url, '{', { 'x-request-id': 'gateway-7' });
    expect(refused.headers['x-request-id']).toBe('gateway-7');
    const made = await exchange(url, { path: '/no', headers: { 'x-request-id': 'a b' } });
    expect(made.headers['x-request-id']).toMatch(/^[0-9a-f-]{36}$/);
    const log = await ended(started);
    const lines = logLines(log);
    expect(lines).toHaveLength(log.trimEnd().split('\n').length);
    expect(lines.map(({ event }) => event)).toEqual([
      ...['started', 'request_refused', 'request_refused', 'stopping', 'stopped'],
    ]);
    expect(lines[1]).toMatchObject({
      ...{ level: 'info', request_id: 'gateway-7', method: 'POST', route: '/ingest' },
      ...{ status: 400, code: 'invalid_json' },
    });
    expect(lines[2]).toMatchObject({ request_id: made.headers['x-request-id'], code: 'not_found' });
  });

  it('has each accepted batch with its ids at level debug', async () => {
    const started = await startServer(temporaryDirectory(), { args: ['--log-level', 'debug'] });
    const answers = [
      await postBatch(started.url, [good, good], { 'x-request-id': 'one' }),
      await postBatch(started.url, [good, {}], { 'x-request-id': 'two' }),
    ];
    const accepted = logLines(await ended(started)).filter(({ level }) => level === 'debug');
    expect(accepted).toMatchObject([
      { event: 'batch_accepted', request_id: 'one', items: 2, refused: 0 },
      { event: 'batch_accepted', request_id: 'two', items: 1, refused: 1 },
    ]);
    expect(accepted.map((line) => `/ingest/${String(line['batch_id'])}`)).toEqual(
      answers.map(({ headers }) => headers['location']),
    );
  });

  it('can be text or silent', async () => {
    const text = await startServer(temporaryDirectory(), { args: ['--log-format', 'text'] });
    expect(await ended(text)).toMatch(/^\[[\d:.]+\] INFO: device-pipeline \S+ started .*\n/);
    const silent = await startServer(temporaryDirectory(), { args: ['--log-level', 'silent'] });
    await postBatch(silent.url, '{');
    expect(await ended(silent)).toBe('');
  });

  it('has at most ten lines a second of a kind, and the number of the others', () => {
    const more: [string, number][] = [];
    const lines = new LineLimiter((kind, suppressed) => more.push([kind, suppressed]));
    const admitted = Array.from({ length: 1_244 }, () => lines.admit('400 invalid_json'));
    expect(admitted.filter(Boolean)).toHaveLength(10);
    expect(lines.admit('404 not_found')).toBe(true);
    lines.flush();
    expect(more).toEqual([['400 invalid_json', 1_234]]);
    expect(lines.admit('400 invalid_json')).toBe(true);
    lines.flush();
  });
});
