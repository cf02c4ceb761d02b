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

/** The nesting limit of a body, including members other than ours; deeper is invalid JSON. */
export const jsonDepthMax = 64;

/** The most item errors in a response; further ones are only counted. */
export const itemErrorsMax = 20;

/** An error of one item: `index` is its index in `processed_devices`, from 0. */
export interface ItemError extends FieldError {
  readonly index: number;
}

/** The numbers of rejected items by the code of their first error. */
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
      /** The number of rejected items. */
      readonly rejected: number;
      readonly rejectedByCode: RejectedByCode;
      /** Their first errors, at most `itemErrorsMax`. */
      readonly errors: readonly ItemError[];
    };

/**
 * Reads the inflated body of a batch, `{"processed_devices":[…]}` as UTF-8 JSON. The same bytes
 * always give the same reading: audit and rebuild depend on it. `excluded` are the ascending indexes
 * of over-limit items, which the body does not show: they are rejected again, with the error that
 * `explain` returns, or without an error.
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
    : readItems(document.items, dayOf, excluded, explain);
}

/**
 * The ascending indexes of the valid items that `admits` rejects. It is called once for each valid
 * item, in order. @throws if the body is not readable.
 */
export function findOverLimit(
  body: Uint8Array,
  dayOf: DayOf = dateOfTimestamp,
  admits: (event: DeviceEvent) => boolean,
): number[] {
  const { items } = parseItems(body);
  if (items === undefined) throw new Error('the body is no longer readable');
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
    // Throws on invalid UTF-8, and strips a byte order mark.
    document = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch (error) {
    return unreadable('invalid_json', whyNotJson(error));
  }
  // Primitives and arrays have no such member.
  const { processed_devices: items } = Object(document) as { processed_devices?: unknown };
  if (Array.isArray(items)) return { items };
  return unreadable(
    'invalid_body',
    'The body must be a JSON object with an array of items as processed_devices.',
  );
}

/** The increments of the events. */
export function countEvents(events: readonly DeviceEvent[]): Increments {
  const increments: Increments = new Map();
  for (const event of events) addIncrement(increments, event);
  return increments;
}

function readItems(
  items: readonly unknown[],
  dayOf: DayOf,
  excluded: readonly number[],
  explain: ((event: DeviceEvent) => FieldError) | undefined,
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
    // Without an error to write, the item need not be read.
    if (isExcluded && (explain === undefined || errors.length >= itemErrorsMax)) {
      refuse(index, 'too_many_counters', []);
      return;
    }
    // Bodies may have a million invalid items: do not build errors that are not reported.
    const reading = readDeviceEvent(item, dayOf, itemErrorsMax - errors.length);
    if (!reading.valid) refuse(index, reading.code, reading.errors);
    else if (isExcluded && explain !== undefined) {
      refuse(index, 'too_many_counters', [explain(reading.event)]);
    } else events.push(reading.event);
  });
  return { readable: true, events, rejected, rejectedByCode, errors };
}

function unreadable(code: 'empty_body' | 'invalid_json' | 'invalid_body', detail: string) {
  return { readable: false, code, detail } as const;
}

function whyNotJson(error: unknown): string {
  if (error instanceof SyntaxError) return `The body is not valid JSON: ${error.message}.`;
  return 'The body is not UTF-8.';
}
