import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gunzipSync } from 'node:zlib';

import { onTestFinished } from 'vitest';

import { createClient, type ClientOptions, type DeviceEvent } from '../../../src/client/index.ts';

export interface Request {
  readonly events: DeviceEvent[];
  readonly key: string;
  readonly headers: IncomingMessage['headers'];
  /** Of the inflated body. */
  readonly bytes: number;
  /** The inflated body. */
  readonly text: string;
}
export type Answer = (response: ServerResponse, request: Request) => void;

export const accept: Answer = (response, { events }) => {
  json(response, 200, { status: 'accepted', raw_key: 'raw/x', enqueued: events.length });
};

/** Refuses the batch because of one of its events. */
export function refuse(index: number): Answer {
  const errors = [{ index, field: 'state', code: 'blank', message: 'No state.' }];
  return (response) => json(response, 400, { code: 'invalid_items', detail: 'x', errors });
}

export function json(response: ServerResponse, status: number, body: object, headers = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(JSON.stringify(body));
}

/** A server that gives these answers and then accepts, until the test has finished. */
export async function serverThat(...answers: Answer[]) {
  const requests: Request[] = [];
  const server = createServer((request, response) => {
    void (async () => {
      const parts: Buffer[] = [];
      for await (const part of request as AsyncIterable<Buffer>) parts.push(part);
      const raw = Buffer.concat(parts);
      const isGzip = request.headers['content-encoding'] === 'gzip';
      const body = isGzip ? gunzipSync(raw) : raw;
      const text = body.toString();
      const { processed_devices: events } = JSON.parse(text) as {
        processed_devices: DeviceEvent[];
      };
      const key = String(request.headers['idempotency-key']);
      const read = { events, key, headers: request.headers, bytes: body.byteLength, text };
      requests.push(read);
      (answers.shift() ?? accept)(response, read);
    })();
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { requests, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

export const quick = { backoffMsMin: 1, backoffMsMax: 2 };

export function clientOf(url: string, options: Partial<ClientOptions> = {}) {
  return createClient({ url, retry: quick, ...options });
}

export function event(n: number): DeviceEvent {
  return { type: 'phone', state: 'erased', timestamp: '2026-06-17T12:00:00Z', n };
}

export function numbers(requests: readonly Request[]): unknown[] {
  return requests.flatMap(({ events }) => events.map(({ n }) => n));
}
