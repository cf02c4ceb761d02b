import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** So long a client that has ended its side is taken for one that waits. */
const firstProbeMs = 1_000;
/** It is asked again after so long, then after twice as long, and so on. */
const secondProbeMs = 200;

/**
 * Notices clients that have gone before they were answered. One that has ended its side may still wait
 * for its answers: what is written to it tells. Who is gone needs none, and what is read for it is ended
 * by whoever sees its connection close.
 */
export class DisconnectDetector {
  /** The responses of a connection that are not ended; the first is the one that may be written. */
  readonly #unanswered = new WeakMap<Socket, Set<ServerResponse>>();

  watch({ socket, httpVersion }: IncomingMessage, response: ServerResponse): void {
    // No answer goes before the last one to older clients.
    if (httpVersion !== '1.1') return;
    const responses = this.#unanswered.get(socket) ?? new Set();
    if (!this.#unanswered.has(socket)) {
      this.#unanswered.set(socket, responses);
      const begin = () => probe(socket, responses, firstProbeMs, secondProbeMs);
      if (socket.readableEnded) begin();
      else socket.once('end', begin);
    }
    responses.add(response);
    response.once('close', () => responses.delete(response));
  }
}

function probe(
  socket: Socket,
  responses: Set<ServerResponse>,
  waitMs: number,
  thenMs: number,
): void {
  const timer = setTimeout(() => {
    const [first] = responses;
    if (first === undefined || socket.destroyed) return;
    // What is written first makes the machine of a client that is gone say so; the next one meets it.
    if (!first.headersSent) first.writeProcessing();
    probe(socket, responses, thenMs, 2 * thenMs);
  }, waitMs);
  timer.unref();
}
