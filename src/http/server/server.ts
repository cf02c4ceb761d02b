import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

import { getRequestListener, RequestError, type HttpBindings } from '@hono/node-server';

import { statusOfProblem, type Problem, type ProblemCode } from '../../domain/problem.ts';
import { Unavailable, type Pipeline } from '../../pipeline/ports.ts';
import { openAccess, type ImmediateAccess } from '../app/access.ts';
import { problemAnswer, type Answer } from '../app/answer.ts';
import { hostNotAllowed, type HostRule } from '../app/allowed-hosts.ts';
import { bytesOf, createApp, toResponse, type AppOptions } from '../app/app.ts';
import { ConnectionLimiter } from './connection-limiter.ts';
import type { CrossOrigins } from '../app/cors.ts';
import {
  createIngestHandler,
  isClosing,
  isIngestRequest,
  refuseAndClose,
} from './ingest-handler.ts';
import { recordRefusal, recordCut, withRefusal, observeExchange } from './exchanges.ts';
import { toHttp } from './http-text.ts';
import { DisconnectDetector } from './disconnect-detector.ts';
import { MemoryBudget } from './memory-budget.ts';
import type { Pages } from '../app/pages.ts';
import {
  requestIdOf,
  routeOf,
  silentObserver,
  type Exchange as ObservedExchange,
  type HttpObserver,
} from './observer.ts';
import { PlainConnections } from './plain-connections.ts';
import { toOriginForm, whyInvalid } from './request-validation.ts';
import { UnreadAnswers } from './unread-answers.ts';

export interface HttpServerOptions {
  readonly pipeline: Pipeline;
  /** The largest body in bytes. */
  readonly bodyBytesMax: number;
  /** The limit of all bodies that are being read or not answered yet, in bytes. */
  readonly bodiesBytesMax: number;
  /** Called with unexpected errors. */
  readonly onUnexpectedError: (error: Error) => void;
  /** Authentication and rate limits; default: open access. */
  readonly access?: ImmediateAccess;
  /** Which hosts are allowed where no token is required; default: any. */
  readonly hostRule?: HostRule;
  /** Other origins whose pages may call the API; default: none. */
  readonly corsOrigins?: CrossOrigins;
  /** The files of the dashboard. */
  readonly pages?: Pages;
  /** Receives events; default: none. */
  readonly observer?: HttpObserver;
  /** See `AppOptions`. */
  readonly metrics?: AppOptions['metrics'];
  /** See `AppOptions`. */
  readonly dayZone?: string;
  /** See `AppOptions`. */
  readonly version?: string;
  readonly timeouts?: HttpTimeouts;
  /** How many connections may be open; default: 4,096. */
  readonly connectionsMax?: number;
  /** The limit of all large answers that are not read yet, in bytes; default: 64 MiB. */
  readonly answersBytesMax?: number;
}

/** Timeouts of clients, in milliseconds. */
export interface HttpTimeouts {
  readonly headersMs: number;
  /** For a whole request. */
  readonly requestMs: number;
  /** Between two requests on a connection. */
  readonly keepAliveMs: number;
  /** How often the timeouts are checked. */
  readonly checkMs: number;
  /** How long a refused connection stays open for a client that is still sending. */
  readonly lingerMs: number;
  /** For reading a large answer. */
  readonly readMs: number;
}

const defaultTimeouts: HttpTimeouts = {
  headersMs: 10_000,
  requestMs: 60_000,
  keepAliveMs: 65_000,
  checkMs: 1_000,
  lingerMs: 2_000,
  readMs: 60_000,
};
export const defaultConnectionsMax = 4_096;
const defaultAnswersBytesMax = 64 * 1024 * 1024;

