import { isBearerToken, serverAddress } from '../../client/checks.ts';
import { isTokenName, rateMax, scopes, tokenCharactersMax, type Scope } from '../../auth/token.ts';
import { isDayZone } from '../../domain/day.ts';
import { dateOfTimestamp, isCalendarDate } from '../../domain/timestamp.ts';
import { isNameOrAddress } from '../../http/app/allowed-hosts.ts';
import { isOriginOrAny } from '../../http/app/cors.ts';
import { dimensions } from '../../pipeline/stats/formats.ts';

/** An error in the command line; the process exits with code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** Creates a parser for the option `name`. The parser throws a UsageError that names the option. */
export type ParserFor<Value> = (name: string) => (text: string) => Value;

/**
 * A parser of the texts for which `read` returns a value.
 * @param rule completes the message `--option must be …`
 */
function parser<Value>(rule: string, read: (text: string) => Value | undefined): ParserFor<Value> {
  return (flag) => (text) => {
    const value = read(text);
    if (value !== undefined) return value;
    throw new UsageError(`${flag} must be ${rule}, got '${text}'`);
  };
}

/** The same for an option whose text is the value. */
function textParser(rule: string, isValid: (text: string) => boolean): ParserFor<string> {
  return parser(rule, (text) => (isValid(text) ? text : undefined));
}

type ListParserFor<Value> = (flag: string) => (text: string, earlier?: readonly Value[]) => Value[];

/** The same for an option that may be repeated, or have several values with commas between them. */
function listParser<Value>(parserFor: ParserFor<Value>): ListParserFor<Value> {
  return (flag) => {
    const parse = parserFor(flag);
    return (text, earlier = []) => [
      ...earlier,
      ...text.split(',').map((part) => parse(part.trim())),
    ];
  };
}

function numberIn(text: string, from: number, to: number): number | undefined {
  const number = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  return number >= from && number <= to ? number : undefined;
}

/** A parser of whole numbers within the bounds, both included. */
export function wholeNumber(from: number, to: number): ParserFor<number> {
  return parser(`a whole number from ${from} to ${to}`, (text) => numberIn(text, from, to));
}

/** A parser of numbers above zero, such as a rate. */
export const positiveNumber = parser('a number above 0', (text) => {
  const number = /^\d{1,15}(\.\d{1,9})?$/.test(text) ? Number(text) : Number.NaN;
  return number > 0 ? number : undefined;
});

/** A parser of one of the given words. */
export function oneOf<Word extends string>(words: readonly Word[]): ParserFor<Word> {
  return parser(`one of ${words.join(', ')}`, (text) => words.find((each) => each === text));
}

const unitBytes: Record<string, number> = {
  '': 1,
  B: 1,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
};

/** A parser of sizes, to bytes: `4MiB`, `512KiB`, `1GiB`, or a number of bytes. */
export const size = parser('a size such as 4MiB, 512KiB or 1048576', (text) => {
  const [, number, unit] = /^(\d{1,15})(B|KiB|MiB|GiB|)$/.exec(text) ?? [];
  const bytes = Number(number) * (unitBytes[unit ?? ''] ?? Number.NaN);
  return bytes > 0 && Number.isSafeInteger(bytes) ? bytes : undefined;
});

/** As `size`, but at least 1 KiB, in which a request with one item fits. */
export function bodySize(flag: string): (text: string) => number {
  const isLarge = (text: string) => {
    const bytes = size(flag)(text);
    return bytes >= 1024 ? bytes : undefined;
  };
  return parser('1KiB or more', isLarge)(flag);
}

/** A parser of rates in requests per second. */
export function rate(flag: string): (text: string) => number {
  const isSmall = (text: string) => {
    const number = positiveNumber(flag)(text);
    return number <= rateMax ? number : undefined;
  };
  return parser(`at most ${rateMax}`, isSmall)(flag);
}

/** A parser of the prefix of idempotency keys. */
export const keyName = textParser('1 to 128 visible ASCII characters', (text) =>
  /^[\x21-\x7e]{1,128}$/.test(text),
);

/** A parser of calendar dates such as `2023-06-16`. */
export const date = textParser('a date such as 2023-06-16', isCalendarDate);

