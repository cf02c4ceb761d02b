import type { Socket } from 'node:net';

import type { Problem } from '../../domain/problem.ts';
import { problemAnswer } from '../app/answer.ts';
import { toHttp } from './http-text.ts';
import { isClosing, type NodeExchange } from './node-exchange.ts';
import { requestIdOf } from './observer.ts';
import type { HttpTimeouts, ServerParts } from './server-parts.ts';

/**
 * Answers a parser error or timeout of Node. It waits for the responses to earlier valid requests on the
 * connection, so that the client does not mistake this response for one of those.
 * @param latest the latest exchange on the connection.
 */
export function answerClientError(
  error: NodeJS.ErrnoException,
  socket: Socket,
  latest: NodeExchange | undefined,
  parts: Pick<ServerParts, 'timeouts' | 'observer'>,
): void {
  const { timeouts, observer } = parts;
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  const problem = clientErrorProblem(error, timeouts);
  const refuse = () => {
    const requestId = requestIdOf(undefined);
    const answer = problemAnswer(problem, { 'x-request-id': requestId });
    hangUp(socket, toHttp(answer, undefined), timeouts.lingerMs);
    const { status } = answer;
    const what = { route: 'other', method: 'other', status, seconds: 0, problem: problem.code };
    observer.answered({ requestId, ...what });
  };
  if (latest === undefined) {
    refuse();
    return;
  }
  const { request, response, isBatch } = latest;
  const isInBody = !request.complete;
  if (response.closed) {
    // The error is in the rest of a body whose request is already answered.
    if (isInBody || isClosing(socket)) hangUp(socket, '', timeouts.lingerMs);
    else refuse();
  } else if (isInBody && isBatch && !response.headersSent) {
    void latest.refuseAndClose(problemAnswer(problem), timeouts.lingerMs);
  } else {
    response.once('close', () => answerClientError(error, socket, latest, parts));
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

export const malformed: Problem = {
  code: 'malformed_request',
  detail: 'The request is not valid HTTP/1.1.',
};
