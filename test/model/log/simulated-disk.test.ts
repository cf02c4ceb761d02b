import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import type { LogFile } from '../../../src/engines/embedded/log/file-system.ts';
import {
  type Fault,
  type Operation,
  PowerCut,
  SimulatedDisk,
  type SimulatedDiskOptions,
} from './simulated-disk.ts';

const sectorBytes = 4;
const path = '/log';

function newDisk(options: Partial<SimulatedDiskOptions> = {}): SimulatedDisk {
  return new SimulatedDisk({ seed: 1, sectorBytes, tornSectors: false, ...options });
}

/** Letters as bytes, and a dot for zero, for readable expectations. */
function bytes(text: string): Uint8Array {
  return Uint8Array.from(text, (letter) => (letter === '.' ? 0 : letter.charCodeAt(0)));
}

function text(content: Uint8Array): string {
  return Array.from(content, (byte) => (byte === 0 ? '.' : String.fromCharCode(byte))).join('');
}

function contentOf(disk: SimulatedDisk, at = path): Uint8Array {
  const file = disk.open(at, 'read');
  const content = new Uint8Array(file.size());
  expect(file.read(content, 0)).toBe(content.length);
  file.close();
  return content;
}

function textOf(disk: SimulatedDisk, at = path): string {
  return text(contentOf(disk, at));
}

/** A file that is durable: its entry and its content. */
function durableFile(disk: SimulatedDisk, content: string, at = path): LogFile {
  const file = disk.open(at, 'create');
  file.write(bytes(content), 0);
  file.sync();
  disk.syncDirectory('/');
  return file;
}

/** All outcomes of a power cut, as far as 400 draws show them. */
function outcomes(disk: SimulatedDisk, observe: (found: SimulatedDisk) => string): Set<string> {
  return new Set(Array.from({ length: 400 }, (_, seed) => observe(disk.powerCut(seed))));
}

function codeOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    if (error instanceof Error && 'code' in error) return String(error.code);
    throw error;
  }
  return 'none';
}

describe('the page cache', () => {
  it('shows every write at once through every handle', () => {
    const disk = newDisk();
    const writer = disk.open(path, 'create');
    const reader = disk.open(path, 'read');
    expect(writer.write(bytes('abcdefghij'), 0)).toBe(10);
    expect(writer.write(bytes('XY'), 3)).toBe(2);
    const target = new Uint8Array(6);
    expect(reader.read(target, 2)).toBe(6);
    expect(text(target)).toBe('cXYfgh');
    expect(reader.read(target, 8)).toBe(2);
    expect(text(target)).toBe('ijYfgh');
    expect(reader.read(target, 10)).toBe(0);
    expect(reader.read(target, 99)).toBe(0);
  });

  it('reads holes, extensions, and regrown parts of a truncated file as zeros', () => {
    const disk = newDisk();
    const file = disk.open(path, 'create');
    file.write(bytes('abcdefgh'), 6);
    expect(textOf(disk)).toBe('......abcdefgh');
    file.truncate(9);
    file.truncate(16);
    expect(textOf(disk)).toBe('......abc.......');
    expect(file.size()).toBe(16);
  });

  it('is not affected when the caller changes its buffer after a write', () => {
    const disk = newDisk();
    const buffer = bytes('abcd');
    disk.open(path, 'create').write(buffer, 0);
    buffer.fill(0);
    expect(textOf(disk)).toBe('abcd');
  });

  it('agrees with an array of bytes under any writes, truncations, syncs and crashes', () => {
    const step = fc.oneof(
      fc.record({
        kind: fc.constant('write' as const),
        offset: fc.nat(30),
        content: fc.uint8Array({ maxLength: 20 }),
      }),
      fc.record({ kind: fc.constant('truncate' as const), length: fc.nat(40) }),
      fc.record({ kind: fc.constantFrom('sync' as const, 'failed sync' as const) }),
      fc.record({ kind: fc.constant('crash' as const) }),
    );
    fc.assert(
      fc.property(fc.array(step), (steps) => {
        let disk = newDisk();
        let file = disk.open(path, 'create');
        let expected: number[] = [];
        for (const step of steps) {
          if (step.kind === 'write') {
            file.write(step.content, step.offset);
            if (step.content.length > 0) {
              while (expected.length < step.offset) expected.push(0);
              expected.splice(step.offset, step.content.length, ...step.content);
            }
          } else if (step.kind === 'truncate') {
            file.truncate(step.length);
            expected = Array.from({ length: step.length }, (_, at) => expected[at] ?? 0);
          } else if (step.kind === 'sync') {
            file.sync();
          } else if (step.kind === 'failed sync') {
            disk.failNext('sync', { error: 'EIO' });
            expect(codeOf(() => file.sync())).toBe('EIO');
          } else {
            disk = disk.crash();
            file = disk.open(path, 'read-write');
          }
          expect([...contentOf(disk)]).toEqual(expected);
        }
      }),
    );
  });
});

