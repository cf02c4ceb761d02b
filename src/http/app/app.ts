import { Hono, type Context, type MiddlewareHandler } from 'hono';
import { bodyLimit } from 'hono/body-limit';

import { Unavailable, type Pipeline } from '../../pipeline/ports.ts';
import type { Scope } from '../../auth/access-token.ts';
import { asWritten, dayRule } from '../../domain/day.ts';
import {
  anyScope,
  ingestScope,
  openAccess,
  replayScope,
  refusalAnswer,
  type Access,
} from './access.ts';
import {
  browserHeaders,
  isStream,
  ingestAnswer,
  jsonAnswer,
  problemAnswer,
  readyAnswer,
  receiptAnswer,
  type AnyAnswer,
  type Answer,
  type Progress,
} from './answer.ts';
import { apiPages } from '../openapi/api-pages.ts';
import { missingPage, pageAnswer, type Pages } from './pages.ts';
import { corsHeaders, preflightAnswer, type CrossOrigins } from './cors.ts';
import { rememberProblem, rememberProblemOfRequest } from '../server/exchanges.ts';
import { bodyTooLarge, readIngestHeaders } from './ingest-headers.ts';
import { replayHeader } from './replay-header.ts';
import { compressed, withVary } from './compression.ts';
import { statsAnswer } from '../stats/stats-answer.ts';
import { statsPageAnswer } from '../stats/stats-page.ts';

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
  /** The program's version, for `/openapi.json`. */
  readonly version?: string;
}

/** The name of the request's token; empty without one. */
interface Env {
  Variables: { caller: string };
}

const noPages: Pages = new Map();

/** The same answer for invalid ids and for expired batches. */
const batchNotFound = problemAnswer({
  code: 'batch_not_found',
  detail: 'No batch with this id is stored here.',
});

/**
 * The HTTP app: routes, access, negotiation and problem details over a pipeline, as a function from
 * Request to Response. The server (../server/server.ts) and the Lambda functions (api-gateway.ts)
 * run the same app, so that both answer alike.
 */
export function createApp(pipeline: Pipeline, options: AppOptions): Hono<Env> {
  const {
    bodyBytesMax,
    onUnexpectedError,
    access = openAccess,
    corsOrigins = [],
    pages = noPages,
    metrics,
    dayZone = asWritten,
    version = 'unknown',
  } = options;
  const dayOf = dayRule(dayZone);
  const app = new Hono<Env>();
  app.use(rememberProblemOfRequest);
  const admit = (scopes: readonly Scope[]) => admission(access, scopes);
  if (corsOrigins.length > 0) app.use(crossOrigin(corsOrigins));

  const limitBody = bodyLimit({
    maxSize: bodyBytesMax,
    onError: () => toResponse(bodyTooLarge(bodyBytesMax)),
  });
  app.post('/ingest', admitIngest(admit), limitBody, async (context) => {
    const { headers, refusal } = readIngestHeaders((name) => context.req.header(name));
    if (headers === undefined) return toResponse(refusal);
    const body = new Uint8Array(await context.req.arrayBuffer());
    const submission = { caller: context.get('caller'), ...headers, body };
    return toResponse(ingestAnswer(await pipeline.ingest(submission), headers.strict));
  });
  app.all('/ingest', admit(anyScope), ({ req }) => otherMethod(req.method, 'POST'));

  app.use('/ingest/:batchId', admit(anyScope));
  get(app, '/ingest/:batchId', async ({ req }) => {
    const receipt = await pipeline.receipt(req.param('batchId') ?? '');
    return receipt === undefined ? batchNotFound : receiptAnswer(receipt);
  });

  app.use('/stats', admit(['read']));
  get(app, '/stats', async ({ req }) => {
    const header = (name: string) => req.header(name);
    return await statsAnswer(pipeline, new URL(req.url).search, header, req.raw.signal);
  });

  app.use('/stats-html', admit(['read']));
  get(app, '/stats-html', async ({ req }) => {
    const { searchParams } = new URL(req.url);
    const today = dayOf(new Date().toISOString()) ?? '';
    return await statsPageAnswer(pipeline, searchParams, today, req.raw.signal);
  });

  get(app, '/healthz', () => {
    const mode = access.requiresToken() ? 'token' : 'open';
    return jsonAnswer(200, { status: 'ok', access: mode, day_zone: dayZone });
  });

  app.use('/readyz', admit(anyScope));
  get(app, '/readyz', async () => {
    return readyAnswer(await pipeline.status());
  });

  if (metrics !== undefined) {
    app.use('/metrics', admit(['read']));
    get(app, '/metrics', ({ req }) => metrics(req.header('accept')));
  }

  const api = apiPages({ version, bodyBytesMax });
  get(app, '/openapi.json', ({ req }) => api.document(req.header('if-none-match')));
  get(app, '/docs', ({ req }) => api.docs(req.header('if-none-match')));

  for (const path of ['/', '/assets/:file']) {
    get(app, path, ({ req }) => {
      const page = pages.get(req.path);
      return page === undefined
        ? missingPage(req.path)
        : pageAnswer(page, (name) => req.header(name));
    });
  }

  // Require a token even for 404, to hide which routes exist.
  app.all('*', admit(anyScope), ({ req }) =>
    toResponse(
      problemAnswer({ code: 'not_found', detail: `There is no resource at ${req.path}.` }),
    ),
  );
  app.onError((error) => toResponse(errorAnswer(error, onUnexpectedError)));
  return app;
}

