import type { RetryLimits } from './post-batch.ts';

/** A timer takes no more milliseconds, and would take one of more for one of 1. */
export const timerMsMax = 2 ** 31 - 1;

/** A longer text is no token to the server. */
export const tokenCharactersMax = 512;

/** Whether the header that shows a token can carry it. */
export function isBearerToken(text: unknown): text is string {
  return typeof text === 'string' && text.length <= tokenCharactersMax && /^[!-~]+$/.test(text);
}

/**
 * The address of a server, without slashes at its end. Undefined for another scheme, and with
 * credentials, a query or a fragment: no request could be sent there.
 */
export function serverAddress(text: string): string | undefined {
  const url = URL.parse(text);
  if (url === null || !/^https?:$/.test(url.protocol)) return undefined;
  // A bare "?" or "#" is in `href` alone.
  if (`${url.username}${url.password}` !== '' || /[?#]/.test(url.href)) return undefined;
  return url.href.replace(/\/+$/, '');
}

/** @throws TypeError that does not show what may be a secret. */
export function checkedAddress(url: string): string {
  const address = serverAddress(url);
  if (address !== undefined) return address;
  const given = /[@?#]/.test(url) ? '' : `, and is '${url}'`;
  const form =
    'an address such as http://127.0.0.1:8080, without user, password, query or fragment';
  throw new TypeError(`url must be ${form}${given}`);
}

/** @throws TypeError without the token. */
export function checkedToken(token: string | undefined): string | undefined {
  if (token === undefined || isBearerToken(token)) return token;
  const form = `1 to ${tokenCharactersMax} characters of visible ASCII, without spaces`;
  throw new TypeError(`token must be ${form}; leave it out where the server asks for none`);
}

/** What is left out, or undefined, is as in `defaults`. @throws RangeError for what is no limit. */
export function checkedLimits(
  given: { readonly [Name in keyof RetryLimits]?: RetryLimits[Name] | undefined },
  defaults: RetryLimits,
): RetryLimits {
  const limits = { ...defaults };
  for (const name of Object.keys(defaults) as (keyof RetryLimits)[]) {
    const value = given[name] ?? defaults[name];
    limits[name] = atLeast(name === 'attemptsMax' ? 1 : 0, `retry.${name}`, value);
  }
  return limits;
}

/** @throws RangeError for what is no time that can be waited. */
export function timerMs(name: string, value: number): number {
  return Math.min(atLeast(0, name, value), timerMsMax);
}

/** @throws RangeError for less, and for what is no number. */
export function atLeast(least: number, name: string, value: number): number {
  if (typeof value === 'number' && value >= least) return value;
  throw new RangeError(`${name} must be a number of at least ${least}, and is ${String(value)}`);
}
