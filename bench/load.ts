import { connect, type Socket } from 'node:net';

export interface LoadOptions {
  readonly url: URL;
  readonly itemsPerRequest: number;
  readonly connections: number;
  readonly seconds: number;
}

export interface LoadResult {
  readonly requestsPerSecond: number;
  readonly itemsPerSecond: number;
  /** Acknowledged with 200. */
  readonly itemsAccepted: number;
  readonly failures: number;
  /** Milliseconds. */
  readonly p50: number;
  readonly p99: number;
}

const types = ['laptop', 'phone', 'server', 'tablet', 'desktop', 'ssd'];
const states = ['erased', 'erasure failed', 'received', 'graded', 'shipped'];

/** One request, the same for all: what is measured is the server. */
function requestOf({ url, itemsPerRequest }: LoadOptions): Buffer {
  const items = Array.from({ length: itemsPerRequest }, (_, index) => ({
    type: types[index % types.length],
    state: states[index % states.length],
    timestamp: `2023-06-${String(1 + (index % 28)).padStart(2, '0')}T13:00:00Z`,
  }));
  const body = JSON.stringify({ processed_devices: items });
  return Buffer.from(
    `POST /ingest HTTP/1.1\r\nhost: ${url.host}\r\ncontent-type: application/json\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}

/** Keeps one request under way on each connection for so long; raw sockets, to leave the CPU alone. */
export async function runLoad(options: LoadOptions): Promise<LoadResult> {
  const request = requestOf(options);
  const latencies: number[] = [];
  let failures = 0;
  const start = performance.now();
  const end = start + options.seconds * 1000;
  const connection = () =>
    new Promise<void>((resolve, reject) => {
      const socket: Socket = connect(Number(options.url.port), options.url.hostname);
      socket.setNoDelay(true);
      let sentAt = 0;
      let received = '';
      const send = () => {
        sentAt = performance.now();
        socket.write(request);
      };
      socket.on('connect', send);
      socket.on('error', reject);
      socket.on('close', () => resolve());
      socket.on('data', (data) => {
        received += data.toString('latin1');
        if (!isWhole(received)) return;
        const now = performance.now();
        if (received.startsWith('HTTP/1.1 200')) latencies.push(now - sentAt);
        else failures++;
        received = '';
        if (now < end) send();
        else socket.end();
      });
    });
  await Promise.all(Array.from({ length: options.connections }, connection));
  const seconds = (performance.now() - start) / 1000;
  latencies.sort((a, b) => a - b);
  return {
    requestsPerSecond: latencies.length / seconds,
    itemsPerSecond: (latencies.length * options.itemsPerRequest) / seconds,
    itemsAccepted: latencies.length * options.itemsPerRequest,
    failures,
    p50: latencies[Math.floor(latencies.length * 0.5)] ?? NaN,
    p99: latencies[Math.floor(latencies.length * 0.99)] ?? NaN,
  };
}

function isWhole(response: string): boolean {
  const headEnd = response.indexOf('\r\n\r\n');
  if (headEnd < 0) return false;
  const length = /content-length: (\d+)/i.exec(response.slice(0, headEnd))?.[1];
  return response.length >= headEnd + 4 + Number(length ?? 0);
}

// Run as a process of its own, so that its work is not the server's.
if (process.argv[2] !== undefined && import.meta.main) {
  const { url, ...rest } = JSON.parse(process.argv[2]) as Omit<LoadOptions, 'url'> & {
    url: string;
  };
  process.stdout.write(JSON.stringify(await runLoad({ ...rest, url: new URL(url) })));
}
