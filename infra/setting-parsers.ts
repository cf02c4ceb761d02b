import { isDayZone } from '../src/domain/day.ts';
import { isOriginOrAny } from '../src/http/app/cors.ts';

/** A value, or what is allowed, phrased to follow "must be". */
type Parsed<Value> = { value: Value } | { allowed: string };

/** Parses a value from JSON, or text from the command line. */
export type Parse<Value> = (given: unknown) => Parsed<Value>;

function numberFrom(given: unknown): number {
  if (typeof given === 'number') return given;
  return typeof given === 'string' && /^\d{1,9}$/.test(given) ? Number(given) : Number.NaN;
}

/** A whole number within the bounds, both included. */
export function wholeNumber(from: number, to: number): Parse<number> {
  return (given) => {
    const value = numberFrom(given);
    if (Number.isInteger(value) && value >= from && value <= to) return { value };
    return { allowed: `a whole number from ${from} to ${to}` };
  };
}

/** As `wholeNumber`, but also accepts the word. */
export function wholeNumberOr<Word extends string>(
  word: Word,
  from: number,
  to: number,
): Parse<number | Word> {
  const parseNumber = wholeNumber(from, to);
  return (given) => {
    if (given === word) return { value: word };
    const parsed = parseNumber(given);
    return 'value' in parsed ? parsed : { allowed: `${parsed.allowed}, or '${word}'` };
  };
}

export function oneOf<Word extends string>(...words: Word[]): Parse<Word> {
  return (given) => {
    const value = words.find((word) => word === given);
    if (value !== undefined) return { value };
    return { allowed: words.map((word) => `'${word}'`).join(' or ') };
  };
}

export function oneOfNumbers<Value extends number>(values: readonly Value[]): Parse<Value> {
  return (given) => {
    const number = numberFrom(given);
    const value = values.find((candidate) => candidate === number);
    return value === undefined ? { allowed: `one of ${values.join(', ')}` } : { value };
  };
}

/** Texts for which `isAllowed` holds. */
function text(isAllowed: (given: string) => boolean, allowed: string): Parse<string> {
  return (given) =>
    typeof given === 'string' && isAllowed(given) ? { value: given } : { allowed };
}

/** The name of a CloudFormation stack. */
export const stackName = text(
  (given) => /^[A-Za-z][A-Za-z0-9-]{0,127}$/.test(given),
  'letters, digits and hyphens, at most 128, beginning with a letter',
);

/** The name of an existing resource, or 'new'. */
function existing(what: string, form: RegExp): Parse<string> {
  return text((given) => form.test(given), `the name of ${what} that exists, or 'new'`);
}

/** According to the naming rules of S3 and DynamoDB. */
export const existingBucket = existing('a bucket', /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/);
export const existingTable = existing('a table', /^[A-Za-z0-9_.-]{3,255}$/);

/** The day rule: the date as written in the timestamp, or the date in a time zone. */
export const dayZone = text(
  isDayZone,
  "'as-written', 'UTC' or the name of a time zone such as 'Europe/Berlin'",
);

/** Allowed web origins (CORS), as comma-separated text or as a list. */
export const corsOrigins: Parse<string> = (given) => {
  const list = Array.isArray(given) ? given.map(String) : [];
  if (typeof given === 'string') list.push(...given.split(',').map((origin) => origin.trim()));
  // Lambda limits all environment variables of a function to 4 KB.
  const isSound = list.every(isOriginOrAny) && list.length > 0 && list.join().length <= 2_000;
  return given === 'none' || isSound
    ? { value: list.join(',') }
    : { allowed: "origins such as 'https://app.example' with commas between, '*', or 'none'" };
};

export const emailAddress = text(
  (given) => given === 'none' || /^[^\s@]{1,64}@[^\s@.]+(\.[^\s@.]+)+$/.test(given),
  "an e-mail address, or 'none'",
);
