import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';

import { hostRule } from '../../../src/http/app/allowed-hosts.ts';
import { apiAnswer, gatewayAnswer, type ApiAnswer } from './api-answer.ts';
import { apiEvent, decodedPath, type CompressedForm } from './api-event.ts';
import type { InvocationResult } from '../functions/lambda-runtime.ts';
import { listen } from '../listen.ts';
import type {
  FunctionRole,
  RouteDescription,
  ThrottleDescription,
} from '../template/stack-description.ts';

/** Limits of API Gateway's HTTP APIs. */
const bodyBytesMax = 10 * 1024 * 1024;
const headerBytesMax = 10_240;
const integrationMsMax = 30_000;
/** Limits of this machine; beyond them the response is 503. */
const bodiesBytesMax = 256 * 1024 * 1024;
const connectionsMax = 4_096;

/** Checked because no token is required. API Gateway, too, answers 403 to an unknown host. */
const isHostAllowed = hostRule('127.0.0.1', []);

export interface HttpFrontOptions {
  readonly routes: readonly RouteDescription[];
  readonly accountId: string;
  readonly invoke: (role: FunctionRole, payload: string) => Promise<InvocationResult>;
  readonly integrationMs?: number;
  /** Default `base64`. */
  readonly compressedAs?: CompressedForm | undefined;
  /** Called for each request with its response, for counting. */
  readonly observe?: ((seen: FrontRequest) => void) | undefined;
}

export interface FrontRequest {
  readonly routeKey: string | undefined;
  readonly status: number;
  readonly requestBytes: number;
  readonly responseBytes: number;
}

/** Emulates an HTTP API of API Gateway in front of Lambda functions. */
export interface HttpFront {
  /** Returns the port; rejects with the error of `net`. */
  listen(host: string, port: number): Promise<number>;
  /** Stops accepting requests, and waits up to this time for those in flight. */
  stop(graceMs: number): Promise<void>;
}

export function createHttpFront(options: HttpFrontOptions): HttpFront {
  const routes = options.routes.map((route) => ({ ...route, admit: throttling(route.throttle) }));
  const { compressedAs = 'base64' } = options;
  let bodiesBytes = 0;

  async function respond(request: IncomingMessage): Promise<Answered> {
    if (!isHostAllowed(request.headers.host)) return gatewayAnswered(403, 'Forbidden');
    const [rawPath, query] = splitTarget(request.url ?? '/');
    const path = decodedPath(rawPath);
    if (path === undefined) return gatewayAnswered(400, 'Bad Request');
    const route = matchRoute(routes, request.method ?? 'GET', path);
    if (route === undefined) return gatewayAnswered(404, 'Not Found');
    const { routeKey, role, admit } = route;
    if (!admit(Date.now())) return gatewayAnswered(429, 'Too Many Requests', routeKey);
    const held = { bytes: 0 };
    try {
      const body = await readBody(request, (bytes) => {
        held.bytes += bytes;
        bodiesBytes += bytes;
        return bodiesBytes <= bodiesBytesMax;
      });
      if (body === 'too-large') return gatewayAnswered(413, 'Request Too Long', routeKey);
      if (body === 'no-room') return gatewayAnswered(503, 'Service Unavailable', routeKey);
      const now = new Date();
      const common = { accountId: options.accountId, requestId: randomUUID(), now };
      const event = apiEvent({ request, body, routeKey, path, query, compressedAs, ...common });
      const invoked = options.invoke(role, JSON.stringify(event));
      const result = await within(invoked, options.integrationMs ?? integrationMsMax);
      return { answer: answerTo(result), routeKey, requestBytes: body.length };
    } finally {
      bodiesBytes -= held.bytes;
    }
  }

  const server = createServer({ maxHeaderSize: headerBytesMax, requestTimeout: 60_000 });
  server.maxConnections = connectionsMax;
  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    respond(request).then(
      ({ answer, routeKey, requestBytes }) => {
        const { status, body } = answer;
        options.observe?.({ routeKey, status, requestBytes, responseBytes: body.length });
        send(response, answer, request);
      },
      // The client has disconnected.
      () => response.destroy(),
    );
  });
  return {
    listen: (host, port) => listen(server, port, host),
    async stop(graceMs) {
      const closed = new Promise((resolve) => server.close(resolve));
      const timer = setTimeout(() => server.closeAllConnections(), graceMs);
      await closed;
      clearTimeout(timer);
    },
  };
}

