import { STATUS_CODES } from 'node:http';

import type { IngestOutcome } from '../../pipeline/ports.ts';
import type { Answer } from '../app/answer.ts';

/** How long the connection stays open for another request, in milliseconds; undefined: it closes. */
type KeepAlive = number | undefined;

/** Serialises a response as HTTP/1.1, where `node:http` does not write it. */
export function toHttp({ status, headers, body }: Answer, keepAliveMs: KeepAlive): string {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  const head = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n${lines.join('')}`;
  return `${head}content-length: ${Buffer.byteLength(body)}\r\n${commonHeaders(keepAliveMs)}\r\n${body}`;
}

/**
 * The response to a batch without rejected items: the same text as from `toHttp` at a tenth of the cost.
 * ASCII.
 */
export function acceptedText(
  { batchId, rawKey, enqueued }: Extract<IngestOutcome, { accepted: true }>,
  keepAliveMs: KeepAlive,
): string {
  const body = `{"status":"accepted","raw_key":"${rawKey}","enqueued":${enqueued}}`;
  return `${acceptedHead}${batchId}\r\ncontent-length: ${body.length}\r\n${commonHeaders(keepAliveMs)}\r\n${body}`;
}

const acceptedHead =
  'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncache-control: no-store\r\n' +
  'x-content-type-options: nosniff\r\nlocation: /ingest/';

/** The headers that `node:http` adds to each response, cached for a second. */
function commonHeaders(keepAliveMs: KeepAlive): string {
  const second = Math.floor(Date.now() / 1000);
  if (second !== last.second || keepAliveMs !== last.keepAliveMs) {
    const connection =
      keepAliveMs === undefined
        ? 'connection: close'
        : `connection: keep-alive\r\nkeep-alive: timeout=${Math.floor(keepAliveMs / 1000)}`;
    const text = `date: ${new Date(second * 1000).toUTCString()}\r\n${connection}\r\n`;
    last = { second, keepAliveMs, text };
  }
  return last.text;
}

let last: { second: number; keepAliveMs: KeepAlive; text: string } = {
  second: NaN,
  keepAliveMs: undefined,
  text: '',
};
