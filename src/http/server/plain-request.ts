import { isHost } from './request-validation.ts';

/** The head of a `POST /ingest` in the usual form. */
export interface PlainRequest {
  /** Where the body begins, from the request's first byte. */
  readonly bodyAt: number;
  /** As `Content-Length` says. */
  readonly bodyBytes: number;
  readonly host: string;
  readonly idempotencyKey: string | undefined;
  readonly authorization: string | undefined;
  readonly requestId: string | undefined;
}

const requestLine = 'POST /ingest HTTP/1.1\r\n';
/** A request line and headers with names of letters and hyphens and values of printable ASCII. */
const plainHead = /^POST \/ingest HTTP\/1\.1\r\n(?:[A-Za-z-]+:[ -~]*\r\n)+$/;
/** `node:http` reads longer heads. */
const headBytesMax = 2048;

/** Headers that have no effect on `POST /ingest`. */
const ignoredHeaders = new Set([
  'accept',
  'accept-encoding',
  'accept-language',
  'baggage',
  'cache-control',
  'pragma',
  'sec-fetch-mode',
  'traceparent',
  'tracestate',
  'user-agent',
]);

/**
 * Reads the head of a plain request. Returns undefined for everything else, valid or not: Node's
 * own parser decides on it. A plain head is complete, in printable ASCII, and has nothing but
 * these, each at most once: Host, Content-Length, `Content-Type: application/json`, `Connection:
 * keep-alive`, Idempotency-Key, Authorization, and headers without effect.
 * Source: RFC 9112, sections 2 to 6.
 */
export function readPlainRequest(bytes: Buffer): PlainRequest | undefined {
  const text = bytes.toString('latin1', 0, headBytesMax);
  const end = text.indexOf('\r\n\r\n') + 2;
  if (!plainHead.test(text.slice(0, end))) return undefined;
  let host = '';
  let isJson = false;
  let isKeptAlive = false;
  let bodyBytes = -1;
  let idempotencyKey: string | undefined;
  let authorization: string | undefined;
  let requestId: string | undefined;
  for (let at = requestLine.length; at < end;) {
    const nameEnd = text.indexOf(':', at);
    const valueEnd = text.indexOf('\r', nameEnd);
    const name = text.slice(at, nameEnd).toLowerCase();
    at = valueEnd + 2;
    if (ignoredHeaders.has(name)) continue;
    const value = text.slice(nameEnd + 1, valueEnd).trim();
    switch (name) {
      case 'host':
        if (host !== '' || value === '' || !isHost(value)) return undefined;
        host = value;
        break;
      case 'content-length':
        if (bodyBytes >= 0 || !/^\d{1,9}$/.test(value)) return undefined;
        bodyBytes = Number(value);
        break;
      case 'content-type':
        if (isJson || value !== 'application/json') return undefined;
        isJson = true;
        break;
      case 'connection':
        if (isKeptAlive || value.toLowerCase() !== 'keep-alive') return undefined;
        isKeptAlive = true;
        break;
      case 'idempotency-key':
        if (idempotencyKey !== undefined || !/^[!-~]{1,255}$/.test(value)) return undefined;
        idempotencyKey = value;
        break;
      case 'authorization':
        if (authorization !== undefined) return undefined;
        authorization = value;
        break;
      case 'x-request-id':
        requestId = value;
        break;
      default:
        return undefined;
    }
  }
  if (host === '' || !isJson || bodyBytes < 0) return undefined;
  return { bodyAt: end + 2, bodyBytes, host, idempotencyKey, authorization, requestId };
}
