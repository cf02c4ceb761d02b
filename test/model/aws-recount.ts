import { gunzipSync } from 'node:zlib';

import { readBatch, tallyEvents } from '../../src/domain/batch.ts';
import { readRawKey } from '../../src/domain/batch-id.ts';
import { cutIntoChunks } from '../../src/domain/chunk.ts';
import type { Tally } from '../../src/domain/counter.ts';
import { readDeviceEvent } from '../../src/domain/device-event.ts';
import { dayOf } from './aws-functions.ts';
import type { SimulatedObject } from './aws-simulated-s3.ts';
import type { Item } from './aws-traffic.ts';

/** A part of a stored batch, and what it counts. */
export interface RecountedChunk {
  readonly batchId: string;
  readonly receivedAt: number;
  readonly index: number;
  readonly tally: Tally;
}

export function inflated({ body, contentEncoding }: SimulatedObject): Uint8Array {
  return contentEncoding === 'gzip' ? gunzipSync(body) : body;
}

/** Cuts a stored body by the rules of the domain and by what is stored with it. */
export function cutAgain(rawKey: string, object: SimulatedObject): RecountedChunk[] {
  const identity = readRawKey(rawKey);
  const reading = readBatch(inflated(object), dayOf);
  if (identity === undefined || !reading.readable) throw new Error(`${rawKey} is no raw body`);
  const per = object.metadata['items-per-message'];
  const itemsPerMessage = per === 'packed' ? Number.POSITIVE_INFINITY : Number(per);
  return cutIntoChunks(identity, reading.events, itemsPerMessage).map(({ index, events }) => ({
    ...identity,
    index,
    tally: tallyEvents(events),
  }));
}

export function tallyOfItem(item: Item): Tally {
  const reading = readDeviceEvent(item, dayOf);
  if (!reading.valid) throw new Error('not an item');
  return tallyEvents([reading.event]);
}