describe('names', () => {
  it('get the error codes of the operating system', () => {
    const disk = newDisk();
    disk.createDirectory('/data/segments');
    disk.createDirectory('/data/segments');
    disk.open('/data/log', 'create').close();
    expect(codeOf(() => disk.open('/data/log', 'create'))).toBe('EEXIST');
    expect(codeOf(() => disk.open('/data/none', 'read'))).toBe('ENOENT');
    expect(codeOf(() => disk.open('/data/none', 'read-write'))).toBe('ENOENT');
    expect(codeOf(() => disk.open('/none/log', 'create'))).toBe('ENOENT');
    expect(codeOf(() => disk.open('/data/log/log', 'create'))).toBe('ENOTDIR');
    expect(codeOf(() => disk.open('/data', 'read'))).toBe('EISDIR');
    expect(codeOf(() => disk.remove('/data/none'))).toBe('ENOENT');
    expect(codeOf(() => disk.remove('/data/segments'))).toBe('EISDIR');
    expect(codeOf(() => disk.rename('/data/none', '/data/log'))).toBe('ENOENT');
    expect(codeOf(() => disk.rename('/data/log', '/none/log'))).toBe('ENOENT');
    expect(codeOf(() => disk.rename('/data/log', '/data/segments/log'))).toBe('EXDEV');
    expect(codeOf(() => disk.list('/none'))).toBe('ENOENT');
    expect(codeOf(() => disk.list('/data/log'))).toBe('ENOTDIR');
    expect(codeOf(() => disk.syncDirectory('/none'))).toBe('ENOENT');
    expect(codeOf(() => disk.createDirectory('/data/log'))).toBe('EEXIST');
    expect(codeOf(() => disk.createDirectory('/data/log/below'))).toBe('ENOTDIR');
    expect(disk.list('/data').toSorted()).toEqual(['log', 'segments']);
  });

  it('are listed in no particular order', () => {
    const disk = newDisk();
    for (const name of ['a', 'b', 'c']) disk.open(name, 'create').close();
    const orders = new Set(Array.from({ length: 100 }, () => disk.list('/').join('')));
    expect(orders).toEqual(new Set(['abc', 'acb', 'bac', 'bca', 'cab', 'cba']));
  });

  it('may be removed while the file is open and reused for another file', () => {
    const disk = newDisk();
    const old = durableFile(disk, 'old');
    disk.remove(path);
    expect(disk.list('/')).toEqual([]);
    disk.open(path, 'create').write(bytes('new!'), 0);
    expect(old.size()).toBe(3);
    expect(textOf(disk)).toBe('new!');
  });

  it('may be given to another file, which replaces the previous one', () => {
    const disk = newDisk();
    const old = durableFile(disk, 'old!');
    const file = durableFile(disk, 'new', '/next');
    disk.rename('/next', path);
    expect(disk.list('/')).toEqual(['log']);
    expect(textOf(disk)).toBe('new');
    file.write(bytes('s'), 3);
    expect(textOf(disk)).toBe('news');
    expect(old.size()).toBe(4);
  });

  it('open handles that keep their mode and fail after they are closed', () => {
    const disk = newDisk();
    const file = durableFile(disk, 'abcd');
    const reader = disk.open(path, 'read');
    expect(codeOf(() => reader.write(bytes('x'), 0))).toBe('EBADF');
    expect(codeOf(() => reader.truncate(0))).toBe('EBADF');
    file.close();
    expect(codeOf(() => file.size())).toBe('EBADF');
    expect(codeOf(() => file.close())).toBe('EBADF');
    expect(reader.size()).toBe(4);
  });
});

