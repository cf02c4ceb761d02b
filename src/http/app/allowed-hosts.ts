import { BlockList, isIP } from 'node:net';

import type { Problem } from '../../domain/problem.ts';

/** Whether requests with this `Host` header may be answered without a token. */
export type HostRule = (host: string | undefined) => boolean;

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

/**
 * Prevents DNS rebinding: an attacker points the name of their web page to this machine, so that the
 * browser treats the server's answers as same-origin; `Host` then has that name. Allowed are `localhost`,
 * the given names and IP addresses: loopback ones, and all of them if the server listens on a
 * non-loopback address. Browsers always send a Host, so its absence is allowed.
 * @param listensOn the address or name that the server listens on
 */
export function hostRule(listensOn: string, names: readonly string[]): HostRule {
  const known = new Set([
    'localhost',
    hostName(bracketed(listensOn)),
    ...names.map((name) => hostName(bracketed(name))),
  ]);
  const isLocal = isLoopback(listensOn);
  /** A cache, because nearly all requests have the same host. */
  let latest = 'localhost';
  return (host = '') => {
    if (host === latest || host === '') return true;
    const name = hostName(host);
    const address = name.replace(/^\[|\]$/g, '');
    const isAllowed =
      known.has(name) ||
      name.endsWith('.localhost') ||
      (isIP(address) !== 0 && (!isLocal || isLoopback(address)));
    if (isAllowed) latest = host;
    return isAllowed;
  };
}

function isLoopback(host: string): boolean {
  const version = isIP(host);
  return version === 0
    ? host === 'localhost'
    : loopback.check(host, version === 4 ? 'ipv4' : 'ipv6');
}

/** Whether the text is valid for `--allowed-host`: a name or an address, without a port. */
export function isNameOrAddress(text: string): boolean {
  return isIP(text) !== 0 || /^\w[\w.-]{0,252}$/.test(text);
}

/** Puts an IPv6 address in brackets, as in `Host`. */
function bracketed(host: string): string {
  return isIP(host) === 6 ? `[${host}]` : host;
}

/** The host in lower case, without the port and a trailing dot. */
function hostName(host: string): string {
  return host.replace(/:\d*$/, '').replace(/\.$/, '').toLowerCase();
}

export function hostNotAllowed(host: string): Problem {
  const shown = JSON.stringify(host.slice(0, 255));
  const detail =
    `The Host ${shown} is not allowed on a server that requires no token. If the name is yours, ` +
    'start the server with --allowed-host NAME (or DEVICE_PIPELINE_ALLOWED_HOST), or create a token.';
  return { code: 'host_not_allowed', detail };
}
