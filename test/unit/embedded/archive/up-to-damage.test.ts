import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { beforeEach, describe, expect, it } from 'vitest';

import {
  decodeTail,
  readSegmentName,
  nameOf,
  numberIn,
} from '../../../../src/engines/embedded/archive/archive-objects.ts';
import { verifyArchive } from '../../../../src/engines/embedded/archive/manage/verify-archive.ts';
import { onlyLogId, readArchive } from '../../../../src/engines/embedded/archive/read-archive.ts';
import type { ObjectStore } from '../../../../src/engines/embedded/archive/stores/object-store.ts';
import { dataPaths } from '../../../../src/engines/embedded/data-directory.ts';
import { nodeFileSystem } from '../../../../src/engines/embedded/log/file-system.ts';
import { listSegments } from '../../../../src/engines/embedded/log/segment.ts';
import { areTokensRequired } from '../../../../src/engines/embedded/tokens/token-marker.ts';
import {
  archiveTemplate,
  countersOf,
  namesIn,
  restoreFrom,
  storeArchived,
} from '../../../support/archived-store.ts';
import { auditOf, newDataDirectory, numberedBatches } from '../../../support/embedded-store.ts';

const batches = numberedBatches(75);
/** With merged segments, pieces after them, and claims between. */
const template = archiveTemplate([batches.slice(0, 60), batches.slice(60, 68), batches.slice(68)]);
const { dataDir } = template;
let url: string;
let store: ObjectStore;

beforeEach(async () => {
  ({ url, store } = await template.copy());
});

const pathOf = (name: string) => join(fileURLToPath(url), name);

function flipBit(path: string): void {
  const content = readFileSync(path);
  const at = Math.floor(content.length / 2);
  content.writeUInt8(content.readUInt8(at) ^ 4, at);
  writeFileSync(path, content);
}

/** The part of the log that an object holds, as `from` and `to`; a claim holds none. */
function partIn(name: string): { readonly from: number; readonly to: number } {
  const content = readFileSync(pathOf(name));
  const segment = readSegmentName(name, content.length);
  if (segment !== undefined) return { from: segment.base, to: segment.end };
  const found = decodeTail(content);
  return { from: found.from, to: found.kind === 'piece' ? found.to : found.from };
}

/** The restored segments are a prefix of the log's, byte for byte. Returns the end. */
function expectPrefix(restored: string): number {
  let end = 0;
  for (const { base, path } of listSegments(nodeFileSystem, dataPaths(restored).log)) {
    const original = readFileSync(join(dataPaths(dataDir).log, basename(path)));
    const bytes = readFileSync(path);
    expect(base).toBe(end);
    expect(bytes.equals(original.subarray(0, bytes.length))).toBe(true);
    end = base + bytes.length;
  }
  return end;
}

describe('a damaged archive', () => {
  it.each([
    ['one bit of which is wrong', flipBit],
    ['that is missing', (path: string) => rmSync(path)],
  ])('is restored up to each object %s, if requested', async (_, damage) => {
    const whole = newDataDirectory();
    await restoreFrom(store, whole);
    const wholeEnd = expectPrefix(whole);
    let partial = 0;
    for (const name of await namesIn(store)) {
      const { from, to } = partIn(name);
      const content = readFileSync(pathOf(name));
      damage(pathOf(name));
      const restored = newDataDirectory();
      const failure = await restoreFrom(store, restored).then(
        () => undefined,
        (error: unknown) => String(error),
      );
      const attempt = restoreFrom(store, restored, { isUpToDamage: true });
      if (failure === undefined) await expect(attempt).rejects.toThrow('holds a pipeline already');
      else if (from === 0) {
        const reason = /damaged|missing|no object|no counters/;
        await expect(attempt).rejects.toThrow(reason);
      } else {
        expect(failure).toContain('--up-to-damage');
        const summary = await attempt;
        expect(summary.warnings).toEqual([
          expect.stringMatching(/(?:damaged|missing|no object).*another prefix/),
        ]);
        const end = expectPrefix(restored);
        expect(summary.bytes).toBe(end);
        expect(end).toBeGreaterThanOrEqual(from);
        // The loss of a claim costs no part of the log.
        if (to > from) expect(end).toBeLessThanOrEqual(to);
        else expect(end).toBe(wholeEnd);
        expect(await auditOf(restored)).toEqual([]);
        const counted = Object.values(countersOf(restored)).reduce((sum, one) => sum + one, 0);
        expect(counted).toBeGreaterThan(0);
        partial++;
      }
      writeFileSync(pathOf(name), content);
    }
    expect(partial).toBeGreaterThan(4);
  });

  it('is not continued by a server on what was restored, even if it is repaired', async () => {
    const pieces = await namesIn(store, '/tail/');
    const last = pieces.findLast((name) => partIn(name).to > partIn(name).from) ?? '';
    flipBit(pathOf(last));
    const restored = newDataDirectory();
    await restoreFrom(store, restored, { isUpToDamage: true });
    flipBit(pathOf(last));
    await expect(storeArchived(restored, url, numberedBatches(1))).rejects.toThrow(/prefix/);
  });

  it('of which the tokens are damaged is restored without them, and not served to everyone', async () => {
    const logId = await onlyLogId(store);
    await store.create(`${logId}/tokens/000000000001.zst`, Buffer.from('damaged'));
    const restored = newDataDirectory();
    await expect(restoreFrom(store, restored)).rejects.toThrow(/is damaged\. .*--up-to-damage/);
    const { warnings } = await restoreFrom(store, restored, { isUpToDamage: true });
    expect(warnings).toEqual([expect.stringMatching(/tokens.* damaged.*token create/)]);
    expect(areTokensRequired(dataPaths(restored))).toBe(true);
    expect(countersOf(restored)).toEqual(countersOf(dataDir));
  });

  it('refuses a server that has never written to it, and says what to do', async () => {
    const { logId, claim } = await readArchive(store, await onlyLogId(store));
    rmSync(pathOf(nameOf('tail', logId, claim?.number ?? 0)));
    const restored = newDataDirectory();
    await restoreFrom(store, restored, { isUpToDamage: true });
    await expect(storeArchived(restored, url, [])).rejects.toThrow('use another prefix');
  });

  it('is whole without the claim after which all was merged; only a server needs it', async () => {
    const { segments, logId } = await readArchive(store, await onlyLogId(store));
    const last = segments.at(-1);
    const isAfter = (name: string) => (numberIn('tail', name) ?? -1) > (last?.lastNumber ?? 0);
    for (const name of await namesIn(store, '/tail/')) if (isAfter(name)) rmSync(pathOf(name));
    const claim = nameOf('tail', logId, last?.claimNumber ?? 0);
    flipBit(pathOf(claim));
    const restored = newDataDirectory();
    await expect(restoreFrom(store, restored)).rejects.toThrow('holds no part of the log');
    const { bytes } = await restoreFrom(store, restored, { isUpToDamage: true });
    expect(bytes).toBe(last?.end);
    rmSync(pathOf(claim));
    const { findings } = await verifyArchive({
      ...{ store, logId, isCounting: false, onProgress: () => undefined },
    });
    expect(findings).toMatchObject([
      { detail: expect.stringContaining('no server can continue') as string },
    ]);
  });
});