describe('a power cut, for a file', () => {
  it('keeps synced bytes', () => {
    const disk = newDisk({ tornSectors: true });
    durableFile(disk, 'abcdefghij');
    expect(outcomes(disk, textOf)).toEqual(new Set(['abcdefghij']));
  });

  it('keeps, loses, reorders and tears an unsynced write at sector boundaries', () => {
    const disk = newDisk();
    const file = durableFile(disk, 'aaaabbbb');
    file.write(bytes('AAAABBBB'), 0);
    expect(outcomes(disk, textOf)).toEqual(
      new Set(['aaaabbbb', 'AAAABBBB', 'AAAAbbbb', 'aaaaBBBB']),
    );
  });

  it('may keep an earlier write of a sector instead of a later one', () => {
    const disk = newDisk();
    const file = durableFile(disk, 'aaaa');
    file.write(bytes('bbbb'), 0);
    file.write(bytes('cccc'), 0);
    expect(outcomes(disk, textOf)).toEqual(new Set(['aaaa', 'bbbb', 'cccc']));
  });

  it('takes a sector from the cache as a whole, never a later part without the earlier one', () => {
    const disk = newDisk();
    const file = durableFile(disk, 'aaaa');
    file.write(bytes('b'), 0);
    file.write(bytes('c'), 1);
    expect(outcomes(disk, textOf)).toEqual(new Set(['aaaa', 'baaa', 'bcaa']));
  });

  it('chooses the length independently of the data', () => {
    const disk = newDisk();
    const file = durableFile(disk, 'aaaa');
    file.write(bytes('bbbbcc'), 4);
    expect(outcomes(disk, textOf)).toEqual(
      new Set(['aaaa', 'aaaa......', 'aaaabbbb..', 'aaaa....cc', 'aaaabbbbcc']),
    );
  });

  it('often keeps all or none of many writes, or only data or length', () => {
    const disk = newDisk();
    const file = disk.open(path, 'create');
    disk.syncDirectory('/');
    file.write(new Uint8Array(1000).fill(1), 0);
    const found = outcomes(disk, (disk) => {
      const content = contentOf(disk);
      return `${content.length}: ${new Set(content).size === 1 ? content[0] : 'mixed'}`;
    });
    for (const known of ['1000: 1', '1000: 0', '1000: mixed']) expect(found).toContain(known);
    expect(outcomes(disk, (disk) => `${contentOf(disk).length}`)).toEqual(new Set(['0', '1000']));
  });

  it('leaves nothing beyond the end that a later extension could show again', () => {
    const disk = newDisk();
    durableFile(disk, 'aa').write(bytes('bbbbbb'), 2);
    const found = outcomes(disk, (disk) => {
      const file = disk.open(path, 'read-write');
      const length = file.size();
      file.truncate(8);
      return `${length} ${textOf(disk)}`;
    });
    const short = [...found].filter((content) => content.startsWith('2'));
    expect(short).toEqual(['2 aa......']);
  });

  it('may undo a truncation and cut off the growth after it', () => {
    const disk = newDisk();
    const file = durableFile(disk, 'aaaabbbb');
    file.truncate(2);
    expect(outcomes(disk, textOf)).toEqual(new Set(['aaaabbbb', 'aa..bbbb', 'aa']));
    const other = newDisk();
    const grown = durableFile(other, 'aaaabbbb');
    grown.truncate(0);
    grown.write(bytes('cccc'), 0);
    expect(outcomes(other, textOf)).toEqual(new Set(['aaaabbbb', 'ccccbbbb', '', '....', 'cccc']));
  });

  it('tears within a sector only if asked to, and only bytes that were written', () => {
    const disk = newDisk({ sectorBytes: 8, tornSectors: true });
    const file = durableFile(disk, 'aaaaaaaa');
    file.write(bytes('bbb'), 3);
    const found = outcomes(disk, textOf);
    for (const known of ['aaaaaaaa', 'aaabbbaa', 'aaabaaaa', 'aaabbaaa']) {
      expect(found).toContain(known);
    }
    const garbage = [...found].filter((content) => !/^[ab]*$/.test(content));
    expect(garbage.length).toBeGreaterThan(10);
    for (const content of found) expect(content).toMatch(/^aaa[^]{3}aa$/);
  });

  it('never damages a byte or a length that is unchanged since its sync', () => {
    const step = fc.oneof(
      fc.record({
        kind: fc.constant('write' as const),
        offset: fc.nat(40),
        length: fc.integer({ min: 1, max: 20 }),
      }),
      fc.record({ kind: fc.constant('truncate' as const), length: fc.nat(50) }),
      fc.record({ kind: fc.constant('sync' as const) }),
      fc.record({ kind: fc.constant('crash' as const) }),
      fc.record({ kind: fc.constant('power cut' as const) }),
    );
    const disks = { sectorBytes: 8, tornSectors: true };
    fc.assert(
      fc.property(fc.array(step, { maxLength: 25 }), fc.nat(), (steps, seed) => {
        let disk = newDisk({ ...disks, seed });
        let file = durableFile(disk, '');
        let value = 0;
        /** The required byte by offset; undefined if a write or a truncation is not synced. */
        let safe: (number | undefined)[] = [];
        for (const step of [...steps, { kind: 'power cut' as const }]) {
          if (step.kind === 'write') {
            value = (value % 255) + 1;
            const from = Math.min(step.offset, file.size());
            file.write(new Uint8Array(step.length).fill(value), step.offset);
            for (let at = from; at < step.offset + step.length; at++) {
              // A gap before the write is uncertain, too, but not the bytes before the gap.
              if (at >= step.offset || at >= safe.length) safe[at] = undefined;
            }
          } else if (step.kind === 'truncate') {
            file.truncate(step.length);
            safe = safe.slice(0, step.length);
            while (safe.length < step.length) safe.push(undefined);
          } else if (step.kind === 'sync') {
            file.sync();
            safe = [...contentOf(disk)];
          } else if (step.kind === 'crash') {
            disk = disk.crash();
            file = disk.open(path, 'read-write');
          } else {
            disk = disk.powerCut();
            const found = contentOf(disk);
            for (const [at, byte] of safe.entries()) {
              if (byte !== undefined) expect(found[at], `byte ${at}`).toBe(byte);
            }
            file = disk.open(path, 'read-write');
            safe = [...found];
          }
        }
      }),
      { numRuns: 1000 },
    );
  });

  it('leaves a disk on which everything found is durable', () => {
    const disk = newDisk({ tornSectors: true });
    durableFile(disk, 'aaaa').write(bytes('bbbbbbbbbb'), 2);
    for (let seed = 0; seed < 50; seed++) {
      const found = disk.powerCut(seed);
      const content = textOf(found);
      expect(outcomes(found.crash(), textOf)).toEqual(new Set([content]));
    }
  });

  it('leaves a disk on which later writes are unsynced again', () => {
    const disk = newDisk();
    durableFile(disk, 'aaaa').close();
    for (const found of [disk.powerCut(), disk.crash()]) {
      found.open(path, 'read-write').write(bytes('bbbb'), 0);
      found.open('/new', 'create').close();
      const observe = (disk: SimulatedDisk) => `${textOf(disk)} ${disk.list('/').length}`;
      expect(outcomes(found, observe)).toEqual(new Set(['aaaa 1', 'aaaa 2', 'bbbb 1', 'bbbb 2']));
    }
  });
});

