import { addIncrement, type Increments } from './counter.ts';
import type { DayOf } from './day.ts';
import {
  readDeviceEvent,
  type DeviceEvent,
  type FieldError,
  type ItemErrorCode,
} from './device-event.ts';
import { isNestedDeeperThan } from './fast/json-depth.ts';
import { dateOfTimestamp } from './timestamp.ts';

/** Bodies that nest deeper are refused as invalid JSON, in members that are not ours too. */
export const jsonDepthMax = 64;

/** So many item errors are listed in an answer; the rest are only counted. */
export const itemErrorsMax = 20;

/** An error of one item: `index` is its place in `processed_devices`, from 0. */
export interface ItemError extends FieldError {
  readonly index: number;
}

/** How many items were refused, each by the code of its first error. */
export type RejectedByCode = ReadonlyMap<ItemErrorCode, number>;

interface Unreadable {
  readonly readable: false;
  readonly code: 'empty_body' | 'invalid_json' | 'invalid_body';
  readonly detail: string;
}

export type BatchReading =
  | Unreadable
  | {
      readonly readable: true;
      /** The valid items, in order. */
      readonly events: readonly DeviceEvent[];
      /** How many items are not valid. */
      readonly rejected: number;
      readonly rejectedByCode: RejectedByCode;
      /** The first errors of those, `itemErrorsMax` at most. */
      readonly errors: readonly ItemError[];
    };

/**
 * Reads the body of a batch, `{"processed_devices":[…]}` as UTF-8 JSON, inflated. The same bytes
 * give the same reading at any later time: counts are proven and restored from the raw bodies.
 * `excluded` are indexes of items, ascending, that were refused for what the body does not tell: they
 * are read as refused again, for what `explain` says, or without an error.
 */
export function readBatch(
  body: Uint8Array,
  dayOf: DayOf = dateOfTimestamp,
  excluded: readonly number[] = [],
  explain?: (event: DeviceEvent) => FieldError,
): BatchReading {
  const document = parseItems(body);
  return document.items === undefined
    ? document
    : readItems(document.items, { dayOf, excluded, explain });
}

/**
 * The indexes, ascending, of the valid items that `admits` refuses. It is asked once for each, in
 * their order. @throws where the body is not readable.
 */
export function findOverLimit(
  body: Uint8Array,
  dayOf: DayOf = dateOfTimestamp,
  admits: (event: DeviceEvent) => boolean,
): number[] {
  const { items } = parseItems(body);
  if (items === undefined) throw new Error('a body that was readable is not any more');
  return [...items.entries()].flatMap(([index, item]) => {
    const reading = readDeviceEvent(item, dayOf);
    return reading.valid && !admits(reading.event) ? [index] : [];
  });
}

function parseItems(
  body: Uint8Array,
): { readonly items: readonly unknown[] } | (Unreadable & { readonly items?: never }) {
  if (body.length === 0) {
    return unreadable('empty_body', 'The body is empty; send {"processed_devices":[…]}.');
  }
  if (isNestedDeeperThan(body, jsonDepthMax)) {
    return unreadable('invalid_json', `The JSON is nested deeper than ${jsonDepthMax} levels.`);
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
      'The body must be a JSON object with an array of items as processed_devices.',
    );
  }
  return { items };
}

/** The increments that the events make. */
export function countEvents(events: readonly DeviceEvent[]): Increments {
  const increments: Increments = new Map();
  for (const event of events) addIncrement(increments, event);
  return increments;
}

interface ItemRules {
  readonly dayOf: DayOf;
  readonly excluded: readonly number[];
  readonly explain: ((event: DeviceEvent) => FieldError) | undefined;
}

function readItems(
  items: readonly unknown[],
  { dayOf, excluded, explain }: ItemRules,
): BatchReading {
  const events: DeviceEvent[] = [];
  const errors: ItemError[] = [];
  const rejectedByCode = new Map<ItemErrorCode, number>();
  let rejected = 0;
  let nextExcluded = 0;
  const refuse = (index: number, code: ItemErrorCode, found: readonly FieldError[]) => {
    rejected++;
    rejectedByCode.set(code, (rejectedByCode.get(code) ?? 0) + 1);
    for (const error of found) {
      if (errors.length < itemErrorsMax) errors.push({ index, ...error });
    }
  };
  items.forEach((item, index) => {
    const isExcluded = excluded[nextExcluded] === index;
    if (isExcluded) nextExcluded++;
    // What is only counted need not be looked at.
    if (isExcluded && (explain === undefined || errors.length >= itemErrorsMax)) {
      refuse(index, 'too_many_counters', []);
      return;
    }
    // A body may hold a million bad items: what nobody is told is not put together.
    const reading = readDeviceEvent(item, dayOf, itemErrorsMax - errors.length);
    if (!reading.valid) refuse(index, reading.code, reading.errors);
    else if (isExcluded && explain !== undefined) {
      refuse(index, 'too_many_counters', [explain(reading.event)]);
    } else events.push(reading.event);
  });
  return { readable: true, events, rejected, rejectedByCode, errors };
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
  if (error instanceof SyntaxError) return `The body is not valid JSON: ${error.message}.`;
  return 'The body is not UTF-8.';
}
