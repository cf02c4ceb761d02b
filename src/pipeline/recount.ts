import { readBatch, countEvents } from '../domain/batch.ts';
import type { Increments } from '../domain/counter.ts';
import type { DayOf } from '../domain/day.ts';
import type { DeviceEvent } from '../domain/device-event.ts';
import { inflate, type Inflated } from './inflate.ts';
import type { RawBatch } from './ports.ts';

/** Above any limit that was in force when a body was received. */
const inflatedBytesMax = 1024 * 1024 * 1024;

/** The part of a stored batch that recounting needs. */
export type RecountedBatch = Pick<
  RawBatch,
  'body' | 'encoding' | 'accepted' | 'rejected' | 'excluded'
> & {
  /** Why the stored metadata is unusable, if it is. */
  readonly invalidMetadata?: string | undefined;
};

type Recount =
  { readonly increments: Increments; readonly reason?: never } | { readonly reason: string };

/**
 * Counts a stored body again. The result equals that at intake; if it does not, a reason is returned
 * instead, and the batch must not be counted.
 */
export function recount(raw: RecountedBatch, dayOf: DayOf): Recount {
  const reading = readStored(raw, dayOf);
  return 'reason' in reading ? reading : { increments: countEvents(reading.events) };
}

/** Inflates a stored body, whatever limit was in force when it was received. */
export function inflateStored({ body, encoding }: Pick<RawBatch, 'body' | 'encoding'>): Inflated {
  return inflate(body, encoding, inflatedBytesMax);
}

/** The accepted events of a stored body, the same as at intake; or the reason why they differ. */
export function readStored(
  { body, encoding, accepted, rejected, excluded, invalidMetadata }: RecountedBatch,
  dayOf?: DayOf,
): { readonly events: readonly DeviceEvent[] } | { readonly reason: string } {
  if (invalidMetadata !== undefined) return { reason: `invalid_metadata: ${invalidMetadata}` };
  const inflated = inflateStored({ body, encoding });
  if (inflated.code !== undefined) return { reason: `${inflated.code}: ${inflated.detail}` };
  const reading = readBatch(inflated.body, dayOf, excluded);
  if (!reading.readable) return { reason: `${reading.code}: ${reading.detail}` };
  if (reading.events.length !== accepted || reading.rejected !== rejected) {
    const now = `${reading.events.length} accepted and ${reading.rejected} rejected`;
    return {
      reason: `recount_differs: ${now} items now, ${accepted} and ${rejected} when the batch was received`,
    };
  }
  return { events: reading.events };
}