describe('a power cut, for a directory', () => {
  const names = (disk: SimulatedDisk) => disk.list('/').toSorted().join(' ');

  it('may lose a file and its synced content if the directory was not synced', () => {
    const disk = newDisk();
    const file = disk.open(path, 'create');
    file.write(bytes('abcd'), 0);
    file.sync();
    expect(outcomes(disk, names)).toEqual(new Set(['', 'log']));
    const found = outcomes(disk, (disk) => (names(disk) === '' ? 'lost' : textOf(disk)));
    expect(found).toEqual(new Set(['lost', 'abcd']));
  });

  it('keeps the entry but not the content if only the directory was synced', () => {
    const disk = newDisk();
    disk.open(path, 'create').write(bytes('abcd'), 0);
    disk.syncDirectory('/');
    expect(outcomes(disk, textOf)).toEqual(new Set(['', '....', 'abcd']));
  });

  it('may undo a removal until the directory is synced', () => {
    const disk = newDisk();
    durableFile(disk, 'abcd').close();
    disk.remove(path);
    const after = disk.crash();
    expect(outcomes(after, (disk) => (names(disk) === '' ? 'gone' : textOf(disk)))).toEqual(
      new Set(['gone', 'abcd']),
    );
    const synced = newDisk();
    durableFile(synced, 'abcd').close();
    synced.remove(path);
    synced.syncDirectory('/');
    expect(outcomes(synced, names)).toEqual(new Set(['']));
  });

  it('keeps creations and removals independently of each other', () => {
    const disk = newDisk();
    durableFile(disk, '', '/a').close();
    disk.open('/b', 'create').close();
    disk.remove('/a');
    expect(outcomes(disk, names)).toEqual(new Set(['', 'a', 'b', 'a b']));
  });

  it('may bring back the old file under a name that was given to a new one', () => {
    const disk = newDisk();
    durableFile(disk, 'old!').close();
    disk.remove(path);
    const file = disk.open(path, 'create');
    file.write(bytes('new!'), 0);
    file.sync();
    const observe = (disk: SimulatedDisk) => (names(disk) === '' ? 'gone' : textOf(disk));
    expect(outcomes(disk, observe)).toEqual(new Set(['gone', 'old!', 'new!']));
  });

  it('keeps a renaming as a whole or not at all until the directory is synced', () => {
    const disk = newDisk();
    durableFile(disk, 'old!').close();
    durableFile(disk, 'new!', '/next').close();
    disk.rename('/next', path);
    const observe = (disk: SimulatedDisk) => `${names(disk)}: ${textOf(disk)}`;
    const after = disk.crash();
    expect(outcomes(after, observe)).toEqual(new Set(['log next: old!', 'log: new!']));
    const synced = newDisk();
    durableFile(synced, 'old!').close();
    durableFile(synced, 'new!', '/next').close();
    synced.rename('/next', path);
    synced.syncDirectory('/');
    expect(outcomes(synced, observe)).toEqual(new Set(['log: new!']));
  });

  it('may lose unsynced content of a renamed file', () => {
    const disk = newDisk();
    durableFile(disk, 'old!').close();
    disk.open('/next', 'create').write(bytes('new!'), 0);
    disk.rename('/next', path);
    disk.syncDirectory('/');
    expect(outcomes(disk, textOf)).toEqual(new Set(['', '....', 'new!']));
  });

  it('may lose a directory and its content until its parent is synced', () => {
    const disk = newDisk({ root: '/srv' });
    disk.createDirectory('/srv/data');
    disk.open('/srv/data/log', 'create').sync();
    disk.syncDirectory('/srv/data');
    const list = (disk: SimulatedDisk) => disk.list('/srv').join();
    const before = disk.crash();
    expect(outcomes(before, list)).toEqual(new Set(['', 'data']));
    const synced = newDisk({ root: '/srv' });
    synced.createDirectory('/srv/data');
    synced.syncDirectory('/srv');
    expect(outcomes(synced, list)).toEqual(new Set(['data']));
  });

  it('never affects a name that is unchanged since its sync', () => {
    const name = fc.constantFrom('a', 'b', 'c', 'd');
    const step = fc.record({ kind: fc.constantFrom('toggle', 'toggle', 'sync', 'crash'), name });
    fc.assert(
      fc.property(fc.array(step), fc.nat(), (steps, seed) => {
        let disk = newDisk({ seed });
        const synced = new Set<string>();
        const changed = new Set<string>();
        for (const { kind, name } of steps) {
          if (kind === 'crash') disk = disk.crash();
          else if (kind === 'sync') {
            disk.syncDirectory('/');
            synced.clear();
            for (const name of disk.list('/')) synced.add(name);
            changed.clear();
          } else {
            changed.add(name);
            if (disk.list('/').includes(name)) disk.remove(name);
            else disk.open(name, 'create').close();
          }
        }
        const found = disk.powerCut().list('/');
        for (const name of ['a', 'b', 'c', 'd']) {
          if (!changed.has(name)) expect(found.includes(name)).toBe(synced.has(name));
        }
      }),
    );
  });
});

