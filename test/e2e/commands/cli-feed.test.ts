import { describe, expect, test } from 'vitest';

import {
  accept,
  answers,
  closeServer,
  itemsReceived,
  received,
  run,
  send,
  start,
  url,
  type Answer,
} from '../../support/processes/command-line.ts';

describe('feed', () => {
  const fixed = ['--seed', 'demo', '--until', '2026-06-17T12:00:00Z', '--items', '7'];

  test('posts as many items as asked, and says so', async () => {
    const outcome = await run(['feed', url, '--batches', '12', ...fixed]);
    expect(outcome.code).toBe(0);
    expect(received).toHaveLength(12);
    expect(new Set(received.map(({ key }) => key)).size).toBe(12);
    expect(itemsReceived()).toHaveLength(84);
    expect(outcome.stdout).toMatch(/batches {2}12 sent, 12 accepted, 0 refused\n/);
    expect(outcome.stdout).toMatch(/items {4}84 sent, 84 accepted, 0 rejected\n/);
    expect(outcome.stdout).toMatch(/--seed demo --until 2026-06-17T12:00:00\.000Z/);
  });

  test('posts the same bytes for the same seed, whatever the concurrency', async () => {
    const bodies = async (...args: string[]) => {
      received.splice(0);
      expect((await run(['feed', url, '--batches', '9', ...fixed, ...args])).code).toBe(0);
      return received.map(({ body }) => body.toString()).sort();
    };
    const one = await bodies('--concurrency', '1');
    expect(await bodies('--concurrency', '9')).toEqual(one);
    expect(await bodies('--seed', 'other')).not.toEqual(one);
  });

  test('prints its summary as JSON', async () => {
    answers.push(accept, (response) =>
      send(response, 400, { code: 'invalid_json', detail: 'No.' }),
    );
    const outcome = await run([
      'feed',
      url,
      '--batches',
      '3',
      ...fixed,
      '--json',
      '--concurrency',
      '1',
    ]);
    expect(outcome.code).toBe(1);
    expect(JSON.parse(outcome.stdout)).toMatchObject({
      url,
      seed: 'demo',
      until: '2026-06-17T12:00:00.000Z',
      batches: { sent: 3, accepted: 2, refused: 1, gave_up: 0 },
      items: { sent: 21, accepted: 14, refused: 7 },
      retries: 0,
    });
    expect(outcome.stderr).toMatch(/400 invalid_json: No\./);
  });

  test('sends a batch again under its key after a dropped connection and a 503', async () => {
    answers.push(
      (response) => response.destroy(),
      (response) => send(response, 503, { code: 'busy' }, { 'retry-after': '0' }),
    );
    const outcome = await run(['feed', url, '--batches', '1', ...fixed]);
    expect(outcome.code).toBe(0);
    expect(received).toHaveLength(3);
    expect(new Set(received.map(({ key, body }) => `${key} ${body.toString()}`)).size).toBe(1);
    expect(outcome.stdout).toMatch(/2 retries/);
  });

  test('stops at once where it is not allowed in', async () => {
    const refuse: Answer = (response) =>
      send(response, 403, { code: 'forbidden', detail: 'Not you.' });
    answers.push(...Array.from({ length: 100 }, () => refuse));
    const outcome = await run(['feed', url, '--concurrency', '2']);
    expect(outcome.code).toBe(1);
    expect(received.length).toBeLessThan(10);
    expect(outcome.stderr).toMatch(/403 forbidden: Not you\./);
  });

  test('says in one sentence that no server listens', async () => {
    await closeServer();
    const outcome = await run(['feed', url]);
    expect(outcome).toEqual({
      code: 1,
      stdout: '',
      stderr: `device-pipeline: nothing listens at ${url}; start a server with \`npx device-pipeline serve\`\n`,
    });
  });

  test('ends what it began at Ctrl-C, prints the summary and exits 130', async () => {
    const { child, outcome } = start(['feed', url, '--batches', '1000', '--concurrency', '1']);
    const held = await new Promise<() => void>((resolve) => {
      answers.push(accept, (response, request) => resolve(() => accept(response, request)));
    });
    child.kill('SIGINT');
    // Answered once the signal has had some time: the batch under way still counts.
    setTimeout(held, 200);
    const { code, stdout } = await outcome;
    expect(code).toBe(130);
    // On a busy machine the signal may come through a few batches later.
    const { length } = received;
    expect(length).toBeLessThan(1000);
    expect(stdout).toContain(`batches  ${length} sent, ${length} accepted, 0 refused\n`);
  });
});
