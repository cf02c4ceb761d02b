import { mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterEach, describe, expect, it } from 'vitest';

import { dataPaths } from '../../../src/engines/embedded/data-directory.ts';
import { embeddedDefaults } from '../../../src/engines/embedded/options.ts';
import { LogReader } from '../../../src/engines/embedded/log/log-reader.ts';
import { LogDamaged } from '../../../src/engines/embedded/log/recovery.ts';
import { headerBytesOf, segmentAt } from '../../../src/engines/embedded/log/segment.ts';
import { SegmentedLog } from '../../../src/engines/embedded/log/segmented-log.ts';
import { Writer } from '../../../src/engines/embedded/writer/writer.ts';
import { SimulatedDisk } from './simulated-disk.ts';
import { isNightly } from '../../support/run/tier.ts';

/*
 * What the log does when it opens files whose bytes changed:
 *
 * - It reports damage and changes nothing if the header of any file is invalid; if a file is
 *   missing, cut short, exchanged or belongs to another log; if a record is invalid in a file that is
 *   not the last and may hold uncounted records; and if, in the last file, the invalid record is
 *   counted or a valid record of a later commit follows it.
 * - It does not read files whose records are all counted, except the last. A reader that reaches an
 *   invalid record there reports it.
 * - It takes an invalid, uncounted record of the last commit in the last file for a torn tail and
 *   cuts the log off there. It cannot notice that the last file or its end is missing if none of that
 *   is counted. Such bytes may be lost without a report, because a write that a power failure cut
 *   short looks the same.
 */

const directory = '/log';
const segmentBytes = 4096;
/** For a log whose longer header names its day rule. All other tests have the shorter header. */
const dayZone = 'Europe/Berlin';
const segmentHeaderBytes = headerBytesOf({ dayZone });
const sectorBytes = 512;

type Image = ReadonlyMap<string, Buffer>;

interface Written {
  readonly position: number;
  readonly end: number;
  /** Everything before this position was durable when the record was written. */
  readonly syncedThrough: number;
}

function open(disk: SimulatedDisk, countedThrough = 0, bytes = segmentBytes): SegmentedLog {
  return SegmentedLog.open({
    directory,
    fileSystem: disk,
    segmentBytes: bytes,
    countedThrough,
    dayZone,
    now: () => 0,
  });
}

function newDisk(): SimulatedDisk {
  return new SimulatedDisk({ seed: 1, root: directory });
}

/** A log of several segments, in commits of one to three records. The last commit has three. */
function cleanRun(): { image: Image; records: readonly Written[] } {
  const disk = newDisk();
  const log = open(disk);
  const records: Written[] = [];
  for (let group = 0; group < 23; group++) {
    for (let index = 0; index <= (group + 1) % 3; index++) {
      const length = 37 + ((records.length * 211) % 600);
      const { position, end } = log.stage({
        receivedAt: records.length,
        accepted: 0,
        rejected: 0,
        encoding: 'identity',
        caller: 'gateway',
        idempotency: undefined,
        body: Buffer.alloc(length, records.length + 1),
      });
      const earlier = records.findLast((record) => record.end <= log.durableEnd);
      records.push({ position, end, syncedThrough: earlier?.end ?? 0 });
    }
    log.commit();
  }
  log.close();
  return { image: imageOf(disk), records };
}

function imageOf(disk: SimulatedDisk): Image {
  const names = disk.list(directory).sort();
  return new Map(names.map((name) => [join(directory, name), contentOf(disk, name)]));
}

function contentOf(disk: SimulatedDisk, name: string): Buffer {
  const file = disk.open(join(directory, name), 'read');
  const content = Buffer.alloc(file.size());
  expect(file.read(content, 0)).toBe(content.length);
  file.close();
  return content;
}

function diskOf(image: Image): SimulatedDisk {
  const disk = newDisk();
  for (const [path, content] of image) {
    const file = disk.open(path, 'create');
    file.write(content, 0);
    file.sync();
    file.close();
  }
  disk.syncDirectory(directory);
  return disk;
}

