/** What OpenSSL says where a server answers in plain text. */
const notTls = /wrong[ _]version[ _]number|packet[ _]length[ _]too[ _]long/i;

/** What went wrong with a request that got no answer. */
export function describeFailure(
  error: unknown,
  timeoutMs: number,
): { code: string; reason: string } {
  if (error instanceof Error && error.name === 'TimeoutError') {
    return { code: 'TIMEOUT', reason: `no answer within ${Math.ceil(timeoutMs / 1000)} s` };
  }
  const outer = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const inner: unknown = outer instanceof AggregateError ? outer.errors[0] : outer;
  if (!(inner instanceof Error)) return { code: '', reason: String(inner) };
  const code = 'code' in inner && typeof inner.code === 'string' ? inner.code : '';
  if (notTls.test(`${code} ${inner.message}`)) {
    return { code, reason: 'it does not speak TLS; is the address one with http://?' };
  }
  if (code === 'ECONNRESET' && inner.message === 'socket hang up') {
    return {
      code,
      reason: 'it closed the connection without an answer; is the address one with https://?',
    };
  }
  return { code, reason: inner.message === '' ? code : inner.message };
}

/** What to do where the address of a route was given for that of the server. */
export function addressHint(url: string, status: number): string {
  const [, address, route] =
    /^(.*)(\/(?:ingest|stats|stats-html|docs|healthz|readyz))$/.exec(url) ?? [];
  if (route === undefined || ![404, 405].includes(status)) return '';
  return ` Give the server's address, without ${route}: ${address}`;
}

/** One sentence for a server that cannot be reached. */
export function absence(url: string, reason: string): string {
  return reason.includes('ECONNREFUSED')
    ? `nothing listens at ${url}; start one with \`npx device-pipeline serve\``
    : `cannot reach ${url}: ${reason}`;
}
