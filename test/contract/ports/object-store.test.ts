import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

import { afterAll, beforeAll, vi } from 'vitest';

import { openObjectStore } from '../../../src/engines/embedded/archive/stores/open-object-store.ts';
import { startArchiveBucket, type ArchiveBucket } from '../../support/aws/archive-bucket.ts';
import { describeObjectStore, listAll } from './object-store-contract.ts';

describeObjectStore('a directory', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'device-pipeline-archive-'));
  const store = await openObjectStore(pathToFileURL(directory).href);
  return {
    store,
    close() {
      store.close();
      rmSync(directory, { recursive: true, force: true });
      return Promise.resolve();
    },
  };
});

let bucket: ArchiveBucket;
beforeAll(async () => {
  bucket = await startArchiveBucket();
});
afterAll(() => bucket.stop());

describeObjectStore('a bucket', async () => {
  for (const [name, value] of Object.entries(bucket.env)) vi.stubEnv(name, value);
  const store = await openObjectStore(bucket.url);
  return {
    store,
    async close() {
      for (const { name } of await listAll(store)) await store.remove(name);
      store.close();
    },
  };
});
