import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { beforeEach, describe, expect, it } from 'vitest';

import {
  compress,
  encodePiece,
  segmentName,
  nameOf,
} from '../../../../src/engines/embedded/archive/archive-objects.ts';
import { unneededObjects } from '../../../../src/engines/embedded/archive/manage/unneeded-objects.ts';
import {
  verifyArchive,
  type VerifyReport,
} from '../../../../src/engines/embedded/archive/manage/verify-archive.ts';
import { onlyLogId, readArchive } from '../../../../src/engines/embedded/archive/read-archive.ts';
import type { ObjectStore } from '../../../../src/engines/embedded/archive/stores/object-store.ts';
import {
  archiveTemplate,
  countersOf,
  namesIn,
  newArchive,
  openArchive,
  restoreFrom,
  storeArchived,
} from '../../../support/archived-store.ts';
import { codesOf, newDataDirectory, numberedBatches } from '../../../support/embedded-store.ts';

const batches = numberedBatches(75);
/** With merged segments, pieces after them, and four claims, the last without pieces. */
const template = archiveTemplate([
  ...[batches.slice(0, 60), batches.slice(60, 68), batches.slice(68)],
  [],
]);
const { dataDir } = template;
let url: string;
let store: ObjectStore;
let logId: string;

beforeEach(async () => {
  ({ url, store } = await template.copy());
  logId = await onlyLogId(store);
});

function verify(isCounting = false): Promise<VerifyReport> {
  return verifyArchive({ store, logId, isCounting, onProgress: () => undefined });
}

const pathOf = (name: string) => join(fileURLToPath(url), name);

/** Calls `act` for each object, after `change` has changed it, and undoes the change. */
async function forEachChanged(
  change: (path: string, content: Buffer) => void,
  act: (name: string) => Promise<void>,
): Promise<void> {
  const names = await namesIn(store);
  expect(names.length).toBeGreaterThan(7);
  for (const name of names) {
    const content = readFileSync(pathOf(name));
    change(pathOf(name), content);
    await act(name);
    writeFileSync(pathOf(name), content);
  }
}

async function isRestorable(): Promise<boolean> {
  const restored = newDataDirectory();
  return await restoreFrom(store, restored).then(
    () => true,
    () => false,
  );
}

describe('verify', () => {
  it('finds nothing in a sound archive, and counts what it holds', async () => {
    const { end } = await readArchive(store, logId);
    expect((await readArchive(store, logId)).pieces.length).toBeGreaterThan(1);
    const held = { begin: 0, end, batches: 75, items: 150, deadLetters: 0 };
    expect(await verify()).toMatchObject({ ...held, findings: [] });
    expect(await verify(true)).toMatchObject({ ...held, findings: [] });
  });

  it('names every object of which one bit is wrong', async () => {
    await forEachChanged(
      (path, content) => {
        const bad = Buffer.from(content);
        const at = Math.floor(bad.length / 2);
        bad.writeUInt8(bad.readUInt8(at) ^ 4, at);
        writeFileSync(path, bad);
      },
      async (name) => {
        const { findings } = await verify();
        expect(codesOf(findings)).toEqual(['raw_damaged']);
        expect(findings[0]?.detail).toContain(name);
      },
    );
  });

  it('finds each missing object without which a restore fails', async () => {
    let found = 0;
    await forEachChanged(
      (path) => rmSync(path),
      async (name) => {
        const { findings } = await verify();
        expect(findings.length === 0, name).toBe(await isRestorable());
        found += findings.length;
        for (const { code, detail } of findings) {
          // Nothing says what the first segment counted.
          expect(code).toMatch(/^(?:raw|ledger)_missing$/);
          expect(detail).toMatch(/bytes \d+ to \d+ of the log|begins at byte/);
        }
      },
    );
    expect(found).toBeGreaterThan(3);
  });

  it('finds bytes that are no records, under a checksum that is right', async () => {
    const [name = ''] = await namesIn(store, '/log/');
    const content = Buffer.alloc(4096, 'no records');
    writeFileSync(pathOf(name), compress(content));
    const { findings } = await verify();
    expect(codesOf(findings)).toEqual(['raw_damaged']);
    expect(findings[0]?.detail).toContain(`no valid record at byte 0 of the log in ${name}`);
  });

  it('ignores late pieces of a server that had a successor', async () => {
    const { claim, pieces } = await readArchive(store, logId);
    const [piece] = pieces;
    if (claim === undefined || piece === undefined) throw new Error('few');
    const late = encodePiece({ ...piece, confirmed: claim.number }, Buffer.alloc(64));
    await store.create(nameOf('tail', logId, claim.number + 1), late);
    expect((await verify()).findings).toEqual([]);
  });

  it('finds records of another log', async () => {
    const other = newDataDirectory();
    const otherUrl = newArchive();
    await storeArchived(other, otherUrl, numberedBatches(60));
    const otherStore = await openArchive(otherUrl);
    const [theirs = ''] = await namesIn(otherStore, '/log/');
    const [name = ''] = await namesIn(store, '/log/');
    const object = await otherStore.get(theirs);
    writeFileSync(pathOf(name), object ?? '');
    expect(codesOf((await verify()).findings)).toEqual(['raw_damaged']);
  });
});

