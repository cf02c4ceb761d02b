import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

import type { Problem } from '../../domain/problem.ts';
import { Unavailable, type BorrowedBody, type Ingest, type Queries } from '../../pipeline/ports.ts';
import { openAccess, type ImmediateAccess } from '../../auth/check-access.ts';
import { hostNotAllowed, type HostRule } from '../app/allowed-hosts.ts';
import { internalError, problemAnswer, type Answer } from '../app/answer.ts';
import { createApp, type AppOptions } from '../app/app.ts';
import { toResponse } from '../app/exchange.ts';
import { answerClientError } from './client-errors.ts';
import { ConnectionLimiter, defaultConnectionsMax } from './connection-limiter.ts';
import { DisconnectDetector } from './disconnect-detector.ts';
import { createIngestHandler, isIngestRequest, toError } from './ingest-handler.ts';
import { MemoryBudget } from './memory-budget.ts';
import { isClosing, NodeExchange } from './node-exchange.ts';
import { routeOf, silentObserver, type HttpObserver } from './observer.ts';
import { PlainConnections } from './plain-connections.ts';
import { toOriginForm, whyInvalid } from './request-validation.ts';
import type { HttpTimeouts, ServerParts } from './server-parts.ts';
import { UnreadAnswers } from './unread-answers.ts';

export interface HttpServerOptions extends AppOptions {
  readonly pipeline: Ingest<BorrowedBody> & Queries;
  /** The limit of all bodies that are being read or not answered yet, in bytes. */
  readonly bodiesBytesMax: number;
  /** Authentication and rate limits; default: open access. */
  readonly access?: ImmediateAccess;
  /** Which hosts are allowed if no token is required; default: any. */
  readonly hostRule?: HostRule;
  /** Receives events; default: none. */
  readonly observer?: HttpObserver;
  readonly timeouts?: HttpTimeouts;
  /** How many connections may be open; default: 4,096. */
  readonly connectionsMax?: number;
  /** The limit of all large responses that are not read yet, in bytes; default: 64 MiB. */
  readonly answersBytesMax?: number;
}

const defaultTimeouts: HttpTimeouts = {
  headersMs: 10_000,
  requestMs: 60_000,
  keepAliveMs: 65_000,
  checkMs: 1_000,
  lingerMs: 2_000,
  readMs: 60_000,
};
const defaultAnswersBytesMax = 64 * 1024 * 1024;

/** The memory that clients occupy now. */
export interface MemoryUsage {
  readonly connections: number;
  /** Bodies that are being read or not answered yet. */
  readonly bodiesBytes: number;
  /** Large responses that clients have not read yet. */
  readonly unreadBytes: number;
}

export interface HttpServer {
  readonly server: Server;
  memoryUsage(): MemoryUsage;
  /**
   * Accepts no new connection, answers the current requests, and closes; after `graceMs` it
   * disconnects the remaining clients.
   */
  stop(graceMs: number): Promise<void>;
}

/**
 * Creates the HTTP server of one process. A connection starts on the fast path (plain-connections.ts)
 * and moves to `node:http` with the first request that is not plain; there ingest-handler.ts serves
 * batches and ../app/app.ts everything else. All limits on clients are applied here.
 */
