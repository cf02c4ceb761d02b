import type { IncomingMessage } from 'node:http';

import { ingestScope, replayScope } from '../../auth/check-access.ts';
import { ingestAnswer, problemAnswer, type Answer, refusalAnswer } from '../app/answer.ts';
import { corsHeaders, type CrossOrigins } from '../app/cors.ts';
import { bodyTooLarge, readIngestHeaders } from '../app/ingest-headers.ts';
import { replayHeader } from '../app/replay-header.ts';
import { freePieces } from './free-pieces.ts';
import { InflationQueue } from './inflation-queue.ts';
import type { NodeExchange } from './node-exchange.ts';
import type { ServerParts } from './server-parts.ts';

const cancelled = Promise.resolve(undefined);

type BodyReading =
  | { readonly body: readonly Buffer[]; readonly bytes: number }
  | { readonly refusal: Answer; readonly isTooLarge: boolean }
  | 'aborted';

/**
 * Handles `POST /ingest` on `node:http` without the app, because this is the request whose cost
 * matters. It answers as the app does; a test runs the same cases through both.
 */
export function createIngestHandler(parts: ServerParts) {
  const { pipeline, bodyBytesMax, budget, timeouts, access, corsOrigins, isStopping } = parts;
  const { onUnexpectedError, observer } = parts;
  const { lingerMs } = timeouts;

  const inflations = new InflationQueue(bodyBytesMax, bodyBytesMax);

  /** @param expectsContinue whether the client waits for `100 Continue` before it sends the body. */
  return async function handleIngest(
    exchange: NodeExchange,
    expectsContinue: boolean,
  ): Promise<void> {
    const { request, response } = exchange;
    allowOrigin(exchange, corsOrigins);
    const scope = headerOf(request, replayHeader) === undefined ? ingestScope : replayScope;
    const admission = access.admit(request.headers.authorization, scope);
    const refused = admission.problem && refusalAnswer(admission);
    if (refused !== undefined && refused.status !== 429) {
      // Do not read the body of an unauthenticated client.
      await exchange.refuseAndClose(refused, lingerMs);
      return;
    }
    const reading = readIngestHeaders((name) => headerOf(request, name));
    const { headers } = reading;
    const refusal = refused ?? reading.refusal;
    const declaredBytes = Number(request.headers['content-length'] ?? 0);
    if (declaredBytes > bodyBytesMax) {
      await exchange.refuseAndClose(refused ?? bodyTooLarge(bodyBytesMax), lingerMs);
      return;
    }
    if (refusal !== undefined && expectsContinue) {
      await exchange.refuseAndClose(refusal, lingerMs);
      return;
    }
    if (expectsContinue) response.writeContinue();
    let reservedBytes = 0;
    const releaseMemory = () => {
      budget.release(reservedBytes);
      reservedBytes = 0;
    };
    const reserveMemory = (bytes: number) => {
      const hasRoom = budget.reserve(bytes);
      if (hasRoom) reservedBytes += bytes;
      // Free the memory at once, although the rest of the body is still coming.
      else releaseMemory();
      return hasRoom;
    };
    try {
      const body = await readBody(exchange, bodyBytesMax, refusal, reserveMemory);
      // If a timeout was answered meanwhile, the batch must not be stored after all.
      if (body === 'aborted' || response.headersSent) return;
      if ('refusal' in body) {
        releaseMemory();
        if (body.isTooLarge) await exchange.refuseAndClose(body.refusal, lingerMs);
        else exchange.send(body.refusal, isStopping());
        return;
      }
      if (headers === undefined || admission.problem !== undefined) return;
      const submission = { caller: admission.caller, ...headers, body: body.body };
      const submit = () => {
        const outcome = pipeline.ingest(submission);
        freePieces(body.body);
        return outcome;
      };
      const outcome =
        headers.encoding === 'identity'
          ? await submit()
          : await inflations.run(request.socket, body.bytes, () =>
              // The client has disconnected; skip the work.
              response.destroyed ? cancelled : submit(),
            );
      if (outcome === undefined) return;
      observer.decided(outcome, body.bytes, exchange.requestId);
      exchange.send(ingestAnswer(outcome, headers.strict), isStopping());
    } catch (error) {
      onUnexpectedError(toError(error));
      exchange.send(batchError, true);
    } finally {
      releaseMemory();
    }
  };
}

/** Whether the method and target of a request are those of the handler. */
export function isIngestRequest({ method, url = '' }: IncomingMessage): boolean {
  if (method !== 'POST') return false;
  if (url === '/ingest' || url.startsWith('/ingest?')) return true;
  // Catch other spellings of the path, too: the app would read their bodies outside the budget.
  const path = URL.parse(`http://localhost${url}`)?.pathname ?? '';
  return path.replace(/%[0-7][0-9a-f]/gi, decodeURIComponent) === '/ingest';
}

function allowOrigin({ request, response }: NodeExchange, origins: CrossOrigins): void {
  const headers = corsHeaders(origins, 'POST', request.headers.origin);
  for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
}

function headerOf(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name];
  return Array.isArray(value) ? value.join(', ') : value;
}

/**
 * Reads the whole body. Once the request is refused (by `refusal`, or because `reserveMemory` is
 * false), it drops the rest of the body, so that the connection can be used again.
 */
function readBody(
  exchange: NodeExchange,
  bytesMax: number,
  refusal: Answer | undefined,
  reserveMemory: (bytes: number) => boolean,
): Promise<BodyReading> {
  const { request, response } = exchange;
  return new Promise((resolve) => {
    let chunks: Buffer[] = [];
    let bytes = 0;
    let refused = refusal;
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > bytesMax) {
        exchange.markClosing();
        request.removeAllListeners('data');
        chunks = [];
        resolve({ refusal: bodyTooLarge(bytesMax), isTooLarge: true });
      } else if (refused === undefined && !reserveMemory(chunk.length)) {
        refused = overloaded;
        chunks = [];
      } else if (refused === undefined) {
        chunks.push(chunk);
      }
    });
    request.on('end', () => {
      if (refused !== undefined) resolve({ refusal: refused, isTooLarge: false });
      else resolve({ body: chunks, bytes });
    });
    // The client gets no response and the batch is not stored. (Listen to the response: a request that
    // was answered before its end gets no event when its connection closes.)
    response.on('close', () => resolve('aborted'));
  });
}

/** The batch may be stored or not: the client sends it again, and it counts once. */
export const batchError = problemAnswer({
  code: 'internal',
  detail: 'Internal error while handling the batch. Send it again with the same Idempotency-Key.',
});

export function toError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}

const overloaded = problemAnswer({
  code: 'overloaded',
  detail: 'The memory for request bodies is full. Send this batch again after a moment.',
  retryAfterSeconds: 1,
});
