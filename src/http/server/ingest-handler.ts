import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

import type { Pipeline } from '../../pipeline/ports.ts';
import { ingestScope, refusalAnswer, replayScope, type ImmediateAccess } from '../app/access.ts';
import { ingestAnswer, problemAnswer, type Answer } from '../app/answer.ts';
import { corsHeaders, type CrossOrigins } from '../app/cors.ts';
import { recordRefusal, requestIdFor } from './exchanges.ts';
import { InflationQueue } from './inflation-queue.ts';
import { bodyTooLarge, readIngestHeaders } from '../app/ingest-headers.ts';
import type { MemoryBudget } from './memory-budget.ts';
import type { HttpObserver } from './observer.ts';
import { replayHeader } from '../app/replay-header.ts';

interface IngestHandlerOptions {
  readonly pipeline: Pick<Pipeline, 'ingest'>;
  readonly bodyBytesMax: number;
  /** Limits the memory of bodies that are being read or not answered yet. */
  readonly budget: MemoryBudget;
  /** How long the connection of a refused request stays open while the client still sends. */
  readonly lingerMs: number;
  readonly access: ImmediateAccess;
  readonly corsOrigins: CrossOrigins;
  /** Whether connections close after their answer. */
  readonly isStopping: () => boolean;
  readonly onUnexpectedError: (error: Error) => void;
  readonly observer: HttpObserver;
}

const cancelled = Promise.resolve(undefined);

type BodyReading =
  | { readonly body: Buffer }
  | { readonly refusal: Answer; readonly isTooLarge: boolean }
  | 'aborted';

/**
 * Handles `POST /ingest` on `node:http` without the app, because this is the request whose cost
 * matters. It answers as the app does; a test runs the same cases through both.
 */
export function createIngestHandler(options: IngestHandlerOptions) {
  const { pipeline, bodyBytesMax, budget, lingerMs, access, corsOrigins, isStopping } = options;
  const { onUnexpectedError, observer } = options;

  const inflations = new InflationQueue(bodyBytesMax, bodyBytesMax);

  /** @param expectsContinue whether the client waits for `100 Continue` before it sends the body. */
  return async function handleIngest(
    request: IncomingMessage,
    response: ServerResponse,
    expectsContinue: boolean,
  ): Promise<void> {
    allowOrigin(request, response, corsOrigins);
    const scope = headerOf(request, replayHeader) === undefined ? ingestScope : replayScope;
    const admission = access.admit(request.headers.authorization, scope);
    const refused = admission.problem && refusalAnswer(admission);
    if (refused !== undefined && refused.status !== 429) {
      // Do not read the body of an unauthenticated client.
      await refuseAndClose(request, response, refused, lingerMs);
      return;
    }
    const reading = readIngestHeaders((name) => headerOf(request, name));
    const { headers } = reading;
    const refusal = refused ?? reading.refusal;
    const declaredBytes = Number(request.headers['content-length'] ?? 0);
    if (declaredBytes > bodyBytesMax) {
      await refuseAndClose(request, response, refused ?? bodyTooLarge(bodyBytesMax), lingerMs);
      return;
    }
    if (refusal !== undefined && expectsContinue) {
      await refuseAndClose(request, response, refusal, lingerMs);
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
      const body = await readBody(request, response, bodyBytesMax, refusal, reserveMemory);
      // If a timeout was answered meanwhile, the batch must not be stored after all.
      if (body === 'aborted' || response.headersSent) return;
      if ('refusal' in body) {
        releaseMemory();
        if (body.isTooLarge) await refuseAndClose(request, response, body.refusal, lingerMs);
        else send(response, body.refusal, isStopping());
        return;
      }
      if (headers === undefined || admission.problem !== undefined) return;
      const submission = { caller: admission.caller, ...headers, body: body.body };
      const outcome =
        headers.encoding === 'identity'
          ? await pipeline.ingest(submission)
          : await inflations.run(request.socket, body.body.length, () =>
              // The client has disconnected; skip the work.
              response.destroyed ? cancelled : pipeline.ingest(submission),
            );
      if (outcome === undefined) return;
      observer.decided(outcome, body.body.length, requestIdFor(response));
      send(response, ingestAnswer(outcome, headers.strict), isStopping());
    } catch (error) {
      onUnexpectedError(error instanceof Error ? error : new Error(String(error)));
      const detail = internalErrorDetail;
      send(response, problemAnswer({ code: 'internal', detail }), true);
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

function allowOrigin(
  { headers }: IncomingMessage,
  response: ServerResponse,
  origins: CrossOrigins,
): void {
  if (origins.length === 0) return;
  for (const [name, value] of Object.entries(corsHeaders(origins, 'POST', headers.origin))) {
    response.setHeader(name, value);
  }
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
  request: IncomingMessage,
  response: ServerResponse,
  bytesMax: number,
  refusal: Answer | undefined,
  reserveMemory: (bytes: number) => boolean,
): Promise<BodyReading> {
  return new Promise((resolve) => {
    let chunks: Buffer[] = [];
    let bytes = 0;
    let refused = refusal;
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > bytesMax) {
        closing.add(request.socket);
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
      else resolve({ body: chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks) });
    });
    // The client gets no answer and the batch is not stored. (Listen to the response: a request
    // that was answered before its end gets no event when its connection closes.)
    response.on('close', () => resolve('aborted'));
  });
}

/** The batch may be stored or not: the client sends it again, and it counts once. */
export const internalErrorDetail =
  'Internal error while handling the batch. Send it again with the same Idempotency-Key.';

const overloaded = problemAnswer({
  code: 'overloaded',
  detail: 'The memory for request bodies is full. Send this batch again after a moment.',
  retryAfterSeconds: 1,
});

function send(
  response: ServerResponse,
  { status, headers, body, problem }: Answer,
  close: boolean,
): void {
  if (response.destroyed) return;
  response.writeHead(status, {
    ...headers,
    ...recordRefusal(response, problem),
    'content-length': Buffer.byteLength(body),
    ...(close && { connection: 'close' }),
  });
  response.end(body);
}

const closing = new WeakSet<Socket>();

/**
 * Whether the server has announced that it closes the connection. Ignore everything that still
 * arrives: the rest of a refused body could be mistaken for a request. Source: RFC 9112, section 9.6.
 */
export function isClosing(socket: Socket): boolean {
  return closing.has(socket);
}

/**
 * Answers before the body is complete, and closes the connection. It stays open for up to
 * `lingerMs` and drops what the client still sends: closing at once could lose the answer.
 */
export function refuseAndClose(
  request: IncomingMessage,
  response: ServerResponse,
  { status, headers, body, problem }: Answer,
  lingerMs: number,
): Promise<void> {
  closing.add(request.socket);
  return new Promise((resolve) => {
    response.writeHead(status, {
      ...headers,
      ...recordRefusal(response, problem),
      'content-length': Buffer.byteLength(body),
      connection: 'close',
    });
    response.write(body);
    const finish = () => {
      clearTimeout(timer);
      response.end();
      resolve();
    };
    const timer = setTimeout(finish, lingerMs);
    request.once('end', finish);
    request.once('close', finish);
    request.resume();
    if (request.socket.readableEnded) finish();
    else request.socket.once('end', finish);
  });
}
