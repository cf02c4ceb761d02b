import { Hono, type Context, type HonoRequest, type MiddlewareHandler } from 'hono';
import { bodyLimit } from 'hono/body-limit';

import type { Scope } from '../../auth/token.ts';
import { asWritten, dayRule } from '../../domain/day.ts';
import {
  Unavailable,
  type Ingest,
  type IngestOutcome,
  type Queries,
} from '../../pipeline/ports.ts';
import { apiPages } from '../openapi/api-pages.ts';
import { statsAnswer } from '../stats/stats-answer.ts';
import { statsPageAnswer } from '../stats/stats-page.ts';
import {
  anyScope,
  ingestScope,
  openAccess,
  replayScope,
  type Access,
} from '../../auth/check-access.ts';
import {
  browserHeaders,
  ingestAnswer,
  internalError,
  isStream,
  jsonAnswer,
  notFound,
  problemAnswer,
  readyAnswer,
  receiptAnswer,
  type AnyAnswer,
  type Answer,
  refusalAnswer,
} from './answer.ts';
import { compressed, withVary } from './compression.ts';
import { corsHeaders, preflightAnswer, type CrossOrigins } from './cors.ts';
import { toResponse, type Exchange } from './exchange.ts';
import { bodyTooLarge, readIngestHeaders } from './ingest-headers.ts';
import { missingPage, type Pages } from './pages.ts';
import { replayHeader } from './replay-header.ts';

/** The parts of the API that an app serves; other paths are not found. */
export interface Served {
  /** Accepts the batches of `POST /ingest`. */
  readonly batches?: Ingest;
  /** Answers all other routes. */
  readonly queries?: Queries;
}

export interface AppOptions {
  /** The largest body in bytes. */
  readonly bodyBytesMax: number;
  /** Called with unexpected errors. */
  readonly onUnexpectedError: (error: Error) => void;
  /** Authentication; default: open access. */
  readonly access?: Access;
  /** Other origins whose pages may call the API; default: none. */
  readonly corsOrigins?: CrossOrigins;
  /** The files of the dashboard, which need no token; default: no dashboard. */
  readonly pages?: Pages;
  /** Answers `GET /metrics` in the format that Accept prefers; default: no such route. */
  readonly metrics?: (accept: string | undefined) => Promise<Answer>;
  /** The day rule; default: `as-written`. */
  readonly dayZone?: string;
  /** The program's version, for `/openapi.json` and `/readyz`. */
  readonly version?: string;
}

interface Env {
  /** The transport passes the exchange with each request. */
  Bindings: Exchange;
  /** The name of the request's token; empty without one. */
  Variables: { caller: string };
}

/** A route for GET and HEAD. Without scopes, it needs no token. */
interface QueryRoute {
  readonly scopes?: readonly Scope[];
  readonly answer: (request: HonoRequest) => AnyAnswer | Promise<AnyAnswer>;
}

/** The same response for invalid ids and for expired batches. */
const batchNotFound = problemAnswer({
  code: 'batch_not_found',
  detail: 'No batch with this id is stored here.',
});

/**
 * If only queries are served, API Gateway routes this exact path to another function, but no other
 * spelling of it.
 */
const otherSpelling: IngestOutcome = {
  accepted: false,
  problem: { code: 'not_found', detail: 'Send batches to the exact path /ingest.' },
};

/**
 * The HTTP app: routes, access, negotiation and problem details over a pipeline, as a function from
 * Request to Response. The server (../server/server.ts) and the Lambda functions (api-gateway.ts)
 * run the same app, so that both answer alike. Call it with the exchange: `app.fetch(request, exchange)`.
 */
export function createApp({ batches, queries }: Served, options: AppOptions): Hono<Env> {
  const { bodyBytesMax, onUnexpectedError, access = openAccess, corsOrigins = [] } = options;
  const app = new Hono<Env>();
  if (corsOrigins.length > 0) app.use(crossOrigin(corsOrigins));

  const limitBody = bodyLimit({
    maxSize: bodyBytesMax,
    onError: (context: Context<Env>) => toResponse(bodyTooLarge(bodyBytesMax), context.env),
  });
  app.post('/ingest', admitBatch(access), limitBody, async (context) => {
    const { headers, refusal } = readIngestHeaders((name) => context.req.header(name));
    if (headers === undefined) return toResponse(refusal, context.env);
    const body = new Uint8Array(await context.req.arrayBuffer());
    const submission = { caller: context.get('caller'), ...headers, body };
    const outcome = batches === undefined ? otherSpelling : await batches.ingest(submission);
    return toResponse(ingestAnswer(outcome, headers.strict), context.env);
  });
  app.all('/ingest', admission(access, anyScope), (context) => otherMethod(context, 'POST'));

  const routes = queries === undefined ? {} : queryRoutes(queries, access, options);
  for (const [path, { scopes, answer }] of Object.entries(routes)) {
    if (scopes !== undefined) app.use(path, admission(access, scopes));
    app.get(path, async ({ req, env }) => {
      const given = await compressed(await answer(req), req.header('accept-encoding'));
      return toResponse(req.method === 'HEAD' ? headOf(given) : given, env);
    });
    app.all(path, (context) => otherMethod(context, 'GET, HEAD'));
  }

  // Require a token even for 404, to hide which routes exist.
  app.all('*', admission(access, anyScope), ({ req, env }) => toResponse(notFound(req.path), env));
  app.onError((error, { env }) => toResponse(errorAnswer(error, onUnexpectedError), env));
  return app;
}

