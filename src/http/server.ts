import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

import { getRequestListener } from '@hono/node-server';

import type { ProblemCode } from '../domain/problem.ts';
import type { Pipeline } from '../pipeline/ports.ts';
import { problemAnswer } from './answer.ts';
import { createApp } from './app.ts';
import { createIngestHandler, isIngestRequest } from './ingest-handler.ts';
import { MemoryBudget } from './memory-budget.ts';

export interface HttpServerOptions {
  readonly pipeline: Pipeline;
  /** The largest body in bytes. */
  readonly bodyBytesMax: number;
  /** All bodies together that are being read or are not answered yet, in bytes. */
  readonly bodiesBytesMax: number;
  /** Is told of errors that nobody foresaw. */
  readonly onDefect: (error: Error) => void;
}

const headersTimeoutMs = 10_000;
const requestTimeoutMs = 60_000;
const keepAliveTimeoutMs = 65_000;
const connectionsMax = 4_096;
/** A slow client is noticed so much later than its time at the most. */
const timeoutCheckMs = 1_000;

export interface HttpServer {
  readonly server: Server;
  /**
   * Takes no new connection, answers the requests that are under way, and closes; after `graceMs`
   * what is left is cut.
   */
  stop(graceMs: number): Promise<void>;
}

/** The server for one process: `POST /ingest` by itself, everything else by the app. */
export function createHttpServer(options: HttpServerOptions): HttpServer {
  const { pipeline, bodyBytesMax, bodiesBytesMax, onDefect } = options;
  let isStopping = false;
  const budget = new MemoryBudget(bodiesBytesMax);
  const handleIngest = createIngestHandler({
    pipeline,
    bodyBytesMax,
    budget,
    isStopping: () => isStopping,
    onDefect,
  });
  const app = createApp(pipeline, { bodyBytesMax, onDefect });
  const handleOther = getRequestListener(app.fetch, { overrideGlobalObjects: false });

  const handle = (request: IncomingMessage, response: ServerResponse, expectsContinue: boolean) => {
    if (isIngestRequest(request)) {
      void handleIngest(request, response, expectsContinue);
      return;
    }
    if (expectsContinue) response.writeContinue();
    if (isStopping) response.setHeader('connection', 'close');
    void handleOther(request, response);
  };

  const server = createServer({
    headersTimeout: headersTimeoutMs,
    requestTimeout: requestTimeoutMs,
    keepAliveTimeout: keepAliveTimeoutMs,
    connectionsCheckingInterval: timeoutCheckMs,
  });
  server.maxConnections = connectionsMax;
  server.on('request', (request, response) => handle(request, response, false));
  server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) =>
    handle(request, response, true),
  );
  server.on('clientError', answerClientError);

  return {
    server,
    async stop(graceMs) {
      isStopping = true;
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      // A connection that becomes idle meanwhile is closed too.
      const idle = setInterval(() => server.closeIdleConnections(), 50);
      await Promise.race([closed, delay(graceMs, undefined, { ref: false })]);
      clearInterval(idle);
      server.closeAllConnections();
      await closed;
    },
  };
}

/** What Node's parser refuses never becomes a request; it is told why all the same. */
function answerClientError(error: NodeJS.ErrnoException, socket: Socket): void {
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  const [code, detail] = clientErrors[error.code ?? ''] ?? [
    'malformed_request',
    'The request cannot be read as HTTP/1.1.',
  ];
  const { status, headers, body } = problemAnswer({ code, detail });
  const lines = Object.entries({
    ...headers,
    'content-length': Buffer.byteLength(body),
    connection: 'close',
  }).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.end(`HTTP/1.1 ${status} ${code}\r\n${lines.join('')}\r\n${body}`);
}

const clientErrors: Record<string, readonly [ProblemCode, string]> = {
  ERR_HTTP_REQUEST_TIMEOUT: [
    'request_timeout',
    `Headers must come within ${headersTimeoutMs / 1000} s, the whole request within ${requestTimeoutMs / 1000} s.`,
  ],
  HPE_HEADER_OVERFLOW: ['headers_too_large', 'The headers are larger than 16 KiB together.'],
};
