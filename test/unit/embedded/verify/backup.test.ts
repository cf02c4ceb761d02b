import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';

import { beforeEach, describe, expect, it } from 'vitest';

import { backUp } from '../../../../src/engines/embedded/verify/backup.ts';
import { dataPaths } from '../../../../src/engines/embedded/data-directory.ts';
import { changeTokens, readTokenFile } from '../../../../src/engines/embedded/tokens/token-file.ts';
import { errorText } from '../../../../src/entry/cli/error-text.ts';
import { checkBackupDirectory } from '../../../../src/entry/cli/check-directories.ts';
import {
  auditOf,
  newDataDirectory,
  numberedBatches,
  openWriter,
  store,
} from '../../../support/embedded-store.ts';

let dataDir: string;
let directory: string;

beforeEach(() => {
  dataDir = newDataDirectory();
  directory = join(newDataDirectory(), 'backup');
});

const backup = (onProgress: (bytes: number, total: number) => void = () => undefined) =>
  backUp({ dataDir, directory, onProgress });

const segments = (from: string) =>
  readdirSync(dataPaths(from).log).filter((name) => name.endsWith('.log'));

async function expectSound(from: string): Promise<void> {
  expect(await auditOf(from)).toEqual([]);
  // A server starts on it, and continues.
  expect(await store(from, numberedBatches(1))).toHaveLength(1);
  expect(await auditOf(from)).toEqual([]);
}

describe('a backup', () => {
  it('of a directory that is written to has all that was counted, and a server starts on it', async () => {
    await store(dataDir, numberedBatches(60));
    const writer = openWriter(dataDir);
    let stored = 0;
    const send = async () => {
      await writer.ingest({
        body: Buffer.from(JSON.stringify({ processed_devices: numberedBatches(1)[0]?.items })),
        encoding: 'identity',
        strict: false,
        caller: '',
        idempotencyKey: `more-${stored++}`,
      });
    };
    await send();
    const load = { isOver: false };
    const sending = (async () => {
      while (!load.isOver) {
        await send();
        await setImmediate();
      }
    })();
    await backup();
    load.isOver = true;
    await sending;
    expect(stored).toBeGreaterThan(1);
    await expectSound(directory);
    await writer.close();
    expect(segments(directory).length).toBeGreaterThan(2);
    expect(readdirSync(directory)).not.toContain('log.part');
  });

  it('takes the database again where retention has removed what it was to copy', async () => {
    await store(dataDir, numberedBatches(60));
    const later = newDataDirectory();
    cpSync(dataDir, later, { recursive: true });
    const writer = openWriter(later, { keepRawMs: -1000 });
    await expect.poll(() => segments(later).length).toBe(1);
    await writer.close();
    let isRemoved = false;
    await backup(() => {
      if (isRemoved) return;
      isRemoved = true;
      renameSync(dataPaths(later).database, dataPaths(dataDir).database);
      const [kept] = segments(later);
      for (const name of segments(dataDir)) {
        if (name !== kept) rmSync(join(dataPaths(dataDir).log, name));
      }
    });
    expect(isRemoved).toBe(true);
    await expectSound(directory);
  });

  it('has the tokens, and that they are required', async () => {
    await store(dataDir, numberedBatches(1));
    const token = {
      name: 'a',
      sha256: 'a'.repeat(64),
      for: ['read'],
      expiresAt: undefined,
    } as const;
    changeTokens(dataPaths(dataDir), () => [token]);
    expect(await backup()).toMatchObject({ hasTokens: true });
    expect(readTokenFile(dataPaths(directory))).toEqual([token]);
    rmSync(dataPaths(directory).tokens);
    expect(() => readTokenFile(dataPaths(directory))).toThrow(/tokens.json is missing/);
  });

  it('that cannot be created says by the code of the error what to do', async () => {
    await store(dataDir, numberedBatches(1));
    const failure = await backup(() => {
      throw Object.assign(new Error('EACCES: permission denied'), { code: 'EACCES' });
    }).catch((error: unknown) => error);
    expect(errorText(failure)).toMatch(
      /could not be created: EACCES: .* as the user that the server/,
    );
    const unopened = await backup(() => {
      const codes = { code: 'ERR_SQLITE_ERROR', errcode: 14 };
      throw Object.assign(new Error('unable to open database file'), codes);
    }).catch((error: unknown) => error);
    expect(errorText(unopened)).toMatch(/could not be created: unable to open .*ulimit -n/);
  });

  it('of an empty store starts as it does', async () => {
    await store(dataDir, []);
    await backup();
    await expectSound(directory);
  });

  it('leaves nothing on which a server would start where it is cut short', async () => {
    await store(dataDir, numberedBatches(60));
    const cut = (when: number) => {
      let calls = 0;
      return backup(() => {
        if (calls++ < when) return;
        cpSync(directory, `${directory}-killed`, { recursive: true });
        throw new Error('cut short');
      });
    };
    for (const when of [1, 3]) {
      await expect(cut(when)).rejects.toThrow(/could not be created: cut short/);
      expect(readdirSync(directory)).toEqual([]);
      expect(() => openWriter(`${directory}-killed`)).toThrow(/holds no log. Nothing was changed/);
      rmSync(`${directory}-killed`, { recursive: true });
    }
  });

  it('is refused if there is no pipeline', async () => {
    await expect(backup()).rejects.toThrow(/There is no pipeline/);
    expect(existsSync(directory)).toBe(false);
  });
});

describe('the directory of a backup', () => {
  it('is new or empty, and lies elsewhere', () => {
    const check = (path: string) => () => checkBackupDirectory(dataDir, path);
    const parent = join(directory, '..');
    expect(check(directory)).not.toThrow();
    mkdirSync(join(directory, 'lost+found'), { recursive: true });
    expect(check(directory)).not.toThrow();
    writeFileSync(join(directory, 'x'), '');
    expect(check(directory)).toThrow(/is not empty. Choose a new directory/);
    expect(check(join(directory, 'x'))).toThrow(/is a file. Choose a new directory/);
    symlinkSync(dataDir, join(parent, 'link'));
    for (const path of [dataDir, join(dataDir, 'a', 'b'), join(parent, 'link', 'a')]) {
      expect(check(path)).toThrow(/is inside the data directory/);
    }
  });
});
