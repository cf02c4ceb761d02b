import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** How long after a client has ended its side of the connection the first probe is sent. */
const firstProbeMs = 1_000;
/** The delay of the second probe; each further delay doubles. */
const secondProbeMs = 200;

/**
 * Detects clients that disconnect before they are answered, so that work for them can be cancelled.
 * A client that has ended its side may still be reading: only a write shows whether it is. The probe
 * is an interim response (102); if the client is gone, the connection closes with a reset.
 */
export class DisconnectDetector {
  /** The open responses of each connection; only the first one may be written to. */
  readonly #unanswered = new WeakMap<Socket, Set<ServerResponse>>();

  watch({ socket, httpVersion }: IncomingMessage, response: ServerResponse): void {
    // HTTP/1.0 has no interim responses.
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
    // A gone client's machine answers the first probe with a reset; the next write fails.
    if (!first.headersSent) first.writeProcessing();
    probe(socket, responses, thenMs, 2 * thenMs);
  }, waitMs);
  timer.unref();
}
