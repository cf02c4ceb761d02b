import { randomUUID } from 'node:crypto';

import type { ProblemCode } from '../../domain/problem.ts';
import type { IngestOutcome } from '../../pipeline/ports.ts';

/** What can be asked for, in so few words that each may be counted by itself. */
export const routes = [
  ...['/ingest', '/ingest/:batchId', '/stats', '/stats-html', '/healthz', '/readyz', '/metrics'],
  ...['/', '/assets/:file', '/docs', '/openapi.json', 'other'],
] as const;
const fixedRoutes = new Set<string>(routes);
const methods = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']);

/** Why an answer ended before its end. `too_slow`: its client did not read it in time. */
export const cutReasons = [
  'too_slow',
  'overloaded',
  'storage_failed',
  'stopping',
  'internal',
] as const;
export type CutReason = (typeof cutReasons)[number];

/** A request that was answered. It holds nothing that the client has chosen, but a sane id. */
export interface Exchange {
  readonly requestId: string;
  readonly route: string;
  readonly method: string;
  readonly status: number;
  readonly seconds: number;
  readonly problem?: ProblemCode | undefined;
  /** Of an answer that was begun, and not ended: its client has not all of it. */
  readonly cut?: CutReason | undefined;
}

/** Is told of what the HTTP side does. None of it may throw, or wait. */
export interface HttpObserver {
  /** A batch was judged; the bytes are those of its body as sent. */
  decided(outcome: IngestOutcome, bodyBytes: number, requestId: string | undefined): void;
  /** The quick path of `POST /ingest`: a whole batch was accepted, and answered with 200. */
  acceptedPlain(
    items: number,
    bodyBytes: number,
    seconds: number,
    batchId: string,
    requestId: string | undefined,
  ): void;
  answered(exchange: Exchange): void;
}

export const silentObserver: HttpObserver = {
  decided: () => undefined,
  acceptedPlain: () => undefined,
  answered: () => undefined,
};

/** The route of a request target: one of a fixed few, whatever a client asks for. */
export function routeOf(target: string): string {
  const path = target.split('?', 1)[0] ?? '';
  if (fixedRoutes.has(path) && path.startsWith('/') && !path.includes(':')) return path;
  if (path.startsWith('/assets/')) return '/assets/:file';
  return path.startsWith('/ingest/') ? '/ingest/:batchId' : 'other';
}

export function methodOf(method: string | undefined): string {
  return method !== undefined && methods.has(method) ? method : 'other';
}

/**
 * The id that a client has given its request, where it may stand in a log and a header, and is no
 * token put into the wrong place; or else the one that is made.
 */
export function requestIdOf(
  given: string | readonly string[] | undefined,
  make: () => string = randomUUID,
): string {
  const isSane = typeof given === 'string' && /^[!-~]{1,64}$/.test(given) && !/dpl_/.test(given);
  return isSane ? given : make();
}
