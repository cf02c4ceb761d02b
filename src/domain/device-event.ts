import type { DayOf } from './day.ts';
import { dateOfTimestamp, type CalendarDate } from './timestamp.ts';

/** A processed device, valid, with the date it counts on. */
export interface DeviceEvent {
  readonly type: string;
  readonly state: string;
  readonly timestamp: string;
  readonly date: CalendarDate;
}

/** The longest `type`, `state` or `timestamp`, in bytes of UTF-8. */
export const fieldBytesMax = 128;

export type EventField = 'type' | 'state' | 'timestamp';

/** Stable: clients act on these. */
export type ItemErrorCode =
  | 'not_an_object'
  | 'missing'
  | 'not_a_string'
  | 'blank'
  | 'too_long'
  | 'not_unicode'
  | 'control_character'
  | 'edge_whitespace'
  | 'not_rfc3339'
  /** The item is valid, but exceeds the counter limit of its day. */
  | 'too_many_counters';

/** The errors of one field by itself. */
type FieldErrorCode = Exclude<ItemErrorCode, 'too_many_counters'>;

const fieldErrors: Record<FieldErrorCode, string> = {
  not_an_object: 'must be an object with type, state and timestamp',
  missing: 'is missing',
  not_a_string: 'must be a string',
  blank: 'must not be empty or only white space',
  too_long: `must be at most ${fieldBytesMax} bytes of UTF-8`,
  not_unicode: 'must be well-formed Unicode, without lone surrogates',
  control_character: 'must not contain control characters (U+0000 to U+001F, U+007F)',
  edge_whitespace: 'must not begin or end with white space',
  not_rfc3339:
    'must be an RFC 3339 date-time with a valid calendar date, such as 2023-06-16T13:00:00Z',
};

/** All item errors, with the text that follows the name of the field. */
export const itemErrors: Readonly<Record<ItemErrorCode, string>> = {
  ...fieldErrors,
  too_many_counters: 'needs a new counter, but its day has reached the counter limit',
};

/** Why a field of an item, or the whole item (`field` null), is invalid. */
export interface FieldError {
  readonly field: EventField | null;
  readonly code: ItemErrorCode;
  readonly message: string;
}

type EventReading =
  | { readonly valid: true; readonly event: DeviceEvent }
  | {
      readonly valid: false;
      /** The code of the first error, also if `errors` is empty. */
      readonly code: ItemErrorCode;
      readonly errors: readonly FieldError[];
    };

/**
 * Validates one item of a batch as parsed from JSON. Other members are ignored. Names are not
 * trimmed, case-folded or normalised: different bytes are different names. `errors` has the first
 * error of each invalid field; it is empty if `errorsMax` is 0.
 */
export function readDeviceEvent(
  item: unknown,
  dayOf: DayOf = dateOfTimestamp,
  errorsMax = Infinity,
): EventReading {
  if (typeof item !== 'object' || item === null || Array.isArray(item)) {
    const code = 'not_an_object';
    return { valid: false, code, errors: errorsMax === 0 ? [] : [fieldError(null, code)] };
  }
  const { type, state, timestamp } = item as Partial<Record<EventField, unknown>>;
  const typeError = checkName(type);
  const stateError = checkName(state);
  const date = readTimestamp(timestamp, dayOf);
  if (typeError === undefined && stateError === undefined && date.code === undefined) {
    const event = { type, state, timestamp, date: date.value } as DeviceEvent;
    return { valid: true, event };
  }
  const errors: FieldError[] = [];
  const code = typeError ?? stateError ?? date.code ?? 'not_an_object';
  if (errorsMax === 0) return { valid: false, code, errors };
  if (typeError !== undefined) errors.push(fieldError('type', typeError));
  if (stateError !== undefined) errors.push(fieldError('state', stateError));
  if (date.code !== undefined) errors.push(fieldError('timestamp', date.code));
  return { valid: false, code, errors };
}

/** The error of an over-limit item. */
export function tooManyCounters({ date }: DeviceEvent): FieldError {
  // The message omits the limit, so that a retry gets the same response after the limit has changed.
  const message = `the item needs a new counter, but ${date} has reached its counter limit; use types and states that already exist on that day, or raise the limit`;
  return { field: null, code: 'too_many_counters', message };
}

/** Why no item can have a name; undefined if the name is valid. */
export function nameError(field: 'type' | 'state', name: string): FieldError | undefined {
  const code = checkName(name);
  return code && fieldError(field, code);
}

const controlCharacter = /[\u0000-\u001f\u007f]/; // oxlint-disable-line no-control-regex -- it searches for control characters
const onlyWhiteSpace = /^\p{White_Space}*$/u;
const edgeWhiteSpace = /^\p{White_Space}|\p{White_Space}$/u;
/** A quick check for valid names: printable ASCII without white space at either end. */
const plainName = /^[!-~](?:[ -~]{0,126}[!-~])?$/;

function checkName(value: unknown): FieldErrorCode | undefined {
  if (typeof value !== 'string') return value === undefined ? 'missing' : 'not_a_string';
  if (plainName.test(value)) return undefined;
  if (isTooLong(value)) return 'too_long';
  if (onlyWhiteSpace.test(value)) return 'blank';
  if (!value.isWellFormed()) return 'not_unicode';
  if (controlCharacter.test(value)) return 'control_character';
  if (edgeWhiteSpace.test(value)) return 'edge_whitespace';
  return undefined;
}

function readTimestamp(
  value: unknown,
  dayOf: DayOf,
): { code: FieldErrorCode } | { code?: never; value: string } {
  if (typeof value !== 'string') return { code: value === undefined ? 'missing' : 'not_a_string' };
  if (isTooLong(value)) return { code: 'too_long' };
  const date = dayOf(value);
  return date === undefined ? { code: 'not_rfc3339' } : { value: date };
}

function isTooLong(value: string): boolean {
  // Each UTF-16 code unit takes at least one byte of UTF-8, so long strings need not be encoded.
  return value.length > fieldBytesMax || Buffer.byteLength(value) > fieldBytesMax;
}

function fieldError(field: EventField | null, code: FieldErrorCode): FieldError {
  return { field, code, message: `${field ?? 'the item'} ${fieldErrors[code]}` };
}
