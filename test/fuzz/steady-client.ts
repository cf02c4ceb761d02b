import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

import { readAnswers } from './answers.ts';
import { batchBody, post, postChunked } from './requests.ts';
import { below, type Random } from './case.ts';

/** Sent at once, on one connection. */
const pipelineMax = 8;
const answerMsMax = 45_000;

/** Ways to send: the plain one is read without node:http. */
export type Manner = 'plain' | 'node:http' | 'chunked';

/**
 * A client who does everything right, on one connection that stays open, as fast as it is answered.
 * Returns how many items it has sent, under the state `state`: all of them must be counted.
 */
export async function sendSteadily(
  port: number,
  state: string,
  manner: Manner,
  random: Random,
  isOver: () => boolean,
): Promise<number> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  const answers = new AnswerReader(socket);
  let items = 0;
  try {
    while (!isOver()) {
      const count = manner === 'plain' ? 1 : 1 + below(random, pipelineMax);
      const batches = Array.from({ length: count }, () => 1 + below(random, 20));
      const requests = batches.map((batch) => requestOf(manner, batchBody(state, batch), random));
      socket.write(Buffer.concat(requests));
      for (const batch of batches) {
        const { status, body } = await answers.next();
        const { enqueued } = JSON.parse(body) as { enqueued?: number };
        if (status !== 200 || enqueued !== batch) {
          throw new Error(`${manner}: a sound batch of ${batch} is answered ${status}: ${body}`);
        }
        items += batch;
      }
      await delay(5);
    }
    return items;
  } finally {
    socket.destroy();
  }
}

function requestOf(manner: Manner, body: string, random: Random): Buffer {
  if (manner === 'chunked') return postChunked(Buffer.from(body), random);
  return post(body, manner === 'plain' ? [] : ['X-Other: 1']);
}

/** Answers one after the other, from a connection that stays open. */
export class AnswerReader {
  #received = Buffer.alloc(0);
  #failure: Error | undefined;
  #wake: () => void = () => undefined;

  constructor(socket: Socket) {
    socket.on('data', (piece: Buffer) => {
      this.#received = Buffer.concat([this.#received, piece]);
      this.#wake();
    });
    const fail = (error: Error) => {
      this.#failure ??= error;
      this.#wake();
    };
    socket.on('error', fail);
    socket.on('close', () => fail(new Error('the server has closed the connection')));
    socket.setTimeout(answerMsMax, () => socket.destroy(new Error('no answer in time')));
  }

  async next() {
    for (;;) {
      const end = endOfAnswer(this.#received);
      if (end !== undefined) {
        const [answer] = readAnswers(this.#received.subarray(0, end));
        this.#received = this.#received.subarray(end);
        if (answer !== undefined) return answer;
      }
      if (this.#failure !== undefined) throw this.#failure;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }
}

function endOfAnswer(received: Buffer): number | undefined {
  const headEnd = received.indexOf('\r\n\r\n');
  if (headEnd < 0) return undefined;
  const length = /\r\ncontent-length: (\d+)\r\n/i.exec(received.toString('latin1', 0, headEnd + 2));
  const end = headEnd + 4 + Number(length?.[1] ?? 0);
  return end <= received.length ? end : undefined;
}
