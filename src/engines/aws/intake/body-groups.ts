import { hash } from 'node:crypto';
import { gunzipSync, gzipSync } from 'node:zlib';

import { GetObjectCommand, PutObjectCommand, type S3Client } from '@aws-sdk/client-s3';

import { rawKeyOf, readCarriedBatchId, readRawKey } from '../../../domain/batch-id.ts';
import {
  carriedMessage,
  readCarriedBatch,
  type CarriedBatch,
} from '../../../pipeline/chunks/carried-batch.ts';
import type { ReceivedRange } from '../../../pipeline/store-admin.ts';
import { nameOf } from '../errors.ts';
import { listObjects, type ListedObject } from './list-objects.ts';

/*
 * Groups: bodies that messages carried, many in one object. The key is
 * `grouped/<day>/<first>-<last>-<hash>.jsonl.gz`, with the UTC day and the times of receipt of its
 * first and last batch; the object is gzipped JSON lines, each a message as `carriedMessage` creates it.
 * A batch may be in several groups, because an uncounted batch is delivered again.
 */

/** A group in a listing; times in milliseconds since 1970. */
export interface ListedGroup extends ListedObject {
  readonly first: number;
  readonly last: number;
}

/**
 * A line of a group: a batch, or why it cannot be read. `rawKey` is undefined if the line is not
 * JSON.
 */
export type GroupLine =
  | { readonly carried: CarriedBatch }
  | { readonly reason: string; readonly rawKey: string | undefined };

export interface BodyGroups {
  /** Stores the batches, in one group for each day on which they were received. */
  put(batches: readonly CarriedBatch[]): Promise<void>;
  /** The groups that may hold batches received in the range, by the times of their first batches. */
  list(range?: ReceivedRange): AsyncIterable<ListedGroup[]>;
  /** The groups whose first batch was received at this time or later, in order. */
  begunSince(time: number): AsyncIterable<ListedGroup[]>;
  /** The lines of a group; undefined if it was deleted. @throws {GroupUnreadable} */
  read(key: string): Promise<readonly GroupLine[] | undefined>;
  find(rawKey: string): Promise<CarriedBatch | undefined>;
}

/** A group is not a valid gzip file. */
export class GroupUnreadable extends Error {
  override readonly name = 'GroupUnreadable';
}

/** The prefix of the keys of all groups. */
export const groupPrefix = 'grouped/';
const time = String.raw`(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z)`;
const keyForm = new RegExp(
  String.raw`^grouped/\d{4}-\d{2}-\d{2}/${time}-${time}-[0-9a-f]{32}\.jsonl\.gz$`,
);

export function s3BodyGroups(client: Pick<S3Client, 'send'>, bucket: string): BodyGroups {
  const groups: BodyGroups = {
    async put(batches) {
      const days = Map.groupBy(batches, ({ receivedAt }) => dayOf(receivedAt));
      for (const ofDay of days.values()) await putGroup(client, bucket, ofDay);
    },

    async *list({ from, to } = { from: 0, to: Number.MAX_SAFE_INTEGER }) {
      const range = { after: `${groupPrefix}${from <= 0 ? '' : dayOf(from)}` };
      for await (const page of listObjects(client, bucket, groupPrefix, range)) {
        const found = page.flatMap(readListed);
        const wanted = found.filter(({ first, last }) => first < to && last >= from);
        yield wanted;
        if (found.some(({ first }) => first >= to)) return;
      }
    },

    async *begunSince(time) {
      const begin = new Date(Math.max(0, time)).toISOString();
      const range = { after: `${groupPrefix}${begin.slice(0, 10)}/${begin}` };
      for await (const page of listObjects(client, bucket, groupPrefix, range)) {
        yield page.flatMap(readListed);
      }
    },

    async read(Key) {
      const request = new GetObjectCommand({ Bucket: bucket, Key });
      const object = await client.send(request).catch((error: unknown) => {
        if (nameOf(error) === 'NoSuchKey') return undefined;
        throw error;
      });
      if (object?.Body === undefined) return undefined;
      return linesOf(Key, await object.Body.transformToByteArray());
    },

    async find(rawKey) {
      const carried = readCarriedBatchId(readRawKey(rawKey)?.batchId ?? '');
      if (carried === undefined) return undefined;
      const range = { from: carried.receivedAt, to: carried.receivedAt + 1 };
      for await (const page of groups.list(range)) {
        for (const { key } of page) {
          for (const line of (await groups.read(key)) ?? []) {
            if ('carried' in line && rawKeyOfBatch(line.carried) === rawKey) return line.carried;
          }
        }
      }
      return undefined;
    },
  };
  return groups;
}

/** The raw key of a batch, under which it is listed as if it had an object of its own. */
export function rawKeyOfBatch({
  batchId,
  receivedAt,
}: Pick<CarriedBatch, 'batchId' | 'receivedAt'>): string {
  return rawKeyOf(batchId, receivedAt);
}

async function putGroup(
  client: Pick<S3Client, 'send'>,
  Bucket: string,
  batches: readonly CarriedBatch[],
): Promise<void> {
  const lines = batches.map((batch) => `${carriedMessage(batch)}\n`).join('');
  const times = batches.map(({ receivedAt }) => receivedAt);
  const [first, last] = [Math.min(...times), Math.max(...times)];
  const span = [first, last].map((at) => new Date(at).toISOString()).join('-');
  // The key depends on the content, so that a repeated request stores the same object.
  const id = hash('sha256', lines).slice(0, 32);
  await client.send(
    new PutObjectCommand({
      Bucket,
      Key: `${groupPrefix}${dayOf(first)}/${span}-${id}.jsonl.gz`,
      Body: gzipSync(lines),
      ContentType: 'application/gzip',
    }),
  );
}

function dayOf(milliseconds: number): string {
  return new Date(milliseconds).toISOString().slice(0, 10);
}

/** Undefined for keys of other programs. */
function readListed(object: ListedObject): ListedGroup[] {
  const [, first, last] = keyForm.exec(object.key) ?? [];
  if (first === undefined || last === undefined) return [];
  return [{ ...object, first: Date.parse(first), last: Date.parse(last) }];
}

function linesOf(key: string, bytes: Uint8Array): GroupLine[] {
  let text: string;
  try {
    text = gunzipSync(bytes).toString();
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new GroupUnreadable(`${key} is not a valid gzip file: ${why}`, { cause: error });
  }
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map(readLine);
}

function readLine(line: string): GroupLine {
  let document: Record<string, unknown>;
  try {
    document = JSON.parse(line) as Record<string, unknown>;
  } catch {
    return { reason: 'a line of the group is not JSON', rawKey: undefined };
  }
  const reading = readCarriedBatch(document);
  if ('carried' in reading) return reading;
  const rawKey = document['raw_key'];
  return { reason: reading.reason, rawKey: typeof rawKey === 'string' ? rawKey : undefined };
}