/** The routes of queries and pages, by path. */
function queryRoutes(
  queries: Queries,
  access: Access,
  { bodyBytesMax, pages, metrics, dayZone = asWritten, version = 'unknown' }: AppOptions,
): Readonly<Record<string, QueryRoute>> {
  const dayOf = dayRule(dayZone);
  const files: Pages = new Map([...(pages ?? []), ...apiPages({ version, bodyBytesMax })]);
  const file = {
    answer: ({ path, raw }: HonoRequest) => files.get(path)?.(raw.headers) ?? missingPage(path),
  };
  return {
    '/ingest/:batchId': {
      scopes: anyScope,
      async answer(request) {
        const receipt = await queries.receipt(request.param('batchId') ?? '');
        return receipt === undefined ? batchNotFound : receiptAnswer(receipt);
      },
    },
    '/stats': { scopes: ['read'], answer: ({ raw }) => statsAnswer(queries, raw) },
    '/stats-html': {
      scopes: ['read'],
      answer({ url, raw }) {
        const today = dayOf(new Date().toISOString()) ?? '';
        const page = { today, dayZone, hasDashboard: pages !== undefined };
        return statsPageAnswer(queries, new URL(url).searchParams, page, raw.signal);
      },
    },
    '/healthz': {
      answer() {
        const mode = access.requiresToken() ? 'token' : 'open';
        return jsonAnswer(200, { status: 'ok', access: mode, day_zone: dayZone });
      },
    },
    '/readyz': {
      scopes: anyScope,
      answer: async () => readyAnswer(await queries.status(), version),
    },
    ...(metrics !== undefined && {
      '/metrics': {
        scopes: ['read'],
        answer: (request: HonoRequest) => metrics(request.header('accept')),
      },
    }),
    ...{ '/openapi.json': file, '/docs': file, '/': file, '/assets/:file': file },
  };
}

/** Middleware that admits requests with one of the scopes and sets their caller. */
function admission(access: Access, scopes: readonly Scope[]): MiddlewareHandler<Env> {
  return async (context, next) => {
    const admitted = await access.admit(context.req.header('authorization'), scopes);
    if (admitted.problem !== undefined) return toResponse(refusalAnswer(admitted), context.env);
    context.set('caller', admitted.caller);
    await next();
    return undefined;
  };
}

/** Replayed batches need the scope `replay`: their sender chooses their ids, times and callers. */
function admitBatch(access: Access): MiddlewareHandler<Env> {
  const [ingest, replay] = [admission(access, ingestScope), admission(access, replayScope)];
  return (context, next) =>
    (context.req.header(replayHeader) === undefined ? ingest : replay)(context, next);
}

/** CORS middleware. It runs before authentication, because preflight requests have no token. */
function crossOrigin(origins: CrossOrigins): MiddlewareHandler<Env> {
  return async (context, next) => {
    const { req, env } = context;
    const preflight = preflightAnswer(origins, req.method, (name) => req.header(name));
    if (preflight !== undefined) return toResponse(preflight, env);
    await next();
    const headers = corsHeaders(origins, req.method, req.header('origin'));
    for (const [name, value] of Object.entries(headers)) {
      const isVary = name === 'vary';
      const given = context.res.headers.get(name);
      context.res.headers.set(name, isVary ? withVary(given, value) : value);
    }
    return undefined;
  };
}

function errorAnswer(error: Error, onUnexpectedError: AppOptions['onUnexpectedError']): Answer {
  if (error instanceof Unavailable) {
    const { code, message: detail, retryAfterSeconds } = error;
    return problemAnswer({ code, detail, retryAfterSeconds });
  }
  onUnexpectedError(error);
  return internalError;
}

/** Answers OPTIONS, which load balancers use, and refuses other methods. */
function otherMethod({ req, env }: Context<Env>, methods: string): Response {
  const allow = `${methods}, OPTIONS`;
  if (req.method === 'OPTIONS') {
    return toResponse({ status: 204, headers: { ...browserHeaders, allow }, body: '' }, env);
  }
  const detail = `Method not allowed; use one of ${allow}.`;
  return toResponse(problemAnswer({ code: 'method_not_allowed', detail }, { allow }), env);
}

/** The response to HEAD: that to GET without its body. */
function headOf(answer: AnyAnswer): Answer {
  const { status, headers } = answer;
  if (isStream(answer)) {
    void answer.body.return?.();
    return { status, headers, body: '' };
  }
  const { body } = answer;
  if (body.length === 0) return { ...answer, body: '' };
  const length = String(Buffer.byteLength(body));
  return { ...answer, headers: { ...headers, 'content-length': length }, body: '' };
}
