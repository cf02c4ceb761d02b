import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';

import { describe, expect, onTestFinished, test } from 'vitest';

import { DeliveryError } from '../../../src/client/index.ts';
import {
  clientOf,
  event,
  json,
  numbers,
  refuse,
  serverThat,
  type Answer,
} from '../../support/processes/scripted-server.ts';

const module = join(import.meta.dirname, '../../../src/client/index.ts');

/** Runs a program that has the client's module; a signal comes once it has written to stdout. */
async function run(program: string, signal?: NodeJS.Signals) {
  const script = `
    import { createClient, flushOnExit } from '${module}';
    const up = () => { process.stdout.write('up'); setInterval(() => {}, 1e6); };
    ${program}`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  if (signal !== undefined) child.stdout.once('data', () => child.kill(signal));
  const [stderr, ended] = await Promise.all([text(child.stderr), once(child, 'exit')]);
  return { stderr, ended };
}

describe('an error of a callback affects no other event, and the flush reports it', () => {
  const fail = () => {
    throw new Error('ours');
  };
  test.each([
    ['thrown', fail],
    ['a rejected promise', () => Promise.resolve().then(fail)],
    [
      'a promise rejected without a text',
      async () => {
        await Promise.resolve();
        throw Object.assign(Object.create(null) as Error, { a: 1 });
      },
    ],
  ])('%s', async (how, onRefused) => {
    const { url, requests } = await serverThat(refuse(0));
    const client = clientOf(url, { onRefused });
    for (let n = 0; n < 10; n++) await client.send(event(n));
    const told = how.includes('text') ? '[Object: null prototype] { a: 1 }' : 'Error: ours';
    await expect(client.flush()).rejects.toThrow(`a callback has failed: ${told}`);
    expect(numbers(requests.slice(1))).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(await client.flush()).toEqual({ accepted: 9, refused: 1, givenUp: 0 });
  });
});

test('the flush reports the first loss and the number of further ones', async () => {
  const { url } = await serverThat(refuse(0), refuse(0), refuse(0));
  const client = clientOf(url);
  for (let n = 0; n < 10; n++) await client.send(event(n));
  await expect(client.flush()).rejects.toThrow(
    'an event was rejected: blank: No state. (and 2 more)',
  );
});

describe('a batch that is accepted in part, because "Prefer" is lost on the way', () => {
  const error = (index: number) => ({ index, field: 'type', code: 'blank', message: 'no' });
  const partly =
    (members: object): Answer =>
    (response) =>
      json(response, 200, { status: 'accepted', raw_key: 'raw/x', ...members });

  test('names all that were refused', async () => {
    const answer = { enqueued: 8, rejected: 2, errors: [error(1), error(3), error(3)] };
    const { url, requests } = await serverThat(partly(answer));
    const told: unknown[] = [];
    const client = clientOf(url, { onRefused: ({ n }, { code }) => told.push([n, code]) });
    for (let n = 0; n < 10; n++) await client.send(event(n));
    expect(await client.close()).toEqual({ accepted: 8, refused: 2, givenUp: 0 });
    expect(told).toEqual([
      [1, 'blank'],
      [3, 'blank'],
    ]);
    expect(requests).toHaveLength(1);
  });

  test.each([
    ['by the refused', { enqueued: 5, rejected: 5, errors: [error(0), error(1)] }],
    ['by the accepted alone', { enqueued: 5, errors: [error(0), error(1), error(99), error(0.5)] }],
  ])('does not name them all: %s', async (_, answer) => {
    const { url } = await serverThat(partly(answer));
    const told: unknown[] = [];
    const client = clientOf(url, { onRefused: ({ n }) => told.push(n) });
    for (let n = 0; n < 10; n++) await client.send(event(n));
    const closed = client.close();
    await expect(closed).rejects.toThrow(DeliveryError);
    await expect(closed).rejects.toThrow('the server rejected 3 of the 10 events of a batch');
    expect(told).toEqual([0, 1]);
    expect(await client.flush()).toEqual({ accepted: 5, refused: 5, givenUp: 0 });
  });
});

test('impossible rejected items are no reason to send forever', async () => {
  const { url, requests } = await serverThat(refuse(0.5));
  const client = clientOf(url);
  await client.send(event(1));
  await expect(client.flush()).rejects.toThrow('given up: 400 invalid_items');
  expect(requests).toHaveLength(1);
});

