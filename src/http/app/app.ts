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
  /** Is told of errors that nobody foresaw. */
  readonly onUnexpectedError: (error: Error) => void;
  /** Who may ask; without, anybody. */
  readonly access?: Access;
  /** Origins whose pages may ask too; without, none. */
  readonly corsOrigins?: CrossOrigins;
  /** Files for browsers, which need no token; without, there is no dashboard. */
  readonly pages?: Pages;
  /** Answers `GET /metrics`, in the form that an Accept header asks for; without, there is none. */
  readonly metrics?: (accept: string | undefined) => Promise<Answer>;
  /** The rule by which the store takes the day of an item; without, `as-written`. */
  readonly dayZone?: string;
  /** Of the program, for `/openapi.json`. */
  readonly version?: string;
}

/** Variables of a request: who sent it, empty where nobody is named. */
interface Env {
  Variables: { caller: string };
}

const noPages: Pages = new Map();

/** What is wrong with a batch id, or a batch that is no longer kept, is the same to the caller. */
const batchNotFound = problemAnswer({
  code: 'batch_not_found',
  detail: 'No batch with this id is stored here.',
});

/** The pipeline over HTTP, as a function from Request to Response: for a server or for Lambda. */
export function createApp(pipeline: Pipeline, options: AppOptions): Hono<Env> {
  const {
    bodyBytesMax,
    onUnexpectedError: onDefect,
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
    const asked = access.requiresToken() ? 'token' : 'open';
    return jsonAnswer(200, { status: 'ok', access: asked, day_zone: dayZone });
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

  // Who has no token is not told either what there is.
  app.all('*', admit(anyScope), ({ req }) =>
    toResponse(
      problemAnswer({ code: 'not_found', detail: `There is no resource at ${req.path}.` }),
    ),
  );
  app.onError((error) => toResponse(errorAnswer(error, onDefect)));
  return app;
}

/** What was taken elsewhere comes under names and times that its sender chooses: that is another right. */
function admitIngest(
  admit: (scopes: readonly Scope[]) => MiddlewareHandler<Env>,
): MiddlewareHandler<Env> {
  const [ingest, replay] = [admit(ingestScope), admit(replayScope)];
  return (context, next) =>
    (context.req.header(replayHeader) === undefined ? ingest : replay)(context, next);
}

/** A route that is read: GET and HEAD. */
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

/** Lets those through who may do one of these things, under their name. */
function admission(access: Access, scopes: readonly Scope[]): MiddlewareHandler<Env> {
  return async (context, next) => {
    const admitted = await access.admit(context.req.header('authorization'), scopes);
    if (admitted.problem !== undefined) return toResponse(refusalAnswer(admitted));
    context.set('caller', admitted.caller);
    await next();
    return undefined;
  };
}

/** Before all else: a browser shows no token when it asks whether a page may. */
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

function errorAnswer(error: Error, onDefect: AppOptions['onUnexpectedError']): Answer {
  if (error instanceof Unavailable) {
    const { code, message: detail, retryAfterSeconds } = error;
    return problemAnswer({ code, detail, retryAfterSeconds });
  }
  onDefect(error);
  return problemAnswer({ code: 'internal', detail: 'Internal error while handling the request.' });
}

/** The answer to a method that is not one of the path's own. Load balancers ask with OPTIONS. */
function otherMethod(method: string, methods: string): Response {
  const allow = `${methods}, OPTIONS`;
  if (method === 'OPTIONS') {
    return toResponse({ status: 204, headers: { ...browserHeaders, allow }, body: '' });
  }
  const detail = `Method not allowed; use one of ${allow}.`;
  return toResponse(problemAnswer({ code: 'method_not_allowed', detail }, { allow }));
}

/** The answer to HEAD: what there is to GET, but for the body. */
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

/** The bytes of an answer's body, as `toResponse` made it; 0 for others, such as those to HEAD. */
export function bytesOf(response: Response): number | Progress {
  return sizes.get(response) ?? 0;
}
