import type { Socket } from 'node:net';

/** Cut at once when there is no room: to look for one costs as much as to look for all of them. */
const closedAtOnceMax = 64;

function closedAtOnce(connectionsMax: number): number {
  return Math.max(1, Math.min(closedAtOnceMax, Math.floor(connectionsMax / 2)));
}

/** The bound on connections where at most `sockets` (2 or more) may be open at any moment. */
export function connectionsWithin(sockets: number): number {
  return Math.max(sockets - closedAtOnceMax, Math.ceil((2 * sockets - 1) / 3));
}

/**
 * Bounds the connections. One too many cuts those on which nothing has happened for the longest
 * time: connections that are opened and left, or send their requests byte by byte, keep nobody out.
 */
export class ConnectionLimiter {
  readonly #connectionsMax: number;
  /** When each connection was opened or had its latest request, by the monotonic clock. */
  readonly #lastActivity = new Map<Socket, number>();

  constructor(connectionsMax: number) {
    this.#connectionsMax = connectionsMax;
  }

  /** So many connections may be open for a moment, until those that are cut have closed. */
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

  /** A request has begun on a connection, or was answered. */
  recordActivity(socket: Socket): void {
    if (this.#lastActivity.has(socket)) this.#lastActivity.set(socket, performance.now());
  }

  #closeIdlest(): void {
    const longestSilent = [...this.#lastActivity]
      .sort(([, a], [, b]) => a - b)
      .slice(0, closedAtOnce(this.#connectionsMax));
    for (const [socket] of longestSilent) {
      this.#lastActivity.delete(socket);
      socket.destroy();
    }
  }
}
