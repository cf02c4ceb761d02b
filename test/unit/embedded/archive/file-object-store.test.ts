import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { open as openFile, stat, type FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setImmediate } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { explainFileError } from '../../../../src/engines/embedded/archive/stores/file-failures.ts';
import {
  ArchiveUnusable,
  type ObjectStore,
} from '../../../../src/engines/embedded/archive/stores/object-store.ts';
import { openObjectStore } from '../../../../src/engines/embedded/archive/stores/open-object-store.ts';
import { listAll } from '../../../contract/ports/object-store-contract.ts';
import { bytesOf, objectBytes } from '../../../support/processes/create-objects.ts';
import { rounds } from '../../../support/run/tier.ts';

const program = join(import.meta.dirname, '../../../support/processes/create-objects.ts');
const kills = rounds({ what: 'kills while an object is created', quick: 8, nightly: 200 });

let parent: string;
let root: string;
let store: ObjectStore;
beforeEach(async () => {
  parent = mkdtempSync(join(tmpdir(), 'device-pipeline-archive-'));
  root = join(parent, 'backup');
  mkdirSync(root);
  store = await open();
});
afterEach(() => {
  store.close();
  chmodSync(root, 0o700);
  rmSync(parent, { recursive: true, force: true });
});

const open = () => openObjectStore(pathToFileURL(root).href);
const one = Buffer.from('1');

describe('a directory that cannot be used', () => {
  const operations: [string, () => Promise<unknown>][] = [
    ['create', () => store.create('log/one', one)],
    ['get', () => store.get('log/one')],
    ['list', () => listAll(store)],
    ['list below a prefix', () => listAll(store, 'log/o')],
    ['remove', () => store.remove('log/one')],
  ];

  it.each(operations)('is not made by %s', async (_, operate) => {
    rmSync(root, { recursive: true });
    const failure = await failureOf(operate());
    expect(failure).toBeInstanceOf(ArchiveUnusable);
    expect(failure.message).toBe(
      `There is no directory ${root}. Mount its disk, or create the directory; an archive does not create it itself.`,
    );
    expect(existsSync(root)).toBe(false);
    mkdirSync(root);
  });

  it.each(operations)('is not made again by %s', async (_, operate) => {
    await store.create('log/zero', one);
    rmSync(root, { recursive: true });
    await expect(operate()).rejects.toThrow(`There is no directory ${root}. Mount its disk`);
    mkdirSync(root);
    expect(await store.create('log/one', one)).toBe('created');
  });

  it.each(['create', 'get', 'list'])('is refused by %s if it is a file', async (name) => {
    rmSync(root, { recursive: true });
    writeFileSync(root, '');
    const operate = operations.find(([each]) => each === name)?.[1];
    const failure = await failureOf(operate?.());
    expect(failure).toBeInstanceOf(ArchiveUnusable);
    expect(failure.message).toContain(`The archive in ${root} cannot be used: a file is where`);
  });

  it('is refused without the right to write', async () => {
    const failure = await failureOf(asOther('reads', () => store.create('log/one', one)));
    expect(failure).toBeInstanceOf(ArchiveUnusable);
    expect(failure.message).toContain(`The archive in ${root} cannot be used (EACCES`);
    expect(failure.message).toContain('Give the user of this process permission to read and write');
    expect(readdirSync(root)).toEqual([]);
  });

  it('is refused without the right to read', async () => {
    await store.create('log/one', one);
    await expect(asOther('nothing', () => store.get('log/one'))).rejects.toThrow('EACCES');
    await expect(asOther('nothing', () => listAll(store))).rejects.toThrow(ArchiveUnusable);
  });

  it.each([
    ['EPERM', 'link', 'needs hard links'],
    ['ENOTSUP', 'link', 'or an s3:// URL'],
    ['EINVAL', 'fsync', 'directories that can be synced'],
    ['EPERM', 'open', 'permission to read and write'],
    ['EROFS', 'open', 'mounted read-only. Mount it for writing'],
  ])('after %s of %s says what to do', (code, syscall, remedy) => {
    const explained = explainFileError(systemError(code, syscall), '/mnt/backup');
    expect(explained).toBeInstanceOf(ArchiveUnusable);
    expect((explained as Error).message).toContain('/mnt/backup');
    expect((explained as Error).message).toContain(remedy);
  });

  it.each(['EIO', 'ESTALE'])('may be in order again after %s', (code) => {
    const error = systemError(code, 'write');
    expect(explainFileError(error, '/mnt/backup')).toBe(error);
  });

  it.each(['ENOSPC', 'EDQUOT'])('that is full (%s) may have room at the next attempt', (code) => {
    const explained = explainFileError(systemError(code, 'write'), '/mnt/backup');
    expect(explained).not.toBeInstanceOf(ArchiveUnusable);
    expect(String(explained)).toContain('/mnt/backup is full. Free some space');
  });
});

