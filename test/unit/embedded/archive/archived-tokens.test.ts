import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import {
  archivedTokens,
  TokenShipper,
} from '../../../../src/engines/embedded/archive/archived-tokens.ts';
import type { ObjectStore } from '../../../../src/engines/embedded/archive/stores/object-store.ts';
import { openObjectStore } from '../../../../src/engines/embedded/archive/stores/open-object-store.ts';

const logId = '0'.repeat(32);
let directory: string;
let store: ObjectStore;

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'device-pipeline-tokens-'));
  store = await openObjectStore(pathToFileURL(directory).href);
});
afterEach(() => rmSync(directory, { recursive: true }));

/** Ships two versions of the tokens; returns what was listed between them. */
async function shipTwice() {
  const path = join(directory, 'tokens.json');
  const shipper = new TokenShipper(path);
  writeFileSync(path, 'one');
  await shipper.ship(store, logId);
  const listed = await Array.fromAsync(store.list(`${logId}/tokens/`));
  writeFileSync(path, 'two');
  expect(shipper.areChanged()).toBe(true);
  await shipper.ship(store, logId);
  expect(shipper.areChanged()).toBe(false);
  return listed;
}

/** The store, whose listings show an earlier time. */
function listing(listed: Awaited<ReturnType<typeof shipTwice>>): ObjectStore {
  return {
    ...{ url: store.url, create: store.create.bind(store), close: store.close.bind(store) },
    ...{ get: store.get.bind(store), remove: store.remove.bind(store) },
    // oxlint-disable-next-line typescript/require-await -- as the port has it
    async *list() {
      yield* listed;
    },
  };
}

describe('archived tokens', () => {
  it('are the last ones, of which one copy is kept', async () => {
    expect(await archivedTokens(store, logId)).toBeUndefined();
    await shipTwice();
    expect(String(await archivedTokens(store, logId))).toBe('two');
    expect(await Array.fromAsync(store.list(`${logId}/tokens/`))).toHaveLength(1);
  });

  it('are found although the listing is late', async () => {
    const late = listing(await shipTwice());
    expect(String(await archivedTokens(late, logId))).toBe('two');
  });

  it('that are damaged are named', async () => {
    await store.create(`${logId}/tokens/000000000001.zst`, Buffer.from('damaged'));
    await expect(archivedTokens(store, logId)).rejects.toThrow(
      /tokens\/000000000001\.zst in .* is damaged\./,
    );
  });

  it('are never treated as absent', async () => {
    const late = listing(await shipTwice());
    for (const { name } of await Array.fromAsync(store.list(logId))) await store.remove(name);
    await expect(archivedTokens(late, logId)).rejects.toThrow('replaced meanwhile');
  });
});