const { image, records } = cleanRun();
const paths = [...image.keys()];
const bases = paths.map((path) => Number(/(\d+)\.log$/.exec(path)?.[1]));
const lastBase = bases.at(-1) ?? 0;
const end = records.at(-1)?.end ?? 0;
const lastCommit = records.slice(-3);

it('has several segments, the last with several commits', () => {
  expect(paths.length).toBeGreaterThanOrEqual(4);
  expect(records.filter(({ position }) => position > lastBase).length).toBeGreaterThan(5);
  expect(new Set(lastCommit.map(({ syncedThrough }) => syncedThrough)).size).toBe(1);
});

// --- Expectations

type Verdict =
  | { readonly kind: 'damaged'; readonly says: RegExp }
  /** The log opens and cuts off the records from this one on. */
  | { readonly kind: 'torn'; readonly from: number }
  /** The log opens, because the invalid bytes are counted; a reader finds them. */
  | { readonly kind: 'unread'; readonly says: RegExp };

/** The expected result if the bytes `from` to `to` (excluded) of a file are invalid. */
function expectedResult(index: number, from: number, to: number, countedThrough: number): Verdict {
  const base = bases[index] ?? 0;
  const path = paths[index] ?? '';
  if (from < segmentHeaderBytes) return { kind: 'damaged', says: sentence('The header of', path) };
  const bad = records.findIndex((record) => record.end > base + from);
  const position = records[bad]?.position ?? 0;
  const says = sentence(`the record at byte ${position - base} of ${path}`);
  if (index < bases.length - 1) {
    const isRead = countedThrough < (bases[index + 1] ?? 0);
    return { kind: isRead ? 'damaged' : 'unread', says };
  }
  const isProven = records.some((record) => {
    return record.position >= base + to && record.syncedThrough > position;
  });
  if (isProven || countedThrough > position) return { kind: 'damaged', says };
  return { kind: 'torn', from: bad };
}

/** A message that contains these texts and says what to do. */
function sentence(...parts: string[]): RegExp {
  const escaped = parts.map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`${escaped.join('.*')}.*Nothing was changed.*Restore`);
}

function expectVerdict(damaged: Image, countedThrough: number, verdict: Verdict): void {
  if (verdict.kind === 'damaged') {
    expectDamaged(damaged, countedThrough, verdict.says);
    return;
  }
  const disk = diskOf(damaged);
  const log = open(disk, countedThrough);
  if (verdict.kind === 'unread') {
    expect(imageOf(disk)).toEqual(damaged);
    expect(() => serials(disk)).toThrow(LogDamaged);
    expect(() => serials(disk)).toThrow(verdict.says);
    const behind = serials(disk, countedThrough);
    expect(behind).toEqual(
      records.flatMap((record, at) => (record.end > countedThrough ? at : [])),
    );
    return;
  }
  expect(serials(disk)).toEqual(Array.from({ length: verdict.from }, (_, serial) => serial));
  expect(log.durableEnd).toBe(records[verdict.from - 1]?.end);
}

function expectDamaged(damaged: Image, countedThrough: number, says: RegExp): void {
  const disk = diskOf(damaged);
  let failure: unknown;
  try {
    open(disk, countedThrough);
  } catch (error) {
    failure = error;
  }
  expect(failure).toBeInstanceOf(LogDamaged);
  expect(String(failure)).toMatch(says);
  expect(imageOf(disk)).toEqual(damaged);
}

function serials(disk: SimulatedDisk, from = 0): number[] {
  const reader = new LogReader(disk, directory);
  return Array.from(reader.records(from), ({ record }) => record.receivedAt);
}

/** Another number of counted records at each position: none, all, and each number between. */
function countedFor(place: number): number {
  const ends = [0, end, ...records.map((record) => record.end)];
  return ends[(place * 7) % ends.length] ?? 0;
}

function changed(path: string, change: (content: Buffer) => Buffer): Image {
  return new Map([...image].map(([at, content]) => [at, at === path ? change(content) : content]));
}

