import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';

import {
  ArchiveUnusable,
  type ObjectStore,
} from '../../../../src/engines/embedded/archive/stores/object-store.ts';
import {
  checkConditionalCreate,
  openObjectStore,
} from '../../../../src/engines/embedded/archive/stores/open-object-store.ts';
import { listAll } from '../../../contract/ports/object-store-contract.ts';
import { startArchiveBucket, type ArchiveBucket } from '../../../support/aws/archive-bucket.ts';
import { slowDown, type Fault } from '../../../support/aws/s3-with-conditions.ts';

let bucket: ArchiveBucket;
beforeAll(async () => {
  bucket = await startArchiveBucket();
});
afterAll(() => bucket.stop());

let store: ObjectStore;
beforeEach(async () => {
  for (const [name, value] of Object.entries(bucket.env)) vi.stubEnv(name, value);
  bucket.faults.faultOf = () => undefined;
  bucket.faults.ignoreConditions = false;
  store = await openObjectStore(bucket.url);
});

describe('the URL of an archive', () => {
  it.each([
    ['s3://archive', 's3://archive'],
    ['s3://archive/', 's3://archive'],
    ['s3://archive/a/b', 's3://archive/a/b'],
    ['s3://archive/a/b/', 's3://archive/a/b'],
    ['s3://Old_Bucket.2/a', 's3://Old_Bucket.2/a'],
    ['file:///mnt/backup', 'file:///mnt/backup'],
    ['file:///mnt/backup//', 'file:///mnt/backup'],
    ['file:///mnt/my%20backup', 'file:///mnt/my%20backup'],
  ])('may be %s', async (url, shown) => {
    expect((await openObjectStore(url)).url).toBe(shown);
  });

  it('may have encoded characters in the path of a directory', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'device-pipeline archive ü?#-'));
    const encoded = await openObjectStore(pathToFileURL(directory).href);
    expect(await encoded.create('one', Buffer.from('1'))).toBe('created');
    rmSync(directory, { recursive: true });
  });

  it.each([
    '',
    'backup',
    '/mnt/backup',
    's3:archive',
    's3://',
    's3:///prefix',
    's3://archive//prefix',
    's3://archive/a/../b',
    's3://archive/.',
    's3://archive/a b',
    's3://archive/a?b=c',
    's3://key:secret@archive/prefix',
    'S3://archive',
    'https://archive.s3.amazonaws.com/prefix',
    'gs://archive/prefix',
    'file:/mnt/backup',
    'file://mnt/backup',
    'file://server/mnt/backup',
    'file:///',
    'file:///mnt/a?b',
    'file:///mnt/a%2fb',
    'file:///mnt/a%ffb',
    'file:mnt/backup',
  ])('may not be "%s"', async (url) => {
    const failure = await openObjectStore(url).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(ArchiveUnusable);
    expect((failure as Error).message).toBe(
      `${url} is not the URL of an archive. Write s3://bucket/prefix, or file:///directory with the absolute path of a directory.`,
    );
  });

  it('loads the SDK only for S3', () => {
    const opener = join(
      import.meta.dirname,
      '../../../../src/engines/embedded/archive/stores/open-object-store.ts',
    );
    const code = `
      import { registerHooks } from 'node:module';
      let isLoaded = false;
      registerHooks({ resolve(name, context, next) {
        isLoaded ||= name.includes('@aws-sdk');
        return next(name, context);
      } });
      const { openObjectStore } = await import(process.argv[1]);
      const after = [];
      for (const url of ['file:///mnt/backup', 's3://archive']) {
        await openObjectStore(url);
        after.push(isLoaded);
      }
      console.log(JSON.stringify(after));`;
    const args = ['--input-type=module', '--eval', code, pathToFileURL(opener).href];
    const env = { ...process.env, ...bucket.env };
    expect(execFileSync(process.execPath, args, { env, encoding: 'utf8' })).toBe('[false,true]\n');
  });
});

describe('the check of conditional creations', () => {
  const refusal =
    "s3://archive/prefix cannot be used: the store ignores If-None-Match, so two servers could overwrite each other's objects. Use a store that creates an object only once: Amazon S3, Cloudflare R2, MinIO and Scaleway do, for example; Backblaze B2 and Alibaba OSS do not.";

  it('refuses a store that ignores the condition', async () => {
    bucket.faults.ignoreConditions = true;
    const failure = await failureOfCheck();
    expect(failure).toBeInstanceOf(ArchiveUnusable);
    expect(failure.message).toBe(refusal);
  });

  it('refuses a store that checks the condition before it writes, not when', async () => {
    hitPuts((put) => {
      // All that come at the same time find no object.
      bucket.faults.ignoreConditions = put <= 4;
      return undefined;
    });
    const failure = await failureOfCheck();
    expect(failure).toBeInstanceOf(ArchiveUnusable);
    expect(failure.message).toBe(refusal);
  });

  it('refuses a store that does not implement the condition', async () => {
    hitPuts(() => ({ kind: 'answer', status: 501, code: 'NotImplemented' }));
    const failure = await failureOfCheck();
    expect(failure).toBeInstanceOf(ArchiveUnusable);
    expect(failure.message).toContain('answers If-None-Match with NotImplemented');
  });

  it('accepts a store that refuses all but one of several creations at once', async () => {
    const conflict = { kind: 'answer', status: 409, code: 'ConditionalRequestConflict' } as const;
    hitPuts((put) => (put > 1 && put < 5 ? conflict : undefined));
    await checkConditionalCreate(store);
  });

  it('accepts a store whose reply is lost', async () => {
    hitPuts((put) => (put === 1 ? { kind: 'drop-answer' } : undefined));
    await checkConditionalCreate(store);
  });

  it.each([
    ['all creations', (put: number) => put > 0],
    ['all creations but the last', (put: number) => put < 5],
    ['the last creation', (put: number) => put === 5],
  ])('proves nothing if a fault hits %s', async (_, isHit) => {
    hitPuts((put) => (isHit(put) ? slowDown : undefined));
    const failure = await failureOfCheck();
    expect(failure).not.toBeInstanceOf(ArchiveUnusable);
    expect(failure.message).toContain('SlowDown');
  });

  it('fails if the probe cannot be removed', async () => {
    bucket.faults.faultOf = ({ method }) =>
      method === 'DELETE' ? { kind: 'answer', status: 403, code: 'AccessDenied' } : undefined;
    await expect(checkConditionalCreate(store)).rejects.toThrow('s3:DeleteObject');
    bucket.faults.faultOf = () => undefined;
    const [probe] = await listAll(store, 'probe/');
    await store.remove(probe?.name ?? '');
  });

  /** @param faultOf is called with the number of each PUT, from 1. */
  function hitPuts(faultOf: (put: number) => Fault | undefined): void {
    let puts = 0;
    bucket.faults.faultOf = ({ method }) => (method === 'PUT' ? faultOf(++puts) : undefined);
  }

  /** Also checks that no probe is left. */
  async function failureOfCheck(): Promise<Error> {
    const failure = await checkConditionalCreate(store).catch((error: unknown) => error);
    expect(await listAll(store)).toEqual([]);
    if (!(failure instanceof Error)) throw new Error('It did not fail');
    return failure;
  }
});
