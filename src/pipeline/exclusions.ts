import { findOverLimit, countEvents } from '../domain/batch.ts';
import type { Counter } from '../domain/day-bound.ts';
import type { DayOf } from '../domain/day.ts';
import { AllItemsOverLimit, type Batch } from './ports.ts';
import { inflateStored, readStored } from './recount.ts';

/**
 * The batch without its over-limit items, those whose counters `admits` rejects, in item order.
 * @throws {AllItemsOverLimit} if the batch is refused for them.
 */
export function rejectOverLimitItems(
  batch: Batch,
  dayOf: DayOf | undefined,
  admits: (counter: Counter) => boolean,
): Batch {
  const inflated = inflateStored(batch);
  if (inflated.code !== undefined) throw new Error(inflated.detail);
  const excluded = findOverLimit(inflated.body, dayOf, admits);
  if (excluded.length === 0) return batch;
  if (batch.strict === true || excluded.length >= batch.accepted) {
    throw new AllItemsOverLimit(excluded);
  }
  return withoutItems(batch, dayOf, excluded);
}

/** The batch with exactly the items at `excluded` as its over-limit items. */
export function withoutItems(
  batch: Batch,
  dayOf: DayOf | undefined,
  excluded: readonly number[],
): Batch {
  const { excluded: before = [] } = batch;
  if (excluded === before || excluded.length + before.length === 0) return batch;
  const more = excluded.length - before.length;
  const accepted = batch.accepted - more;
  const rejected = batch.rejected + more;
  const reading = readStored({ ...batch, accepted, rejected, excluded }, dayOf);
  if ('reason' in reading) throw new Error(`the over-limit items differ: ${reading.reason}`);
  return { ...batch, accepted, rejected, excluded, increments: countEvents(reading.events) };
}
