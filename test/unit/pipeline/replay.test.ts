import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';

import { expect, it } from 'vitest';

import { rawKeyOf, readRawKey } from '../../../src/domain/batch-id.ts';
import type { CounterRow } from '../../../src/domain/counter.ts';
import { dataPaths } from '../../../src/engines/embedded/data-directory.ts';
import { nodeFileSystem } from '../../../src/engines/embedded/log/file-system.ts';
import { dropReplacedTables } from '../../../src/engines/embedded/verify/rebuild.ts';
import { LogReader } from '../../../src/engines/embedded/log/log-reader.ts';
import {
  findStoredBody,
  rawBatches,
  keptKeys,
} from '../../../src/engines/embedded/store/raw-batches.ts';
import { findUncountedReplay } from '../../../src/engines/embedded/log/uncounted-replays.ts';
import { openStatsReader } from '../../../src/engines/embedded/reader/stats-reader.ts';
import type { Writer } from '../../../src/engines/embedded/writer/writer.ts';
import type { IngestOutcome, ReplayOrigin, Submission } from '../../../src/pipeline/ports.ts';
import {
  auditOf,
  change,
  codesOf,
  newDataDirectory,
  numberedBatches,
  openWriter,
  rebuild,
  store,
} from '../../support/embedded-store.ts';

const body = Buffer.from(
  JSON.stringify({
    processed_devices: [
      { type: 'laptop', state: 'ready', timestamp: '2026-03-01T12:00:00Z' },
      { type: 'phone', state: 'ready', timestamp: '2026-03-01T12:00:00Z' },
    ],
  }),
);

/** As an id of the engine on AWS: its first 48 bits are a time, and no place in a log. */
const origin: ReplayOrigin = {
  batchId: '01948d6b-1c00-7001-8a2b-0123456789ab',
  receivedAt: Date.UTC(2026, 2, 1, 12),
  accepted: 2,
  rejected: 0,
};

function submission(replayOf: ReplayOrigin, more: Partial<Submission> = {}): Submission {
  const plain = { encoding: 'identity', strict: false, caller: '' } as const;
  return { body, ...plain, idempotencyKey: undefined, replayOf, ...more };
}

function codeOf(outcome: IngestOutcome): string {
  return outcome.accepted ? `accepted, known: ${String(outcome.isKnown)}` : outcome.problem.code;
}

const stored = 'accepted, known: false';
const known = 'accepted, known: true';

function countersOf(dataDir: string): CounterRow[] {
  const stats = openStatsReader(dataDir);
  const everything = { from: '0001-01-01', to: '9999-12-31', types: [], states: [] };
  const rows = [...stats.query(everything)].flat();
  stats.close();
  return rows;
}

function total(dataDir: string): number {
  return countersOf(dataDir).reduce((sum, { count }) => sum + count, 0);
}

async function within<T>(dataDir: string, use: (writer: Writer) => Promise<T>): Promise<T> {
  const writer = openWriter(dataDir);
  try {
    return await use(writer);
  } finally {
    await writer.close();
  }
}

it('counts a batch from elsewhere once, under the name that it has', async () => {
  const dataDir = newDataDirectory();
  const outcomes = await within(dataDir, async (writer) => [
    ...(await Promise.all([1, 2, 3].map(() => writer.ingest(submission(origin))))),
    await writer.ingest(submission(origin)),
  ]);
  expect(outcomes.map(codeOf)).toEqual([stored, known, known, known]);
  const rawKey = rawKeyOf(origin.batchId, origin.receivedAt);
  for (const outcome of outcomes) expect(outcome).toMatchObject({ rawKey, enqueued: 2 });
  // Counted, and the database opened again.
  expect(await within(dataDir, (writer) => writer.ingest(submission(origin)))).toMatchObject({
    isKnown: true,
  });
  expect(total(dataDir)).toBe(2);
  expect([...rawBatches(dataDir, undefined)].map(({ batch }) => batch?.rawKey)).toEqual([rawKey]);
  expect(findStoredBody(dataDir, origin.batchId)).toEqual(body);
  expect(await auditOf(dataDir)).toEqual([]);
});

it('finds batches that were stored and not counted when the process ended', async () => {
  const dataDir = newDataDirectory();
  await within(dataDir, (writer) => writer.ingest(submission(origin)));
  for (const name of readdirSync(dataDir)) {
    if (name.startsWith('pipeline.db')) rmSync(join(dataDir, name));
  }
  const writer = openWriter(dataDir);
  const again = writer.ingest(submission(origin));
  expect(codeOf(await again)).toBe(known);
  await writer.close();
  expect(total(dataDir)).toBe(2);
  expect(await auditOf(dataDir)).toEqual([]);
});

