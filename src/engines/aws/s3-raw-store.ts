import {
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  type S3Client,
} from '@aws-sdk/client-s3';

import { rawKeyOf, readRawKey } from '../../domain/batch-id.ts';
import type { RawBatch, RawStore } from '../../pipeline/ports.ts';
import { itemsPerMessageText, readItemsPerMessage } from '../../pipeline/recut.ts';
import { nameOf } from './aws-errors.ts';

/** A raw body in the bucket, and how its items were cut into messages. */
export interface S3RawBatch extends RawBatch {
  /** `Infinity` where they were packed. */
  readonly itemsPerMessage: number;
}

export interface S3RawStore extends RawStore {
  get(rawKey: string): Promise<S3RawBatch | undefined>;
  /** Writes over a body of the same key, which is then the same batch's. */
  put(raw: S3RawBatch): Promise<void>;
  has(rawKey: string): Promise<boolean>;
  /** The raw keys behind `after`, in their order, which is that of time; a page at a time. */
  keys(range: { readonly after: string; readonly before?: string }): AsyncIterable<string[]>;
}

const prefix = 'raw/';

/** Raw bodies as objects `raw/<time>-<batch id>.json`, byte for byte; what is known of each is its metadata. */
export function s3RawStore(client: Pick<S3Client, 'send'>, bucket: string): S3RawStore {
  const store: S3RawStore = {
    async put(raw) {
      await client.send(
        new PutObjectCommand({
          Bucket: bucket,
          Key: rawKeyOf(raw.batchId, raw.receivedAt),
          Body: raw.body,
          ContentType: 'application/json',
          ...(raw.encoding === 'gzip' && { ContentEncoding: 'gzip' }),
          Metadata: metadataOf(raw),
        }),
      );
    },

    async has(rawKey) {
      // Asked for an object that is not there, S3 answers 403 to who may not list all of the bucket.
      const { Contents = [] } = await client.send(
        new ListObjectsV2Command({ Bucket: bucket, Prefix: rawKey, MaxKeys: 1 }),
      );
      return Contents.some(({ Key }) => Key === rawKey);
    },

    async get(rawKey) {
      const identity = readRawKey(rawKey);
      if (identity === undefined) return undefined;
      const object = await client
        .send(new GetObjectCommand({ Bucket: bucket, Key: rawKey }))
        .catch(async (error: unknown) => {
          // An object that is not there is forbidden to who may not list all of the bucket.
          const mayBeMissing = nameOf(error) === 'NoSuchKey' || nameOf(error) === 'AccessDenied';
          if (mayBeMissing && !(await store.has(rawKey))) return undefined;
          throw error;
        });
      if (object?.Body === undefined) return undefined;
      const body = await object.Body.transformToByteArray();
      return {
        ...identity,
        body,
        encoding: object.ContentEncoding === 'gzip' ? 'gzip' : 'identity',
        ...readMetadata(object.Metadata ?? {}),
      };
    },

    async *keys({ after, before }) {
      let ContinuationToken: string | undefined;
      do {
        const page = await client.send(
          new ListObjectsV2Command({
            Bucket: bucket,
            Prefix: prefix,
            ...(ContinuationToken === undefined ? { StartAfter: after } : { ContinuationToken }),
          }),
        );
        const keys = (page.Contents ?? []).flatMap(({ Key = '' }) => (Key > after ? [Key] : []));
        const wanted = before === undefined ? keys : keys.filter((key) => key < before);
        yield wanted;
        if (wanted.length < keys.length) return;
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

function metadataOf({ accepted, rejected, itemsPerMessage }: S3RawBatch): Record<string, string> {
  return {
    accepted: String(accepted),
    rejected: String(rejected),
    'items-per-message': itemsPerMessageText(itemsPerMessage),
  };
}

function readMetadata(metadata: Record<string, string>) {
  return {
    accepted: Number(metadata['accepted']),
    rejected: Number(metadata['rejected']),
    itemsPerMessage: readItemsPerMessage(metadata['items-per-message'] ?? 'packed'),
  };
}
