import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { pipeline, Readable } from 'node:stream';
import type { ReadableStream as BodyStream } from 'node:stream/web';
import { createGunzip } from 'node:zlib';

/** @internal */
export interface HttpRequest {
  method: 'GET' | 'POST';
  headers: Readonly<Record<string, string>>;
  body?: Uint8Array | string;
  signal: AbortSignal;
}

/**
 * Like `fetch`, but allows any port; `fetch` blocks some, such as 10080 and 6000. It follows no
 * redirects, which would turn the POST into a GET or send the batch to another host. An aborted
 * signal rejects with its reason, also while the body is read.
 * @internal
 */
export async function requestOverHttp(
  url: string,
  { method, headers, body, signal }: HttpRequest,
): Promise<Response> {
  signal.throwIfAborted();
  const start = url.startsWith('https:') ? httpsRequest : httpRequest;
  const request = start(url, { method, headers });
  let received: IncomingMessage | undefined;
  const abort = () => {
    const reason: unknown = signal.reason;
    const error = reason instanceof Error ? reason : new Error(String(reason));
    (received ?? request).destroy(error);
  };
  signal.addEventListener('abort', abort);
  request.on('close', () => signal.removeEventListener('abort', abort));
  return await new Promise<Response>((resolve, reject) => {
    request.on('response', (response) => {
      received = response;
      resolve(toResponse(response));
    });
    // Keep this listener: a server may answer and close before it has read the whole body.
    request.on('error', reject);
    request.end(body);
  });
}

/** The `Response` constructor rejects bodies with these statuses. */
const bodiless = new Set([204, 205, 304]);

function toResponse(response: IncomingMessage): Response {
  const { statusCode: status = 0, headersDistinct } = response;
  const headers = new Headers();
  for (const [name, values = []] of Object.entries(headersDistinct)) {
    for (const value of values) headers.append(name, value);
  }
  if (bodiless.has(status)) {
    response.resume();
    return new Response(null, { status, headers });
  }
  const isGzip = response.headers['content-encoding'] === 'gzip';
  // An error of either stream destroys the other and rejects the read of the body.
  const body = isGzip ? pipeline(response, createGunzip(), () => undefined) : response;
  const stream = Readable.toWeb(body) as BodyStream<Uint8Array<ArrayBuffer>>;
  return new Response(stream, { status, headers });
}