function without(...gone: string[]): Image {
  return new Map([...image].filter(([path]) => !gone.includes(path)));
}

const files = paths.map((path, index) => ({ path, index, size: image.get(path)?.length ?? 0 }));

// --- Bytes

describe.each(files)('the log when bytes of $path are invalid', ({ path, index, size }) => {
  const isLast = index === paths.length - 1;

  it('handles one changed bit', () => {
    const [narrow, wide] = isNightly() ? [3, 13] : [29, 97];
    const kinds = new Set<string>();
    for (let at = 0; at < size; at += at < 200 || isLast ? narrow : wide) {
      const flipped = changed(path, (content) => {
        const copy = Buffer.from(content);
        copy.writeUInt8(copy.readUInt8(at) ^ (1 << (at & 7)), at);
        return copy;
      });
      const verdict = expectedResult(index, at, at + 1, countedFor(at));
      kinds.add(verdict.kind);
      expectVerdict(flipped, countedFor(at), verdict);
    }
    expect([...kinds].sort()).toEqual(['damaged', isLast ? 'torn' : 'unread']);
  });

  it('handles a sector of zeros', () => {
    for (let at = 0; at < size; at += sectorBytes) {
      const zeroed = changed(path, (content) => {
        return Buffer.from(content).fill(0, at, Math.min(size, at + sectorBytes));
      });
      for (const countedThrough of [0, end, countedFor(at)]) {
        const verdict = expectedResult(index, at, at + sectorBytes, countedThrough);
        expectVerdict(zeroed, countedThrough, verdict);
      }
    }
  });

  it('handles two exchanged records', () => {
    const [one, other] = records.filter(({ position }) => position > (bases[index] ?? 0));
    const base = bases[index] ?? 0;
    const exchanged = changed(path, (content) => {
      const cut = (record?: Written) =>
        content.subarray((record?.position ?? 0) - base, (record?.end ?? 0) - base);
      return Buffer.concat([
        content.subarray(0, segmentHeaderBytes),
        cut(other),
        cut(one),
        content.subarray((other?.end ?? 0) - base),
      ]);
    });
    const to = (other?.end ?? 0) - base;
    for (const countedThrough of [0, end]) {
      const verdict = expectedResult(index, segmentHeaderBytes, to, countedThrough);
      expectVerdict(exchanged, countedThrough, verdict);
    }
  });

  it('handles a file cut short at any position', () => {
    const base = bases[index] ?? 0;
    const stride = isNightly() ? 37 : 197;
    for (let length = 0; length < size; length += length < 70 ? 1 : stride) {
      const cut = changed(path, (content) => content.subarray(0, length));
      if (!isLast) {
        const says =
          length < segmentHeaderBytes
            ? sentence('The header of', path)
            : sentence(`begins at byte ${base + length} is missing`, paths[index + 1] ?? '');
        expectDamaged(cut, countedFor(length), says);
        continue;
      }
      const kept = records.filter((record) => record.end <= base + length).length;
      const keptEnd = records[kept - 1]?.end ?? 0;
      const countedThrough = countedFor(length);
      if (countedThrough <= keptEnd)
        expectVerdict(cut, countedThrough, { kind: 'torn', from: kept });
      else expectDamaged(cut, countedThrough, sentence(path));
    }
  });
});

describe('the last commit, if it is not counted', () => {
  it('is the only damage that may be treated as a torn tail', () => {
    for (const { position, end: recordEnd } of records) {
      const index = bases.findLastIndex((base) => base < position);
      const from = position - (bases[index] ?? 0);
      const to = recordEnd - (bases[index] ?? 0);
      const isOfLastCommit = lastCommit.some((record) => record.position === position);
      expect(expectedResult(index, from, to, 0).kind).toBe(isOfLastCommit ? 'torn' : 'damaged');
    }
  });

  it('is not treated as a torn tail if another segment was begun, even an unfinished one', () => {
    const at = (lastCommit[0]?.position ?? 0) - lastBase + 20;
    const next = segmentAt(directory, end).path;
    for (const length of [0, 1, segmentHeaderBytes]) {
      const damaged = new Map(
        changed(paths.at(-1) ?? '', (content) => {
          const copy = Buffer.from(content);
          copy.writeUInt8(copy.readUInt8(at) ^ 1, at);
          return copy;
        }),
      ).set(next, Buffer.alloc(length));
      expectDamaged(damaged, 0, sentence(`the record at byte ${at - 20} of`, paths.at(-1) ?? ''));
    }
  });
});