interface Answered {
  readonly answer: ApiAnswer;
  readonly routeKey: string | undefined;
  readonly requestBytes: number;
}

function gatewayAnswered(status: number, message: string, routeKey?: string): Answered {
  return { answer: gatewayAnswer(status, message), routeKey, requestBytes: 0 };
}

function splitTarget(target: string): [string, string] {
  const mark = target.indexOf('?');
  return mark < 0 ? [target, ''] : [target.slice(0, mark), target.slice(mark + 1)];
}

/** The most specific route comes first: method and path, any method, `$default`. */
function matchRoute<Route extends RouteDescription>(
  routes: readonly Route[],
  method: string,
  path: string,
): Route | undefined {
  for (const key of [`${method} ${path}`, `ANY ${path}`, '$default']) {
    const route = routes.find(({ routeKey }) => routeKey === key);
    if (route !== undefined) return route;
  }
  return undefined;
}

/** A token bucket like API Gateway's for each route: `burst` at once, refilled at `rate`. */
function throttling(throttle: ThrottleDescription | undefined): (now: number) => boolean {
  if (throttle === undefined) return () => true;
  const { ratePerSecond, burst } = throttle;
  let tokens = burst;
  let last = Date.now();
  return (now) => {
    tokens = Math.min(burst, tokens + ((now - last) / 1000) * ratePerSecond);
    last = now;
    if (tokens < 1) return false;
    tokens--;
    return true;
  };
}

/** Calls `hold` with the bytes of each chunk; if it returns false, there is no memory left for them. */
async function readBody(
  request: IncomingMessage,
  hold: (bytes: number) => boolean,
): Promise<Buffer | 'too-large' | 'no-room'> {
  if (Number(request.headers['content-length'] ?? 0) > bodyBytesMax) return 'too-large';
  const parts: Buffer[] = [];
  let bytes = 0;
  // Not destroyed, because the connection still carries the response.
  for await (const part of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > bodyBytesMax) return 'too-large';
    if (!hold(part.length)) return 'no-room';
    parts.push(part);
  }
  return Buffer.concat(parts);
}

type Integration = InvocationResult | { readonly kind: 'late' };

/** A timeout does not stop the function; its result is ignored. */
async function within(result: Promise<InvocationResult>, ms: number): Promise<Integration> {
  const timer = new AbortController();
  const late = delay<Integration>(ms, { kind: 'late' }, { signal: timer.signal });
  late.catch(() => undefined);
  const first = await Promise.race([result, late]);
  timer.abort();
  return first;
}

function answerTo(result: Integration): ApiAnswer {
  switch (result.kind) {
    case 'succeeded':
      return apiAnswer(result.payload);
    case 'failed':
      return gatewayAnswer(500, 'Internal Server Error');
    // Base64 makes a body of 4.5 MB too large for Lambda.
    case 'too-large':
      return gatewayAnswer(413, 'Request Too Long');
    case 'throttled':
    case 'late':
      return gatewayAnswer(503, 'Service Unavailable');
  }
}

/** Headers that the gateway sets, whatever the function returns. */
const ofTheConnection = new Set(['connection', 'content-length', 'transfer-encoding']);

function send(response: ServerResponse, answer: ApiAnswer, request: IncomingMessage): void {
  const { status, headers, cookies, body } = answer;
  // The rest of an unread body would be parsed as the next request.
  if (!request.complete) {
    response.setHeader('connection', 'close');
    request.resume();
  }
  for (const [name, value] of Object.entries(headers)) {
    if (!ofTheConnection.has(name)) response.setHeader(name, value);
  }
  if (cookies.length > 0) response.setHeader('set-cookie', cookies);
  response.setHeader('apigw-requestid', randomUUID());
  const hasNoBody = status === 204 || status === 304;
  if (!hasNoBody) response.setHeader('content-length', body.length);
  response.statusCode = status;
  // node:http itself sends no body to HEAD.
  response.end(hasNoBody ? undefined : body);
}
