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

const requestLine = Buffer.from('POST /ingest HTTP/1.1\r\n', 'latin1');
/** `node:http` reads longer heads. */
const headBytesMax = 2048;

const carriageReturn = 0x0d;
const lineFeed = 0x0a;
const colon = 0x3a;
const space = 0x20;

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
  if (bytes.length < requestLine.length || !startsWith(bytes, requestLine)) return undefined;
  const end = Math.min(bytes.length, headBytesMax);
  let host = '';
  let isJson = false;
  let isKeptAlive = false;
  let bodyBytes = -1;
  let idempotencyKey: string | undefined;
  let authorization: string | undefined;
  let requestId: string | undefined;
  let at = requestLine.length;
  while (at < end) {
    if (bytes[at] === carriageReturn) {
      const isWhole = at + 1 < bytes.length && bytes[at + 1] === lineFeed;
      if (!isWhole || host === '' || !isJson || bodyBytes < 0) return undefined;
      return { bodyAt: at + 2, bodyBytes, host, idempotencyKey, authorization, requestId };
    }
    const nameEnd = endOfName(bytes, at, end);
    const valueEnd = endOfValue(bytes, nameEnd + 1, end);
    if (nameEnd < 0 || valueEnd < 0) return undefined;
    const name = bytes.toString('latin1', at, nameEnd).toLowerCase();
    const value = bytes.toString('latin1', nameEnd + 1, valueEnd).trim();
    at = valueEnd + 2;
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
        if (!ignoredHeaders.has(name)) return undefined;
    }
  }
  return undefined;
}

function startsWith(bytes: Buffer, prefix: Buffer): boolean {
  return bytes.compare(prefix, 0, prefix.length, 0, prefix.length) === 0;
}

/** The index of the colon after a name of letters and hyphens; -1 if there is no such name. */
function endOfName(bytes: Buffer, from: number, end: number): number {
  for (let at = from; at < end; at++) {
    const byte = bytes[at] ?? 0;
    if (byte === colon) return at > from ? at : -1;
    const isLetter = (byte | 0x20) >= 0x61 && (byte | 0x20) <= 0x7a;
    if (!isLetter && byte !== 0x2d) return -1;
  }
  return -1;
}

/** The index of the CR LF after a value of printable ASCII; -1 if there is no such value. */
function endOfValue(bytes: Buffer, from: number, end: number): number {
  for (let at = from; at < end - 1; at++) {
    const byte = bytes[at] ?? 0;
    if (byte === carriageReturn) return bytes[at + 1] === lineFeed ? at : -1;
    if (byte < space || byte > 0x7e) return -1;
  }
  return -1;
}
