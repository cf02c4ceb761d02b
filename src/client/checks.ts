import type { RetryLimits } from './post-batch.ts';

/** The longest timer in milliseconds; Node runs longer ones after 1 ms. */
export const timerMsMax = 2 ** 31 - 1;

/** The longest token that the server accepts. */
export const tokenCharactersMax = 512;

/** Whether the text is a token that `Authorization: Bearer` can carry. */
export function isBearerToken(text: unknown): text is string {
  return typeof text === 'string' && text.length <= tokenCharactersMax && /^[!-~]+$/.test(text);
}

/**
 * The address of a server, without trailing slashes. Undefined for other schemes, and for URLs with
 * credentials, a query or a fragment.
 */
export function serverAddress(text: string): string | undefined {
  const url = URL.parse(text);
  if (url === null || !/^https?:$/.test(url.protocol)) return undefined;
  // `search` and `hash` are empty for a bare "?" or "#".
  if (`${url.username}${url.password}` !== '' || /[?#]/.test(url.href)) return undefined;
  return url.href.replace(/\/+$/, '');
}

/** @throws TypeError whose message omits URLs that may contain a secret. */
export function checkedAddress(url: string): string {
  const address = serverAddress(url);
  if (address !== undefined) return address;
  const given = /[@?#]/.test(url) ? '' : `, got '${url}'`;
  const form =
    'an address such as http://127.0.0.1:8080, without user, password, query or fragment';
  throw new TypeError(`url must be ${form}${given}`);
}

/** @throws TypeError whose message omits the token. */
export function checkedToken(token: string | undefined): string | undefined {
  if (token === undefined || isBearerToken(token)) return token;
  const form = `1 to ${tokenCharactersMax} characters of visible ASCII, without spaces`;
  throw new TypeError(`token must be ${form}; omit it if the server requires no token`);
}

/** Fills in `defaults`. @throws RangeError for an invalid limit. */
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

/** @throws RangeError for an invalid time. */
export function timerMs(name: string, value: number): number {
  return Math.min(atLeast(0, name, value), timerMsMax);
}

/** @throws RangeError for a smaller number, and for anything that is not a number. */
export function atLeast(least: number, name: string, value: number): number {
  if (typeof value === 'number' && value >= least) return value;
  throw new RangeError(`${name} must be a number of at least ${least}, got ${String(value)}`);
}
