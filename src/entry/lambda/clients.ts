import { setTimeout as delay } from 'node:timers/promises';

import type { Backoff } from '../../util/backoff.ts';
import { safeError } from '../cli/error-text.ts';
import type { Environment } from './environment.ts';

/** No request is waited for longer; the SDK tries it again where that is safe. */
export const requestHandler = {
  connectionTimeout: 1_000,
  requestTimeout: 5_000,
  // Without it the SDK only warns, and waits on.
  throwOnRequestTimeout: true,
};

/** Full jitter within the time that is left (milliseconds since 1970); see `backOff`. */
export function backoff(attemptsMax: number, deadline = Number.POSITIVE_INFINITY): Backoff {
  return {
    attemptsMax,
    delayMsMax: 1_000,
    deadline,
    now: Date.now,
    sleep: (milliseconds) => delay(milliseconds),
    random: Math.random,
  };
}

/** Names an error without what it may quote of a body or a token. */
export function errorDetails(error: unknown): object {
  const { error: what, stack } = safeError(error);
  const cause = error instanceof Error ? error.cause : undefined;
  return { error: what, ...(cause instanceof Error && { cause: safeError(cause).error }), stack };
}

/** Lambda writes what a handler throws into the log, and into what is told of a failed sweep. */
export function errorAsTold(error: unknown): Error {
  const { error: what, stack } = safeError(error);
  const told = new Error(what.replace(/^Error: /, ''));
  told.stack = `${what}\n${stack}`;
  return told;
}

/** An emulator has no host for each bucket. */
export function s3Settings(environment: Environment) {
  const isEmulated = environment.optional('AWS_ENDPOINT_URL_S3') !== undefined;
  return { requestHandler, forcePathStyle: isEmulated };
}