it('finds what is not counted yet in the log', async () => {
  const dataDir = newDataDirectory();
  await within(dataDir, (writer) => writer.ingest(submission(origin)));
  const reader = new LogReader(nodeFileSystem, dataPaths(dataDir).log);
  let counted = 0;
  const find = findUncountedReplay(reader, () => counted);
  const place = find(origin.batchId);
  expect(place === undefined ? undefined : reader.recordAt(place)).toMatchObject({
    originId: origin.batchId,
  });
  counted = reader.endFrom(0);
  expect(find(origin.batchId)).toBeUndefined();
  reader.close();
});

it('refuses what is not the batch that it calls itself', async () => {
  const dataDir = newDataDirectory();
  const other = Buffer.from(`${body.toString()} `);
  const codes = await within(dataDir, async (writer) => {
    const outcomes = [];
    for (const [more, changed] of [
      [{}, {}],
      [{}, { body: other }],
      [{ receivedAt: origin.receivedAt + 1 }, {}],
      [{ batchId: origin.batchId.replace('8a2b', '8a2c'), accepted: 1 }, {}],
      [{ batchId: origin.batchId.replace('8a2b', '8a2d') }, { body: Buffer.from('{') }],
    ] as const) {
      outcomes.push(codeOf(await writer.ingest(submission({ ...origin, ...more }, changed))));
    }
    return outcomes;
  });
  expect(codes).toEqual([
    stored,
    'replay_conflict',
    'replay_conflict',
    'replay_differs',
    'replay_differs',
  ]);
  expect(total(dataDir)).toBe(2);
});

it('counts what the batch counted where it came from', async () => {
  const dataDir = newDataDirectory();
  const part = { ...origin, accepted: 1, rejected: 1, excluded: [0] };
  expect(codeOf(await within(dataDir, (writer) => writer.ingest(submission(part))))).toBe(stored);
  expect(countersOf(dataDir)).toMatchObject([{ type: 'phone', count: 1 }]);
  expect(await auditOf(dataDir)).toEqual([]);
  expect(rebuild(dataDir)).toMatchObject({ differences: [], isSwitched: true });
});

it('counts nothing that it has received itself', async () => {
  const dataDir = newDataDirectory();
  await store(dataDir, numberedBatches(5));
  const batches = [...rawBatches(dataDir, undefined)].flatMap(({ batch }) =>
    batch === undefined ? [] : [{ ...batch, body: Buffer.from(batch.body) }],
  );
  expect(batches).toHaveLength(5);
  const outcomes = await within(dataDir, (writer) =>
    Promise.all(batches.map((batch) => writer.ingest(submission(batch, { body: batch.body })))),
  );
  expect(outcomes.map(codeOf)).toEqual(Array<string>(5).fill(known));
  expect(total(dataDir)).toBe(10);
});

it('does not guess whether it has received what may have been removed since', async () => {
  const dataDir = newDataDirectory();
  const rawKeys = await store(dataDir, numberedBatches(60));
  const [first = ''] = rawKeys;
  const writer = openWriter(dataDir, { keepRawMs: -1000 });
  await expect.poll(() => readdirSync(dataPaths(dataDir).log).length).toBe(1);
  const native = { ...origin, ...readRawKey(first) };
  expect(codeOf(await writer.ingest(submission(native)))).toBe('replay_undecidable');
  const elsewhere = { ...native, logId: '00'.repeat(16) };
  expect(codeOf(await writer.ingest(submission(elsewhere)))).toBe(stored);
  await writer.close();
});

it('recognises a batch whose raw body is removed, and leaves its row to a rebuild', async () => {
  const dataDir = newDataDirectory();
  await within(dataDir, (writer) => writer.ingest(submission(origin)));
  await store(dataDir, numberedBatches(60));
  const writer = openWriter(dataDir, { keepRawMs: -1000 });
  await expect.poll(() => readdirSync(dataPaths(dataDir).log).length).toBe(1);
  expect(codeOf(await writer.ingest(submission(origin)))).toBe(known);
  await writer.close();
  expect(rebuild(dataDir)).toMatchObject({ isSwitched: true, differences: [] });
  expect(codeOf(await within(dataDir, (again) => again.ingest(submission(origin))))).toBe(known);
  expect(await auditOf(dataDir)).toEqual([]);
});

it('audit names rows that were lost, changed and added; rebuild mends them', async () => {
  const dataDir = newDataDirectory();
  await within(dataDir, (writer) => writer.ingest(submission(origin)));
  for (const [sql, code] of [
    ['DELETE FROM replayed_batches', 'replayed_missing'],
    ['UPDATE replayed_batches SET position = 4711', 'replayed_differs'],
    [`INSERT INTO replayed_batches VALUES ('other', 64)`, 'replayed_unexplained'],
  ] as const) {
    change(dataDir, sql);
    expect(codesOf(await auditOf(dataDir))).toEqual([code]);
    expect(rebuild(dataDir)).toMatchObject({ isSwitched: true });
    dropReplacedTables(dataDir);
    expect(await auditOf(dataDir)).toEqual([]);
  }
});

