import type { Socket } from 'node:net';

export interface ConnectionRoomOptions {
  readonly connectionsMax: number;
  /** Who has begun a request within so long is not cut. */
  readonly graceMs: number;
}

/** Cut at once when there is no room: to look for one costs as much as to look for all of them. */
const cutAtOnce = 64;

/**
 * Bounds the connections. One too many cuts those on which nothing has happened for the longest
 * time: connections that are opened and left, or send their requests byte by byte, keep nobody out.
 * Where all are in use, it is the new one that is cut.
 */
export class ConnectionRoom {
  readonly #options: ConnectionRoomOptions;
  /** When each connection was opened or had its latest request, by the monotonic clock. */
  readonly #lastSign = new Map<Socket, number>();

  constructor(options: ConnectionRoomOptions) {
    this.#options = options;
  }

  /** So many connections may be open for a moment, until those that are cut have closed. */
  get connectionsMostly(): number {
    return this.#options.connectionsMax + cutAtOnce;
  }

  add(socket: Socket): void {
    const now = performance.now();
    if (this.#lastSign.size >= this.#options.connectionsMax && !this.#makeRoom(now)) {
      socket.destroy();
      return;
    }
    this.#lastSign.set(socket, now);
    socket.once('close', () => this.#lastSign.delete(socket));
  }

  /** A request has begun on a connection, or was answered. */
  sign(socket: Socket): void {
    if (this.#lastSign.has(socket)) this.#lastSign.set(socket, performance.now());
  }

  /** Says whether there is room now. */
  #makeRoom(now: number): boolean {
    const latest = now - this.#options.graceMs;
    const silent = [...this.#lastSign]
      .filter(([, lastSign]) => lastSign <= latest)
      .sort(([, a], [, b]) => a - b)
      .slice(0, cutAtOnce);
    for (const [socket] of silent) {
      this.#lastSign.delete(socket);
      socket.destroy();
    }
    return silent.length > 0;
  }
}