describe('what an archive needs no longer', () => {
  /** Puts back what merges remove, and what tokens leave. */
  async function leaveMore(): Promise<string[]> {
    const { segments, pieces } = await readArchive(store, logId);
    const [segment, next] = segments;
    const piece = pieces[0];
    if (segment === undefined || next === undefined || piece === undefined) throw new Error('few');
    const shorter = { ...segment, end: segment.base + 500, lastNumber: segment.lastNumber - 1 };
    const header = { ...piece, base: next.base, from: next.base, to: next.base + 64 };
    const left = {
      [segmentName(logId, shorter)]: compress(Buffer.alloc(500)),
      [nameOf('tail', logId, next.lastNumber)]: encodePiece(header, Buffer.alloc(64)),
      [`${logId}/tokens/000000000001.zst`]: compress(Buffer.from('{}')),
      [`${logId}/tokens/000000000002.zst`]: compress(Buffer.from('{}')),
      [`${logId}/state/0000000000000000.zst`]: compress(Buffer.from('a state')),
    };
    for (const [name, object] of Object.entries(left)) await store.create(name, object);
    return Object.keys(left);
  }

  it('is nothing after a merge that was not interrupted', async () => {
    expect(await unneededObjects(store, logId)).toEqual([]);
  });

  it('can go without any effect on a restore; claims stay', async () => {
    const left = await leaveMore();
    const needed = left.filter((name) => /tokens\/0+2|state/.test(name));
    const unneeded = await unneededObjects(store, logId);
    expect(unneeded.map(({ name }) => name).sort()).toEqual(
      left.filter((name) => !needed.includes(name)).sort(),
    );
    for (const { name } of unneeded) await store.remove(name);
    expect((await verify()).findings).toEqual([]);
    const restored = newDataDirectory();
    await restoreFrom(store, restored);
    expect(countersOf(restored)).toEqual(countersOf(dataDir));
  });

  it('has late pieces of a server that had a successor and cut its log at other places', async () => {
    const { segments, pieces } = await readArchive(store, logId);
    const [segment, next] = segments;
    const [piece] = pieces;
    if (segment === undefined || next === undefined || piece === undefined) throw new Error('few');
    const base = segment.end - 10;
    const name = nameOf('tail', logId, next.lastNumber);
    await store.create(name, encodePiece({ ...piece, base, from: base }, Buffer.alloc(64)));
    expect((await unneededObjects(store, logId)).map((one) => one.name)).toEqual([name]);
  });

  it('stays if the segment that holds the same is damaged', async () => {
    await leaveMore();
    const [segment] = (await readArchive(store, logId)).segments;
    writeFileSync(pathOf(segment?.name ?? ''), 'damaged');
    await expect(unneededObjects(store, logId)).rejects.toThrow('is damaged');
  });
});