describe('a killed process', () => {
  it('leaves everything readable as before, and unsynced bytes unsynced', () => {
    const disk = newDisk();
    durableFile(disk, 'aaaa').write(bytes('bbbb'), 0);
    disk.open('/new', 'create').close();
    const found = disk.crash();
    expect(textOf(found)).toBe('bbbb');
    expect(found.list('/').toSorted()).toEqual(['log', 'new']);
    const observe = (disk: SimulatedDisk) => `${textOf(disk)} ${disk.list('/').length}`;
    expect(outcomes(found, observe)).toEqual(new Set(['aaaa 1', 'aaaa 2', 'bbbb 1', 'bbbb 2']));
  });

  it('leaves writes that the next process can sync', () => {
    const disk = newDisk();
    durableFile(disk, 'aaaa').write(bytes('bbbb'), 0);
    const found = disk.crash();
    found.open(path, 'read-write').sync();
    expect(outcomes(found, textOf)).toEqual(new Set(['bbbb']));
  });
});

describe('a dead disk', () => {
  it.each(['powerCut', 'crash'] as const)('throws at every use after %s', (end) => {
    const disk = newDisk();
    const file = durableFile(disk, 'aaaa');
    const found = disk[end]();
    const uses = [
      () => disk.list('/'),
      () => disk.open(path, 'read'),
      () => disk.open('/new', 'create'),
      () => disk.remove(path),
      () => disk.createDirectory('/data'),
      () => disk.syncDirectory('/'),
      () => file.size(),
      () => file.read(new Uint8Array(1), 0),
      () => file.write(bytes('b'), 0),
      () => file.truncate(0),
      () => file.sync(),
      () => file.close(),
    ];
    for (const use of uses) expect(use).toThrow(PowerCut);
    expect(textOf(found)).toBe('aaaa');
    found.open(path, 'read-write').write(bytes('c'), 0);
    expect(textOf(disk[end]())).toBe('aaaa');
  });
});

