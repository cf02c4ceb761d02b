import { hash } from 'node:crypto';

import {
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  type S3Client,
} from '@aws-sdk/client-s3';

import { rawKeyOf, readRawKey } from '../../../domain/batch-id.ts';
import type { ContentEncoding, RawBatch, RawStore } from '../../../pipeline/ports.ts';
import { itemsPerMessageText, readItemsPerMessage } from '../../../pipeline/chunks/recut.ts';
import { nameOf } from '../errors.ts';
import { overLimitDocument, readOverLimitDocument } from '../ledger/excluded-items.ts';

/** A raw body in the bucket, and how its items were cut into messages. */
export interface S3RawBatch extends RawBatch {
  /** `Infinity` where they were packed. */
  readonly itemsPerMessage: number;
  /** Of the bytes as they were stored, in hex; undefined for bodies of earlier versions. */
  readonly sha256?: string | undefined;
  /** What is wrong with its metadata, where another program stored it: it cannot be counted. */
  readonly invalidMetadata?: string;
  /** When it came here from another installation, if it did; milliseconds since 1970. */
  readonly replayedAt?: number;
  /** Of the idempotency key that it came with, as `keyIdOf` makes it; bodies of earlier versions have none. */
  readonly keyId?: string;
}

export interface S3RawStore extends RawStore {
  get(rawKey: string): Promise<S3RawBatch | undefined>;
  /** Writes over a body of the same key, which is then the same batch's; or says that it is there. */
  put(raw: S3RawBatch, how?: 'if-absent'): Promise<boolean>;
  has(rawKey: string): Promise<boolean>;
  /** What is known of a body, without the body. */
  head(rawKey: string): Promise<RawHead | undefined>;
  /** The raw keys behind `after`, in their order, which is that of time; a page at a time. */
  keys(range: KeyRange): AsyncIterable<string[]>;
  /** The same with the size of each, in bytes. */
  objects(range: KeyRange): AsyncIterable<{ rawKey: string; bytes: number }[]>;
}

interface KeyRange {
  readonly after: string;
  readonly before?: string;
}

export interface RawHead {
  readonly bytes: number;
  readonly details: Pick<S3RawBatch, 'encoding' | 'accepted' | 'rejected' | 'excluded'>;
}

const prefix = 'raw/';
const excludedPrefix = 'excluded/';

/**
 * Raw bodies as objects `raw/<time>-<batch id>.json`, byte for byte; what is known of each is its
 * metadata. That has room for 2 KB: the indexes of excluded items are an object of their own,
 * `excluded/<time>-<batch id>.json`, of which the metadata tells.
 */
export function s3RawStore(client: Pick<S3Client, 'send'>, bucket: string): S3RawStore {
  // An object that is not there is forbidden to who may not list all of the bucket.
  const unlessMissing = (rawKey: string) => async (error: unknown) => {
    const mayBeMissing = ['NoSuchKey', 'NotFound', 'AccessDenied'].includes(nameOf(error));
    if (mayBeMissing && !(await store.has(rawKey))) return undefined;
    throw error;
  };
  const excludedOf = async (rawKey: string, metadata: Record<string, string>) =>
    metadata[excludedName] === undefined
      ? {}
      : { excluded: await getExcluded(client, bucket, rawKey) };
  const store: S3RawStore = {
    async put(raw, how) {
      const Key = rawKeyOf(raw.batchId, raw.receivedAt);
      const { excluded = [] } = raw;
      // First: a body that is there is whole.
      if (excluded.length > 0) {
        await client.send(
          new PutObjectCommand({
            Bucket: bucket,
            Key: excludedKeyOf(Key),
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
      // Asked for an object that is not there, S3 answers 403 to who may not list all of the bucket.
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
      const excluded = await excludedOf(rawKey, metadata);
      const details = { encoding, accepted, rejected, ...excluded };
      return { bytes: object.ContentLength ?? 0, details };
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
        ...(await excludedOf(rawKey, metadata)),
      };
    },

    async *keys(range) {
      for await (const page of store.objects(range)) yield page.map(({ rawKey }) => rawKey);
    },

    async *objects({ after, before }) {
      let ContinuationToken: string | undefined;
      do {
        const page = await client.send(
          new ListObjectsV2Command({
            Bucket: bucket,
            Prefix: prefix,
            ...(ContinuationToken === undefined ? { StartAfter: after } : { ContinuationToken }),
          }),
        );
        const objects = (page.Contents ?? []).flatMap(({ Key: rawKey = '', Size: bytes = 0 }) =>
          rawKey > after ? [{ rawKey, bytes }] : [],
        );
        const wanted =
          before === undefined ? objects : objects.filter(({ rawKey }) => rawKey < before);
        yield wanted;
        if (wanted.length < objects.length) return;
        ContinuationToken = page.NextContinuationToken;
      } while (ContinuationToken !== undefined);
    },

    async *list({ from, to } = {}) {
      const after = from === undefined ? prefix : startOf(from);
      const before = to === undefined ? {} : { before: startOf(to) };
      for await (const page of store.keys({ after, ...before })) {
        for (const key of page) {
          const raw = await store.get(key);
          if (raw !== undefined) yield raw;
        }
      }
    },
  };
  return store;
}

/** Sorts before every raw key of that millisecond, and behind all of those before it. */
export function startOf(receivedAt: number): string {
  return `${prefix}${new Date(receivedAt).toISOString()}`;
}

function encodingOf(contentEncoding: string | undefined): ContentEncoding {
  return contentEncoding === 'gzip' ? 'gzip' : 'identity';
}

/** A body says that items of it were excluded, and what says which is gone or no list of indexes. */
export class ExcludedUnreadable extends Error {
  override readonly name = 'ExcludedUnreadable';
}

/** Without them the batch would read otherwise than it did: they must be there. */
async function getExcluded(
  client: Pick<S3Client, 'send'>,
  bucket: string,
  rawKey: string,
): Promise<readonly number[]> {
  const Key = excludedKeyOf(rawKey);
  const unreadable = (cause: unknown) => {
    const why = cause instanceof Error ? cause.message : String(cause);
    const message = `${rawKey} says that items were excluded, and ${Key}, which says which, cannot be read: ${why}`;
    return new ExcludedUnreadable(message, { cause });
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

function excludedKeyOf(rawKey: string): string {
  return excludedPrefix + rawKey.slice(prefix.length);
}

/** In the metadata: how many items were excluded, where any were. */
const excludedName = 'excluded';

/** As it stands in the metadata. */
export function sha256Of(body: Uint8Array): string {
  return hash('sha256', body);
}

function metadataOf(raw: S3RawBatch): Record<string, string> {
  const { accepted, rejected, itemsPerMessage, excluded = [], replayedAt, keyId, body } = raw;
  return {
    accepted: String(accepted),
    rejected: String(rejected),
    'items-per-message': itemsPerMessageText(itemsPerMessage),
    ...(excluded.length > 0 && { [excludedName]: String(excluded.length) }),
    sha256: sha256Of(body),
    ...(replayedAt !== undefined && { 'replayed-at': new Date(replayedAt).toISOString() }),
    ...(keyId !== undefined && { 'idempotency-key-id': keyId }),
  };
}

/** Other programs may store objects under names like ours: anything in the metadata may be missing. */
function readMetadata(metadata: Record<string, string>) {
  const replayedAt = Date.parse(metadata['replayed-at'] ?? '');
  const keyId = metadata['idempotency-key-id'];
  const problems: string[] = [];
  /** Reads an entry, or notes that it is no valid one. */
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
      invalidMetadata: `${problems.join(', ')} in the metadata of the object, which another program must have stored`,
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