it('is not treated as a torn tail if a valid record follows, also across two search windows', () => {
  const windowBytes = 1024 * 1024;
  for (const across of [0, 1, 2, 3, 4]) {
    const disk = newDisk();
    const log = open(disk, 0, 4 * windowBytes);
    const plain = { accepted: 0, rejected: 0, encoding: 'identity', caller: '' } as const;
    for (const length of [windowBytes - across - 64, 0]) {
      log.stage({ ...plain, receivedAt: 0, idempotency: undefined, body: Buffer.alloc(length) });
      log.commit();
    }
    const path = paths[0] ?? '';
    const file = disk.open(path, 'read-write');
    file.write(Buffer.from('!'), 1000);
    expect(() => open(disk, 0, 4 * windowBytes)).toThrow(
      sentence(`the record at byte ${segmentHeaderBytes} of`, path),
    );
  }
});

// --- Files

describe('the log when files are not in place', () => {
  it('reports a missing file in the middle', () => {
    for (const [index, path] of paths.entries()) {
      if (index === 0 || index === paths.length - 1) continue;
      for (const countedThrough of [0, end, bases[index] ?? 0]) {
        const says = sentence(`begins at byte ${bases[index]} is missing`, paths[index + 1] ?? '');
        expectDamaged(without(path), countedThrough, says);
        // A reader that reaches the gap says the same.
        expect(() => serials(diskOf(without(path)))).toThrow(says);
      }
    }
  });

  it('reports that the first file is missing if its records are not all counted', () => {
    const [first = ''] = paths;
    const [, secondBase = 0] = bases;
    for (const { end: counted } of records) {
      if (counted < secondBase) {
        const says = sentence(`from byte ${counted} on`, `begins at byte ${secondBase}`);
        expectDamaged(without(first), counted, says);
      } else expect(open(diskOf(without(first)), counted).durableEnd).toBe(end);
    }
  });

  it('reports that the last file is missing if some of it is counted', () => {
    const last = paths.at(-1) ?? '';
    for (const { end: counted } of records) {
      if (counted > lastBase) {
        const says = sentence(
          `up to byte ${counted}`,
          paths.at(-2) ?? '',
          `ends at byte ${lastBase}`,
        );
        expectDamaged(without(last), counted, says);
      } else expect(open(diskOf(without(last)), counted).durableEnd).toBe(lastBase);
    }
  });

  it('reports that all files are missing if anything is counted', () => {
    expectDamaged(new Map(), 1, sentence('up to byte 1', directory, 'holds no log'));
    expect(open(diskOf(new Map()), 0).durableEnd).toBe(0);
  });

  it('reports two exchanged files', () => {
    for (const [one, other] of paths.flatMap((a, i) => paths.slice(i + 1).map((b) => [a, b]))) {
      const exchanged = new Map(image)
        .set(one ?? '', image.get(other ?? '') ?? Buffer.alloc(0))
        .set(other ?? '', image.get(one ?? '') ?? Buffer.alloc(0));
      for (const countedThrough of [0, end]) {
        expectDamaged(exchanged, countedThrough, sentence('The header of', one ?? ''));
      }
    }
  });

  it('reports a file of another log', () => {
    const other = cleanRun().image;
    expect([...other.keys()]).toEqual(paths);
    for (const [index, path] of paths.entries()) {
      const mixed = changed(path, () => other.get(path) ?? Buffer.alloc(0));
      const says = sentence('The header of', paths[Math.max(1, index)] ?? '', 'of another log');
      for (const countedThrough of [0, end]) expectDamaged(mixed, countedThrough, says);
    }
  });

  it('reports a file with the name of another position', () => {
    const moved = new Map(without(paths.at(-1) ?? '')).set(
      segmentAt(directory, lastBase + 1).path,
      image.get(paths.at(-1) ?? '') ?? Buffer.alloc(0),
    );
    expectDamaged(moved, 0, sentence(`begins at byte ${lastBase} is missing`));
  });

  it('ignores files that are not its own', () => {
    const notes = [join(directory, 'notes.txt'), join(directory, '1.log'), `${paths[0]}.bak`];
    const disk = diskOf(
      new Map([...image, ...notes.map((path) => [path, Buffer.from('x')] as const)]),
    );
    open(disk, end).removeSegments(end);
    expect([...imageOf(disk).keys()].sort()).toEqual([...notes, paths.at(-1)].sort());
  });
});

