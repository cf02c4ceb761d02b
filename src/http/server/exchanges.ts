import type { IncomingMessage, ServerResponse } from 'node:http';

import type { MiddlewareHandler } from 'hono';

import type { ProblemCode } from '../../domain/problem.ts';
import type { Answer, BytesAnswer } from '../app/answer.ts';
import { methodOf, requestIdOf, routeOf, type CutReason, type HttpObserver } from './observer.ts';

/** What the server records about an exchange on `node:http`, for its observer. */
interface ExchangeState {
  readonly requestId: string;
  problem: ProblemCode | undefined;
  cut: CutReason | undefined;
}

const exchangeStates = new WeakMap<ServerResponse, ExchangeState>();

/** Reports an exchange to the observer once it is answered; not if the client disconnected before. */
export function observeExchange(
  observer: HttpObserver,
  request: IncomingMessage,
  response: ServerResponse,
  isIngest: boolean,
): void {
  const requestId = requestIdOf(request.headers['x-request-id']);
  let startedAt = performance.now();
  const state: ExchangeState = { requestId, problem: undefined, cut: undefined };
  exchangeStates.set(response, state);
  // The duration does not include the time in which the client sends the body.
  if (isIngest) request.once('end', () => (startedAt = performance.now()));
  response.once('close', () => {
    if (!response.headersSent) return;
    observer.answered({
      requestId,
      route: isIngest ? '/ingest' : routeOf(request.url ?? ''),
      method: methodOf(request.method),
      status: response.statusCode,
      seconds: (performance.now() - startedAt) / 1000,
      problem: state.problem,
      cut: state.cut,
    });
  });
}

export function requestIdFor(response: ServerResponse): string | undefined {
  return exchangeStates.get(response)?.requestId;
}

/** Records why the answer is about to be cut off. */
export function recordCut(response: ServerResponse, why: CutReason): void {
  const state = exchangeStates.get(response);
  if (state !== undefined) state.cut = why;
}

/** Records the problem of a refusal; returns the additional headers of the refusal. */
export function recordRefusal(
  response: ServerResponse,
  problem: ProblemCode | undefined,
): Record<string, string> {
  const state = exchangeStates.get(response);
  if (problem === undefined || state === undefined) return {};
  state.problem = problem;
  return { 'x-request-id': state.requestId };
}

const problems = new WeakMap<Response, ProblemCode>();

/** Remembers the problem of a response, for `problemOf`. */
export function rememberProblem(response: Response, answer: Answer | BytesAnswer): Response {
  if ('problem' in answer) problems.set(response, answer.problem);
  return response;
}

/** By request, because Hono makes a new response for HEAD. */
const problemsOfRequests = new WeakMap<Request, ProblemCode>();

export const rememberProblemOfRequest: MiddlewareHandler = async (context, next) => {
  await next();
  const problem = problems.get(context.res);
  if (problem !== undefined) problemsOfRequests.set(context.req.raw, problem);
};

/** The problem of a response, if it is a refusal. */
export function problemOf(response: Response, request: Request): ProblemCode | undefined {
  return problems.get(response) ?? problemsOfRequests.get(request);
}

/** Records the problem of a response, if it is a refusal, and adds the request id to it. */
export function withRefusal(
  outgoing: ServerResponse,
  response: Response,
  request: Request,
): Response {
  const headers = recordRefusal(outgoing, problemOf(response, request));
  for (const [name, value] of Object.entries(headers)) response.headers.set(name, value);
  return response;
}
