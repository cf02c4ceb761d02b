import { hash } from 'node:crypto';

import {
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  type S3Client,
} from '@aws-sdk/client-s3';

import { rawKeyOf, readRawKey } from '../../../domain/batch-id.ts';
import type { ContentEncoding, RawBatch } from '../../../pipeline/ports.ts';
import { itemsPerMessageText, readItemsPerMessage } from '../../../pipeline/chunks/recut.ts';
import { nameOf } from '../errors.ts';
import { listObjects, type KeyRange, type ListedObject } from './list-objects.ts';
import { overLimitDocument, readOverLimitDocument } from '../ledger/over-limit-items.ts';

export { startOf } from '../../../pipeline/sweep/raw-keys.ts';

/** A raw body in the bucket, with the metadata of its object. */
export interface S3RawBatch extends RawBatch {
  /** `Infinity` if they were packed. */
  readonly itemsPerMessage: number;
  /** The SHA-256 of the stored bytes, in hex; undefined for bodies of earlier versions. */
  readonly sha256?: string | undefined;
  /**
   * The problem with the metadata if another program stored the object: the batch cannot be
   * counted.
   */
  readonly invalidMetadata?: string;
  /** When a replayed batch arrived here; milliseconds since 1970. */
  readonly replayedAt?: number;
  /**
   * The id of its idempotency key, as `keyIdOf` computes it; bodies of earlier versions have none.
   */
  readonly keyId?: string;
}

export interface S3RawStore {
  get(rawKey: string): Promise<S3RawBatch | undefined>;
  /** Overwrites a body with the same raw key; with `if-absent`, returns false instead. */
  put(raw: S3RawBatch, how?: 'if-absent'): Promise<boolean>;
  has(rawKey: string): Promise<boolean>;
  /** The metadata of a body. */
  head(rawKey: string): Promise<RawDetails | undefined>;
  /** The raw keys after `after`, in their order, which is the order of time; a page at a time. */
  keys(range: KeyRange): AsyncIterable<string[]>;
  /** The same keys, with the other fields of the listing. */
  objects(range: KeyRange): AsyncIterable<RawObject[]>;
}

/** A raw body in a listing of the bucket. */
export interface RawObject extends Omit<ListedObject, 'key'> {
  readonly rawKey: string;
}

type RawDetails = Pick<S3RawBatch, 'encoding' | 'accepted' | 'rejected' | 'excluded'>;

/** The prefix of all raw keys. */
export const rawPrefix = 'raw/';
const overLimitPrefix = 'excluded/';

/**
 * The raw store: objects `raw/<time>-<batch id>.json` with the bodies byte for byte, and their
 * details as metadata. S3 limits metadata to 2 KB, so the indexes of over-limit items have an
 * object of their own, `excluded/<time>-<batch id>.json`; the metadata shows whether it exists.
 */
export function s3RawStore(client: Pick<S3Client, 'send'>, bucket: string): S3RawStore {
  // Without permission to list the whole bucket, S3 responds with 403 for a missing object.
  const unlessMissing = (rawKey: string) => async (error: unknown) => {
    const mayBeMissing = ['NoSuchKey', 'NotFound', 'AccessDenied'].includes(nameOf(error));
    if (mayBeMissing && !(await store.has(rawKey))) return undefined;
    throw error;
  };
  const overLimitOf = async (rawKey: string, metadata: Record<string, string>) =>
    metadata[overLimitName] === undefined
      ? {}
      : { excluded: await getOverLimitItems(client, bucket, rawKey) };
  const store: S3RawStore = {
    async put(raw, how) {
      const Key = rawKeyOf(raw.batchId, raw.receivedAt);
      const { excluded = [] } = raw;
      // Store it first, so that a stored body is complete.
      if (excluded.length > 0) {
        await client.send(
          new PutObjectCommand({
            Bucket: bucket,
            Key: overLimitKeyOf(Key),
            Body: Buffer.from(overLimitDocument(excluded)),
            ContentType: 'application/json',
          }),
        );
      }
      const put = new PutObjectCommand({
        Bucket: bucket,
        Key,
        Body: raw.body,
        ...(how === 'if-absent' && { IfNoneMatch: '*' }),
        ContentType: 'application/json',
        ...(raw.encoding === 'gzip' && { ContentEncoding: 'gzip' }),
        Metadata: metadataOf(raw),
      });
      try {
        await client.send(put);
        return true;
      } catch (error) {
        if (how === 'if-absent' && nameOf(error) === 'PreconditionFailed') return false;
        throw error;
      }
    },

    async has(rawKey) {
      // List the object, because a request for a missing object may get 403.
      const { Contents = [] } = await client.send(
        new ListObjectsV2Command({ Bucket: bucket, Prefix: rawKey, MaxKeys: 1 }),
      );
      return Contents.some(({ Key }) => Key === rawKey);
    },

    async head(rawKey) {
      const object = await client
        .send(new HeadObjectCommand({ Bucket: bucket, Key: rawKey }))
        .catch(unlessMissing(rawKey));
      if (object === undefined) return undefined;
      const metadata = object.Metadata ?? {};
      const { accepted, rejected } = readMetadata(metadata);
      const encoding = encodingOf(object.ContentEncoding);
      const excluded = await overLimitOf(rawKey, metadata);
      return { encoding, accepted, rejected, ...excluded };
    },

    async get(rawKey) {
      const identity = readRawKey(rawKey);
      if (identity === undefined) return undefined;
      const object = await client
        .send(new GetObjectCommand({ Bucket: bucket, Key: rawKey }))
        .catch(unlessMissing(rawKey));
      if (object?.Body === undefined) return undefined;
      const body = await object.Body.transformToByteArray();
      const metadata = object.Metadata ?? {};
      return {
        ...identity,
        body,
        encoding: encodingOf(object.ContentEncoding),
        ...readMetadata(metadata),
        ...(await overLimitOf(rawKey, metadata)),
      };
    },

    async *keys(range) {
      for await (const page of store.objects(range)) yield page.map(({ rawKey }) => rawKey);
    },

    async *objects(range) {
      for await (const page of listObjects(client, bucket, rawPrefix, range)) {
        yield page.map(({ key: rawKey, ...object }) => ({ rawKey, ...object }));
      }
    },
  };
  return store;
}