it('recognises a retry that crosses the move as the same batch, whichever comes first', async () => {
  const dataDir = newDataDirectory();
  const keyed = { caller: 'fleet', idempotencyKey: 'one' };
  const now = { ...origin, receivedAt: Date.now() - 60_000 };
  const retry = { ...submission(now, keyed) };
  const { replayOf, ...native } = retry;
  expect(replayOf).toBeDefined();
  const outcomes = await within(dataDir, async (writer) => [
    await writer.ingest(retry),
    await writer.ingest(native),
    await writer.ingest({ ...native, idempotencyKey: 'two' }),
    await writer.ingest({
      ...retry,
      idempotencyKey: 'two',
      replayOf: { ...now, batchId: now.batchId.replace('8a2b', '8a2c') },
    }),
  ]);
  const [, second, third, fourth] = outcomes;
  const rawKey = rawKeyOf(now.batchId, now.receivedAt);
  expect(second).toMatchObject({ accepted: true, rawKey });
  expect(fourth).toMatchObject({ isKnown: true, rawKey: third?.accepted && third.rawKey });
  expect(total(dataDir)).toBe(4);
  expect(await auditOf(dataDir)).toEqual([]);
});

it.each([
  ['behind', Date.UTC(1970, 0, 1)],
  ['ahead', Date.UTC(2090, 0, 1)],
])('keeps a key, however far the clock of the source was %s', async (_, receivedAt) => {
  const dataDir = newDataDirectory();
  const retry: Submission = {
    ...{ body, encoding: 'identity', strict: false },
    ...{ caller: 'fleet', idempotencyKey: 'one' },
  };
  const replayOf = { ...origin, receivedAt };
  const taken = { accepted: true, rawKey: rawKeyOf(origin.batchId, receivedAt) };
  await within(dataDir, async (writer) => {
    expect(await writer.ingest({ ...retry, replayOf })).toMatchObject(taken);
    expect(await writer.ingest(retry)).toMatchObject(taken);
  });
  // Counted meanwhile.
  expect(await within(dataDir, (writer) => writer.ingest(retry))).toMatchObject(taken);
  expect(total(dataDir)).toBe(2);
  expect(await auditOf(dataDir)).toEqual([]);
});

it('brings no key to life that its source has forgotten, or given to a later batch', async () => {
  const dataDir = newDataDirectory();
  await store(dataDir, numberedBatches(10));
  const rememberedNow = () => {
    const keys = keptKeys(dataDir);
    const kept = [...rawBatches(dataDir, undefined)].flatMap(({ batch }) =>
      batch !== undefined && keys.includes(batch) ? [String(batch.idempotencyKey)] : [],
    );
    keys.close();
    return kept;
  };
  expect(rememberedNow()).toEqual(['key-0', 'key-3', 'key-6', 'key-9']);
  const [, , third = expect.fail()] = [...rawBatches(dataDir, undefined)].map(
    ({ batch }) => batch?.position ?? 0,
  );
  change(
    dataDir,
    `DELETE FROM idempotency_keys WHERE position < ${third};
     UPDATE progress SET keys_expired_through = ${third};
     UPDATE idempotency_keys SET batch_id = 'later' WHERE key = 'key-6';
     DELETE FROM idempotency_keys WHERE key = 'key-9'`,
  );
  // The last is lost, not forgotten.
  expect(rememberedNow()).toEqual(['key-3', 'key-9']);
  rmSync(dataPaths(dataDir).database);
  expect(rememberedNow()).toEqual(['key-0', 'key-3', 'key-6', 'key-9']);
});

it('counts both where a key stood for two batches, one after the other', async () => {
  const keyed = { caller: 'fleet', idempotencyKey: 'one' };
  const early = { ...origin, receivedAt: Date.now() - 120_000 };
  const late = {
    ...early,
    batchId: origin.batchId.replace('8a2b', '8a2c'),
    receivedAt: early.receivedAt + 60_000,
  };
  for (const order of [
    [early, late],
    [late, early],
  ]) {
    const directory = newDataDirectory();
    await within(directory, async (writer) => {
      for (const each of order) {
        expect(codeOf(await writer.ingest(submission(each, keyed)))).toBe(stored);
      }
    });
    expect(total(directory)).toBe(4);
    expect(await auditOf(directory)).toEqual([]);
    const { replayOf, ...retry } = submission(early, keyed);
    expect(replayOf).toBe(early);
    expect(await within(directory, (writer) => writer.ingest(retry))).toMatchObject({
      rawKey: rawKeyOf(late.batchId, late.receivedAt),
    });
  }
});
