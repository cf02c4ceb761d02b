import {
  decodeTail,
  encodePiece,
  numberIn,
} from '../../../src/engines/embedded/archive/archive-objects.ts';
import type {
  ObjectStore,
  StoredObject,
} from '../../../src/engines/embedded/archive/stores/object-store.ts';
import type { Variant } from './archive-schedule.ts';

/** Plausible mistakes that a few runs without faults would not show. */
export const plantedBugs: Record<string, Variant> = {
  'acknowledges before the upload': {
    serverStore: (store) => ({
      ...store,
      create: (name, bytes) =>
        isPiece(name, bytes) ? inBackground(store, name, bytes) : store.create(name, bytes),
    }),
  },
  'removes pieces before the merged object exists': {
    serverStore: (store) => {
      const pending = new Map<string, Uint8Array>();
      return {
        ...store,
        create(name, bytes) {
          if (!isMerged(name)) return store.create(name, bytes);
          pending.set(name, bytes);
          return inBackground(store, name, bytes);
        },
        get: (name) => {
          const bytes = pending.get(name);
          return bytes === undefined ? store.get(name) : Promise.resolve(bytes);
        },
        list: (prefix) => (isMerged(prefix) ? only(prefix) : store.list(prefix)),
      };
    },
  },
  'removes pieces before listings show the merged object': {
    serverStore: (store) => ({
      ...store,
      list: (prefix) => (isMerged(prefix) ? only(prefix) : store.list(prefix)),
    }),
  },
  'uses a number that is already taken': {
    serverStore: (store) => ({
      ...store,
      async create(name, bytes) {
        const outcome = await store.create(name, bytes);
        return isPiece(name, bytes) ? 'created' : outcome;
      },
    }),
  },
  'leaves no gap for the uploads of its predecessor': { limits: { claimGap: 1 } },
  'continues without a claim after a restart': {
    serverStore: (store, server) => ({
      ...store,
      create(name, bytes) {
        const isAgain = (server.claims?.length ?? 0) > 1;
        if (isAgain && isClaim(name, bytes)) return Promise.resolve('created');
        return store.create(name, bytes);
      },
    }),
  },
  'does not check whether its claim was written too late': {
    serverStore: (store, server) => {
      let hasClaimed = false;
      return {
        ...store,
        async create(name, bytes) {
          if (isClaim(name, bytes)) await server.life?.process.sleep(40_000);
          const outcome = await store.create(name, bytes);
          hasClaimed ||= isClaim(name, bytes) && outcome === 'created';
          return outcome;
        },
        list: (prefix) => (hasClaimed && prefix.endsWith('/log/') ? none() : store.list(prefix)),
      };
    },
  },
  'restores a log up to a hole': {
    restoreStore: (store) => ({
      ...store,
      async get(name) {
        const object = await store.get(name);
        if (object === undefined || numberIn('tail', name) === undefined) return object;
        const found = decodeTail(object);
        if (found.kind === 'claim') return object;
        const { bytes, ...header } = found;
        return encodePiece({ ...header, confirmed: 0 }, bytes);
      },
    }),
  },
};

function isClaim(name: string, bytes: Uint8Array): boolean {
  return numberIn('tail', name) !== undefined && decodeTail(bytes).kind === 'claim';
}

function isPiece(name: string, bytes: Uint8Array): boolean {
  return numberIn('tail', name) !== undefined && decodeTail(bytes).kind === 'piece';
}

function isMerged(name: string): boolean {
  return /\/log\/.+\.zst$/.test(name);
}

function inBackground(store: ObjectStore, name: string, bytes: Uint8Array): Promise<'created'> {
  store.create(name, bytes).catch(() => undefined);
  return Promise.resolve('created');
}

// oxlint-disable-next-line typescript/require-await -- the type of a listing
async function* only(name: string): AsyncGenerator<StoredObject> {
  yield { name, bytes: 0 };
}

// oxlint-disable-next-line typescript/require-await -- the type of a listing
async function* none(): AsyncGenerator<StoredObject> {
  yield* [];
}