/**
 * A parser of RFC 3339 timestamps and of dates, which mean midnight UTC, to milliseconds since 1970.
 */
export const timestamp = parser('a timestamp such as 2023-06-16T12:00:00Z', (text) => {
  const isWritten = isCalendarDate(text) || dateOfTimestamp(text) !== undefined;
  const milliseconds = isWritten ? Date.parse(text.toUpperCase()) : Number.NaN;
  return Number.isNaN(milliseconds) ? undefined : milliseconds;
});

/** A parser of the URL of a server, returned without a trailing slash. */
export const serverUrl = parser('a URL such as http://127.0.0.1:8080', serverAddress);

/** A parser of the URLs of archives. */
export const archiveUrl = textParser(
  's3://BUCKET, s3://BUCKET/PREFIX or file:///DIRECTORY',
  (text) =>
    /^s3:\/\/[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](\/.*)?$/.test(text) || /^file:\/\/\/./.test(text),
);

/** A parser of the ids of logs. */
export const logId = textParser('32 hexadecimal digits', (text) => /^[0-9a-f]{32}$/.test(text));

/** A parser of text that is not blank. */
export function nonEmpty(flag: string): (text: string) => string {
  return (text) => {
    if (text.trim() !== '') return text;
    throw new UsageError(`${flag} must not be empty`);
  };
}

/** A parser of the host to listen on. An IPv6 address may be in brackets, as in a URL. */
export function listenAddress(flag: string): (text: string) => string {
  return (text) => nonEmpty(flag)(text).replace(/^\[(.*)\]$/, '$1');
}

/** A parser of bearer tokens. Its errors do not quote the token. */
export function bearerToken(flag: string): (text: string) => string {
  return (text) => {
    if (isBearerToken(text)) return text;
    const form = `visible ASCII, without spaces, and at most ${tokenCharactersMax} characters`;
    throw new UsageError(`${flag} must be ${form}`);
  };
}

/** A parser of web origins: a repeated option, or a comma-separated list. */
export const origins = listParser(
  textParser('an origin such as https://app.example, without a path, or *', isOriginOrAny),
);

/** A parser of host names and addresses: a repeated option, or a comma-separated list. */
export const hosts = listParser(
  textParser('a name or an address such as pipeline.example, without a port', isNameOrAddress),
);

/** A parser of day rules. */
export const dayZone = textParser(
  'as-written, UTC or a time zone such as Europe/Berlin',
  isDayZone,
);

/** A parser of token names. */
export const tokenName = textParser('1 to 64 characters of printable ASCII', isTokenName);

/** A parser of token scopes: a repeated option, or a comma-separated list. */
export function tokenScopes(flag: string): (text: string, earlier?: readonly Scope[]) => Scope[] {
  const parse = oneOf(scopes)(flag);
  return (text, earlier = []) => [
    ...new Set([...earlier, ...text.split(',').map((scope) => parse(scope.trim()))]),
  ];
}

/** A parser of columns to group by: a repeated option, or a comma-separated list. */
export const statsDimensions = listParser(oneOf(dimensions));

/** A parser of retention times in days. */
export function daysToKeep(from: number, to: number): ParserFor<number | 'forever'> {
  return parser(`a whole number of days from ${from} to ${to}, or forever`, (text) =>
    text === 'forever' ? text : numberIn(text, from, to),
  );
}

const unitMs: Record<string, number> = { m: 60_000, h: 3_600_000, d: 86_400_000 };

/** A parser of durations such as `90d`, `12h` or `30m`, to milliseconds. */
export const duration = parser('a duration such as 90d, 12h or 30m', (text) => {
  const [, number, unit = ''] = /^(\d{1,6})([dhm])$/.exec(text) ?? [];
  const milliseconds = Number(number) * (unitMs[unit] ?? Number.NaN);
  return milliseconds > 0 && milliseconds <= 100 * 366 * 86_400_000 ? milliseconds : undefined;
});

/** A parser of boolean environment variables; an empty one is false. */
export const yesOrNo = parser('1 or 0', (text) => {
  if (/^(|0|no|false)$/i.test(text)) return false;
  return /^(1|yes|true)$/i.test(text) || undefined;
});
