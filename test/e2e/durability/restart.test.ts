import { expect, it } from 'vitest';

import {
  holdDatabase,
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

const itemsPerBatch = 1000;
const connections = 8;

const uncounted = rounds({
  what: 'uncounted batches of 1,000 at a start',
  quick: 100,
  nightly: 1_000,
});

it(`serves at once after a start with ${uncounted * itemsPerBatch} uncounted items, and counts them`, async ({
  annotate,
}) => {
  const dataDir = temporaryDirectory();
  const args = ['--max-backlog', '512MiB'];
  const client = newClient(connections);
  const first = await startServer(dataDir, { args });
  const lock = holdDatabase(dataDir);
  const before = await post(client, first.url, 'before', uncounted);
  first.server.kill('SIGKILL');
  await first.server.waitExit();
  lock.release();

  const startedAt = performance.now();
  const sinceStart = () => `${Math.round(performance.now() - startedAt)} ms`;
  const { server, url } = await startServer(dataDir, { args });
  await annotate(`listening after ${sinceStart()}`);
  const after = await post(client, url, 'after', 1);
  await annotate(`first batch acknowledged after ${sinceStart()}`);
  after.push(...(await post(client, url, 'meanwhile', 50)));
  await annotate(`50 more acknowledged after ${sinceStart()}`);
  await waitCounted(client, url);
  await annotate(`all counted after ${sinceStart()}, memory ${server.memoryPeakMiB()} MiB`);

  const rows = await readStats(client, url);
  const verdict = judge(rows);
  expect([...before, ...after].map(verdict).filter((each) => each !== 'once')).toEqual([]);
  const sum = rows.reduce((total, { count }) => total + count, 0);
  expect(sum).toBe((uncounted + after.length) * itemsPerBatch);
  expect(recountLog(dataDir)).toEqual(rows);
  expect(server.stderr).toBe('');
});

/** Posts `count` batches; all are acknowledged. */
async function post(
  client: Client,
  url: string,
  name: string,
  count: number,
): Promise<TestBatch[]> {
  const random = seededRandom(count);
  const batches: TestBatch[] = [];
  const worker = async () => {
    while (batches.length < count) {
      const batch = newBatch(`${name} ${batches.length}`, itemsPerBatch, random);
      batches.push(batch);
      let answer = await client.post(url, batch);
      // A slow machine may have too much uncounted to know whether a day has room for new counters.
      while (answer?.status === 503) answer = await client.post(url, batch);
      expect(answer?.status, answer?.text).toBe(200);
    }
  };
  await Promise.all(Array.from({ length: connections }, worker));
  return batches;
}
