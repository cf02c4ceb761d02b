import type { IncomingMessage, ServerResponse } from 'node:http';

import type { MiddlewareHandler } from 'hono';

import type { ProblemCode } from '../../domain/problem.ts';
import type { Answer, BytesAnswer } from '../app/answer.ts';
import { methodOf, requestIdOf, routeOf, type CutReason, type HttpObserver } from './observer.ts';

/** What is known of a request on `node:http` beside what the client has sent. */
interface ExchangeState {
  readonly requestId: string;
  problem: ProblemCode | undefined;
  cut: CutReason | undefined;
}

const exchangeStates = new WeakMap<ServerResponse, ExchangeState>();

/** Tells the observer of a request once it is answered. One whose client has left is not told of. */
export function observeExchange(
  observer: HttpObserver,
  request: IncomingMessage,
  response: ServerResponse,
  isIngest: boolean,
): void {
  const requestId = requestIdOf(request.headers['x-request-id']);
  let startedAt = performance.now();
  const note: ExchangeState = { requestId, problem: undefined, cut: undefined };
  exchangeStates.set(response, note);
  // How long a client sends is not how long it waits.
  if (isIngest) request.once('end', () => (startedAt = performance.now()));
  response.once('close', () => {
    if (!response.headersSent) return;
    observer.answered({
      requestId,
      route: isIngest ? '/ingest' : routeOf(request.url ?? ''),
      method: methodOf(request.method),
      status: response.statusCode,
      seconds: (performance.now() - startedAt) / 1000,
      problem: note.problem,
      cut: note.cut,
    });
  });
}

export function requestIdFor(response: ServerResponse): string | undefined {
  return exchangeStates.get(response)?.requestId;
}

/** Takes note that an answer is about to be cut. */
export function recordCut(response: ServerResponse, why: CutReason): void {
  const note = exchangeStates.get(response);
  if (note !== undefined) note.cut = why;
}

/** Takes note of a refusal; returns the headers that it gets beside its own. */
export function recordRefusal(
  response: ServerResponse,
  problem: ProblemCode | undefined,
): Record<string, string> {
  const note = exchangeStates.get(response);
  if (problem === undefined || note === undefined) return {};
  note.problem = problem;
  return { 'x-request-id': note.requestId };
}

const problems = new WeakMap<Response, ProblemCode>();

/** Remembers what an answer refuses, for `noteRefusal`. */
export function rememberProblem(response: Response, answer: Answer | BytesAnswer): Response {
  if ('problem' in answer) problems.set(response, answer.problem);
  return response;
}

/** The same by the request: of an answer to HEAD the app's router makes another response. */
const problemsOfRequests = new WeakMap<Request, ProblemCode>();

export const rememberProblemOfRequest: MiddlewareHandler = async (context, next) => {
  await next();
  const problem = problems.get(context.res);
  if (problem !== undefined) problemsOfRequests.set(context.req.raw, problem);
};

/** What a response of the app refuses, if it is a refusal. */
export function problemOf(response: Response, request: Request): ProblemCode | undefined {
  return problems.get(response) ?? problemsOfRequests.get(request);
}

/** Takes note of the refusal that a response is, if it is one, and gives it the request's id. */
export function withRefusal(
  outgoing: ServerResponse,
  response: Response,
  request: Request,
): Response {
  const headers = recordRefusal(outgoing, problemOf(response, request));
  for (const [name, value] of Object.entries(headers)) response.headers.set(name, value);
  return response;
}
