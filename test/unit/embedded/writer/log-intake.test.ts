import { expect, it } from 'vitest';

import { LogIntake } from '../../../../src/engines/embedded/writer/intake.ts';
import { SegmentedLog } from '../../../../src/engines/embedded/log/segmented-log.ts';
import type { Batch } from '../../../../src/pipeline/ports.ts';
import { SimulatedDisk } from '../../../model/log/simulated-disk.ts';

function batchOf(items: number): Batch {
  return {
    body: new Uint8Array(100),
    encoding: 'gzip',
    caller: '',
    idempotency: undefined,
    accepted: items,
    rejected: 0,
    increments: new Map(),
  };
}

it('waits for no more batches once those that wait hold many items', async () => {
  const disk = new SimulatedDisk({ seed: 1 });
  const log = SegmentedLog.open({
    directory: '/',
    fileSystem: disk,
    segmentBytes: 1024 * 1024,
    countedThrough: 0,
    now: () => 0,
  });
  const deferred: (() => void)[] = [];
  const intake = new LogIntake(
    {
      log,
      admission: { admit: (batch) => ({ batch, newCounters: [] }), addPending: () => undefined },
      findKey: () => undefined,
      positionOfReplayed: () => undefined,
      recordAt: () => undefined,
      countedThrough: () => log.durableEnd,
      onStaged: () => undefined,
      onDurable: () => undefined,
      onFailure: (error) => expect(error).toBeUndefined(),
      defer: (commit) => void deferred.push(commit),
      now: () => 0,
      backlogBytesMax: 1024 * 1024,
    },
    [],
  );
  const first = intake.accept(batchOf(15_000));
  expect(log.durableEnd).toBe(0);
  const second = intake.accept(batchOf(15_000));
  const through = log.durableEnd;
  expect(through).toBeGreaterThan(0);
  await Promise.all([first, second]);

  // Later submissions wait again for others.
  const third = intake.accept(batchOf(1));
  expect(log.durableEnd).toBe(through);
  for (const commit of deferred) commit();
  await third;
  expect(log.durableEnd).toBeGreaterThan(through);
});