export function createHttpServer(options: HttpServerOptions): HttpServer {
  const { pipeline, access = openAccess, hostRule, timeouts = defaultTimeouts } = options;
  let isStopping = false;
  const connectionLimiter = new ConnectionLimiter(options.connectionsMax ?? defaultConnectionsMax);
  const parts: ServerParts = {
    pipeline,
    bodyBytesMax: options.bodyBytesMax,
    budget: new MemoryBudget(options.bodiesBytesMax),
    access,
    isHostAllowed: (host) => hostRule === undefined || access.requiresToken() || hostRule(host),
    corsOrigins: options.corsOrigins ?? [],
    timeouts,
    isStopping: () => isStopping,
    onAnswered: (socket) => connectionLimiter.recordActivity(socket),
    onUnexpectedError: options.onUnexpectedError,
    observer: options.observer ?? silentObserver,
  };
  const handleIngest = createIngestHandler(parts);
  const unread = new UnreadAnswers(
    options.answersBytesMax ?? defaultAnswersBytesMax,
    timeouts.readMs,
  );
  const handleOther = createAppHandler(options, unread);
  const disconnects = new DisconnectDetector();
  /** The latest exchange of each connection. */
  const latestExchanges = new WeakMap<Socket, NodeExchange>();

  const handle = (request: IncomingMessage, response: ServerResponse, expectsContinue: boolean) => {
    const { socket } = request;
    if (isClosing(socket)) {
      request.resume();
      return;
    }
    toOriginForm(request);
    const exchange = new NodeExchange(request, response, isIngestRequest(request));
    connectionLimiter.recordActivity(socket);
    latestExchanges.set(socket, exchange);
    exchange.observe(parts.observer);
    const problem = requestProblem(request, parts.isHostAllowed);
    if (problem !== undefined) {
      void exchange.refuseAndClose(problemAnswer(problem), timeouts.lingerMs);
      return;
    }
    if (exchange.isBatch) {
      void handleIngest(exchange, expectsContinue);
      return;
    }
    if (expectsContinue) response.writeContinue();
    if (isStopping) response.setHeader('connection', 'close');
    disconnects.watch(request, response);
    void handleOther(exchange);
  };

  const server = createServer({
    headersTimeout: timeouts.headersMs,
    requestTimeout: timeouts.requestMs,
    keepAliveTimeout: timeouts.keepAliveMs,
    connectionsCheckingInterval: timeouts.checkMs,
    // `whyInvalid` requires it, and refuses with problem details.
    requireHostHeader: false,
  });
  server.maxConnections = connectionLimiter.hardLimit;
  // Answer clients that end their side after the request, as PlainConnections does. (An
  // undocumented but old option of Node.)
  Object.assign(server, { httpAllowHalfOpen: true });
  server.on('request', (request, response) => handle(request, response, false));
  server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) =>
    handle(request, response, true),
  );
  // Unknown expectations may be ignored (RFC 9110, 10.1.1).
  server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) =>
    handle(request, response, false),
  );
  const refusedConnections = new WeakSet<Socket>();
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
    // Report only the first error of a connection.
    if (refusedConnections.has(socket)) return;
    refusedConnections.add(socket);
    answerClientError(error, socket, latestExchanges.get(socket), parts);
  });

  const plain = new PlainConnections(server, parts);
  server.prependListener('connection', (socket: Socket) => connectionLimiter.add(socket));

  return {
    server,
    memoryUsage: () => ({
      connections: connectionLimiter.connections,
      bodiesBytes: parts.budget.bytes,
      unreadBytes: unread.bytes,
    }),
    async stop(graceMs) {
      isStopping = true;
      plain.endIdle();
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      // Connections that become idle during the stop close, too.
      const idle = setInterval(() => server.closeIdleConnections(), 50);
      await Promise.race([closed, delay(graceMs, undefined, { ref: false })]);
      clearInterval(idle);
      server.closeAllConnections();
      plain.closeAll();
      await closed;
    },
  };
}

/** Serves everything but batches with the app. */
function createAppHandler(options: HttpServerOptions, unread: UnreadAnswers) {
  const { pipeline, onUnexpectedError } = options;
  const app = createApp({ batches: pipeline, queries: pipeline }, options);

  const answer = async (request: Request, exchange: NodeExchange) => {
    const response = await app.fetch(request, exchange);
    const { size } = exchange;
    if (typeof size !== 'number') {
      size.fail = (why) => {
        const isExpected = why instanceof Unavailable;
        exchange.cutOff(isExpected ? why.code : 'internal');
        if (!isExpected) onUnexpectedError(toError(why));
      };
    }
    const isPublic = publicRoutes.has(routeOf(exchange.request.url ?? ''));
    if (unread.admit(exchange, isPublic)) return response;
    void response.body?.cancel();
    return toResponse(tooManyUnread, exchange);
  };
  const unexpected = (error: unknown): Answer => {
    onUnexpectedError(toError(error));
    return internalError;
  };
  let adapter: ReturnType<typeof importAdapter> | undefined;
  return async (exchange: NodeExchange): Promise<void> => {
    const { getRequestListener, RequestError } = await (adapter ??= importAdapter());
    const listener = getRequestListener((request) => answer(request, exchange), {
      overrideGlobalObjects: false,
      // The listener creates the URL before it calls the app.
      errorHandler: (error) =>
        toResponse(error instanceof RequestError ? invalidUrl(error) : unexpected(error), exchange),
    });
    // The app builds its URLs from the Host, but not every valid Host makes a valid URL: `pipeline.1`.
    exchange.request.headers.host = 'localhost';
    await listener(exchange.request, exchange.response);
  };
}

/** Why a request is refused before routing; undefined if it is not. */
function requestProblem(request: IncomingMessage, isHostAllowed: HostRule): Problem | undefined {
  const detail = whyInvalid(request);
  if (detail !== undefined) return { code: 'malformed_request', detail };
  const { host } = request.headers;
  // Load balancers use any Host, and the response is not secret.
  if (isHostAllowed(host) || routeOf(request.url ?? '') === '/healthz') return undefined;
  return hostNotAllowed(host ?? '');
}

/** For the first request, not the start: it loads Node's fetch, a sixth of a start's CPU time. */
const importAdapter = () => import('@hono/node-server');

/** The routes with large responses that need no token. */
const publicRoutes = new Set(['/', '/assets/:file', '/docs', '/openapi.json']);

function invalidUrl({ message }: Error): Answer {
  const detail = `The request target is not a valid URL: ${message}.`;
  return problemAnswer({ code: 'malformed_request', detail });
}

const tooManyUnread = problemAnswer({
  code: 'overloaded',
  detail:
    'The memory for large responses is full of responses that clients have not read yet. Retry after a moment, or request less.',
  retryAfterSeconds: 5,
});
