import { connect } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';

import type { FuzzCase } from './case.ts';

/** A server closes a connection within this after the client has ended it, or is at fault. */
const closeMsMax = 45_000;

/**
 * Plays a case on a new connection. Returns all received bytes, once the server has closed.
 * @throws if it does not close.
 */
export async function play(
  port: number,
  localAddress: string,
  { pieces, ending }: Pick<FuzzCase, 'pieces' | 'ending'>,
): Promise<Buffer> {
  const socket = connect({
    port,
    host: '127.0.0.1',
    localAddress,
    noDelay: true,
    allowHalfOpen: true,
  });
  const received: Buffer[] = [];
  const closed = Promise.withResolvers<undefined>();
  const opened = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => {
    closed.reject(new Error(`the server has not closed for ${closeMsMax / 1000} s`));
    socket.destroy();
  }, closeMsMax);
  socket.on('connect', () => opened.resolve(undefined));
  socket.on('data', (piece: Buffer) => received.push(piece));
  // A server that has closed resets clients that continue to send; its earlier responses have been read.
  socket.on('error', (error: NodeJS.ErrnoException) => {
    if (error.syscall === 'connect') opened.reject(error);
  });
  socket.on('end', () => socket.end());
  socket.on('close', () => closed.resolve(undefined));
  try {
    await opened.promise;
    for (const [index, piece] of pieces.entries()) {
      if (socket.destroyed || socket.writableEnded) break;
      if (index > 0) await turn();
      socket.write(piece);
    }
    if (ending === 'half-close') socket.end();
    if (ending === 'reset') {
      await turn();
      socket.resetAndDestroy();
    }
    await closed.promise;
    return Buffer.concat(received);
  } finally {
    clearTimeout(timer);
    socket.destroy();
    closed.promise.catch(() => undefined);
  }
}