describe('the log when the counters are ahead of it', () => {
  it.each([1, 64, 10_000])('reports a difference of %i bytes', (ahead) => {
    const says = sentence(`up to byte ${end + ahead}`, paths.at(-1) ?? '', `ends at byte ${end}`);
    expectDamaged(image, end + ahead, says);
  });

  it('reports it also if only an unfinished segment is left', () => {
    for (const length of [0, 10, segmentHeaderBytes]) {
      const next = segmentAt(directory, end).path;
      const unfinished = new Map(image).set(next, Buffer.alloc(length));
      expectDamaged(unfinished, end + 100, sentence(`up to byte ${end + 100}`, next));
      expect(open(diskOf(unfinished), end).durableEnd).toBe(end);
      const alone = new Map([[segmentAt(directory, 0).path, Buffer.alloc(length)]]);
      expectDamaged(alone, 100, sentence('up to byte 100'));
    }
  });
});

describe('a data directory', () => {
  const directories: string[] = [];
  afterEach(() => {
    for (const each of directories.splice(0)) rmSync(each, { recursive: true });
  });

  function newDirectory(): string {
    const each = mkdtempSync(join(tmpdir(), 'log-damage-'));
    directories.push(each);
    return each;
  }

  const openWriter = (dataDir: string) =>
    Writer.open(
      { ...embeddedDefaults, dataDir },
      {
        onProgress: () => undefined,
        onFailure: () => undefined,
        onUnexpectedError: () => undefined,
      },
    );

  /** A data directory with one batch, stored and counted. */
  async function dataDirectory(): Promise<string> {
    const dataDir = newDirectory();
    const writer = openWriter(dataDir);
    const item = { type: 'sensor', state: 'ready', timestamp: '2023-06-16T13:00:00Z' };
    const outcome = await writer.ingest({
      body: Buffer.from(JSON.stringify({ processed_devices: [item] })),
      encoding: 'identity',
      strict: false,
      caller: '',
      idempotencyKey: undefined,
    });
    expect(outcome.accepted).toBe(true);
    await writer.close();
    return dataDir;
  }

  function logOf(dataDir: string): [string, Buffer][] {
    const { log } = dataPaths(dataDir);
    return readdirSync(log).map((name) => [name, readFileSync(join(log, name))]);
  }

  it('refuses to open with the log of another directory and does not change that log', async () => {
    const [one, other] = [await dataDirectory(), await dataDirectory()];
    rmSync(dataPaths(one).log, { recursive: true });
    renameSync(dataPaths(other).log, dataPaths(one).log);
    const before = logOf(one);
    expect(() => openWriter(one)).toThrow(/counters of another log/);
    expect(logOf(one)).toEqual(before);
  });

  it('refuses to open without its log and creates none', async () => {
    const dataDir = await dataDirectory();
    rmSync(dataPaths(dataDir).log, { recursive: true });
    expect(() => openWriter(dataDir)).toThrow(/holds no log\..*Restore/);
    expect(logOf(dataDir)).toEqual([]);
  });
});
