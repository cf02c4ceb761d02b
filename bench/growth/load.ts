import { execFile } from 'node:child_process';
import { connect } from 'node:net';
import { promisify } from 'node:util';

import { bodiesOver, type CounterSpace } from './traffic.ts';

export interface DrawnLoadOptions {
  readonly url: string;
  readonly space: CounterSpace;
  readonly itemsPerRequest: number;
  readonly connections: number;
  readonly seconds: number;
}

export interface DrawnLoad {
  /** Acknowledged with 200. */
  readonly requests: number;
  readonly items: number;
  /** Requests that got 503, and were sent again after a moment. */
  readonly refused: number;
  readonly seconds: number;
  /**
   * The times of the first request and the last response, on the machine's monotonic clock, in
   * microseconds.
   */
  readonly fromUs: number;
  readonly toUs: number;
}

const refusedDelayMs = 20;

/** Sends bodies drawn uniformly over the space, from a separate process. */
export async function sendDrawn(options: DrawnLoadOptions): Promise<DrawnLoad> {
  const { stdout } = await promisify(execFile)(process.execPath, [
    import.meta.filename,
    JSON.stringify(options),
  ]);
  return JSON.parse(stdout) as DrawnLoad;
}

/** One request in flight on each connection, all built in advance; raw sockets, to save CPU time. */
async function send(options: DrawnLoadOptions): Promise<DrawnLoad> {
  const { space, itemsPerRequest, connections, seconds } = options;
  const url = new URL(options.url);
  const requests = bodiesOver(space, itemsPerRequest).map((body) => requestOf(url, body));
  let next = 0;
  let accepted = 0;
  let refused = 0;
  const fromUs = monotonicUs();
  const start = performance.now();
  const end = start + seconds * 1000;
  const connection = () =>
    new Promise<void>((resolve, reject) => {
      const socket = connect(Number(url.port), url.hostname);
      socket.setNoDelay(true);
      let received = '';
      let request: Uint8Array = Buffer.alloc(0);
      const again = () => {
        if (performance.now() < end) socket.write(request);
        else socket.end();
      };
      const another = () => {
        request = requests[next++ % requests.length] ?? request;
        again();
      };
      socket.on('connect', another);
      socket.on('error', reject);
      socket.on('close', () => resolve());
      socket.on('data', (data) => {
        received += data.toString('latin1');
        if (!isWhole(received)) return;
        const status = received.slice(9, 12);
        received = '';
        if (status === '200') {
          accepted++;
          another();
        } else if (status === '503') {
          refused++;
          setTimeout(again, refusedDelayMs);
        } else {
          reject(new Error(`a request was answered ${status}`));
        }
      });
    });
  await Promise.all(Array.from({ length: connections }, connection));
  return {
    requests: accepted,
    items: accepted * itemsPerRequest,
    refused,
    seconds: (performance.now() - start) / 1000,
    fromUs,
    toUs: monotonicUs(),
  };
}

function monotonicUs(): number {
  return Number(process.hrtime.bigint() / 1000n);
}

function requestOf(url: URL, body: string): Buffer {
  return Buffer.from(
    `POST /ingest HTTP/1.1\r\nhost: ${url.host}\r\nuser-agent: bench\r\naccept: */*\r\n` +
      `content-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}

function isWhole(response: string): boolean {
  const headEnd = response.indexOf('\r\n\r\n');
  if (headEnd < 0) return false;
  const length = /content-length: (\d+)/i.exec(response.slice(0, headEnd))?.[1];
  return response.length >= headEnd + 4 + Number(length ?? 0);
}

const [, , settings] = process.argv;
if (settings !== undefined && import.meta.main) {
  process.stdout.write(JSON.stringify(await send(JSON.parse(settings) as DrawnLoadOptions)));
}
