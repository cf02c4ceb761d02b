import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';

import { FileObjectStore } from './file-object-store.ts';
import { ArchiveUnusable, type ObjectStore } from './object-store.ts';
import { unconditional, type S3Place } from './s3-failures.ts';

/**
 * Opens the store that a URL names: `s3://bucket/prefix`, `s3://bucket` or `file:///directory`.
 * Does not check that it can be reached.
 * @throws ArchiveUnusable if the URL has another form, or a setting of S3 is missing.
 */
export async function openObjectStore(url: string): Promise<ObjectStore> {
  const place = s3PlaceOf(url);
  if (place !== undefined) {
    // The SDK is large; a server without an archive in S3 does not load it.
    const { openS3ObjectStore } = await import('./s3-object-store.ts');
    return openS3ObjectStore(place);
  }
  const directory = directoryOf(url);
  if (directory !== undefined) return new FileObjectStore(url.replace(/\/+$/, ''), directory);
  throw new ArchiveUnusable(
    `${url} is not the URL of an archive. Write s3://bucket/prefix, or file:///directory with the absolute path of a directory.`,
  );
}

/** Creations of one name at the same time: some stores check the condition before they write. */
const racersMax = 4;

/**
 * Creates an object several times, and removes it.
 * @throws ArchiveUnusable if more than one creation succeeds, or the store cannot be used at all;
 * any other error if a failed attempt makes the test inconclusive.
 */
export async function checkConditionalCreate(store: ObjectStore): Promise<void> {
  const name = `probe/${randomUUID()}`;
  const create = () => store.create(name, Buffer.from('probe'));
  const racers = await Promise.allSettled(Array.from({ length: racersMax }, create));
  const last = await settle(create());
  const removal = await settle(store.remove(name));
  const attempts = [...racers, last];
  const failures = [...attempts, removal].flatMap((each) =>
    each.status === 'rejected' ? [each.reason as Error] : [],
  );
  const unusable = failures.find((failure) => failure instanceof ArchiveUnusable);
  if (unusable !== undefined) throw unusable;
  const isCreated = (each: (typeof attempts)[number]) =>
    each.status === 'fulfilled' && each.value === 'created';
  if (attempts.filter(isCreated).length > 1) {
    throw new ArchiveUnusable(unconditional(store.url, 'the store ignores If-None-Match'));
  }
  // A store may refuse all concurrent requests but one, so their failures alone prove nothing.
  const [failure] = failures;
  const isProved = last.status === 'fulfilled' && last.value === 'exists';
  if (failure !== undefined && (!isProved || removal.status === 'rejected')) throw failure;
}

async function settle<T>(result: Promise<T>): Promise<PromiseSettledResult<T>> {
  const [settled] = await Promise.allSettled([result]);
  return settled;
}

/** Characters that need no encoding in a key, whatever the store. */
const s3Url = /^s3:\/\/([A-Za-z0-9][\w.-]*)(?:\/([\w.!*'()-]+(?:\/[\w.!*'()-]+)*))?\/?$/;

function s3PlaceOf(url: string): S3Place | undefined {
  const [, bucket, path = ''] = s3Url.exec(url) ?? [];
  if (bucket === undefined || /(?:^|\/)\.{1,2}(?:\/|$)/.test(path)) return undefined;
  if (path === '') return { url: `s3://${bucket}`, bucket, prefix: '' };
  return { url: `s3://${bucket}/${path}`, bucket, prefix: `${path}/` };
}

/** The path of a `file:` URL, without a slash at its end; undefined for other URLs. */
function directoryOf(url: string): string | undefined {
  // A question mark or a hash sign would end the path.
  if (!/^file:\/\/\/[^?#]*[^?#/][^?#]*$/.test(url)) return undefined;
  try {
    return fileURLToPath(url).replace(/\/+$/, '');
  } catch {
    // The path has an encoded slash, for example.
    return undefined;
  }
}
