import { isBearerToken, serverAddress } from '../../client/checks.ts';
import {
  isTokenName,
  rateMax,
  scopes,
  tokenCharactersMax,
  type Scope,
} from '../../auth/access-token.ts';
import { isDayZone } from '../../domain/day.ts';
import { dateOfTimestamp, isCalendarDate } from '../../domain/timestamp.ts';
import { isNameOrAddress } from '../../http/app/allowed-hosts.ts';
import { isOriginOrAny } from '../../http/app/cors.ts';
import { dimensions, type Dimension } from '../../pipeline/stats-formats.ts';

/** An error in the command line; the process exits with code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** Makes a parser for the option `name`. The parser throws a UsageError that names the option. */
export type ParserFor<Value> = (name: string) => (text: string) => Value;

/** A parser of whole numbers within the bounds, both included. */
export function wholeNumber(from: number, to: number): ParserFor<number> {
  return (flag) => (text) => {
    const number = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
    if (number >= from && number <= to) return number;
    throw new UsageError(`${flag} must be a whole number from ${from} to ${to}, got '${text}'`);
  };
}

/** A parser of numbers above zero, such as a rate. */
export function positiveNumber(flag: string): (text: string) => number {
  return (text) => {
    const number = /^\d{1,15}(\.\d{1,9})?$/.test(text) ? Number(text) : Number.NaN;
    if (number > 0) return number;
    throw new UsageError(`${flag} must be a number above 0, got '${text}'`);
  };
}

const unitBytes: Record<string, number> = {
  '': 1,
  B: 1,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
};

/** A parser of one of the given words. */
export function oneOf<Word extends string>(words: readonly Word[]): ParserFor<Word> {
  return (flag) => (text) => {
    const word = words.find((each) => each === text);
    if (word !== undefined) return word;
    throw new UsageError(`${flag} must be one of ${words.join(', ')}, got '${text}'`);
  };
}

/** A parser of sizes, to bytes: `4MiB`, `512KiB`, `1GiB`, or a number of bytes. */
export function size(flag: string): (text: string) => number {
  return (text) => {
    const [, number, unit] = /^(\d{1,15})(B|KiB|MiB|GiB|)$/.exec(text) ?? [];
    const bytes = Number(number) * (unitBytes[unit ?? ''] ?? Number.NaN);
    if (bytes > 0 && Number.isSafeInteger(bytes)) return bytes;
    throw new UsageError(`${flag} must be a size such as 4MiB, 512KiB or 1048576, got '${text}'`);
  };
}

/** As `size`, but at least 1 KiB, in which a request with one item fits. */
export function bodySize(flag: string): (text: string) => number {
  return (text) => {
    const bytes = size(flag)(text);
    if (bytes >= 1024) return bytes;
    throw new UsageError(`${flag} must be 1KiB or more, got '${text}'`);
  };
}

/** A parser of the prefix of idempotency keys. */
export function keyName(flag: string): (text: string) => string {
  return (text) => {
    if (/^[\x21-\x7e]{1,128}$/.test(text)) return text;
    throw new UsageError(`${flag} must be 1 to 128 visible ASCII characters, got '${text}'`);
  };
}

/** A parser of calendar dates such as `2023-06-16`. */
export function date(flag: string): (text: string) => string {
  return (text) => {
    if (isCalendarDate(text)) return text;
    throw new UsageError(`${flag} must be a date such as 2023-06-16, got '${text}'`);
  };
}

/**
 * A parser of RFC 3339 timestamps and of dates, which mean midnight UTC, to milliseconds since 1970.
 */
export function timestamp(flag: string): (text: string) => number {
  return (text) => {
    const isWritten = isCalendarDate(text) || dateOfTimestamp(text) !== undefined;
    const milliseconds = isWritten ? Date.parse(text.toUpperCase()) : Number.NaN;
    if (!Number.isNaN(milliseconds)) return milliseconds;
    throw new UsageError(`${flag} must be a timestamp such as 2023-06-16T12:00:00Z, got '${text}'`);
  };
}

/** A parser of the URL of a server, returned without a trailing slash. */
export function serverUrl(flag: string): (text: string) => string {
  return (text) => {
    const address = serverAddress(text);
    if (address !== undefined) return address;
    throw new UsageError(`${flag} must be a URL such as http://127.0.0.1:8080, got '${text}'`);
  };
}

/** A parser of text that is not blank. */
export function nonEmpty(flag: string): (text: string) => string {
  return (text) => {
    if (text.trim() !== '') return text;
    throw new UsageError(`${flag} must not be empty`);
  };
}

