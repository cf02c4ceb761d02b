import fs, { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { describe, expect, it, onTestFinished, vi } from 'vitest';

import { formatBatchId, positionOfBatchId } from '../../../../src/domain/batch-id.ts';
import { nodeFileSystem } from '../../../../src/engines/embedded/log/file-system.ts';
import {
  encodeFrame,
  frameLength,
  type LogRecord,
} from '../../../../src/engines/embedded/log/frame.ts';
import { LogReader } from '../../../../src/engines/embedded/log/log-reader.ts';
import { headerBytesOf, saltOfLog } from '../../../../src/engines/embedded/log/segment.ts';
import {
  SegmentedLog,
  type LogOptions,
  type RecordDraft,
  type Staged,
} from '../../../../src/engines/embedded/log/segmented-log.ts';
import {
  PowerCut,
  SimulatedDisk,
  type ErrorCode,
  type Operation,
  type OperationKind,
} from '../../../model/log/simulated-disk.ts';
import { rounds } from '../../../support/run/tier.ts';

const directory = '/log';
const segmentBytes = 1024;
/** The seeds of what is left by a power cut. */
const powerCuts = upTo(
  rounds({ what: 'power cuts of the log at each of its operations', quick: 4, nightly: 200 }),
);
/** A body with which a record fills 200 bytes: five to a segment. */
const bodyBytes = 200 - 64;

function newDisk(capacityBytes = Number.POSITIVE_INFINITY): SimulatedDisk {
  return new SimulatedDisk({ seed: 1, root: directory, capacityBytes });
}

function open(fileSystem: LogOptions['fileSystem'], options: Partial<LogOptions> = {}) {
  const defaults = { directory, fileSystem, segmentBytes, countedThrough: 0, now: () => 1 };
  return SegmentedLog.open({ ...defaults, ...options });
}

function draft(serial: number, body: Uint8Array = Buffer.alloc(bodyBytes, serial)): RecordDraft {
  const plain = { rejected: 0, encoding: 'identity', caller: '', idempotency: undefined } as const;
  return { ...plain, receivedAt: serial, accepted: serial, body };
}

/** Commits records numbered from `first` on, one by one. */
function append(log: SegmentedLog, count: number, first = 0): Staged[] {
  return Array.from({ length: count }, (_, index) => {
    const staged = log.stage(draft(first + index));
    log.commit();
    return staged;
  });
}

function serials(fileSystem: LogOptions['fileSystem'], at = directory): number[] {
  const reader = new LogReader(fileSystem, at);
  const found = Array.from(reader.records(), ({ record }) => record.receivedAt);
  reader.close();
  return found;
}

function upTo(count: number, from = 0): number[] {
  return Array.from({ length: count - from }, (_, index) => from + index);
}

function sizes(disk: SimulatedDisk): number[] {
  return disk
    .list(directory)
    .sort()
    .map((name) => disk.open(join(directory, name), 'read').size());
}

/** Writes behind the end of the last segment, as a crash might have left it. */
function appendBytes(disk: SimulatedDisk, bytes: Uint8Array): void {
  const name = disk.list(directory).sort().at(-1) ?? '';
  const file = disk.open(join(directory, name), 'read-write');
  expect(file.write(bytes, file.size())).toBe(bytes.length);
  file.close();
}

/** Counts the operations of some kinds from now on. */
function counting(disk: SimulatedDisk, ...kinds: OperationKind[]): () => number {
  let count = 0;
  disk.onOperation(({ kind }) => {
    if (kinds.includes(kind)) count++;
    return undefined;
  });
  return () => count;
}

describe('appending', () => {
  it('makes a record durable at the commit, not before', () => {
    const log = open(newDisk());
    expect(log.durableEnd).toBe(0);
    const { end } = log.stage(draft(0));
    expect(log.durableEnd).toBe(0);
    log.commit();
    expect(log.durableEnd).toBe(end);
  });

  it('covers all that gathered with one sync, and syncs nothing without need', () => {
    const disk = newDisk();
    const log = open(disk);
    const syncs = counting(disk, 'sync');
    log.stage(draft(0));
    log.stage(draft(1));
    log.stage(draft(2));
    log.commit();
    log.commit();
    expect(syncs()).toBe(1);
    expect(serials(disk)).toEqual([0, 1, 2]);
  });

  it('gives each record a place behind the one before, and an id that carries it', () => {
    const log = open(newDisk());
    let previousEnd = 0;
    for (const serial of upTo(23)) {
      const staged = log.stage(draft(serial));
      log.commit();
      expect(staged.previousEnd).toBe(previousEnd);
      // A segment's header takes positions too.
      const gap = staged.position - previousEnd;
      expect([0, headerBytesOf(log)]).toContain(gap);
      expect(positionOfBatchId(formatBatchId(staged.batchId))).toBe(staged.position);
      previousEnd = staged.end;
      expect(log.durableEnd).toBe(staged.end);
    }
  });

  it('closes a segment before it grows beyond its size', () => {
    const disk = newDisk();
    const log = open(disk);
    append(log, 10);
    // 64 + 4 * 200: a fifth would not fit.
    expect(sizes(disk)).toEqual([864, 864, 464]);
    expect(disk.list(directory).sort()).toEqual([
      '0000000000000000.log',
      '0000000000000864.log',
      '0000000000001728.log',
    ]);
    expect(log.bytes).toBe(864 + 864 + 464);
  });

  it('fills a segment to its last byte', () => {
    const disk = newDisk();
    const log = open(disk);
    append(log, 1);
    log.stage(draft(1, Buffer.alloc(segmentBytes - 264 - 64)));
    log.commit();
    append(log, 1, 2);
    expect(sizes(disk)).toEqual([segmentBytes, 264]);
    expect(serials(disk)).toEqual([0, 1, 2]);
  });

  it('gives a record larger than a segment one of its own', () => {
    const disk = newDisk();
    const log = open(disk);
    append(log, 1);
    log.stage(draft(1, Buffer.alloc(5000, 1)));
    log.commit();
    append(log, 1, 2);
    expect(sizes(disk)).toEqual([264, 64 + 64 + 5000, 264]);
    expect(serials(disk)).toEqual([0, 1, 2]);
  });

  it('takes a record larger than it stages, and records that are so together', () => {
    const disk = new SimulatedDisk({ seed: 1, root: directory, sectorBytes: 64 * 1024 });
    const log = open(disk, { segmentBytes: 64 * 1024 * 1024 });
    // Some larger than what is read at once, too, and some across the end of that.
    const lengths = [1, 3_000_000, 3_000_000, 9_000_000, 0, 5, ...upTo(12).map(() => 300_000)];
    const bodies = lengths.map((length, index) => Buffer.alloc(length, index + 1));
    bodies.forEach((body, serial) => log.stage(draft(serial, body)));
    // Some is written by now; a reader may see it, but nothing of it is durable.
    expect(log.durableEnd).toBe(0);
    log.commit();
    const found = Array.from(new LogReader(disk, directory).records(), ({ record }) =>
      bodies[record.receivedAt]?.equals(record.body),
    );
    expect(found).toEqual(bodies.map(() => true));
    log.close();
    expect(open(disk).durableEnd).toBe(log.durableEnd);
  });

  it('continues writing after a short write', () => {
    const disk = newDisk();
    const log = open(disk);
    for (const shortWriteBytes of [1, 63, 64, 199]) disk.failNext('write', { shortWriteBytes });
    append(log, 7);
    expect(serials(disk.powerCut())).toEqual(upTo(7));
  });

  it('works on a real file system as on the simulated one', () => {
    const real = mkdtempSync(join(tmpdir(), 'segmented-log-'));
    try {
      const log = open(nodeFileSystem, { directory: real });
      append(log, 10);
      log.removeSegments(log.durableEnd);
      log.close();
      const again = open(nodeFileSystem, { directory: real, countedThrough: log.durableEnd });
      append(again, 3, 10);
      again.close();
      expect(serials(nodeFileSystem, real)).toEqual(upTo(13, 8));
      expect(
        readdirSync(real)
          .sort()
          .map((name) => statSync(join(real, name)).size),
      ).toEqual([864, 264]);
    } finally {
      rmSync(real, { recursive: true });
    }
  });
});

describe('the file system of this machine', () => {
  it('syncs the file', () => {
    const directory = mkdtempSync(join(tmpdir(), 'log-'));
    onTestFinished(() => rmSync(directory, { recursive: true }));
    const path = join(directory, 'file');
    const calls = vi.spyOn(fs, 'fdatasyncSync');
    const background = vi.spyOn(fs, 'fdatasync');
    const directories = vi.spyOn(fs, 'fsyncSync');
    syncBuiltinESMExports();
    const file = nodeFileSystem.open(path, 'create');
    file.sync();
    nodeFileSystem.syncDirectory(tmpdir());
    expect([calls.mock.calls.length, directories.mock.calls.length]).toEqual([1, 1]);
    file.startSync(() => file.close());
    expect(background).toHaveBeenCalledOnce();
    vi.restoreAllMocks();
    syncBuiltinESMExports();
  });
});

describe('a sync in the background', () => {
  it('covers what was staged before it, and not what came meanwhile', () => {
    const disk = newDisk();
    const log = open(disk);
    const first = log.stage(draft(0));
    log.startCommit((error) => expect(error).toBeNull());
    const second = log.stage(draft(1));
    disk.finishStarted();
    expect(log.durableEnd).toBe(first.end);
    log.commit();
    expect(log.durableEnd).toBe(second.end);
  });

  it('that fails is the last thing the log did', () => {
    const disk = newDisk();
    const log = open(disk);
    append(log, 2);
    log.stage(draft(2));
    const errors: unknown[] = [];
    log.startCommit((error) => void errors.push(error));
    disk.failNext('sync', { error: 'EIO' });
    disk.finishStarted();
    expect(errors).toEqual([expect.objectContaining({ code: 'EIO' })]);
    expectToTakeNothing(disk, log, 'EIO');
  });
});

describe('opening again', () => {
  it('continues at its end, with the same id', () => {
    const disk = newDisk();
    const first = open(disk);
    const ends = append(first, 6).map(({ end }) => end);
    first.close();
    const second = open(disk);
    expect(second.logId).toEqual(first.logId);
    expect(second.durableEnd).toBe(ends.at(-1));
    expect(second.tornBytes).toBe(0);
    const [next] = append(second, 1, 6);
    expect(next?.previousEnd).toBe(ends.at(-1));
    expect(serials(disk)).toEqual(upTo(7));
  });

  it('shows each record behind the counted position, once and in order', () => {
    const disk = newDisk();
    const ends = append(open(disk), 12).map(({ end }) => end);
    for (const [counted, countedThrough] of [0, ...ends].entries()) {
      const shown: number[] = [];
      open(disk, { countedThrough, onUncounted: ({ record }) => shown.push(record.receivedAt) });
      expect(shown).toEqual(upTo(12, counted));
    }
  });

  it('discards what was staged and never committed', () => {
    const disk = newDisk();
    const log = open(disk);
    append(log, 1);
    log.stage(draft(1));
    log.close();
    expect(open(disk).durableEnd).toBe(log.durableEnd);
    expect(serials(disk)).toEqual([0]);
  });

  it('keeps the id of a log in which nothing is yet', () => {
    const disk = newDisk();
    const { logId } = open(disk);
    expect(open(disk).logId).toEqual(logId);
  });

  it.each([
    ['zeros, of which nothing was ever written', Buffer.alloc(700), 0],
    ['one byte', Buffer.from([7]), 1],
    ['the beginning of a frame', Buffer.from('DPR1'), 4],
    ['some bytes and zeros', Buffer.concat([Buffer.from('DPR1'), Buffer.alloc(5000)]), 4],
    ['garbage', Buffer.from(upTo(5000).map((index) => 1 + ((index * 197) % 251))), 5000],
  ])('cuts off a torn tail: %s', (_, tail, tornBytes) => {
    const disk = newDisk();
    const log = open(disk);
    append(log, 6);
    appendBytes(disk, tail);
    const again = open(disk);
    expect(again.tornBytes).toBe(tornBytes);
    expect(again.durableEnd).toBe(log.durableEnd);
    append(again, 1, 6);
    const found = disk.powerCut();
    expect(open(found).tornBytes).toBe(0);
    expect(serials(found)).toEqual(upTo(7));
  });

  it('keeps what was written and not synced, if it is whole, and makes it durable', () => {
    const disk = newDisk();
    const log = open(disk);
    append(log, 2);
    log.stage(draft(2));
    disk.failNext('sync', 'powerCutBefore');
    expect(() => log.commit()).toThrow(PowerCut);
    // The process was killed, the kernel was not.
    const found = disk.crash();
    expect(open(found).durableEnd).toBe(log.durableEnd + 200);
    for (const seed of powerCuts) expect(serials(found.powerCut(seed))).toEqual([0, 1, 2]);
  });

  it('is not misled by a body that holds a copy of a frame', () => {
    const disk = newDisk();
    const log = open(disk);
    append(log, 2);
    const salt = saltOfLog(log.logId);
    const claimsToProve = (position: number): LogRecord => {
      return { ...draft(9), position, syncedThrough: 10_000, batchId: Buffer.alloc(16) };
    };
    // One with the salt of this log, of another place; one for this place, of another salt.
    const stolen = frameOf(claimsToProve(64), salt);
    const placeInBody = log.durableEnd + 64 + stolen.length;
    const forged = frameOf(claimsToProve(placeInBody), (salt ^ 1) >>> 0);
    log.stage(draft(2, Buffer.concat([stolen, forged])));
    disk.failNext('sync', 'powerCutBefore');
    expect(() => log.commit()).toThrow(PowerCut);
    const found = disk.crash();
    const file = found.open(join(directory, '0000000000000000.log'), 'read-write');
    file.write(Buffer.from('torn'), log.durableEnd + 32);
    const again = open(found);
    expect(again.tornBytes).toBe(64 + stolen.length + forged.length);
    expect(serials(found)).toEqual([0, 1]);
  });
});

function frameOf(record: LogRecord, salt: number): Buffer {
  const frame = Buffer.alloc(frameLength(record));
  encodeFrame(record, salt, frame, 0);
  return frame;
}

describe('allocating ahead', () => {
  it('lets small commits write over zeros, and takes back what is left of them', () => {
    const disk = newDisk();
    const log = open(disk, { segmentBytes: 2048, allocateBytes: 800 });
    const seen = upTo(13).map((serial) => {
      log.stage(draft(serial, Buffer.alloc(36, serial)));
      log.commit();
      return sizes(disk)[0];
    });
    // 64 for the header and 100 for each: eight fit into what the first has allocated.
    expect(seen).toEqual([...upTo(9).map(() => 964), ...upTo(4).map(() => 1864)]);
    log.close();
    expect(sizes(disk)).toEqual([1364]);
    expect(serials(disk)).toEqual(upTo(13));
  });

  it('ends a segment that others follow with its last record', () => {
    const disk = newDisk();
    const allocateBytes = 600;
    const log = open(disk, { allocateBytes });
    for (const serial of upTo(40)) {
      log.stage(draft(serial, Buffer.alloc(36, serial)));
      log.commit();
    }
    const closed = sizes(disk).slice(0, -1);
    expect(closed).toEqual(closed.map(() => 964));
    for (const seed of powerCuts) {
      const found = disk.powerCut(seed);
      expect(open(found, { allocateBytes }).tornBytes).toBe(0);
      expect(serials(found)).toEqual(upTo(40));
    }
  });

  it('never makes a segment longer than it may be', () => {
    const disk = newDisk();
    const log = open(disk, { allocateBytes: 100_000 });
    append(log, 20);
    for (const size of sizes(disk)) expect(size).toBeLessThanOrEqual(segmentBytes);
  });

  it('does not cost a record its room on a disk that is almost full', () => {
    const [plain, allocating] = [0, 3000].map((bytes) => {
      const log = open(newDisk(4096), { segmentBytes: 8192, allocateBytes: bytes });
      const fill = () => {
        for (;;) append(log, 1);
      };
      expect(fill).toThrow(expect.objectContaining({ code: 'ENOSPC' }));
      return log.durableEnd;
    });
    expect(allocating).toBe(plain);
  });

  it('stops the log where the disk fails meanwhile', () => {
    const disk = newDisk();
    const log = open(disk, { allocateBytes: 2000 });
    log.stage(draft(0));
    // The first write is the record's, the second the one of the zeros.
    const second = disk.operations + 1;
    disk.onOperation(({ kind, index }) => {
      if (index !== second) return undefined;
      expect(kind).toBe('write');
      return { error: 'EIO' };
    });
    expect(() => log.commit()).toThrow('EIO');
    expectToTakeNothing(disk, log, 'EIO');
  });
});

describe('a rotation that is cut short', () => {
  /** The operations of a commit that has to begin a segment. */
  const operations = (() => {
    const disk = newDisk();
    const log = open(disk);
    append(log, 4);
    const seen: Operation[] = [];
    disk.onOperation((operation) => {
      seen.push(operation);
      return undefined;
    });
    append(log, 1, 4);
    return seen;
  })();

  it('is one of these operations', () => {
    expect(operations.map(({ kind }) => kind)).toEqual([
      'create',
      'write',
      'sync',
      'syncDirectory',
      'write',
      'sync',
    ]);
  });

  const cuts = operations.flatMap(({ kind, index }) =>
    (['powerCutBefore', 'powerCutAfter'] as const).map((fault) => ({ kind, index, fault })),
  );

  it.each(cuts)('is made good: $fault at $kind ($index)', ({ index, fault }) => {
    const begin = () => {
      const disk = newDisk();
      const log = open(disk);
      append(log, 4);
      disk.onOperation((operation) => (operation.index === index ? fault : undefined));
      expect(() => append(log, 1, 4)).toThrow(PowerCut);
      return disk;
    };
    const outcomes = [begin().crash(), ...powerCuts.map((seed) => begin().powerCut(seed))];
    for (const found of outcomes) {
      const log = open(found);
      const kept = serials(found).length;
      expect([4, 5]).toContain(kept);
      append(log, 6, kept);
      // What was found and what was added since survive another power cut.
      const later = found.powerCut();
      open(later);
      expect(serials(later)).toEqual(upTo(kept + 6));
    }
  });

  const failures = operations.flatMap(({ kind, index }) =>
    (kind === 'write' || kind === 'create' ? (['EIO', 'ENOSPC'] as const) : (['EIO'] as const)).map(
      (error) => ({ kind, index, error }),
    ),
  );

  it.each(failures)('stops the log: $error at $kind ($index)', ({ index, error }) => {
    const disk = newDisk();
    const log = open(disk);
    append(log, 4);
    disk.onOperation((operation) => (operation.index === index ? { error } : undefined));
    expect(() => append(log, 1, 4)).toThrow(expect.objectContaining({ code: error }));
    expectToTakeNothing(disk, log, error);

    // The next process continues, and relies on nothing that the failed sync left in memory.
    const found = disk.crash();
    const again = open(found);
    const kept = serials(found).length;
    append(again, 6, kept);
    for (const seed of powerCuts) expect(serials(found.powerCut(seed))).toEqual(upTo(kept + 6));
  });
});

function expectToTakeNothing(disk: SimulatedDisk, log: SegmentedLog, code: ErrorCode): void {
  const { durableEnd } = log;
  const operations = counting(disk, 'write', 'sync', 'syncDirectory', 'create', 'truncate');
  for (const again of [() => log.stage(draft(0)), () => log.commit(), () => log.commit()]) {
    expect(again).toThrow(expect.objectContaining({ code }));
  }
  expect(log.failure).toMatchObject({ code });
  expect(log.durableEnd).toBe(durableEnd);
  expect(operations()).toBe(0);
}

describe('when the disk fails', () => {
  it.each(['write', 'sync'] as const)('takes nothing more after EIO on %s', (kind) => {
    const disk = newDisk();
    const log = open(disk);
    append(log, 2);
    log.stage(draft(2));
    disk.failNext(kind, { error: 'EIO' });
    expect(() => log.commit()).toThrow('EIO');
    expectToTakeNothing(disk, log, 'EIO');
  });

  it('never syncs again what a failed sync may have lost, and the next process writes it again', () => {
    const disk = newDisk();
    const log = open(disk);
    append(log, 2);
    log.stage(draft(2));
    disk.failNext('sync', { error: 'EIO' });
    expect(() => log.commit()).toThrow('EIO');
    // The kernel shows the record as if it were on the disk.
    const found = disk.crash();
    expect(serials(found)).toEqual([0, 1, 2]);
    expect(open(found).durableEnd).toBe(log.durableEnd + 200);
    for (const seed of powerCuts) expect(serials(found.powerCut(seed))).toEqual([0, 1, 2]);
  });

  it('writes nothing again from a copy whose sync failed', () => {
    for (const seed of powerCuts) {
      const disk = newDisk();
      append(open(disk), 3);
      const second = disk.crash();
      second.failNext('sync', { error: 'ENOSPC' });
      expect(() => open(second)).toThrow('ENOSPC');
      // The kernel shows the copy as if it were on the disk.
      const third = second.crash();
      const isOfSegment = (path: string) => path.endsWith('.log');
      third.onOperation(({ kind, path }) =>
        kind === 'sync' && isOfSegment(path) ? { error: 'EIO' } : undefined,
      );
      expect(() => open(third)).toThrow('EIO');
      const found = third.powerCut(seed);
      open(found);
      expect(serials(found)).toEqual([0, 1, 2]);
    }
  });

  it('fails if the torn tail cannot be cut off durably, and the next opening does it', () => {
    const disk = newDisk();
    append(open(disk), 2);
    appendBytes(disk, Buffer.alloc(300, 0xee));
    disk.failNext('sync', { error: 'EIO' });
    expect(() => open(disk)).toThrow('EIO');
    // Now the file is cut in memory alone, and no byte of it shows that.
    const found = disk.crash();
    expect(open(found).tornBytes).toBe(0);
    for (const seed of powerCuts) expect(open(found.powerCut(seed)).tornBytes).toBe(0);
  });

  it('accepts nothing more once the disk is full, and continues after a start with free space', () => {
    const disk = newDisk(2048);
    const log = open(disk);
    let taken = 0;
    const fill = () => {
      for (;;) {
        append(log, 1, taken);
        taken++;
      }
    };
    expect(fill).toThrow(expect.objectContaining({ code: 'ENOSPC' }));
    expectToTakeNothing(disk, log, 'ENOSPC');
    const found = disk.crash();
    found.capacityBytes = 100_000;
    append(open(found), 3, taken);
    expect(serials(found)).toEqual(upTo(taken + 3));
  });
});

describe('retention', () => {
  /** Nine records in segments of four, begun at 100, 200, 300. */
  function threeSegments(disk: SimulatedDisk) {
    let clock = 0;
    const log = open(disk, { now: () => (clock += 100) });
    const ends = append(log, 9).map(({ end }) => end);
    return { log, ends };
  }

  it('removes whole segments that lie before the position, oldest first', () => {
    for (const [counted, removed] of [0, 0, 0, 0, 1, 1, 1, 1, 2, 2].entries()) {
      const disk = newDisk();
      const { log, ends } = threeSegments(disk);
      expect(log.removeSegments([0, ...ends][counted] ?? 0)).toBe(removed);
      expect(serials(disk)).toEqual(upTo(9, removed * 4));
      expect(log.bytes).toBe(sizes(disk).reduce((sum, size) => sum + size));
    }
  });

  it('says where the log would begin then', () => {
    const disk = newDisk();
    const { log, ends } = threeSegments(disk);
    const [first = 0, second = 0, third = 0] = bases(disk);
    for (const [through, begin] of [
      [0, first],
      [second - 1, first],
      [second, second],
      [third - 1, second],
      [ends.at(-1) ?? 0, third],
    ] as const) {
      expect(log.removableThrough(through)).toBe(begin);
    }
    expect(log.segmentStarts().map(({ base }) => base)).toEqual([first, second, third]);
  });

  it('never removes the last segment, and appends and reopens without the others', () => {
    const disk = newDisk();
    const { log } = threeSegments(disk);
    expect(log.removeSegments(Number.MAX_SAFE_INTEGER)).toBe(2);
    expect(log.removeSegments(Number.MAX_SAFE_INTEGER)).toBe(0);
    append(log, 4, 9);
    log.close();
    const again = open(disk, { countedThrough: log.durableEnd });
    append(again, 1, 13);
    expect(serials(disk)).toEqual(upTo(14, 8));
  });

  it('is durable when it returns, and leaves no hole wherever the power fails', () => {
    const disk = newDisk();
    const { log, ends } = threeSegments(disk);
    const start = disk.operations;
    log.removeSegments(ends.at(-1) ?? 0);
    const operations = disk.operations - start;
    for (const seed of powerCuts) expect(serials(disk.powerCut(seed))).toEqual([8]);

    for (const index of upTo(operations)) {
      const cut = newDisk();
      const { log: other } = threeSegments(cut);
      cut.onOperation((operation) => {
        return operation.index === start + index ? 'powerCutBefore' : undefined;
      });
      expect(() => other.removeSegments(ends.at(-1) ?? 0)).toThrow(PowerCut);
      for (const seed of powerCuts) {
        const found = cut.powerCut(seed);
        open(found, { countedThrough: ends.at(-1) ?? 0 });
        expect([0, 4, 8].map((first) => upTo(9, first))).toContainEqual(serials(found));
      }
    }
  });
});

describe('a removal that could not be made durable', () => {
  it('leaves no damage, though a later one was and the power fails', () => {
    const disk = newDisk();
    const log = open(disk);
    const ends = append(log, 17).map(({ end }) => end);
    const counted = ends[11] ?? 0;
    const [, second = 0, third = 0] = bases(disk);
    disk.failNext('syncDirectory', { error: 'EIO' });
    expect(() => log.removeSegments(second)).toThrow('EIO');

    const found = disk.crash();
    const again = open(found, { countedThrough: counted, removedThrough: third });
    again.removeSegments(third);
    const outcomes = powerCuts.map((seed) => found.powerCut(seed));
    // The removal that failed may be lost, the other one not.
    expect(outcomes.some((each) => bases(each).length === 4)).toBe(true);
    for (const each of outcomes) {
      expect(() => open(each.crash(), { countedThrough: counted, removedThrough: 0 })).toSatisfy(
        (opens: () => void) => bases(each)[0] !== 0 || isDamage(opens),
      );
      const next = open(each.crash(), { countedThrough: counted, removedThrough: third });
      expect(next.bytes).toBeGreaterThan(0);
      next.close();
    }
    const last = outcomes[0]?.crash() ?? found;
    open(last, { countedThrough: counted, removedThrough: third });
    expect(bases(last)[0]).toBe(third);
  });
});

function isDamage(opens: () => void): boolean {
  try {
    opens();
    return false;
  } catch (error) {
    return /has a gap/.test(String(error));
  }
}

function bases(disk: SimulatedDisk): number[] {
  return disk
    .list(directory)
    .map((name) => Number.parseInt(name, 10))
    .sort((a, b) => a - b);
}

describe('a first segment that is made again', () => {
  it('keeps the id of its log, wherever the power fails', () => {
    const begin = () => {
      const disk = newDisk();
      return { disk, id: open(disk).logId };
    };
    const { disk } = begin();
    const start = disk.operations;
    open(disk);
    const operations = disk.operations - start;
    expect(operations).toBeGreaterThan(5);
    for (const index of upTo(operations)) {
      const { disk: cut, id } = begin();
      cut.onOperation((operation) =>
        operation.index === start + index ? 'powerCutBefore' : undefined,
      );
      expect(() => open(cut)).toThrow(PowerCut);
      for (const seed of powerCuts) expect(open(cut.powerCut(seed)).logId).toEqual(id);
    }
  });
});

describe('a reader concurrent with the writer', () => {
  it('sees, at every operation of the writer, all that is durable and nothing but what was staged', () => {
    const disk = newDisk();
    const log = open(disk);
    const reader = new LogReader(disk, directory);
    let staged = 0;
    let durable = 0;
    let removed = 0;
    let looks = 0;
    let isReading = false;
    disk.onOperation(() => {
      if (isReading) return undefined;
      isReading = true;
      const seen = Array.from(reader.records(), ({ record }) => record.receivedAt);
      const first = seen[0] ?? 0;
      expect(first).toBeLessThanOrEqual(removed);
      expect(seen).toEqual(upTo(first + seen.length, first));
      expect(first + seen.length).toBeGreaterThanOrEqual(durable);
      expect(first + seen.length).toBeLessThanOrEqual(staged);
      expect(reader.endFrom(0)).toBeGreaterThanOrEqual(log.durableEnd);
      looks++;
      isReading = false;
      return undefined;
    });
    for (const group of upTo(12)) {
      for (const serial of upTo(staged + 1 + (group % 3), staged)) {
        staged++;
        log.stage(draft(serial));
      }
      log.commit();
      durable = staged;
      if (group % 4 === 3) {
        removed = durable;
        log.removeSegments(log.durableEnd);
      }
    }
    expect(looks).toBeGreaterThan(60);
  });

  it('finds each record by its place, also in a segment begun since it last looked', () => {
    const disk = newDisk();
    const log = open(disk);
    const reader = new LogReader(disk, directory);
    const places: number[] = [];
    for (const serial of upTo(14)) {
      places.push(...append(log, 1, serial).map(({ position }) => position));
      for (const [known, place] of places.entries()) {
        expect(reader.recordAt(place)?.receivedAt).toBe(known);
        for (const near of [-1, 1, 64, 199]) expect(reader.recordAt(place + near)).toBe(undefined);
      }
    }
  });

  it('does not treat half a record as a record', () => {
    const disk = newDisk();
    const log = open(disk);
    append(log, 1);
    log.stage(draft(1));
    let isReading = false;
    const seen: number[][] = [];
    disk.onOperation(({ kind }) => {
      if (isReading) return undefined;
      isReading = true;
      seen.push(serials(disk));
      isReading = false;
      return kind === 'write' ? { shortWriteBytes: 30 } : undefined;
    });
    log.commit();
    // Before each of seven writes, and before the sync.
    expect(seen).toEqual([...upTo(7).map(() => [0]), [0, 1]]);
  });

  it('reads on from any end, up to any end', () => {
    const disk = newDisk();
    const ends = [0, ...append(open(disk), 13).map(({ end }) => end)];
    const reader = new LogReader(disk, directory);
    for (const [from, start] of ends.entries()) {
      for (const [through, end] of ends.entries()) {
        const found = Array.from(reader.records(start, end), ({ record }) => record.receivedAt);
        expect(found).toEqual(upTo(Math.max(from, through), from));
      }
    }
  });

  it('continues behind the segments that retention removes while it reads', () => {
    const disk = newDisk();
    const log = open(disk);
    append(log, 18);
    const records = new LogReader(disk, directory).records();
    expect(records.next().value).toMatchObject({ record: { receivedAt: 0 } });
    log.removeSegments(log.durableEnd);
    // It reads its open segment to the end, then continues with the existing segments.
    const rest = Array.from(records, ({ record }) => record.receivedAt);
    expect(rest).toEqual([1, 2, 3, 16, 17]);
  });

  it('continues in segments that were closed or begun since it reached the end', () => {
    const disk = newDisk();
    const log = open(disk);
    append(log, 2);
    const records = new LogReader(disk, directory).records();
    const seen: number[] = [];
    for (const { record } of records) {
      seen.push(record.receivedAt);
      if (record.receivedAt === 1) append(log, 8, 2);
    }
    expect(seen).toEqual(upTo(10));
  });

  it('finds what is added after a restart that made the last segment again', () => {
    const disk = newDisk();
    const first = open(disk);
    const reader = new LogReader(disk, directory);
    expect(reader.recordAt(64)).toBeUndefined();
    first.close();
    append(open(disk), 1);
    expect(reader.recordAt(64)?.receivedAt).toBe(0);
  });

  it('finds nothing if there is no log yet', () => {
    const reader = new LogReader(newDisk(), directory);
    expect([...reader.records()]).toEqual([]);
    expect(reader.endFrom(0)).toBe(0);
    expect(reader.recordAt(64)).toBeUndefined();
  });
});
