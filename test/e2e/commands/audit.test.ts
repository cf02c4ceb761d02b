import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { expect, it } from 'vitest';

import { run, start } from '../../support/processes/command-line.ts';
import { change, numberedBatches, store } from '../../support/embedded-store.ts';
import {
  judge,
  newBatch,
  newClient,
  readStats,
  recountLog,
  seededRandom,
  startServer,
  temporaryDirectory,
  waitCounted,
  type Client,
  type TestBatch,
} from '../../support/processes/server-process.ts';
import { rounds } from '../../support/run/tier.ts';

/** Posts batches, several at a time, until it is stopped; each must be accepted. */
function keepPosting(client: Client, url: string) {
  const batches: TestBatch[] = [];
  let isStopped = false;
  const random = seededRandom(5);
  const post = async () => {
    while (!isStopped) {
      const n = batches.length;
      const batch = newBatch(`state ${n}`, 20, random, n % 2 === 0 ? `key-${n}` : undefined);
      batches.push(batch);
      const answer = await client.post(url, batch);
      expect(answer?.status).toBe(200);
      // In addition to the commands, which are the subject of the test.
      await delay(20);
    }
  };
  const posting = Promise.all([post(), post(), post()]);
  return {
    batches,
    async stop() {
      isStopped = true;
      await posting;
    },
  };
}

const kills = rounds({ what: 'kills of a rebuild', quick: 1, nightly: 16 });

it('backs up, audits and rebuilds while a server accepts batches, however often the rebuild is killed', async () => {
  const dataDir = temporaryDirectory();
  const { server, url } = await startServer(dataDir);
  const client = newClient(4);
  const posting = keepPosting(client, url);
  const commands = ['--data-dir', dataDir, '--json'];
  await expect.poll(() => posting.batches.length).toBeGreaterThan(100);
  const first = await run(['audit', ...commands]);
  expect(first).toMatchObject({ code: 0, stderr: '' });
  expect(JSON.parse(first.stdout)).toMatchObject({ agrees: true, difference_count: 0 });

  const copy = join(temporaryDirectory(), 'copy');
  const copied = await run(['backup', copy, '--data-dir', dataDir]);
  expect(copied).toMatchObject({ code: 0, stderr: '' });
  const proven = await run(['audit', '--data-dir', copy, '--json']);
  expect(JSON.parse(proven.stdout)).toMatchObject({ agrees: true });
  const { batches: inCopy } = JSON.parse(proven.stdout) as { batches: number };
  expect(inCopy).toBeGreaterThan(100);
  expect(await run(['backup', copy, '--data-dir', dataDir])).toMatchObject({
    code: 2,
    stderr: expect.stringMatching(/is not empty\. Choose a new directory/) as string,
  });

  change(dataDir, `UPDATE counters SET count = count + 1 WHERE state = 'state 3'`);
  const wrong = await run(['audit', '--data-dir', dataDir]);
  expect(wrong.code).toBe(1);
  expect(wrong.stdout).toMatch(/counter_differs: .*"state 3"/);

  for (let kill = 0; kill < kills; kill++) {
    const { child, outcome } = start(['rebuild', '--dry-run', ...commands]);
    await delay(40 + (240 * kill) / kills);
    child.kill('SIGKILL');
    await outcome;
  }
  const rebuilt = await run(['rebuild', ...commands]);
  expect(rebuilt).toMatchObject({ code: 0 });
  expect(JSON.parse(rebuilt.stdout)).toMatchObject({ switched: true });
  expect(await run(['audit', ...commands])).toMatchObject({ code: 0 });
  await posting.stop();
  await waitCounted(client, url);
  const rows = await readStats(client, url);
  const verdictOn = judge(rows);
  expect(posting.batches.filter((batch) => verdictOn(batch) !== 'once')).toEqual([]);
  expect(await run(['audit', ...commands])).toMatchObject({ code: 0 });

  server.kill('SIGTERM');
  expect(await server.waitExit()).toEqual({ code: 0, signal: null });
  expect(rows).toEqual(recountLog(dataDir));
  const dropped = await run(['rebuild', '--drop-old', '--data-dir', dataDir]);
  expect(dropped).toEqual({ code: 0, stdout: 'old counters dropped\n', stderr: '' });
});

it('says in one line what is wrong with its use', async () => {
  const nothing = await run(['audit', '--data-dir', 'nowhere']);
  expect(nothing.code).toBe(1);
  expect(nothing.stderr).toMatch(/^device-pipeline: There is no pipeline at .*nowhere.*\n$/);
  const both = await run(['audit', '--date', '2026-01-01', '--since', '2026-01-01']);
  expect(both.code).toBe(2);
  const backwards = await run(['audit', '--since', '2026-01-02', '--until', '2026-01-01']);
  expect(backwards).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('--since') as string,
  });
  expect((await run(['rebuild', '--drop-old', '--dry-run'])).code).toBe(2);
});

it('lists, redrives and drops dead letters', async () => {
  const dataDir = temporaryDirectory();
  const [rawKey = ''] = await store(dataDir, numberedBatches(1));
  const batchId = rawKey.slice(-41, -5);
  change(
    dataDir,
    `INSERT INTO dead_letters VALUES (64, '${batchId}', 'a reason', 1000, 2000, NULL, NULL);
     DELETE FROM counters`,
  );
  const dlq = (...args: string[]) => run(['dlq', ...args, '--data-dir', dataDir]);
  const listed = await dlq('list');
  expect(listed).toMatchObject({ code: 0, stderr: '' });
  const [head, reason, times, excerpt] = listed.stdout.split('\n');
  expect([head, reason, times]).toEqual([
    `${rawKey}, 2 items`,
    '  a reason',
    '  first failed 1970-01-01T00:00:01.000Z, last 1970-01-01T00:00:02.000Z',
  ]);
  expect(excerpt).toMatch(/^ {2}\{"processed_devices":\[\{"type"/);
  expect(JSON.parse((await dlq('list', '--json')).stdout)).toMatchObject({
    ...{ id: batchId, batch_id: batchId, raw_key: rawKey, index: null, items: 2 },
    dropped_at: null,
  });
  expect(await dlq('redrive')).toMatchObject({ code: 2, stdout: '' });
  const counted = { code: 0, stdout: 'counted 1, not counted 0\n', stderr: '' };
  expect(await dlq('redrive', batchId)).toEqual(counted);
  expect(JSON.parse((await dlq('drop', '--all', '--json')).stdout)).toEqual({ dropped: 0 });
  expect(await dlq('list')).toEqual({ code: 0, stdout: 'no dead letters\n', stderr: '' });
  expect(await run(['audit', '--data-dir', dataDir])).toMatchObject({ code: 0 });
});
