import { readBatch, countEvents } from '../domain/batch.ts';
import type { Increments } from '../domain/counter.ts';
import type { DayOf } from '../domain/day.ts';
import type { DeviceEvent } from '../domain/device-event.ts';
import { inflate, type Inflated } from './inflate.ts';
import type { RawBatch } from './ports.ts';

/** An inflated body can be no longer than this, whatever limit was in force when it came. */
const inflatedBytesMax = 1024 * 1024 * 1024;

/** What is read of a stored batch to count it again. */
export type RecountedBatch = Pick<
  RawBatch,
  'body' | 'encoding' | 'accepted' | 'rejected' | 'excluded'
> & {
  /** Why what is stored with the body cannot be used, where it cannot. */
  readonly invalidMetadata?: string | undefined;
};

export type Recount =
  { readonly increments: Increments; readonly reason?: never } | { readonly reason: string };

/**
 * Reads a stored body again and says what it counts: the same as when it was accepted, or, with
 * the reason, that it does not and must not be counted unseen.
 */
export function recount(raw: RecountedBatch, dayOf: DayOf): Recount {
  const reading = readStored(raw, dayOf);
  return 'reason' in reading ? reading : { increments: countEvents(reading.events) };
}

/** A body that was inflated before, whatever limit was in force then. */
export function inflateStored({ body, encoding }: Pick<RawBatch, 'body' | 'encoding'>): Inflated {
  return inflate(body, encoding, inflatedBytesMax);
}

/** The accepted events of a stored body: the same as when it was accepted, or why they are not. */
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