describe('a failed sync', () => {
  it('leaves the writes readable but marked clean, so that a later sync does not save them', () => {
    const disk = newDisk();
    const file = durableFile(disk, 'aaaabbbb');
    file.write(bytes('AAAA'), 0);
    disk.failNext('sync', { error: 'EIO' });
    expect(codeOf(() => file.sync())).toBe('EIO');
    file.sync();
    expect(textOf(disk)).toBe('AAAAbbbb');
    const next = disk.crash();
    next.open(path, 'read-write').sync();
    expect(textOf(next)).toBe('AAAAbbbb');
    expect(outcomes(next, textOf)).toEqual(new Set(['aaaabbbb', 'AAAAbbbb']));
  });

  it('is repaired by writing again and syncing', () => {
    const disk = newDisk();
    const file = durableFile(disk, 'aaaa');
    file.write(bytes('bbbbcccc'), 4);
    disk.failNext('sync', { error: 'EIO' });
    expect(codeOf(() => file.sync())).toBe('EIO');
    file.write(bytes('cccc'), 8);
    file.sync();
    // The first sector is uncertain still: it may have been written or not.
    expect(outcomes(disk, textOf)).toEqual(new Set(['aaaa....cccc', 'aaaabbbbcccc']));
    const again = newDisk();
    const other = durableFile(again, 'aaaabbbb');
    other.truncate(0);
    again.failNext('sync', { error: 'EIO' });
    expect(codeOf(() => other.sync())).toBe('EIO');
    other.write(bytes('cccc'), 0);
    other.sync();
    expect(outcomes(again, textOf)).toEqual(new Set(['cccc']));
  });

  it('leaves the length and a truncation uncertain, too', () => {
    const disk = newDisk();
    const file = durableFile(disk, 'aaaabbbb');
    file.truncate(4);
    disk.failNext('sync', { error: 'EIO' });
    expect(codeOf(() => file.sync())).toBe('EIO');
    file.sync();
    expect(outcomes(disk, textOf)).toEqual(new Set(['aaaabbbb', 'aaaa']));
  });

  it('adds to what an earlier failure left uncertain', () => {
    const disk = newDisk();
    const file = durableFile(disk, 'aaaabbbb');
    for (const offset of [0, 4]) {
      file.write(bytes('cccc'), offset);
      disk.failNext('sync', { error: 'EIO' });
      expect(codeOf(() => file.sync())).toBe('EIO');
    }
    expect(outcomes(disk, textOf)).toEqual(
      new Set(['aaaabbbb', 'ccccbbbb', 'aaaacccc', 'cccccccc']),
    );
  });

  it('shows nothing again in a part that was truncated, regrown and synced after it', () => {
    const disk = newDisk();
    const file = durableFile(disk, 'aaaabbbb');
    file.write(bytes('cccc'), 4);
    file.truncate(2);
    disk.failNext('sync', { error: 'EIO' });
    expect(codeOf(() => file.sync())).toBe('EIO');
    file.truncate(0);
    file.truncate(8);
    file.sync();
    expect(outcomes(disk, textOf)).toEqual(new Set(['........']));
    const other = newDisk();
    const grown = durableFile(other, 'aaaabbbb');
    grown.truncate(0);
    other.failNext('sync', { error: 'EIO' });
    expect(codeOf(() => grown.sync())).toBe('EIO');
    grown.truncate(8);
    grown.sync();
    expect(outcomes(other, textOf)).toEqual(new Set(['........']));
  });

  it('never affects bytes that were written again and synced after it', () => {
    const step = fc.oneof(
      fc.record({
        kind: fc.constant('write' as const),
        offset: fc.nat(30),
        length: fc.integer({ min: 1, max: 12 }),
      }),
      fc.record({ kind: fc.constant('truncate' as const), length: fc.nat(40) }),
      fc.record({ kind: fc.constantFrom('sync' as const, 'failed sync' as const) }),
    );
    fc.assert(
      fc.property(fc.array(step), fc.array(step), fc.nat(), (before, after, seed) => {
        const disk = newDisk({ seed, tornSectors: true });
        const file = durableFile(disk, '');
        for (const step of [...before, ...after]) {
          if (step.kind === 'write') file.write(new Uint8Array(step.length).fill(1), step.offset);
          else if (step.kind === 'truncate') file.truncate(step.length);
          else if (step.kind === 'sync') file.sync();
          else {
            disk.failNext('sync', { error: 'EIO' });
            expect(codeOf(() => file.sync())).toBe('EIO');
          }
        }
        file.write(bytes('synced'), 10);
        file.sync();
        const found = contentOf(disk.powerCut());
        expect(text(found.subarray(10, 16))).toBe('synced');
      }),
      { numRuns: 1000 },
    );
  });

  it('leaves the entries of a directory uncertain until they are created again and synced', () => {
    const disk = newDisk();
    disk.open('/a', 'create').close();
    disk.failNext('syncDirectory', { error: 'EIO' });
    expect(codeOf(() => disk.syncDirectory('/'))).toBe('EIO');
    disk.syncDirectory('/');
    const next = disk.crash();
    expect(outcomes(next, (disk) => disk.list('/').join())).toEqual(new Set(['', 'a']));
    const other = newDisk();
    durableFile(other, '', '/a').close();
    other.remove('/a');
    other.failNext('syncDirectory', { error: 'EIO' });
    expect(codeOf(() => other.syncDirectory('/'))).toBe('EIO');
    other.open('/a', 'create').close();
    other.syncDirectory('/');
    expect(outcomes(other, (disk) => disk.list('/').join())).toEqual(new Set(['a']));
  });
});

