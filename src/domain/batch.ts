import { addToTally, type Tally } from './counter.ts';
import type { DayOf } from './day.ts';
import { readDeviceEvent, type DeviceEvent, type FieldError } from './device-event.ts';
import { isNestedDeeperThan } from './json-depth.ts';
import { dateOfTimestamp } from './timestamp.ts';

/** Bodies that nest deeper are refused as invalid JSON, in members that are not ours too. */
export const jsonDepthMax = 64;

/** So many item errors are listed in an answer; the rest are only counted. */
export const itemErrorsMax = 20;

/** An error of one item: `index` is its place in `processed_devices`, from 0. */
export interface ItemError extends FieldError {
  readonly index: number;
}

export type BatchReading =
  | {
      readonly readable: false;
      readonly code: 'empty_body' | 'invalid_json' | 'invalid_body';
      readonly detail: string;
    }
  | {
      readonly readable: true;
      /** The valid items, in order. */
      readonly events: readonly DeviceEvent[];
      /** How many items are not valid. */
      readonly rejected: number;
      /** The first errors of those, `itemErrorsMax` at most. */
      readonly errors: readonly ItemError[];
    };

/**
 * Reads the body of a batch, `{"processed_devices":[…]}` as UTF-8 JSON, inflated. The same bytes
 * give the same reading at any later time: counts are proven and restored from the raw bodies.
 * `excluded` are indexes of items, ascending, that were refused for what the body does not tell: they
 * are read as refused again, without an error.
 */
export function readBatch(
  body: Uint8Array,
  dayOf: DayOf = dateOfTimestamp,
  excluded: readonly number[] = [],
): BatchReading {
  if (body.length === 0) {
    return unreadable('empty_body', 'The body is empty; send {"processed_devices":[…]}.');
  }
  if (isNestedDeeperThan(body, jsonDepthMax)) {
    return unreadable('invalid_json', `The body nests deeper than ${jsonDepthMax} levels.`);
  }
  let document: unknown;
  try {
    // Throws on malformed UTF-8, and strips a byte order mark.
    document = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch (error) {
    return unreadable('invalid_json', whyNotJson(error));
  }
  const items = processedDevices(document);
  if (items === undefined) {
    return unreadable(
      'invalid_body',
      'The body must be an object whose member processed_devices is a list of items.',
    );
  }
  return readItems(items, dayOf, excluded);
}

/** The increments that the events make. */
export function tallyEvents(events: readonly DeviceEvent[]): Tally {
  const tally: Tally = new Map();
  for (const event of events) addToTally(tally, event);
  return tally;
}

function readItems(
  items: readonly unknown[],
  dayOf: DayOf,
  excluded: readonly number[],
): BatchReading {
  const events: DeviceEvent[] = [];
  const errors: ItemError[] = [];
  let rejected = 0;
  let nextExcluded = 0;
  items.forEach((item, index) => {
    if (excluded[nextExcluded] === index) {
      nextExcluded++;
      rejected++;
      return;
    }
    // A body may hold a million bad items: what nobody is told is not put together.
    const reading = readDeviceEvent(item, dayOf, itemErrorsMax - errors.length);
    if (reading.valid) {
      events.push(reading.event);
      return;
    }
    rejected++;
    for (const error of reading.errors) {
      if (errors.length < itemErrorsMax) errors.push({ index, ...error });
    }
  });
  return { readable: true, events, rejected, errors };
}

function processedDevices(document: unknown): readonly unknown[] | undefined {
  if (typeof document !== 'object' || document === null || Array.isArray(document)) {
    return undefined;
  }
  const { processed_devices: items } = document as { processed_devices?: unknown };
  return Array.isArray(items) ? items : undefined;
}

function unreadable(code: 'empty_body' | 'invalid_json' | 'invalid_body', detail: string) {
  return { readable: false, code, detail } as const;
}

function whyNotJson(error: unknown): string {
  if (error instanceof SyntaxError) return `The body is not JSON: ${error.message}.`;
  return 'The body is not UTF-8.';
}
