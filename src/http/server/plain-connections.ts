import type { Server } from 'node:http';
import type { Socket } from 'node:net';

import type { IngestOutcome } from '../../pipeline/ports.ts';
import { ingestScope, type AccessGranted } from '../../auth/check-access.ts';
import { ingestAnswer, problemAnswer, type Answer, refusalAnswer } from '../app/answer.ts';
import { malformed } from './client-errors.ts';
import { acceptedText, toHttp } from './http-text.ts';
import { freePieces } from './free-pieces.ts';
import { batchError, toError } from './ingest-handler.ts';
import { requestIdOf } from './observer.ts';
import { readPlainRequest, type PlainRequest } from './plain-request.ts';
import type { ServerParts } from './server-parts.ts';

/**
 * The fast path of `POST /ingest`: serves plain requests (`readPlainRequest`) directly from their
 * sockets, at twice the rate of `node:http`. On any other request it hands the connection, with the bytes
 * received so far, to `node:http`, which then keeps it.
 */
export class PlainConnections {
  readonly parts: ServerParts;
  readonly #connections = new Set<PlainConnection>();
  readonly #nodeListener: (socket: Socket) => void;
  readonly #check: NodeJS.Timeout;

  /**
   * Takes the place of the server's only connection listener, that of Node, and calls it to hand off.
   */
  constructor(server: Server, parts: ServerParts) {
    this.parts = parts;
    const [listener, ...others] = server.listeners('connection');
    if (listener === undefined || others.length > 0) {
      throw new Error(`the server has ${1 + others.length} connection listeners instead of one`);
    }
    server.removeAllListeners('connection');
    this.#nodeListener = (socket) => void Reflect.apply(listener, server, [socket]);
    server.on('connection', (socket: Socket) => {
      this.#connections.add(new PlainConnection(socket, this));
    });
    this.#check = setInterval(() => {
      const now = performance.now();
      for (const connection of this.#connections) connection.checkTime(now);
    }, parts.timeouts.checkMs).unref();
  }

  /** Ends idle connections now; once `isStopping`, the others end after their response. */
  endIdle(): void {
    for (const connection of this.#connections) connection.endIfIdle();
  }

  closeAll(): void {
    clearInterval(this.#check);
    for (const connection of this.#connections) connection.socket.destroy();
  }

  remove(connection: PlainConnection): void {
    this.#connections.delete(connection);
  }

  handOff(socket: Socket, bytes?: Buffer): void {
    this.#nodeListener(socket);
    if (bytes !== undefined) socket.unshift(bytes);
  }
}

/** A request whose body is incomplete. */
interface Partial {
  readonly request: PlainRequest;
  readonly admitted: AccessGranted;
  readonly pieces: Buffer[];
}

class PlainConnection {
  readonly socket: Socket;
  readonly #owner: PlainConnections;
  #partial: Partial | undefined;
  /** The bytes reserved in the memory budget. */
  #reservedBytes = 0;
  /** Whether the pipeline is processing a request. */
  #isBusy = false;
  #hasEnded = false;
  /** The id of the current request. */
  #requestId: string | undefined;
  #bodyBytes = 0;
  #startedAt = 0;
  #hasAnswered = false;
  /** When `checkTime` acts on the connection, by `performance.now`. */
  #deadline: number;

  constructor(socket: Socket, owner: PlainConnections) {
    this.socket = socket;
    this.#owner = owner;
    this.#deadline = performance.now() + owner.parts.timeouts.checkMs;
    socket.on('data', this.#onData);
    socket.on('end', this.#onEnd);
    socket.on('error', this.#onError);
    socket.on('close', this.#onClose);
  }

  checkTime(now: number): void {
    if (this.#isBusy || now < this.#deadline) return;
    if (this.#partial !== undefined) this.#handOff(this.#abandonPartial(this.#partial));
    else if (this.#hasAnswered) this.socket.destroy();
    else this.#handOff();
  }

  endIfIdle(): void {
    if (!this.#isBusy && this.#partial === undefined) this.#close();
  }

  readonly #onData = (chunk: Buffer): void => {
    if (this.#isBusy) {
      // Put the bytes back: 'end' is not emitted before all data is read.
      this.socket.pause();
      this.socket.unshift(chunk);
    } else if (this.#partial !== undefined) {
      this.#continueBody(this.#partial, chunk);
    } else {
      this.#begin(chunk);
    }
  };

  #begin(chunk: Buffer): void {
    const { access, isHostAllowed, bodyBytesMax, isStopping } = this.#owner.parts;
    const request = readPlainRequest(chunk);
    const isOurs =
      request !== undefined &&
      isHostAllowed(request.host) &&
      request.bodyBytes <= bodyBytesMax &&
      chunk.length <= request.bodyAt + request.bodyBytes &&
      // node:http applies backpressure to clients that do not read their responses.
      this.socket.writableLength === 0 &&
      !isStopping();
    if (!isOurs || !this.#reserveMemory(chunk.length)) {
      this.#handOff(chunk);
      return;
    }
    const isWhole = chunk.length === request.bodyAt + request.bodyBytes;
    const admission = access.admit(request.authorization, ingestScope);
    if (admission.problem !== undefined) {
      this.#releaseMemory();
      if (isWhole && admission.problem.code === 'too_many_requests') {
        this.#startObserving(request.requestId, 0);
        this.#refuseWhole(refusalAnswer(admission));
      } else {
        this.#handOff(chunk);
      }
    } else if (isWhole) {
      this.#submit(request, admission, [chunk]);
    } else {
      this.#deadline = performance.now() + this.#owner.parts.timeouts.checkMs;
      this.#partial = { request, admitted: admission, pieces: [chunk] };
    }
  }

  #continueBody(partial: Partial, chunk: Buffer): void {
    const { request, admitted, pieces } = partial;
    pieces.push(chunk);
    const isReserved = this.#reserveMemory(chunk.length);
    const missing = request.bodyAt + request.bodyBytes - this.#reservedBytes;
    if (!isReserved || missing < 0) this.#handOff(this.#abandonPartial(partial));
    else if (missing === 0) this.#submit(request, admitted, pieces);
  }

  /** Undoes the admission of an incomplete request; returns the bytes received so far. */
  #abandonPartial({ admitted, pieces }: Partial): Buffer {
    this.#releaseMemory();
    this.#owner.parts.access.refund(admitted);
    return Buffer.concat(pieces);
  }

  #reserveMemory(bytes: number): boolean {
    const isReserved = this.#owner.parts.budget.reserve(bytes);
    if (isReserved) this.#reservedBytes += bytes;
    return isReserved;
  }

  #releaseMemory(): void {
    this.#owner.parts.budget.release(this.#reservedBytes);
    this.#reservedBytes = 0;
    this.#partial = undefined;
  }

  /** @param pieces the whole request; the first one contains the head. */
  #submit(
    { bodyAt, bodyBytes, idempotencyKey, requestId }: PlainRequest,
    { caller }: AccessGranted,
    pieces: readonly Buffer[],
  ): void {
    this.#isBusy = true;
    this.#startObserving(requestId, bodyBytes);
    this.#partial = undefined;
    const body = pieces.map((piece, index) => (index === 0 ? piece.subarray(bodyAt) : piece));
    this.#owner.parts.pipeline
      .ingest({ body, encoding: 'identity', strict: false, caller, idempotencyKey })
      .then(this.#answer, this.#answerInternalError);
    freePieces(pieces);
  }

  readonly #answer = (outcome: IngestOutcome): void => {
    this.#isBusy = false;
    this.#releaseMemory();
    const { timeouts, observer, isStopping } = this.#owner.parts;
    const isPlain = outcome.accepted && outcome.rejected === 0;
    const isLast = this.#hasEnded || isStopping();
    if (!isPlain || isLast || this.socket.destroyed) {
      observer.decided(outcome, this.#bodyBytes, this.#requestId);
    }
    if (this.socket.destroyed) return;
    if (isLast) {
      this.#answerLast(ingestAnswer(outcome, false));
      return;
    }
    if (isPlain) {
      const now = performance.now();
      const seconds = (now - this.#startedAt) / 1000;
      const { enqueued, batchId } = outcome;
      observer.acceptedPlain(enqueued, this.#bodyBytes, seconds, batchId, this.#requestId);
      this.#answerWhole(acceptedText(outcome, timeouts.keepAliveMs), 'latin1', now);
    } else {
      this.#refuseWhole(ingestAnswer(outcome, false));
    }
    if (this.socket.readableLength > 0) this.#handOff();
  };

  /** Records the parts of the exchange that the observer gets once the request is answered. */
  #startObserving(requestId: string | undefined, bodyBytes: number): void {
    this.#requestId = requestId;
    this.#bodyBytes = bodyBytes;
    this.#startedAt = performance.now();
  }

  /** Sends a response that is not from `acceptedText`. */
  #refuseWhole(answer: Answer): void {
    this.#answerWhole(toHttp(this.#observed(answer), this.#owner.parts.timeouts.keepAliveMs));
  }

  /** Reports a response to the observer; returns it, with the request id if it is a refusal. */
  #observed(answer: Answer): Answer {
    const { status, problem, headers } = answer;
    const requestId = requestIdOf(this.#requestId);
    const seconds = (performance.now() - this.#startedAt) / 1000;
    const exchange = { requestId, route: '/ingest', method: 'POST', status, seconds, problem };
    this.#owner.parts.observer.answered(exchange);
    return problem === undefined
      ? answer
      : { ...answer, headers: { ...headers, 'x-request-id': requestId } };
  }

  /** Answers a request that was read completely; another may follow. */
  #answerWhole(text: string, encoding: 'latin1' | 'utf8' = 'utf8', now = performance.now()): void {
    this.#hasAnswered = true;
    this.socket.write(text, encoding);
    this.#deadline = now + this.#owner.parts.timeouts.keepAliveMs;
    this.#owner.parts.onAnswered(this.socket);
  }

  readonly #answerInternalError = (error: unknown): void => {
    this.#isBusy = false;
    this.#releaseMemory();
    this.#owner.parts.onUnexpectedError(toError(error));
    this.#answerLast(batchError);
  };

  #answerLast(answer: Answer): void {
    this.socket.write(toHttp(this.#observed(answer), undefined));
    this.#close();
  }

  /**
   * Closes the connection once all output is sent. It reads nothing more, because it could not
   * answer, and does not wait for the client to close its side, which would delay a stop.
   */
  #close(): void {
    this.socket.off('data', this.#onData);
    this.socket.pause();
    this.socket.destroySoon();
  }

  #handOff(bytes?: Buffer): void {
    this.#detach();
    this.socket.resume();
    this.#owner.handOff(this.socket, bytes);
  }

  #detach(): void {
    this.socket.off('data', this.#onData);
    this.socket.off('end', this.#onEnd);
    this.socket.off('error', this.#onError);
    this.socket.off('close', this.#onClose);
    this.#onClose();
  }

  readonly #onEnd = (): void => {
    this.#hasEnded = true;
    if (this.#partial !== undefined) {
      this.#startObserving(this.#partial.request.requestId, 0);
      this.socket.end(toHttp(this.#observed(truncated), undefined));
    } else if (!this.#isBusy) this.socket.end();
  };

  /** 'close' follows. */
  readonly #onError = (): void => undefined;

  readonly #onClose = (): void => {
    // While the pipeline processes the batch, its memory stays reserved.
    if (!this.#isBusy) this.#releaseMemory();
    this.#owner.remove(this);
  };
}

/** The response to a client that ends the connection in the middle of a body. */
const truncated = problemAnswer(malformed);