/** What clients occupy in memory now. */
export interface MemoryUsage {
  readonly connections: number;
  /** Bodies that are being read or not answered yet. */
  readonly bodiesBytes: number;
  /** Large answers that clients have not read yet. */
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
  const { pipeline, bodyBytesMax, bodiesBytesMax, onUnexpectedError } = options;
  const {
    access = openAccess,
    hostRule,
    corsOrigins = [],
    observer = silentObserver,
    metrics,
  } = options;
  const timeouts = options.timeouts ?? defaultTimeouts;
  let isStopping = false;
  const isHostAllowed = (host: string | undefined) =>
    hostRule === undefined || access.requiresToken() || hostRule(host);
  const budget = new MemoryBudget(bodiesBytesMax);
  const handleIngest = createIngestHandler({
    pipeline,
    bodyBytesMax,
    budget,
    lingerMs: timeouts.lingerMs,
    access,
    corsOrigins,
    isStopping: () => isStopping,
    onUnexpectedError,
    observer,
  });
  const app = createApp(pipeline, {
    ...{ bodyBytesMax, onUnexpectedError, access, corsOrigins },
    ...(metrics !== undefined && { metrics }),
    ...(options.pages !== undefined && { pages: options.pages }),
    ...(options.dayZone !== undefined && { dayZone: options.dayZone }),
    ...(options.version !== undefined && { version: options.version }),
  });
  const unread = new UnreadAnswers(
    options.answersBytesMax ?? defaultAnswersBytesMax,
    timeouts.readMs,
  );
  const answerOther = async (request: Request, env: unknown) => {
    const response = await app.fetch(request);
    const { incoming, outgoing } = env as HttpBindings;
    const size = bytesOf(response);
    if (typeof size !== 'number') {
      // Destroy the socket so that a truncated body is not taken as complete.
      size.fail = (why) => {
        recordCut(outgoing, why instanceof Unavailable ? why.code : 'internal');
        outgoing.destroy();
        if (!(why instanceof Unavailable)) onUnexpectedError(toError(why));
      };
    }
    const isPublic = publicRoutes.has(routeOf(incoming.url ?? ''));
    if (unread.admit(outgoing, size, isPublic)) return withRefusal(outgoing, response, request);
    void response.body?.cancel();
    return withRefusal(outgoing, toResponse(tooManyUnread), request);
  };
  const handleOther = getRequestListener(answerOther, {
    overrideGlobalObjects: false,
    errorHandler: (error) => {
      const answer = listenerError(error, onUnexpectedError);
      const response = toResponse(answer);
      const headers = beginning ? recordRefusal(beginning, answer.problem) : {};
      for (const [name, value] of Object.entries(headers)) response.headers.set(name, value);
      return response;
    },
  });
  /** The response that `handleOther` starts: its error handler does not get it as an argument. */
  let beginning: ServerResponse | undefined;
  const disconnects = new DisconnectDetector();
  const connectionLimiter = new ConnectionLimiter(options.connectionsMax ?? defaultConnectionsMax);
  /** The latest exchange of each connection. */
  const latestExchanges = new WeakMap<Socket, Exchange>();

