import type { IncomingMessage } from 'node:http';

/**
 * Whether a Host header is a host with an optional port, or empty. Node accepts any text, which an
 * intermediary could interpret as another host. Source: RFC 9110, section 7.2.
 */
export function isHost(value: string): boolean {
  return /^(?:\[[0-9a-f:.]+\]|(?:[\w\-.~!$&'()*+;=]|%[0-9a-f]{2})*)(?::(?:\d{0,4}|[0-5]\d{4}|6[0-4]\d{3}|65[0-4]\d\d|655[0-2]\d|6553[0-5]))?$/i.test(
    value,
  );
}

/**
 * Rewrites a target in absolute form, `http://host/path`, to origin form, `/path`, and sets the
 * Host header to its host, as RFC 9112 (3.2.2) requires. `OPTIONS *`, which load balancers send as a
 * health check, becomes `OPTIONS /`.
 */
export function toOriginForm(request: IncomingMessage): void {
  if (request.method === 'OPTIONS' && request.url === '*') request.url = '/';
  const [, host, path = ''] = /^https?:\/\/([^/?#]+)(.*)$/i.exec(request.url ?? '') ?? [];
  if (host === undefined) return;
  request.headers.host = host;
  request.url = path.startsWith('/') ? path : `/${path}`;
}

/**
 * Why a request in origin form is invalid although Node's parser accepts it; undefined if it is
 * valid. An intermediary might disagree with this server about the end or the host of such requests
 * (request smuggling). Source: RFC 9112, sections 3.2 and 6.1.
 */
export function whyInvalid({
  rawHeaders,
  headers,
  httpVersion,
  url = '',
}: IncomingMessage): string | undefined {
  if (!url.startsWith('/')) {
    return 'The request target is not a valid URL: it must begin with / or http://HOST/.';
  }
  let hosts = 0;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at] ?? '';
    if (name.length === 4 && name.toLowerCase() === 'host') hosts++;
  }
  if (hosts === 0 && httpVersion === '1.1') {
    return 'An HTTP/1.1 request must have a Host header.';
  }
  if (hosts > 1) return 'The request has more than one Host header.';
  if (!isHost(headers.host ?? '')) return 'The Host header is not a valid host.';
  const coding = headers['transfer-encoding'];
  if (coding === undefined) return undefined;
  if (httpVersion === '1.0') return 'HTTP/1.0 has no Transfer-Encoding; send a Content-Length.';
  if (coding.trim().toLowerCase() === 'chunked') return undefined;
  return 'The only supported Transfer-Encoding is chunked.';
}
