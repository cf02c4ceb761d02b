import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

import type { ProblemCode } from '../../domain/problem.ts';
import type { Answer, Progress } from '../app/answer.ts';
import type { Exchange } from '../app/exchange.ts';
import { methodOf, requestIdOf, routeOf, type CutReason, type HttpObserver } from './observer.ts';

const closing = new WeakSet<Socket>();

/**
 * Whether the server has announced that it closes the connection. Ignore everything that still
 * arrives: the rest of a refused body could be mistaken for a request. Source: RFC 9112, section 9.6.
 */
export function isClosing(socket: Socket): boolean {
  return closing.has(socket);
}

/** An exchange on `node:http`. Reports to the observer when it ends. */
export class NodeExchange implements Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** Whether the request is `POST /ingest`, so that the response waits for the whole body. */
  readonly isBatch: boolean;
  readonly requestId: string;
  problem: ProblemCode | undefined;
  size: number | Progress = 0;
  /** Why the response is cut off. */
  cut: CutReason | undefined;
  #startedAt = performance.now();

  constructor(request: IncomingMessage, response: ServerResponse, isBatch: boolean) {
    this.request = request;
    this.response = response;
    this.isBatch = isBatch;
    this.requestId = requestIdOf(request.headers['x-request-id']);
  }

  /** Reports the exchange once it is answered; not if the client disconnected before. */
  observe(observer: HttpObserver): void {
    const { request, response, isBatch, requestId } = this;
    // The duration does not include the time in which the client sends the body.
    if (isBatch) request.once('end', () => (this.#startedAt = performance.now()));
    response.once('close', () => {
      if (!response.headersSent) return;
      observer.answered({
        requestId,
        route: isBatch ? '/ingest' : routeOf(request.url ?? ''),
        method: methodOf(request.method),
        status: response.statusCode,
        seconds: (performance.now() - this.#startedAt) / 1000,
        problem: this.problem,
        cut: this.cut,
      });
    });
  }

  /** Destroys the socket, so that the client does not take a truncated response as complete. */
  cutOff(why: CutReason): void {
    this.cut = why;
    this.response.destroy();
  }

  /** Answers a request whose body was read. */
  send(answer: Answer, close: boolean): void {
    if (this.response.destroyed) return;
    this.#writeHead(answer, close);
    this.response.end(answer.body);
  }

  /** Announces that the connection closes. */
  markClosing(): void {
    closing.add(this.request.socket);
  }

  /**
   * Answers before the body is complete, and closes the connection. It stays open for up to `lingerMs`
   * and drops what the client still sends: closing at once could lose the response.
   */
  refuseAndClose(answer: Answer, lingerMs: number): Promise<void> {
    const { request, response } = this;
    this.markClosing();
    return new Promise((resolve) => {
      this.#writeHead(answer, true);
      response.write(answer.body);
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

  #writeHead({ status, headers, body, problem }: Answer, close: boolean): void {
    this.problem = problem;
    this.response.writeHead(status, {
      ...headers,
      ...(problem !== undefined && { 'x-request-id': this.requestId }),
      'content-length': Buffer.byteLength(body),
      ...(close && { connection: 'close' }),
    });
  }
}