describe('a file that is no object', () => {
  it('is not listed', async () => {
    await store.create('log/one', one);
    mkdirSync(join(root, 'lost+found'), { mode: 0 });
    writeFileSync(join(root, 'log/README.txt'), 'text');
    writeFileSync(join(root, 'log/~8f3a'), 'part');
    expect(await listAll(store)).toEqual([{ name: 'log/one', bytes: 1 }]);
  });

  it.each(['../one', 'log/../one', 'log//one', '/one', 'log/', '', 'log/One', 'log/~one'])(
    'cannot be named: %s',
    async (name) => {
      await expect(store.create(name, one)).rejects.toThrow('Not a name of an object');
      await expect(store.get(name)).rejects.toThrow('Not a name of an object');
      await expect(store.remove(name)).rejects.toThrow('Not a name of an object');
    },
  );

  it.each(['../', 'log/../', '/', 'log//'])('is not found by the prefix %s', async (prefix) => {
    writeFileSync(join(parent, 'one'), 'text');
    await store.create('log/one', one);
    expect(await listAll(store, prefix)).toEqual([]);
  });

  it('goes with the first creation of a process, if an attempt left it a day ago', async () => {
    await store.create('log/one', one);
    for (const name of ['~old', '~young']) writeFileSync(join(root, 'log', name), 'part');
    const daysAgo = new Date(Date.now() - 2 * 86_400_000);
    utimesSync(join(root, 'log/~old'), daysAgo, daysAgo);
    await listAll(store);
    expect(readdirSync(join(root, 'log')).sort()).toEqual(['one', '~old', '~young']);
    expect(await (await open()).create('log/two', one)).toBe('created');
    expect(readdirSync(join(root, 'log')).sort()).toEqual(['one', 'two', '~young']);
  });
});

describe('a creation', () => {
  it('is on disk before it is acknowledged: its bytes, then its name and its directories', async () => {
    const syncs = await recordSyncs();
    expect(await store.create('log/new/one', one)).toBe('created');
    expect(syncs.splice(0)).toEqual(['backup', 'log', 'bytes', 'new with one']);
    expect(await store.create('log/new/two', one)).toBe('created');
    expect(syncs.splice(0)).toEqual(['bytes', 'new with one, two']);
    // Another attempt may have created it, and ended before its sync.
    expect(await (await open()).create('log/new/two', one)).toBe('exists');
    expect(syncs.splice(0)).toEqual(['backup', 'log', 'bytes', 'new with one, two']);
  });
});

describe('a creation that ends half-way', () => {
  it('leaves whole objects only, when the process is killed', async () => {
    for (const round of Array(kills).keys()) {
      const child = spawn(process.execPath, [program, root, 'a']);
      const output = text(child.stdout);
      await once(child.stdout, 'readable');
      while (child.exitCode === null && !(await isWriting())) await setImmediate();
      child.kill('SIGKILL');
      const acknowledged = (await output).split('\n').filter((line) => line.startsWith('a/'));
      const listed = await listAll(store);
      expect(acknowledged, `round ${round}`).not.toEqual([]);
      expect(listed.map(({ name }) => name)).toEqual(expect.arrayContaining(acknowledged));
      for (const { name, bytes } of listed) {
        expect(bytes, name).toBe(objectBytes);
        const content = Buffer.from((await store.get(name)) ?? []);
        expect(content.equals(bytesOf(Number(name.slice(2)))), name).toBe(true);
      }
      rmSync(join(root, 'a'), { recursive: true });
    }
  });

  /** Whether a file does not have its size yet. */
  async function isWriting(): Promise<boolean> {
    const paths = readdirSync(join(root, 'a')).map((name) => join(root, 'a', name));
    const sizes = await Promise.all(paths.map((path) => stat(path).catch(() => undefined)));
    return sizes.some((found) => found !== undefined && found.size < objectBytes);
  }

  it('leaves nothing, when the file may not grow', async () => {
    const limited = [
      '-c',
      'ulimit -f 1000 && exec "$0" "$@"',
      process.execPath,
      program,
      root,
      'a',
    ];
    const child = spawn('sh', limited, { stdio: ['ignore', 'pipe', 'inherit'] });
    expect(await text(child.stdout)).toBe('EFBIG\n');
    expect(await listAll(store)).toEqual([]);
    expect(readdirSync(join(root, 'a'))).toEqual([]);
  });
});

/** What is synced from now on: `bytes`, or the name of a directory and the objects in it. */
async function recordSyncs(): Promise<string[]> {
  const handle = await openFile(root);
  await handle.close();
  const prototype = Object.getPrototypeOf(handle) as FileHandle;
  // oxlint-disable-next-line typescript/unbound-method -- called with its object below
  const { sync } = prototype;
  const syncs: string[] = [];
  vi.spyOn(prototype, 'sync').mockImplementation(async function (this: FileHandle) {
    await sync.call(this);
    const path = readlinkSync(`/proc/self/fd/${this.fd}`);
    if (!(await this.stat()).isDirectory()) return void syncs.push('bytes');
    const objects = readdirSync(path).filter((name) => statSync(join(path, name)).isFile());
    syncs.push(basename(path) + (objects.length > 0 ? ` with ${objects.sort().join(', ')}` : ''));
  });
  return syncs;
}

function systemError(code: string, syscall: string): Error {
  return Object.assign(new Error(`${code}: some reason, ${syscall}`), { code, syscall });
}

async function failureOf(result: Promise<unknown> | undefined): Promise<Error> {
  const reason: unknown = await result?.then(
    () => undefined,
    (error: unknown) => error,
  );
  if (!(reason instanceof Error)) throw new Error('It did not fail');
  return reason;
}

/** Permissions do not bind the superuser, so it becomes another user for the time. */
async function asOther<T>(rights: 'reads' | 'nothing', act: () => Promise<T>): Promise<T> {
  const isRoot = process.geteuid?.() === 0;
  const reads = isRoot ? 0o755 : 0o555;
  chmodSync(parent, 0o755);
  chmodSync(root, rights === 'reads' ? reads : isRoot ? 0o700 : 0);
  if (isRoot) process.seteuid?.('nobody');
  try {
    return await act();
  } finally {
    if (isRoot) process.seteuid?.(0);
    chmodSync(root, 0o700);
  }
}
