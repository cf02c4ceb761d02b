import { randomBytes } from 'node:crypto';

import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import type {
  ObjectStore,
  StoredObject,
} from '../../../src/engines/embedded/archive/stores/object-store.ts';
import { checkConditionalCreate } from '../../../src/engines/embedded/archive/stores/open-object-store.ts';
import { inParallel } from '../../../src/util/in-parallel.ts';

export interface ObjectStoreHarness {
  /** An empty store. */
  readonly store: ObjectStore;
  close(): Promise<void>;
}

/** What every store of an archive promises. */
export function describeObjectStore(name: string, open: () => Promise<ObjectStoreHarness>): void {
  describe(`${name} as an object store`, () => {
    let harness: ObjectStoreHarness;
    let store: ObjectStore;
    beforeEach(async () => {
      harness = await open();
      store = harness.store;
    });
    afterEach(() => harness.close());

    const text = (content: string) => Buffer.from(content);
    const contentOf = async (name: string) => Buffer.from((await store.get(name)) ?? 'no object');

    it('is empty at first', async () => {
      expect(await listAll(store)).toEqual([]);
      expect(await store.get('log/00')).toBe(undefined);
    });

    it.each([0, 1, 8 * 2 ** 20])('gives back an object of %d bytes', async (size) => {
      const bytes = randomBytes(size);
      expect(await store.create('log/one', bytes)).toBe('created');
      expect((await contentOf('log/one')).equals(bytes)).toBe(true);
      expect(await listAll(store)).toEqual([{ name: 'log/one', bytes: size }]);
    });

    it('stores the part of a buffer that it was given', async () => {
      await store.create('part', text('abcdef').subarray(2, 4));
      expect(await contentOf('part')).toEqual(text('cd'));
    });

    it('does not replace an object', async () => {
      expect(await store.create('log/one', text('first'))).toBe('created');
      expect(await store.create('log/one', text('second'))).toBe('exists');
      expect(await store.create('log/one', text('first'))).toBe('exists');
      expect(await contentOf('log/one')).toEqual(text('first'));
    });

    it('lets one of several concurrent creations of a name succeed', async () => {
      for (const round of Array(20).keys()) {
        const name = `round-${round}/object`;
        const bodies = Array.from({ length: 8 }, (_, racer) => text(`racer ${racer}`));
        const outcomes = await Promise.all(bodies.map((body) => store.create(name, body)));
        expect(outcomes.filter((outcome) => outcome === 'created')).toHaveLength(1);
        expect(await contentOf(name)).toEqual(bodies[outcomes.indexOf('created')]);
      }
    });

    it('has nothing under other names', async () => {
      await store.create('log/one.log', text('1'));
      for (const other of ['log', 'log/one', 'log/one.log.log', 'lo', 'one.log', 'other/one.log']) {
        expect(await store.get(other), other).toBe(undefined);
      }
    });

    it('removes an object, also if it does not exist', async () => {
      await store.create('log/one', text('1'));
      await store.create('log/two', text('2'));
      await store.remove('log/one');
      await store.remove('log/one');
      await store.remove('nothing/there');
      expect(await store.get('log/one')).toBe(undefined);
      expect(await listAll(store)).toEqual([{ name: 'log/two', bytes: 1 }]);
      expect(await store.create('log/one', text('again'))).toBe('created');
      expect(await contentOf('log/one')).toEqual(text('again'));
    });

    it('lists the names that begin with a prefix, in the order of their bytes', async () => {
      // Every order of these characters differs between locales: - . / 0 9 a z
      const names = ['log-1', 'log.1', 'log/1', 'log0', 'loga', 'log/a/b/c/d', 'log/0', 'log/10'];
      names.push('log/9', 'log/1.x/y', 'log/1-x/y', 'log/1x', 'z/z', 'z-z', 'z.z', 'a', 'b');
      for (const name of names) await store.create(name, text(name));
      const sorted = names.toSorted((one, other) => Buffer.compare(text(one), text(other)));
      for (const prefix of [
        '',
        'log',
        'log/',
        'log/1',
        'log/1.',
        'log/a/b',
        'log/a/b/c/d',
        'z',
        'x',
      ]) {
        const expected = sorted.filter((name) => name.startsWith(prefix));
        const found = await listAll(store, prefix);
        expect(found, prefix).toEqual(expected.map((name) => ({ name, bytes: name.length })));
      }
    });

    it('lists more objects than fit a page', async () => {
      const names = Array.from({ length: 35 }, (_, index) => `many/${10_000 + index}`);
      await inParallel(8, names, (name) => store.create(name, text(name)));
      await store.create('n', text(''));
      expect((await listAll(store, 'many/')).map(({ name }) => name)).toEqual(names);
      expect(await listAll(store)).toHaveLength(36);
    });

    it('ends a list early', async () => {
      for (const name of ['a/1', 'a/2', 'b/1']) await store.create(name, text(name));
      for await (const { name } of store.list('')) {
        expect(name).toBe('a/1');
        break;
      }
      expect(await listAll(store)).toHaveLength(3);
    });

    it('passes the check of conditional creations, which leaves nothing', async () => {
      await checkConditionalCreate(store);
      expect(await listAll(store)).toEqual([]);
    });
  });
}

export async function listAll(store: ObjectStore, prefix = ''): Promise<StoredObject[]> {
  return Array.fromAsync(store.list(prefix));
}