/** Replayed batches need the scope `replay`: their sender chooses their ids, times and callers. */
function admitIngest(
  admit: (scopes: readonly Scope[]) => MiddlewareHandler<Env>,
): MiddlewareHandler<Env> {
  const [ingest, replay] = [admit(ingestScope), admit(replayScope)];
  return (context, next) =>
    (context.req.header(replayHeader) === undefined ? ingest : replay)(context, next);
}

/** Adds a route for GET and HEAD. */
function get(
  app: Hono<Env>,
  path: string,
  answer: (context: Context<Env>) => AnyAnswer | Promise<AnyAnswer>,
) {
  app.get(path, async (context) => {
    const { req } = context;
    const given = await compressed(await answer(context), req.header('accept-encoding'));
    return toResponse(req.method === 'HEAD' ? headOf(given) : given);
  });
  app.all(path, ({ req }) => otherMethod(req.method, 'GET, HEAD'));
}

/** Middleware that admits requests with one of the scopes and sets their caller. */
function admission(access: Access, scopes: readonly Scope[]): MiddlewareHandler<Env> {
  return async (context, next) => {
    const admitted = await access.admit(context.req.header('authorization'), scopes);
    if (admitted.problem !== undefined) return toResponse(refusalAnswer(admitted));
    context.set('caller', admitted.caller);
    await next();
    return undefined;
  };
}

/** CORS middleware. It runs before authentication, because preflight requests have no token. */
function crossOrigin(origins: CrossOrigins): MiddlewareHandler<Env> {
  return async (context, next) => {
    const { req } = context;
    const preflight = preflightAnswer(origins, req.method, (name) => req.header(name));
    if (preflight !== undefined) return toResponse(preflight);
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
  return problemAnswer({ code: 'internal', detail: 'Internal error while handling the request.' });
}

/** Answers OPTIONS, which load balancers use, and refuses other methods. */
function otherMethod(method: string, methods: string): Response {
  const allow = `${methods}, OPTIONS`;
  if (method === 'OPTIONS') {
    return toResponse({ status: 204, headers: { ...browserHeaders, allow }, body: '' });
  }
  const detail = `Method not allowed; use one of ${allow}.`;
  return toResponse(problemAnswer({ code: 'method_not_allowed', detail }, { allow }));
}

/** The answer to HEAD: that to GET without its body. */
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

const sizes = new WeakMap<Response, number | Progress>();

export function toResponse(answer: AnyAnswer): Response {
  const { status, headers } = answer;
  if (isStream(answer)) {
    const response = new Response(ReadableStream.from(answer.body), { status, headers });
    sizes.set(response, answer.progress);
    return response;
  }
  const { body } = answer;
  const response = new Response(body.length === 0 ? null : body, { status, headers });
  sizes.set(response, Buffer.byteLength(body));
  return rememberProblem(response, answer);
}

/** The body size of a response from `toResponse`; 0 for others, such as those to HEAD. */
export function bytesOf(response: Response): number | Progress {
  return sizes.get(response) ?? 0;
}