  const handle = (request: IncomingMessage, response: ServerResponse, expectsContinue: boolean) => {
    if (isClosing(request.socket)) {
      request.resume();
      return;
    }
    toOriginForm(request);
    const isIngest = isIngestRequest(request);
    connectionLimiter.recordActivity(request.socket);
    latestExchanges.set(request.socket, { response, awaitsBody: isIngest });
    observeExchange(observer, request, response, isIngest);
    const problem = requestProblem(request, isHostAllowed);
    if (problem !== undefined) {
      void refuseAndClose(request, response, problemAnswer(problem), timeouts.lingerMs);
      return;
    }
    if (isIngest) {
      void handleIngest(request, response, expectsContinue);
      return;
    }
    if (expectsContinue) response.writeContinue();
    if (isStopping) response.setHeader('connection', 'close');
    disconnects.watch(request, response);
    // The app builds its URLs from the Host, but not every valid Host makes a valid URL: `pipeline.1`.
    request.headers.host = 'localhost';
    beginning = response;
    void handleOther(request, response);
    beginning = undefined;
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
    answerClientError(error, socket, latestExchanges.get(socket), { timeouts, observer });
  });

  const plain = new PlainConnections(server, {
    pipeline,
    access,
    isHostAllowed,
    bodyBytesMax,
    budget,
    keepAliveMs: timeouts.keepAliveMs,
    checkMs: timeouts.checkMs,
    truncatedBodyAnswer: problemAnswer(malformed),
    onAnswered: (socket) => connectionLimiter.recordActivity(socket),
    onUnexpectedError,
    observer,
  });
  server.prependListener('connection', (socket: Socket) => connectionLimiter.add(socket));

  return {
    server,
    memoryUsage: () => ({
      connections: connectionLimiter.connections,
      bodiesBytes: budget.bytes,
      unreadBytes: unread.bytes,
    }),
    async stop(graceMs) {
      isStopping = true;
      plain.stop();
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

/** Why a request is refused before routing; undefined if it is not. */
function requestProblem(
  request: IncomingMessage,
  isHostAllowed: (host: string | undefined) => boolean,
): Problem | undefined {
  const detail = whyInvalid(request);
  if (detail !== undefined) return { code: 'malformed_request', detail };
  const { host } = request.headers;
  // Load balancers use any Host, and the answer is not secret.
  if (isHostAllowed(host) || routeOf(request.url ?? '') === '/healthz') return undefined;
  return hostNotAllowed(host ?? '');
}

/** The routes with large responses that need no token. */
const publicRoutes = new Set(['/', '/assets/:file', '/docs', '/openapi.json']);

const tooManyUnread = problemAnswer({
  code: 'overloaded',
  detail:
    'The memory for large responses is full of responses that clients have not read yet. Retry after a moment, or request less.',
  retryAfterSeconds: 5,
});

/** Answers errors of the listener, which creates the URL before it calls the app. */
function listenerError(error: unknown, report: HttpServerOptions['onUnexpectedError']): Answer {
  if (error instanceof RequestError) {
    const detail = `The request target is not a valid URL: ${error.message}.`;
    return problemAnswer({ code: 'malformed_request', detail });
  }
  report(toError(error));
  return problemAnswer({ code: 'internal', detail: 'Internal error while handling the request.' });
}

function toError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}

/** The exchange of a request that could not be parsed. */
function unreadable(problem: ProblemCode): ObservedExchange {
  const what = { route: 'other', method: 'other', status: statusOfProblem(problem) };
  return { requestId: requestIdOf(undefined), ...what, seconds: 0, problem };
}

interface Exchange {
  readonly response: ServerResponse;
  /** Whether the answer waits for the whole body. */
  readonly awaitsBody: boolean;
}

/**
 * Answers a parser error or timeout of Node. It waits for the answers to earlier valid requests on
 * the connection, so that the client does not mistake this answer for one of those.
 */
function answerClientError(
  error: NodeJS.ErrnoException,
  socket: Socket,
  latest: Exchange | undefined,
  options: { readonly timeouts: HttpTimeouts; readonly observer: HttpObserver },
): void {
  const { timeouts, observer } = options;
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  const problem = clientErrorProblem(error, timeouts);
  const refuse = () => {
    const exchange = unreadable(problem.code);
    const answer = problemAnswer(problem, { 'x-request-id': exchange.requestId });
    hangUp(socket, toHttp(answer, undefined), timeouts.lingerMs);
    observer.answered(exchange);
  };
  if (latest === undefined) {
    refuse();
    return;
  }
  const { response, awaitsBody } = latest;
  const isInBody = !response.req.complete;
  if (response.closed) {
    // The error is in the rest of a body whose request is already answered.
    if (isInBody || isClosing(socket)) hangUp(socket, '', timeouts.lingerMs);
    else refuse();
  } else if (isInBody && awaitsBody && !response.headersSent) {
    void refuseAndClose(response.req, response, problemAnswer(problem), timeouts.lingerMs);
  } else {
    response.once('close', () => answerClientError(error, socket, latest, options));
  }
}

/** Closes the connection after `lingerMs`: Node no longer applies its timeouts after a client error. */
function hangUp(socket: Socket, lastWords: string, lingerMs: number): void {
  socket.end(lastWords);
  const timer = setTimeout(() => socket.destroy(), lingerMs);
  socket.once('close', () => clearTimeout(timer));
}

function clientErrorProblem(
  { code }: { readonly code?: string | undefined },
  timeouts: HttpTimeouts,
): Problem {
  switch (code) {
    case 'ERR_HTTP_REQUEST_TIMEOUT': {
      const { headersMs, requestMs } = timeouts;
      const detail = `Send the headers within ${headersMs / 1000} s, and the whole request within ${requestMs / 1000} s.`;
      return { code: 'request_timeout', detail };
    }
    case 'HPE_HEADER_OVERFLOW': {
      const detail = 'The request header fields are larger than 16 KiB in total.';
      return { code: 'headers_too_large', detail };
    }
    case undefined:
    default:
      return malformed;
  }
}

const malformed: Problem = {
  code: 'malformed_request',
  detail: 'The request is not valid HTTP/1.1.',
};
