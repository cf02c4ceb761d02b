import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

import { head } from './requests.ts';

/** The input of a slow client, byte by byte, and never complete. */
export type Slowness = 'headers' | 'body' | 'chunks' | 'nothing';

const texts: Readonly<Record<Slowness, string>> = {
  headers: head([`X-Slow: ${'s'.repeat(10_000)}`]),
  body: ' '.repeat(10_000),
  chunks: '1\r\n \r\n'.repeat(2_000),
  nothing: '',
};
const starts: Readonly<Record<Slowness, string>> = {
  headers: '',
  body: head(['Content-Length: 10000']),
  chunks: head(['Transfer-Encoding: chunked']),
  nothing: '',
};

/** Slow clients, on connections that they keep open as long as possible. */
export class SlowClients {
  readonly #sockets: Socket[] = [];
  readonly #answers = new Map<Socket, string>();
  #closed = 0;
  #isOver = false;

  /** @param everyMs the interval between the bytes on each connection. */
  async open(port: number, count: number, slowness: Slowness, everyMs: number): Promise<void> {
    for (let index = 0; index < count; index++) {
      const socket = connect({ port, host: '127.0.0.1', noDelay: true });
      this.#sockets.push(socket);
      socket.setEncoding('latin1').on('data', (text: string) => {
        this.#answers.set(socket, (this.#answers.get(socket) ?? '') + text);
      });
      socket.on('error', () => undefined);
      socket.on('close', () => this.#closed++);
      socket.write(starts[slowness]);
      void this.#send(socket, texts[slowness], everyMs);
      if (index % 100 === 99) await delay(1);
    }
  }

  async #send(socket: Socket, text: string, everyMs: number): Promise<void> {
    for (let at = 0; at < text.length && !this.#isOver && !socket.destroyed; at++) {
      socket.write(text.charAt(at), 'latin1');
      await delay(everyMs);
    }
  }

  /** How many the server has closed. */
  get closed(): number {
    return this.#closed;
  }

  get isAllClosed(): boolean {
    return this.#closed === this.#sockets.length;
  }

  /** The number of clients that got 408 for being too slow. */
  get toldLate(): number {
    return [...this.#answers.values()].filter((text) => text.startsWith('HTTP/1.1 408 ')).length;
  }

  end(): void {
    this.#isOver = true;
    for (const socket of this.#sockets) socket.destroy();
  }
}
