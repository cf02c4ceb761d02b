import type { ProblemCode } from '../../domain/problem.ts';
import { isStream, type AnyAnswer, type Bytes, type Progress } from './answer.ts';

/** A request that is being answered. The transport creates it, and the app records its response in it. */
export interface Exchange {
  readonly requestId: string;
  /** Set if the response is a refusal. */
  problem?: ProblemCode | undefined;
  /** The bytes of the response's body; its progress if it is streamed. */
  size?: number | Progress;
}

/** Converts an `Answer` to a `Response` and records it in the exchange. A refusal gets the request id. */
export function toResponse(answer: AnyAnswer, exchange: Exchange): Response {
  const { status, headers, problem } = answer;
  exchange.problem = problem;
  exchange.size = isStream(answer) ? answer.progress : Buffer.byteLength(answer.body);
  return new Response(bodyOf(answer), {
    status,
    headers: problem === undefined ? headers : { ...headers, 'x-request-id': exchange.requestId },
  });
}

function bodyOf(answer: AnyAnswer): ReadableStream | string | Bytes | null {
  if (isStream(answer)) return ReadableStream.from(answer.body);
  return answer.body.length === 0 ? null : answer.body;
}
