import { hash } from 'node:crypto';
import { gunzipSync } from 'node:zlib';

import { readBatch, countEvents } from '../../../src/domain/batch.ts';
import { readRawKey } from '../../../src/domain/batch-id.ts';
import { cutIntoChunks } from '../../../src/pipeline/chunks/chunk.ts';
import type { Increments } from '../../../src/domain/counter.ts';
import { fromRanges, type Ranges } from '../../../src/domain/index-ranges.ts';
import { readDeviceEvent } from '../../../src/domain/device-event.ts';
import { dayOf } from './aws-functions.ts';
import type { SimulatedObject } from '../simulated-aws/aws-simulated-s3.ts';
import type { Item } from './aws-traffic.ts';

/** A chunk of a stored batch, and its increments. */
export interface RecountedChunk {
  readonly batchId: string;
  readonly receivedAt: number;
  readonly index: number;
  readonly increments: Increments;
}

export function inflated({ body, contentEncoding }: SimulatedObject): Uint8Array {
  return contentEncoding === 'gzip' ? gunzipSync(body) : body;
}

/** The over-limit items of a batch, as stored beside its body. */
export function excludedOf(
  rawKey: string,
  { metadata }: SimulatedObject,
  bodyOf: (key: string) => Uint8Array | undefined,
): readonly number[] {
  if (metadata['excluded'] === undefined) return [];
  const bytes = bodyOf(rawKey.replace(/^raw/, 'excluded'));
  if (bytes === undefined) throw new Error(`nothing says what is excluded of ${rawKey}`);
  const { excluded } = JSON.parse(Buffer.from(bytes).toString()) as { excluded: Ranges };
  const indexes = fromRanges(excluded);
  if (String(indexes.length) !== metadata['excluded']) throw new Error(`${rawKey} says otherwise`);
  return indexes;
}

/** Cuts a stored body by the domain rules and its metadata. */
export function cutAgain(
  rawKey: string,
  object: SimulatedObject,
  excluded: readonly number[],
): RecountedChunk[] {
  const identity = readRawKey(rawKey);
  const reading = readBatch(inflated(object), dayOf, excluded);
  if (identity === undefined || !reading.readable) throw new Error(`${rawKey} is no raw body`);
  const per = object.metadata['items-per-message'];
  const itemsPerMessage = per === 'packed' ? Number.POSITIVE_INFINITY : Number(per);
  return cutIntoChunks(identity, reading.events, itemsPerMessage).map(({ index, events }) => ({
    ...identity,
    index,
    increments: countEvents(events),
  }));
}

/** A body in a group, read by the documented format alone. */
export interface CarriedBody {
  readonly rawKey: string;
  readonly object: SimulatedObject;
  readonly chunks: readonly RecountedChunk[];
}

/** The bodies in a group; none for other objects. */
export function carriedBodies(key: string, bytes: Uint8Array): CarriedBody[] {
  if (!key.startsWith('grouped/')) return [];
  const lines = gunzipSync(bytes).toString().split('\n').slice(0, -1);
  return lines.map((line) => {
    const document = JSON.parse(line) as Record<string, string>;
    const { raw_key: rawKey = '', body: text, body_base64: base64 = '' } = document;
    const body = text === undefined ? Buffer.from(base64, 'base64') : Buffer.from(text);
    if (hash('sha256', body) !== document['sha256']) throw new Error(`${rawKey} is damaged`);
    const metadata = { 'items-per-message': 'packed' };
    const object = { body, contentEncoding: document['encoding'], metadata };
    return { rawKey, object, chunks: cutAgain(rawKey, object, []) };
  });
}

export function incrementsOfItem(item: Item): Increments {
  const reading = readDeviceEvent(item, dayOf);
  if (!reading.valid) throw new Error('not an item');
  return countEvents([reading.event]);
}
