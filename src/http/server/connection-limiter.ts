import type { Socket } from 'node:net';

/** Cut at once when there is no room: to look for one costs as much as to look for all of them. */
const cutAtOnceMax = 64;

function cutAtOnceOf(connectionsMax: number): number {
  return Math.max(1, Math.min(cutAtOnceMax, Math.floor(connectionsMax / 2)));
}

/** The bound on connections where at most `sockets` (2 or more) may be open at any moment. */
export function connectionsWithin(sockets: number): number {
  return Math.max(sockets - cutAtOnceMax, Math.ceil((2 * sockets - 1) / 3));
}

/**
 * Bounds the connections. One too many cuts those on which nothing has happened for the longest
 * time: connections that are opened and left, or send their requests byte by byte, keep nobody out.
 */
export class ConnectionLimiter {
  readonly #connectionsMax: number;
  /** When each connection was opened or had its latest request, by the monotonic clock. */
  readonly #lastSign = new Map<Socket, number>();

  constructor(connectionsMax: number) {
    this.#connectionsMax = connectionsMax;
  }

  /** So many connections may be open for a moment, until those that are cut have closed. */
  get connectionsMostly(): number {
    return this.#connectionsMax + cutAtOnceOf(this.#connectionsMax);
  }

  get connections(): number {
    return this.#lastSign.size;
  }

  add(socket: Socket): void {
    if (this.#lastSign.size >= this.#connectionsMax) this.#makeRoom();
    this.#lastSign.set(socket, performance.now());
    socket.once('close', () => this.#lastSign.delete(socket));
  }

  /** A request has begun on a connection, or was answered. */
  sign(socket: Socket): void {
    if (this.#lastSign.has(socket)) this.#lastSign.set(socket, performance.now());
  }

  #makeRoom(): void {
    const longestSilent = [...this.#lastSign]
      .sort(([, a], [, b]) => a - b)
      .slice(0, cutAtOnceOf(this.#connectionsMax));
    for (const [socket] of longestSilent) {
      this.#lastSign.delete(socket);
      socket.destroy();
    }
  }
}