describe('faults', () => {
  it('look like the errors of Node', () => {
    const disk = newDisk();
    const file = disk.open(path, 'create');
    disk.failNext('write', { error: 'ENOSPC' });
    expect(() => file.write(bytes('a'), 0)).toThrow(
      expect.objectContaining({
        message: 'ENOSPC: no space left on device, write',
        code: 'ENOSPC',
        syscall: 'write',
        path,
      }),
    );
  });

  it('can hit any kind of operation, which is then not executed', () => {
    const disk = newDisk();
    const file = durableFile(disk, 'aaaa');
    const uses: [Operation['kind'], () => unknown][] = [
      ['open', () => disk.open(path, 'read')],
      ['create', () => disk.open('/new', 'create')],
      ['remove', () => disk.remove(path)],
      ['rename', () => disk.rename(path, '/renamed')],
      ['list', () => disk.list('/')],
      ['createDirectory', () => disk.createDirectory('/data')],
      ['syncDirectory', () => disk.syncDirectory('/')],
      ['read', () => file.read(new Uint8Array(1), 0)],
      ['write', () => file.write(bytes('b'), 0)],
      ['truncate', () => file.truncate(0)],
      ['sync', () => file.sync()],
    ];
    for (const [kind, use] of uses) {
      disk.failNext(kind, { error: 'EACCES' });
      expect(codeOf(use), kind).toBe('EACCES');
    }
    expect(disk.list('/')).toEqual(['log']);
    expect(textOf(disk)).toBe('aaaa');
  });

  it('can cut a write short, and the next one can fail', () => {
    const disk = newDisk();
    const file = disk.open(path, 'create');
    disk.failNext('write', { shortWriteBytes: 5 });
    disk.failNext('write', { error: 'EIO' });
    expect(file.write(bytes('abcdefgh'), 0)).toBe(5);
    expect(codeOf(() => file.write(bytes('fgh'), 5))).toBe('EIO');
    expect(textOf(disk)).toBe('abcde');
    expect(file.write(bytes('fgh'), 5)).toBe(3);
    disk.failNext('sync', { shortWriteBytes: 1 });
    expect(() => file.sync()).toThrow(TypeError);
  });

  it('are decided by a hook that is called before every operation', () => {
    const disk = newDisk();
    const seen: Operation[] = [];
    disk.onOperation((operation) => {
      seen.push(operation);
      return operation.index === 2 ? { error: 'EIO' } : undefined;
    });
    const file = disk.open(path, 'create');
    file.write(bytes('a'), 0);
    expect(codeOf(() => file.sync())).toBe('EIO');
    file.sync();
    disk.syncDirectory('/');
    expect(seen).toEqual([
      { kind: 'create', path, index: 0 },
      { kind: 'write', path, index: 1 },
      { kind: 'sync', path, index: 2 },
      { kind: 'sync', path, index: 3 },
      { kind: 'syncDirectory', path: '/', index: 4 },
    ]);
    expect(disk.operations).toBe(5);
    expect(disk.syncPoints).toEqual([3, 4]);
    disk.onOperation(undefined);
    disk.list('/');
    expect(seen).toHaveLength(5);
  });
});

