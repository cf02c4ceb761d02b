import type { DatabaseSync } from 'node:sqlite';
import { expect, it, vi } from 'vitest';

import { asWritten } from '../../../../src/domain/day.ts';
import { LogProcessor } from '../../../../src/engines/embedded/writer/processor.ts';
import { LogReader } from '../../../../src/engines/embedded/log/log-reader.ts';
import { SegmentedLog } from '../../../../src/engines/embedded/log/segmented-log.ts';
import { SqliteCounterStore } from '../../../../src/engines/embedded/store/counter-store.ts';
import { openDatabase } from '../../../../src/engines/embedded/store/schema.ts';
import { SimulatedDisk } from '../../../model/log/simulated-disk.ts';

const body = Buffer.from(
  '{"processed_devices":[{"type":"laptop","state":"erased","timestamp":"2023-06-16T13:00:00Z"}]}',
);

function world() {
  const disk = new SimulatedDisk({ seed: 1 });
  const log = SegmentedLog.open({
    directory: '/',
    fileSystem: disk,
    segmentBytes: 1024 * 1024,
    countedThrough: 0,
    now: () => 0,
  });
  const database = openDatabase(':memory:');
  const store = new SqliteCounterStore(database);
  const processor = new LogProcessor({
    store,
    dayZone: asWritten,
    reader: new LogReader(disk, '/'),
    durableEnd: () => log.durableEnd,
    onCounted: () => undefined,
    now: () => 0,
  });
  const stage = () =>
    log.stage({
      body,
      encoding: 'identity',
      caller: '',
      idempotency: undefined,
      accepted: 1,
      rejected: 0,
      receivedAt: 0,
    });
  const take = () => {
    const scanned = processor.scan(body, 0, body.length);
    if (scanned?.items !== 1) expect.unreachable();
    const staged = stage();
    processor.addScanned({ from: staged.previousEnd, to: staged.end }, scanned);
  };
  return { disk, log, store, processor, stage, take, counted: () => countedIn(database) };
}

function countedIn(database: DatabaseSync): number {
  const row = database.prepare('SELECT sum(count) AS counted FROM counters').get();
  return Number(row?.['counted'] ?? 0);
}

it('counts what was scanned once all of it is durable, and not before', async () => {
  const { disk, log, store, processor, take, counted } = world();
  take();
  expect(await processor.step()).toBe('undurable');
  expect([store.position, counted()]).toEqual([0, 0]);

  // The next one is staged while the sync that covers the first is under way.
  log.startCommit((error) => expect(error).toBeNull());
  take();
  disk.finishStarted();
  expect(log.durableEnd).toBeGreaterThan(0);
  expect(await processor.step()).toBe('undurable');
  expect(counted()).toBe(0);

  log.commit();
  expect(await processor.step()).toBe('idle');
  expect([store.position, counted()]).toEqual([log.durableEnd, 2]);
});

it('reads from the log what came while nothing could be held', async () => {
  const { log, store, processor, take, counted } = world();
  take();
  log.commit();
  const step = processor.step();
  // The database is being written: this one follows nothing that is held.
  take();
  log.commit();
  await step;
  expect(counted()).toBe(1);
  expect(await processor.step()).toBe('idle');
  expect([store.position, counted()]).toEqual([log.durableEnd, 2]);
});

it('reads from the log what follows something that is not held', async () => {
  const { log, store, processor, stage, take, counted } = world();
  take();
  stage();
  take();
  log.commit();
  while ((await processor.step()) === 'behind');
  expect([store.position, counted()]).toEqual([log.durableEnd, 3]);
});

it.each(['held', 'read from the log'])(
  'counts once what is %s, though the database was busy at first',
  async (where) => {
    const { log, store, processor, stage, take, counted } = world();
    if (where === 'held') take();
    else stage();
    log.commit();
    const busy = Object.assign(new Error('database is locked'), { errcode: 5 });
    vi.spyOn(store, 'apply').mockRejectedValueOnce(busy);
    expect(await processor.step()).toBe('busy');
    expect(counted()).toBe(0);
    expect(await processor.step()).toBe('idle');
    expect([store.position, counted()]).toEqual([log.durableEnd, 1]);
  },
);