describe('the end of a process', () => {
  const send = `await client.send(${JSON.stringify(event(7))});`;

  test('without anything left to do, and at SIGTERM, with a flush on exit', async () => {
    const { url, requests } = await serverThat();
    const program = (batchMsMax: number) => `
      const client = createClient({ url: '${url}', batchMsMax: ${batchMsMax} });
      flushOnExit(client);
      ${send}`;
    expect(await run(program(1))).toEqual({ stderr: '', ended: [0, null] });
    const stopped = await run(`${program(1e9)} up();`, 'SIGTERM');
    expect(stopped).toEqual({ stderr: '', ended: [null, 'SIGTERM'] });
    expect(numbers(requests)).toEqual([7, 7]);
  });

  test.each(['SIGTERM', 'SIGINT', 'SIGHUP'] as const)(
    '%s: all clients flush, and tell',
    async (signal) => {
      const slow: Answer = (...all) => setTimeout(() => refuse(0)(...all), 50);
      const first = await serverThat(refuse(0));
      const second = await serverThat(slow);
      const program = ['', first.url, second.url].map(
        (url) => `{
        const client = createClient({ url: '${url === '' ? first.url : url}', batchMsMax: 1e9 });
        flushOnExit(client);
        ${url === '' ? '' : send}
      }`,
      );
      // A closing terminal may send SIGHUP twice: the second one must not interrupt the flush.
      const hangUpTwice =
        "process.once('SIGHUP', () => setImmediate(() => process.kill(process.pid, 'SIGHUP')));";
      const { stderr, ended } = await run(`${hangUpTwice} ${program.join('\n')} up();`, signal);
      const line = 'device-pipeline: DeliveryError: an event was rejected: blank: No state.\n';
      expect(stderr).toBe(line + line);
      expect(ended).toEqual([null, signal]);
    },
  );

  test('by a signal reports the losses of clients that were not flushed, too', async () => {
    const { url } = await serverThat(refuse(0));
    const program = `
      const other = createClient({ url: '${url}', batchItemsMax: 1, onRefused: () => { up(); throw 'ours'; } });
      flushOnExit(createClient({ url: '${url}' }));
      await other.send(${JSON.stringify(event(7))});`;
    const { stderr, ended } = await run(program, 'SIGTERM');
    expect(stderr).toContain("flush or close: a callback has failed: 'ours'");
    expect(ended).toEqual([null, 'SIGTERM']);
  });

  test('by a signal, with an onError that fails, and a server that is silent', async () => {
    const { url } = await serverThat(() => undefined);
    const program = `
      const client = createClient({ url: '${url}', batchMsMax: 1e9 });
      flushOnExit(client, { timeoutMs: 5, onError: (error) => { throw new Error('ours: ' + error.message) } });
      ${send} up();`;
    expect(await run(program, 'SIGTERM')).toEqual({
      stderr:
        'device-pipeline: onError has failed: Error: ours: 1 event was given up: interrupted\n',
      ended: [null, 'SIGTERM'],
    });
  });

  test('writes losses that no flush has reported, one line per client', async () => {
    const escape: Answer = (response) =>
      json(response, 400, { code: 'bad\u001b[2J', detail: 'two\nlines' });
    const odd = await serverThat(escape);
    const { url } = await serverThat(...Array.from({ length: 20 }, () => refuse(0)));
    const program = `
      for (let n = 0; n < 21; n += 1) {
        const client = createClient({ url: n === 0 ? '${odd.url}' : '${url}', batchItemsMax: 1 });
        ${send}
        if (n === 20) await client.flush().catch(({ message }) => console.error(message));
      }`;
    const { stderr, ended } = await run(program);
    const unreported = 'device-pipeline: not reported by onRefused, onGaveUp, flush or close: ';
    const refused = 'an event was rejected: blank: No state.';
    expect(stderr.trimEnd().split('\n').sort()).toEqual([
      refused,
      `${unreported}1 event was given up: 400 bad [2J: two lines`,
      ...Array.from({ length: 19 }, () => `${unreported}${refused}`),
    ]);
    expect(ended).toEqual([0, null]);
  });

  test('is listened to only while something is untold', async () => {
    const listeners = process.listenerCount('exit');
    const { url } = await serverThat(refuse(0));
    const client = clientOf(url);
    await client.send(event(0));
    await expect(client.flush()).rejects.toThrow(DeliveryError);
    expect(process.listenerCount('exit')).toBe(listeners);
  });
});