describe('a power cut at an operation', () => {
  /** Writes one sector and syncs it repeatedly; returns how many syncs succeeded. */
  function append(disk: SimulatedDisk): number {
    let synced = 0;
    try {
      const file = disk.open(path, 'create');
      disk.syncDirectory('/');
      for (const letter of 'abc') {
        file.write(bytes(letter.repeat(sectorBytes)), synced * sectorBytes);
        file.sync();
        synced++;
      }
    } catch (error) {
      if (!(error instanceof PowerCut)) throw error;
    }
    return synced;
  }

  it.each<[Fault, string[]]>([
    ['powerCutBefore', ['aaaa']],
    ['powerCutAfter', ['bbbb']],
  ])('comes before or after it, as the fault says (%s)', (fault, expected) => {
    const disk = newDisk();
    const file = durableFile(disk, 'aaaa');
    file.write(bytes('bbbb'), 0);
    const next = disk.crash();
    const reopened = next.open(path, 'read-write');
    next.failNext('sync', fault);
    expect(() => reopened.sync()).toThrow(PowerCut);
    expect(() => reopened.size()).toThrow(PowerCut);
    expect(() => next.list('/')).toThrow(PowerCut);
    const found = outcomes(next, textOf);
    expect(found).toEqual(new Set([...expected, 'bbbb']));
  });

  it('replaces an error that the operation would have had', () => {
    const disk = newDisk();
    disk.failNext('remove', 'powerCutAfter');
    expect(() => disk.remove('/none')).toThrow(PowerCut);
  });

  it('can be a killed process instead', () => {
    const disk = newDisk();
    const file = durableFile(disk, 'aaaa');
    disk.failNext('write', 'powerCutAfter');
    expect(() => file.write(bytes('bbbb'), 0)).toThrow(PowerCut);
    expect(textOf(disk.crash())).toBe('bbbb');
  });

  it('can hit each operation in turn and never loses bytes whose sync succeeded', () => {
    const whole = newDisk();
    expect(append(whole)).toBe(3);
    expect(whole.syncPoints).toEqual([1, 3, 5, 7]);
    for (const fault of ['powerCutBefore', 'powerCutAfter'] as const) {
      for (let cutAt = 0; cutAt < whole.operations; cutAt++) {
        const disk = newDisk({ seed: cutAt, tornSectors: true });
        disk.onOperation(({ index }) => (index === cutAt ? fault : undefined));
        const synced = append(disk);
        expect(disk.operations).toBe(cutAt + 1);
        if (synced === 0) continue;
        expect(textOf(disk.powerCut())).toMatch(
          new RegExp(`^${'aaaabbbbcccc'.slice(0, synced * 4)}`),
        );
      }
    }
  });
});

describe('a full disk', () => {
  it('accepts writes that fit, then none until there is space again', () => {
    const disk = newDisk({ capacityBytes: 15 });
    const file = durableFile(disk, 'aaaaa');
    expect(disk.usedBytes).toBe(8);
    expect(file.write(bytes('bbbbbbbbbb'), 5)).toBe(7);
    expect(disk.usedBytes).toBe(12);
    expect(codeOf(() => file.write(bytes('bbb'), 12))).toBe('ENOSPC');
    expect(textOf(disk)).toBe('aaaaabbbbbbb');
    disk.capacityBytes = 16;
    expect(file.write(bytes('bbb'), 12)).toBe(3);
  });

  it('still accepts writes to allocated space, creations and extensions', () => {
    const disk = newDisk({ capacityBytes: 8 });
    const file = durableFile(disk, 'aaaaaaaa');
    expect(file.write(bytes('bbbb'), 2)).toBe(4);
    file.truncate(20);
    expect(file.size()).toBe(20);
    const other = disk.open('/other', 'create');
    expect(codeOf(() => other.write(bytes('c'), 0))).toBe('ENOSPC');
  });

  it('gets space from truncated files, and from removed ones once they are closed', () => {
    const disk = newDisk({ capacityBytes: 12 });
    const file = durableFile(disk, 'aaaabbbb');
    file.truncate(4);
    expect(disk.usedBytes).toBe(4);
    disk.remove(path);
    expect(disk.usedBytes).toBe(4);
    file.close();
    expect(disk.usedBytes).toBe(0);
  });

  it('is as full after a crash', () => {
    const disk = newDisk({ capacityBytes: 4 });
    durableFile(disk, 'aaaa').close();
    for (const found of [disk.powerCut(), disk.crash()]) {
      const file = found.open(path, 'read-write');
      expect(codeOf(() => file.write(bytes('b'), 4))).toBe('ENOSPC');
    }
  });
});

describe('random decisions', () => {
  function run(seed: number): string {
    let disk = newDisk({ seed, tornSectors: true });
    let seen = '';
    for (let round = 0; round < 5; round++) {
      for (const name of ['a', 'b', 'c']) {
        const file = disk.open(name, disk.list('/').includes(name) ? 'read-write' : 'create');
        file.write(bytes('abcdefghijklmnopq'), round * 5);
      }
      disk = disk.powerCut();
      seen += disk
        .list('/')
        .map((name) => `${name}:${textOf(disk, name)}`)
        .join();
    }
    return seen;
  }

  it('follow from the seed alone', () => {
    const runs = Array.from({ length: 50 }, (_, seed) => run(seed));
    expect(runs).toEqual(Array.from({ length: 50 }, (_, seed) => run(seed)));
    expect(new Set(runs).size).toBe(50);
  });

  it('differ in each query of a disk, unless a seed is given', () => {
    const disk = newDisk();
    durableFile(disk, 'aaaabbbbccccdddd').write(bytes('AAAABBBBCCCCDDDD'), 0);
    const drawn = new Set(Array.from({ length: 200 }, () => textOf(disk.powerCut())));
    expect(drawn.size).toBeGreaterThan(8);
    expect(textOf(disk.powerCut(7))).toBe(textOf(disk.powerCut(7)));
  });
});
