import type { Socket } from 'node:net';

export const defaultConnectionsMax = 4_096;

/** Connections closed together at the limit: finding the idlest one sorts all of them anyway. */
const closedAtOnceMax = 64;

function closedAtOnce(connectionsMax: number): number {
  return Math.max(1, Math.min(closedAtOnceMax, Math.floor(connectionsMax / 2)));
}

/** The limit of connections that keeps the number of open sockets at `sockets` (2 or more) or less. */
export function connectionsWithin(sockets: number): number {
  return Math.max(sockets - closedAtOnceMax, Math.ceil((2 * sockets - 1) / 3));
}

/**
 * Limits the number of connections. A connection above the limit closes those that have been idle
 * longest, so that idle or very slow connections cannot lock out other clients.
 */
export class ConnectionLimiter {
  readonly #connectionsMax: number;
  /** When each connection was opened or had its latest request or answer, by `performance.now`. */
  readonly #lastActivity = new Map<Socket, number>();

  constructor(connectionsMax: number) {
    this.#connectionsMax = connectionsMax;
  }

  /** The peak number of open sockets, including those that are still closing. */
  get hardLimit(): number {
    return this.#connectionsMax + closedAtOnce(this.#connectionsMax);
  }

  get connections(): number {
    return this.#lastActivity.size;
  }

  add(socket: Socket): void {
    if (this.#lastActivity.size >= this.#connectionsMax) this.#closeIdlest();
    this.#lastActivity.set(socket, performance.now());
    socket.once('close', () => this.#lastActivity.delete(socket));
  }

  /** Call it when a request begins on a connection, and when it is answered. */
  recordActivity(socket: Socket): void {
    if (this.#lastActivity.has(socket)) this.#lastActivity.set(socket, performance.now());
  }

  #closeIdlest(): void {
    const idlest = [...this.#lastActivity]
      .sort(([, a], [, b]) => a - b)
      .slice(0, closedAtOnce(this.#connectionsMax));
    for (const [socket] of idlest) {
      this.#lastActivity.delete(socket);
      socket.destroy();
    }
  }
}
