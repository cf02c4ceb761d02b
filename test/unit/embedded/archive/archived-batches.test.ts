import { beforeEach, describe, expect, it } from 'vitest';

import { asWritten } from '../../../../src/domain/day.ts';
import {
  encodeClaim,
  encodePiece,
  nameOf,
} from '../../../../src/engines/embedded/archive/archive-objects.ts';
import {
  openArchivedBatches,
  type ArchivedBatch,
} from '../../../../src/engines/embedded/archive/manage/archived-batches.ts';
import { onlyLogId } from '../../../../src/engines/embedded/archive/read-archive.ts';
import type { ObjectStore } from '../../../../src/engines/embedded/archive/stores/object-store.ts';
import { encodeFrame, frameLength } from '../../../../src/engines/embedded/log/frame.ts';
import { headerOf, saltOfLog } from '../../../../src/engines/embedded/log/segment.ts';
import {
  namesIn,
  newArchive,
  openArchive,
  storeArchived,
} from '../../../support/archived-store.ts';
import { rawBatches, type StoredBody } from '../../../../src/engines/embedded/store/raw-batches.ts';
import { newDataDirectory, numberedBatches } from '../../../support/embedded-store.ts';

let url: string;
let store: ObjectStore;

beforeEach(async () => {
  url = newArchive();
  store = await openArchive(url);
});

async function read(from: ObjectStore): Promise<ArchivedBatch[]> {
  const batches = await openArchivedBatches(from, await onlyLogId(store));
  return await Array.fromAsync(batches.read());
}

const shown = ({ batch }: { batch?: StoredBody }) =>
  batch && [batch.rawKey, batch.idempotencyKey, batch.logId, Buffer.from(batch.body).toString()];

/** A store that lacks an object for some requests, or after an act. */
function without(name: string, requests: number, act = () => Promise.resolve()): ObjectStore {
  return {
    ...{ url: store.url, create: store.create.bind(store), list: store.list.bind(store) },
    ...{ remove: store.remove.bind(store), close: () => undefined },
    async get(asked) {
      if (asked !== name || requests-- <= 0) return await store.get(asked);
      await act();
      return undefined;
    },
  };
}

describe('the batches of an archive', () => {
  it('come in the order of the log, each once, also if a merge replaces an object meanwhile', async () => {
    const dataDir = newDataDirectory();
    await storeArchived(dataDir, url, numberedBatches(70));
    const stored = [...rawBatches(dataDir, undefined)].map(shown);
    expect(stored).toHaveLength(70);
    expect((await read(store)).map(shown)).toEqual(stored);
    const [, second = ''] = await namesIn(store, '/log/');
    expect((await read(without(second, 1))).map(shown)).toEqual(stored);
  });

  it('continue after a missing object, and after segments that retention removes meanwhile', async () => {
    await storeArchived(newDataDirectory(), url, numberedBatches(70));
    const [first = '', second = ''] = await namesIn(store, '/log/');
    const gap = (await read(without(second, 2))).filter(({ damage }) => damage !== undefined);
    expect(gap).toEqual([{ damage: `${second} is missing in ${store.url}.`, isRemoved: false }]);
    // The day rule is read first.
    const found = await read(
      without(second, 1, async () => {
        await store.remove(first);
        await store.remove(second);
      }),
    );
    const removed = found.filter(({ damage }) => damage !== undefined);
    expect(removed).toMatchObject([{ isRemoved: true }]);
    expect(found.length).toBeGreaterThan(20);
  });

  it('come up to a damaged piece, which is named', async () => {
    const dataDir = newDataDirectory();
    const batches = numberedBatches(3);
    for (const batch of batches) await storeArchived(dataDir, url, [batch]);
    const last = (await namesIn(store, '/tail/')).at(-1) ?? '';
    await store.remove(last);
    await store.create(last, Buffer.from('damaged'));
    const found = await read(store);
    expect(found.slice(0, -1).map(shown)).toEqual(
      [...rawBatches(dataDir, undefined)].slice(0, 2).map(shown),
    );
    expect(found.at(-1)).toEqual({
      damage: `${last} in ${store.url} is damaged.`,
      isRemoved: false,
    });
  });

  it('say which cannot be counted', async () => {
    const logId = Buffer.alloc(16, 7);
    const chunks = [headerOf(0, { logId, createdAt: 1, dayZone: asWritten })];
    let position = chunks[0]?.length ?? 0;
    for (const accepted of [0, 5, 0]) {
      const fields = {
        ...{ receivedAt: 1, accepted, rejected: 0, encoding: 'identity' as const, caller: '' },
        ...{ idempotency: undefined, body: Buffer.from('{"processed_devices":[]}') },
      } as const;
      const frame = Buffer.alloc(frameLength(fields));
      const place = { position, syncedThrough: 0, batchId: Buffer.alloc(16, accepted) };
      encodeFrame({ ...fields, ...place }, saltOfLog(logId), frame, 0);
      chunks.push(frame);
      position += frame.length;
    }
    const id = logId.toString('hex');
    const claim = { kind: 'claim', id: 'a', next: 1, from: 0, host: 'h', directory: '/d' } as const;
    const piece = { kind: 'piece', claim: 'a', base: 0, from: 0, to: position } as const;
    const object = encodePiece({ ...piece, confirmed: 1, at: 1 }, Buffer.concat(chunks));
    await store.create(
      nameOf('tail', id, 0),
      encodeClaim({ ...claim, claimed_at: '2026-01-01T00:00:00Z' }),
    );
    await store.create(nameOf('tail', id, 1), object);
    expect((await read(store)).map((found) => found.isDeadLetter)).toEqual([false, true, false]);
  });
});
