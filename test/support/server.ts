import { mkdtemp, rm } from 'node:fs/promises';
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { dataPaths } from '../../src/engines/embedded/data-directory.ts';
import { EmbeddedPipeline } from '../../src/engines/embedded/embedded-pipeline.ts';
import { embeddedDefaults, type EmbeddedOptions } from '../../src/engines/embedded/options.ts';
import { nodeFileSystem } from '../../src/engines/embedded/log/file-system.ts';
import { openStatsReader } from '../../src/engines/embedded/reader/stats-reader.ts';
import { LogReader } from '../../src/engines/embedded/log/log-reader.ts';
import {
  createHttpServer,
  type HttpServer,
  type HttpServerOptions,
} from '../../src/http/server/server.ts';
import type { RawBatch } from '../../src/pipeline/ports.ts';
import { LogRawStore } from './log-raw-store.ts';

/** The differences from the settings of `serve`. */
export interface TestServerOptions {
  readonly engine?: Partial<Omit<EmbeddedOptions, 'dataDir' | 'bodyBytesMax'>>;
  readonly http?: Partial<
    Omit<HttpServerOptions, 'pipeline' | 'onUnexpectedError' | 'bodyBytesMax'>
  >;
  readonly bodyBytesMax?: number;
}

export interface TestServer extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  readonly http: HttpServer;
  readonly pipeline: EmbeddedPipeline;
  readonly dataDir: string;
  /**
   * Stops the server and the pipeline and removes the data. Connections that are still busy after
   * `graceMs` are cut off.
   * @throws if the server had an unexpected error.
   */
  stop(graceMs?: number): Promise<void>;
}

/** The real server in this process, on a free port of 127.0.0.1 and an empty data directory. */
export async function startServer(options: TestServerOptions = {}): Promise<TestServer> {
  const dataDir = await mkdtemp(join(tmpdir(), 'device-pipeline-'));
  const bodyBytesMax = options.bodyBytesMax ?? embeddedDefaults.bodyBytesMax;
  const unexpectedErrors: (Error | string)[] = [];
  const onUnexpectedError = (error: Error | string) => void unexpectedErrors.push(error);
  const pipeline = await EmbeddedPipeline.open(
    { ...embeddedDefaults, ...options.engine, bodyBytesMax, dataDir },
    onUnexpectedError,
  );
  const http = createHttpServer({
    bodiesBytesMax: embeddedDefaults.inFlightBytesMax,
    dayZone: pipeline.dayZone,
    ...options.http,
    pipeline,
    bodyBytesMax,
    onUnexpectedError,
  });
  const { promise: listening, resolve, reject } = Promise.withResolvers<undefined>();
  http.server.once('error', reject);
  http.server.listen(0, '127.0.0.1', () => resolve(undefined));
  await listening;
  const { port } = http.server.address() as AddressInfo;
  const stop = async (graceMs = 200) => {
    await http.stop(graceMs);
    await pipeline.close();
    await rm(dataDir, { recursive: true });
    if (unexpectedErrors.length > 0)
      throw new AggregateError(unexpectedErrors, 'the server had unexpected errors');
  };
  const url = `http://127.0.0.1:${port}`;
  return { url, port, http, pipeline, dataDir, stop, [Symbol.asyncDispose]: () => stop() };
}

const countedWithinMs = 500_000;

/** Resolves once everything accepted is counted. */
export async function waitUntilCounted(url: string): Promise<void> {
  const deadline = Date.now() + countedWithinMs;
  for (;;) {
    const { status, text } = await exchange(url, { path: '/readyz' });
    if (status === 200 && (JSON.parse(text) as { pending_bytes: number }).pending_bytes === 0) {
      return;
    }
    if (Date.now() > deadline) throw new Error(`not counted within ${countedWithinMs} ms: ${text}`);
    await delay(5);
  }
}

export interface Sent {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** The body, byte for byte; it is sent with its Content-Length. */
  readonly body?: Uint8Array | string;
}

export interface Received {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

/**
 * One request on a connection of its own, with only the given headers and those that HTTP needs.
 */
export function exchange(
  url: string,
  { method = 'GET', path = '/', headers = {}, body }: Sent,
): Promise<Received> {
  return new Promise((resolve, reject) => {
    const length = body === undefined ? {} : { 'content-length': Buffer.byteLength(body) };
    const request = httpRequest(
      new URL(url),
      { method, path, headers: { ...length, ...headers }, agent: false },
      (response) => {
        const parts: Buffer[] = [];
        response.on('data', (part: Buffer) => parts.push(part));
        response.on('error', reject);
        response.on('end', () => {
          const text = Buffer.concat(parts).toString();
          resolve({ status: response.statusCode ?? 0, headers: response.headers, text });
        });
      },
    );
    request.on('error', reject);
    request.end(body);
  });
}

/** Sends a batch of items as JSON, or a body as it is. */
export function postBatch(
  url: string,
  batch: readonly unknown[] | Uint8Array | string,
  headers: Readonly<Record<string, string>> = {},
): Promise<Received> {
  const isBody = typeof batch === 'string' || batch instanceof Uint8Array;
  return exchange(url, {
    method: 'POST',
    path: '/ingest',
    headers: { 'content-type': 'application/json', ...headers },
    body: isBody ? batch : JSON.stringify({ processed_devices: batch }),
  });
}

/** The content of the log, read while the server runs. */
export async function storedBatches(dataDir: string): Promise<readonly RawBatch[]> {
  return await withRawStore(dataDir, (store) => Promise.resolve(store.list()));
}

/** The raw body with a raw key. */
export async function storedBatch(dataDir: string, rawKey: string): Promise<RawBatch | undefined> {
  return await withRawStore(dataDir, (store) => store.get(rawKey));
}

async function withRawStore<T>(dataDir: string, read: (store: LogRawStore) => Promise<T>) {
  const reader = new LogReader(nodeFileSystem, dataPaths(dataDir).log);
  const stats = openStatsReader(dataDir);
  try {
    return await read(new LogRawStore(reader, (batchId) => stats.positionOfReplayed(batchId)));
  } finally {
    stats.close();
    reader.close();
  }
}