/** A parser of bearer tokens. Its errors do not quote the token. */
export function bearerToken(flag: string): (text: string) => string {
  return (text) => {
    if (isBearerToken(text)) return text;
    const form = `visible ASCII, without spaces, and at most ${tokenCharactersMax} characters`;
    throw new UsageError(`${flag} must be ${form}`);
  };
}

/** A parser of rates in requests per second. */
export function rate(flag: string): (text: string) => number {
  return (text) => {
    const number = positiveNumber(flag)(text);
    if (number <= rateMax) return number;
    throw new UsageError(`${flag} must be at most ${rateMax}, got '${text}'`);
  };
}

/** A parser of web origins: a repeated option, or a comma-separated list. */
export function origins(flag: string): (text: string, earlier?: readonly string[]) => string[] {
  return (text, earlier = []) => {
    const given = text.split(',').map((origin) => origin.trim());
    const wrong = given.find((origin) => !isOriginOrAny(origin));
    if (wrong !== undefined) {
      throw new UsageError(
        `${flag} must be an origin such as https://app.example, without a path, or *, got '${wrong}'`,
      );
    }
    return [...earlier, ...given];
  };
}

/** A parser of host names and addresses: a repeated option, or a comma-separated list. */
export function hosts(flag: string): (text: string, earlier?: readonly string[]) => string[] {
  return (text, earlier = []) => {
    const given = text.split(',').map((host) => host.trim());
    const wrong = given.find((host) => !isNameOrAddress(host));
    if (wrong !== undefined) {
      throw new UsageError(
        `${flag} must be a name or an address such as pipeline.example, without a port, got '${wrong}'`,
      );
    }
    return [...earlier, ...given];
  };
}

/** A parser of day rules. */
export function dayZone(flag: string): (text: string) => string {
  return (text) => {
    if (isDayZone(text)) return text;
    throw new UsageError(
      `${flag} must be as-written, UTC or a time zone such as Europe/Berlin, got '${text}'`,
    );
  };
}

/** A parser of token names. */
export function tokenName(flag: string): (text: string) => string {
  return (text) => {
    if (isTokenName(text)) return text;
    throw new UsageError(`${flag} must be 1 to 64 characters of printable ASCII, got '${text}'`);
  };
}

/** A parser of token scopes: a repeated option, or a comma-separated list. */
export function tokenScopes(flag: string): (text: string, earlier?: readonly Scope[]) => Scope[] {
  return (text, earlier = []) => {
    const given = text.split(',').map((word) => {
      const scope = scopes.find((known) => known === word.trim());
      if (scope !== undefined) return scope;
      throw new UsageError(`${flag} must be ${scopes.join(' or ')}, got '${word}'`);
    });
    return [...new Set([...earlier, ...given])];
  };
}

/** A parser of columns to group by: a repeated option, or a comma-separated list. */
export function statsDimensions(
  flag: string,
): (text: string, earlier?: readonly Dimension[]) => Dimension[] {
  const parse = oneOf(dimensions)(flag);
  return (text, earlier = []) => [...earlier, ...text.split(',').map((name) => parse(name.trim()))];
}

/** A parser of retention times in days. */
export function daysToKeep(from: number, to: number): ParserFor<number | 'forever'> {
  return (flag) => (text) => {
    if (text === 'forever') return text;
    const days = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
    if (days >= from && days <= to) return days;
    throw new UsageError(
      `${flag} must be a whole number of days from ${from} to ${to}, or forever, got '${text}'`,
    );
  };
}

const unitMs: Record<string, number> = { m: 60_000, h: 3_600_000, d: 86_400_000 };

/** A parser of durations such as `90d`, `12h` or `30m`, to milliseconds. */
export function duration(flag: string): (text: string) => number {
  return (text) => {
    const [, number, unit = ''] = /^(\d{1,6})([dhm])$/.exec(text) ?? [];
    const milliseconds = Number(number) * (unitMs[unit] ?? Number.NaN);
    if (milliseconds > 0 && milliseconds <= 100 * 366 * 86_400_000) return milliseconds;
    throw new UsageError(`${flag} must be a duration such as 90d, 12h or 30m, got '${text}'`);
  };
}

/** A parser of boolean environment variables; an empty one is false. */
export function yesOrNo(name: string): (text: string) => boolean {
  return (text) => {
    if (/^(|0|no|false)$/i.test(text)) return false;
    if (/^(1|yes|true)$/i.test(text)) return true;
    throw new UsageError(`${name} must be 1 or 0, got '${text}'`);
  };
}
