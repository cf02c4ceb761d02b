import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { text } from 'node:stream/consumers';

import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import {
  DataDirectoryUnusable,
  dataPaths,
  lockDataDirectory,
} from '../../../src/engines/embedded/data-directory.ts';

const moduleUrl = new URL('../../../src/engines/embedded/data-directory.ts', import.meta.url).href;

let directory: string;
let root: string;
const children: ChildProcess[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'data-directory-'));
  root = join(directory, 'data');
});

afterEach(async () => {
  for (const child of children.splice(0)) await kill(child);
  rmSync(directory, { recursive: true });
});

/** A process of its own that takes the directory, or says why not. */
function startTaker({ before = '', after = '' } = {}) {
  const script = `
    const { lockDataDirectory, dataPaths } = await import(${JSON.stringify(moduleUrl)});
    ${before}
    try {
      lockDataDirectory(dataPaths(${JSON.stringify(root)}));
      console.log('taken');
      ${after}
    } catch (error) {
      console.log(error.name + ': ' + error.message);
    }`;
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  return child;
}

/** A process that holds the directory. */
async function startHolder(): Promise<ChildProcess> {
  const child = startTaker({ after: 'setInterval(() => {}, 1000);' });
  const [first] = (await once(child.stdout, 'data')) as [Buffer];
  expect(String(first)).toBe('taken\n');
  return child;
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, 'exit');
  child.kill('SIGKILL');
  await exit;
}

function refusal(): DataDirectoryUnusable {
  try {
    lockDataDirectory(dataPaths(root)).release();
  } catch (error) {
    if (error instanceof DataDirectoryUnusable) return error;
    throw error;
  }
  throw new Error('the directory was taken');
}

describe('taking a data directory', () => {
  it('makes it, and what is above it, for the owner and the group alone', () => {
    root = join(directory, 'a', 'b', 'data');
    const lock = lockDataDirectory(dataPaths(root));
    expect(statSync(join(root, 'log')).isDirectory()).toBe(true);
    expect(statSync(root).mode & 0o007).toBe(0);
    lock.release();
  });

  it('finds the same places from a relative path', () => {
    expect(dataPaths(relative(process.cwd(), root))).toEqual(dataPaths(root));
  });

  it('says who has it, so that a second process can say so', async () => {
    const lock = lockDataDirectory(dataPaths(root));
    const child = startTaker();
    const said = await text(child.stdout);
    expect(said).toContain('DataDirectoryUnusable: ');
    expect(said).toContain(`${root} is in use by process ${process.pid} (running since 20`);
    expect(said).toContain('--data-dir');
    lock.release();
  });

  it('is refused while another process has it, and that one stays its owner', async () => {
    const holder = await startHolder();
    for (let attempt = 0; attempt < 3; attempt++) {
      expect(refusal().message).toContain(`in use by process ${holder.pid} `);
    }
    // The refused attempts have freed nothing: a third process is refused as well.
    expect(await text(startTaker().stdout)).toContain(`in use by process ${holder.pid} `);
  });

  it('is free again when the process that had it was killed', async () => {
    await kill(await startHolder());
    const lock = lockDataDirectory(dataPaths(root));
    expect(refusal().message).toContain(`in use by process ${process.pid} `);
    lock.release();
  });

  it('is refused twice in one process too, and free after the release', () => {
    const lock = lockDataDirectory(dataPaths(root));
    expect(refusal().message).toContain(`in use by process ${process.pid} `);
    lock.release();
    lockDataDirectory(dataPaths(root)).release();
  });

  it('is refused under another name as well', () => {
    const lock = lockDataDirectory(dataPaths(root));
    const link = join(directory, 'link');
    symlinkSync(root, link);
    root = link;
    expect(refusal().message).toContain('in use by process');
    lock.release();
  });

  it('does without the name of the owner where that cannot be read', () => {
    const lock = lockDataDirectory(dataPaths(root));
    writeFileSync(join(root, 'owner.json'), '{');
    expect(refusal().message).toContain('in use by another process.');
    lock.release();
  });

  it('leaves nothing behind that would hold up the next one', () => {
    for (let round = 0; round < 3; round++) lockDataDirectory(dataPaths(root)).release();
    expect(readdirSync(root).sort()).toEqual(['lock.db', 'log', 'owner.json']);
    const owner: unknown = JSON.parse(readFileSync(join(root, 'owner.json'), 'utf8'));
    expect(owner).toMatchObject({ pid: process.pid });
  });
});

describe('a path that cannot be used', () => {
  it.each([
    ['a file', () => writeFileSync(root, '')],
    [
      'below a file',
      () => {
        writeFileSync(root, '');
        root = join(root, 'data');
      },
    ],
    [
      'with a file where the log belongs',
      () => {
        mkdirSync(root);
        writeFileSync(join(root, 'log'), '');
      },
    ],
  ])('is refused with the reason: %s', (_, prepare) => {
    prepare();
    const { message } = refusal();
    expect(message).toContain(`The data directory ${root} cannot be used: `);
    expect(message).toContain('a part of that path is a file');
    expect(message).toContain('choose another directory with --data-dir');
  });

  it('is refused with SQLite’s reason where the lock cannot be opened', () => {
    mkdirSync(join(root, 'lock.db'), { recursive: true });
    expect(refusal().message).toContain(
      'lock.db in it is not a lock file (unable to open database file)',
    );
  });

  it.each([
    ['what is above it', () => directory],
    ['the directory, with nothing in it', () => makeOpen(root)],
    ['the directory, with all that belongs there', () => makeOpen(root, join(root, 'log'))],
    ['the directory of the log', () => makeOpen(join(root, 'log'), root)],
  ])('is refused where this user may not write to it: %s', async (_, prepare) => {
    const closed = prepare();
    // Permissions do not bind the superuser: the process becomes another user once it has read its code.
    const before = 'if (process.getuid() === 0) { process.setgid(65534); process.setuid(65534); }';
    chmodSync(directory, 0o777);
    chmodSync(closed, 0o555);
    const said = await text(startTaker({ before }).stdout);
    chmodSync(closed, 0o777);
    expect(said).toContain('DataDirectoryUnusable: ');
    expect(said).toContain(`${root} cannot be used: this user may not write there.`);
    expect(existsSync(join(root, 'lock.db'))).toBe(false);
  });
});

/** Directories that any user may write to; returns the first. */
function makeOpen(first: string, ...others: string[]): string {
  for (const each of [first, ...others]) {
    mkdirSync(each, { recursive: true });
    chmodSync(each, 0o777);
  }
  return first;
}
