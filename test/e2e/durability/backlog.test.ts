import { setTimeout as delay } from 'node:timers/promises';

import { describe, expect, it } from 'vitest';

import { openStatsReader } from '../../../src/engines/embedded/reader/stats-reader.ts';
import {
  firstDate,
  holdDatabase,
  judge,
  newClient,
  readStats,
  recountLog,
  startServer,
  temporaryDirectory,
  waitCounted,
  type Answer,
  type Client,
  type TestBatch,
} from '../../support/processes/server-process.ts';
import { isNightly, rounds } from '../../support/run/tier.ts';

const mebibyte = 1024 * 1024;
const connections = 16;
/** The bytes that may be on their way to the log when the backlog is found full. */
const inFlightBytesMax = 32 * mebibyte;
const memoryMiBMax = 512;

/** A batch to be sent; its body is made when it is sent. */
interface Job {
  readonly state: string;
  readonly items: number;
  /** `/ingest/<batch id>`, once it is acknowledged. */
  location?: string;
}

const largeMiB = rounds({ what: 'MiB of backlog in large bodies', quick: 6, nightly: 128 });
/** By night only. */
const smallMiB = 4;

describe('batches that arrive while nothing can be counted', () => {
  it.each(
    [
      {
        what: `${largeMiB} MiB in large bodies`,
        backlogMiB: largeMiB,
        jobs: () => [...jobsOf(largeMiB + 22, mebibyte), ...jobsOf(4 * largeMiB, 100 * 1024)],
      },
      {
        what: `${smallMiB} MiB of one item each`,
        backlogMiB: smallMiB,
        jobs: () => jobsOf(6_250 * smallMiB, 1),
      },
    ].slice(0, isNightly() ? 2 : 1),
  )(
    'are refused beyond the limit of the backlog, in bounded memory, and counted in the end: $what',
    async ({ backlogMiB, jobs: makeJobs }) => {
      const args = ['--max-backlog', `${backlogMiB}MiB`];
      const dataDir = temporaryDirectory();
      const { server, url } = await startServer(dataDir, { args });
      const client = newClient(connections);
      const lock = holdDatabase(dataDir);
      const stored = openStatsReader(dataDir);
      const jobs = makeJobs();

      let pendingAtFirstRefusal: number | undefined;
      await forEach(jobs, async (job) => {
        const answer = await client.post(url, batchOf(job));
        if (answer?.status === 200) {
          job.location = answer.headers.location ?? '';
          return;
        }
        pendingAtFirstRefusal ??= stored.pendingBytes();
        expectOverloaded(answer);
      });
      const backlogBytes = backlogMiB * mebibyte;
      expect(pendingAtFirstRefusal).toBeGreaterThan(backlogBytes);
      expect(stored.pendingBytes()).toBeLessThan(backlogBytes + inFlightBytesMax);
      expect(stored.sizes()).toEqual({ rows: 0, dates: 0 });
      expectOverloaded(await client.get(`${url}/readyz`));
      stored.close();

      lock.release();
      const refused = jobs.filter(({ location }) => location === undefined);
      await forEach(refused, async (job) => {
        job.location = await postUntilAccepted(client, url, job);
      });
      await waitCounted(client, url);
      // A retry of an accepted batch is still the same batch.
      await forEach(jobs.slice(0, 100), async (job) => {
        expect((await client.post(url, batchOf(job)))?.headers.location).toBe(job.location);
      });
      await waitCounted(client, url);
      const ready = await client.get(`${url}/readyz`);
      expect(JSON.parse(ready?.text ?? '')).toMatchObject({ pending_items: 0, pending_bytes: 0 });

      const rows = await readStats(client, url);
      const verdict = judge(rows);
      expect(jobs.map((job) => verdict(batchOf(job))).filter((each) => each !== 'once')).toEqual(
        [],
      );
      expect(recountLog(dataDir)).toEqual(rows);
      expect(server.memoryPeakMiB()).toBeLessThan(memoryMiBMax);
      expect(server.stderr).toBe('');
    },
    240_000,
  );
});

/** Jobs of `bytes` each, or of one item if that is larger. */
function jobsOf(count: number, bytes: number): Job[] {
  const itemBytes = lineOf('state', types[0]).length + 1;
  const items = Math.max(1, Math.floor(bytes / itemBytes));
  return Array.from({ length: count }, (_, number) => ({
    state: `${items} items, batch ${number}`,
    items,
  }));
}

const types = ['laptop', 'phone', 'SSD'] as const;

function lineOf(state: string, type: string): string {
  return `{"type":"${type}","state":"${state}","timestamp":"${firstDate}T12:00:00Z"}`;
}

/** Items of alternating types: few counters, all under the job's own state. */
function batchOf({ state, items }: Job): TestBatch {
  const lines = types.map((type) => lineOf(state, type));
  const body = Array.from({ length: items }, (_, item) => lines[item % lines.length]).join(',');
  const counts = new Map(
    types
      .map(
        (type, index) =>
          [
            `${firstDate} ${type}`,
            Math.floor((items + types.length - 1 - index) / types.length),
          ] as const,
      )
      .filter(([, count]) => count > 0),
  );
  const key = state.replaceAll(/[ ,]+/g, '-');
  return { state, body: `{"processed_devices":[${body}]}`, key, items, counts };
}

function expectOverloaded(answer: Answer | undefined): void {
  expect(answer).toMatchObject({ status: 503, headers: { 'retry-after': '1' } });
  expect(JSON.parse(answer?.text ?? '')).toMatchObject({ code: 'overloaded' });
}

/** Retries as the server's Retry-After says; returns the location of the receipt. */
async function postUntilAccepted(client: Client, url: string, job: Job): Promise<string> {
  for (let attempt = 0; attempt < 60; attempt++) {
    const answer = await client.post(url, batchOf(job));
    if (answer?.status === 200) return answer.headers.location ?? '';
    expectOverloaded(answer);
    await delay(1000 * Number(answer?.headers['retry-after']));
  }
  throw new Error(`${job.state} was never accepted`);
}

/** Handles the jobs, one at a time for each connection. */
async function forEach<T>(all: readonly T[], act: (each: T) => Promise<void>): Promise<void> {
  const queue = all.values();
  const worker = async () => {
    for (const each of queue) await act(each);
  };
  await Promise.all(Array.from({ length: connections }, worker));
}