function encodingOf(contentEncoding: string | undefined): ContentEncoding {
  return contentEncoding === 'gzip' ? 'gzip' : 'identity';
}

/** A raw body has over-limit items, but the object that lists them is missing or invalid. */
export class OverLimitUnreadable extends Error {
  override readonly name = 'OverLimitUnreadable';
}

/** Reads the over-limit items; without them the batch cannot be counted correctly. */
async function getOverLimitItems(
  client: Pick<S3Client, 'send'>,
  bucket: string,
  rawKey: string,
): Promise<readonly number[]> {
  const Key = overLimitKeyOf(rawKey);
  const unreadable = (cause: unknown) => {
    const why = cause instanceof Error ? cause.message : String(cause);
    const message = `${rawKey} has over-limit items, and their list ${Key} cannot be read: ${why}`;
    return new OverLimitUnreadable(message, { cause });
  };
  const object = await client
    .send(new GetObjectCommand({ Bucket: bucket, Key }))
    .catch((error: unknown) => {
      throw nameOf(error) === 'NoSuchKey' ? unreadable(error) : error;
    });
  const bytes = (await object.Body?.transformToByteArray()) ?? [];
  try {
    return readOverLimitDocument(Buffer.from(bytes).toString());
  } catch (error) {
    throw unreadable(error);
  }
}

function overLimitKeyOf(rawKey: string): string {
  return overLimitPrefix + rawKey.slice(rawPrefix.length);
}

/** The metadata entry with the number of over-limit items, if there are any. */
const overLimitName = 'excluded';

/** The form in the metadata. */
export function sha256Of(body: Uint8Array): string {
  return hash('sha256', body);
}

function metadataOf(raw: S3RawBatch): Record<string, string> {
  const { accepted, rejected, itemsPerMessage, excluded = [], replayedAt, keyId, body } = raw;
  return {
    accepted: String(accepted),
    rejected: String(rejected),
    'items-per-message': itemsPerMessageText(itemsPerMessage),
    ...(excluded.length > 0 && { [overLimitName]: String(excluded.length) }),
    sha256: sha256Of(body),
    ...(replayedAt !== undefined && { 'replayed-at': new Date(replayedAt).toISOString() }),
    ...(keyId !== undefined && { 'idempotency-key-id': keyId }),
  };
}

/** Another program may have stored the object: every metadata entry may be missing. */
function readMetadata(metadata: Record<string, string>) {
  const replayedAt = Date.parse(metadata['replayed-at'] ?? '');
  const keyId = metadata['idempotency-key-id'];
  const problems: string[] = [];
  /** Reads an entry; records a problem if it is invalid. */
  const read = (name: string, reader: (text: string) => number, fallback?: string): number => {
    const text = metadata[name] ?? fallback;
    const value = text === undefined ? NaN : reader(text);
    if (!Number.isNaN(value)) return value;
    problems.push(text === undefined ? `${name} is missing` : `${name} is ${quoted(text)}`);
    return NaN;
  };
  const numbers = {
    accepted: read('accepted', wholeNumber),
    rejected: read('rejected', wholeNumber),
    itemsPerMessage: read('items-per-message', itemsPerMessageOrNaN, 'packed'),
  };
  return {
    ...(keyId !== undefined && { keyId }),
    ...(!Number.isNaN(replayedAt) && { replayedAt }),
    ...numbers,
    sha256: metadata['sha256'],
    ...(problems.length > 0 && {
      invalidMetadata: `${problems.join(', ')} in the metadata of the object, which another program stored`,
    }),
  };
}

function wholeNumber(text: string): number {
  return /^\d{1,9}$/.test(text) ? Number(text) : NaN;
}

function itemsPerMessageOrNaN(text: string): number {
  try {
    return readItemsPerMessage(text);
  } catch {
    return NaN;
  }
}

const quotedCharactersMax = 40;

function quoted(text: string): string {
  return JSON.stringify(text.slice(0, quotedCharactersMax));
}
