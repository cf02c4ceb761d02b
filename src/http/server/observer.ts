import { randomUUID } from 'node:crypto';

import type { ProblemCode } from '../../domain/problem.ts';
import type { IngestOutcome } from '../../pipeline/ports.ts';

/** Routes as values of a metric label: a small fixed set. */
export const routes = [
  ...['/ingest', '/ingest/:batchId', '/stats', '/stats-html', '/healthz', '/readyz', '/metrics'],
  ...['/', '/assets/:file', '/docs', '/openapi.json', 'other'],
] as const;
const fixedRoutes = new Set<string>(routes);
const methods = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']);

/** Why a response was cut off. `too_slow`: the client did not read it in time. */
export const cutReasons = [
  'too_slow',
  'overloaded',
  'storage_failed',
  'archive_unavailable',
  'stopping',
  'internal',
] as const;
export type CutReason = (typeof cutReasons)[number];

/** An answered request. The only text of the client in it is a checked request id. */
export interface AnsweredRequest {
  readonly requestId: string;
  readonly route: string;
  readonly method: string;
  readonly status: number;
  readonly seconds: number;
  readonly problem?: ProblemCode | undefined;
  /** Set if the response was begun but not completed. */
  readonly cut?: CutReason | undefined;
}

/** Receives the events of the HTTP side. Its methods must neither throw nor block. */
export interface HttpObserver {
  /** The pipeline accepted or refused a batch. `bodyBytes` is the size of its body as sent. */
  decided(outcome: IngestOutcome, bodyBytes: number, requestId: string | undefined): void;
  /** The fast path of `POST /ingest` accepted all items of a batch and answered 200. */
  acceptedPlain(
    items: number,
    bodyBytes: number,
    seconds: number,
    batchId: string,
    requestId: string | undefined,
  ): void;
  answered(exchange: AnsweredRequest): void;
}

export const silentObserver: HttpObserver = {
  decided: () => undefined,
  acceptedPlain: () => undefined,
  answered: () => undefined,
};

/** The route of a request target; `other` for unknown ones. */
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
 * The client's request id, if it is safe in a log and a header and is not a misplaced token;
 * otherwise a new id.
 */
export function requestIdOf(
  given: string | readonly string[] | undefined,
  make: () => string = randomUUID,
): string {
  const isSane = typeof given === 'string' && /^[!-~]{1,64}$/.test(given) && !/dpl_/.test(given);
  return isSane ? given : make();
}
