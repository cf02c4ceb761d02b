/**
 * OpenSSL's errors if a server answers in plain text: WRONG_VERSION_NUMBER and PACKET_LENGTH_TOO_LONG.
 * Node has them as the code, or as a number in the message of an EPROTO.
 */
const plainTextError =
  /^ERR_SSL_(?:WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG) |:error:0A0(?:0010B|000C6):/i;

interface Failure {
  /** The error code of Node, or `TIMEOUT`. */
  readonly code: string;
  readonly reason: string;
}

/** Why a request got no response. */
export function describeFailure(error: unknown, timeoutMs: number): Failure {
  if (error instanceof Error && error.name === 'TimeoutError') {
    return { code: 'TIMEOUT', reason: `no response within ${Math.ceil(timeoutMs / 1000)} s` };
  }
  const outer = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const inner: unknown = outer instanceof AggregateError ? outer.errors[0] : outer;
  if (!(inner instanceof Error)) return { code: '', reason: String(inner) };
  const code = 'code' in inner && typeof inner.code === 'string' ? inner.code : '';
  if (plainTextError.test(`${code} ${inner.message}`)) {
    return { code, reason: 'the server does not use TLS; should the URL begin with http://?' };
  }
  // Errors of the operating system have a `syscall`; this one comes from Node's HTTP client.
  if (code === 'ECONNRESET' && !('syscall' in inner)) {
    return {
      code,
      reason:
        'the server closed the connection without a response; should the URL begin with https://?',
    };
  }
  return { code, reason: inner.message === '' ? code : inner.message };
}

/** A hint for users whose URL may belong to another program. */
export const wrongServerHint = 'check that the URL is that of a device-pipeline server';

/** A hint for users who give the address of a route instead of that of the server. */
export function addressHint(url: string, status: number): string {
  const [, address, route] =
    /^(.*)(\/(?:ingest|stats|stats-html|docs|healthz|readyz))$/.exec(url) ?? [];
  if (route === undefined || ![404, 405].includes(status)) return '';
  return ` Give the server's address, without ${route}: ${address}`;
}

/** Says that a server cannot be reached. */
export function absence(url: string, { code, reason }: Failure): string {
  return code === 'ECONNREFUSED'
    ? `nothing listens at ${url}; start a server with \`npx device-pipeline serve\``
    : `cannot reach ${url}: ${reason}`;
}
