import { realBackoff, type Backoff } from '../../util/backoff.ts';
import { safeError } from '../cli/error-text.ts';

/** The timeouts of a request; the SDK retries it if that is safe. */
export const requestHandler = {
  connectionTimeout: 1_000,
  requestTimeout: 5_000,
  // Without it the SDK only logs a warning and keeps waiting.
  throwOnRequestTimeout: true,
};

/** Full jitter until the deadline (milliseconds since 1970); see `backOff`. */
export function backoff(attemptsMax: number, deadline?: number): Backoff {
  return realBackoff({ attemptsMax, delayMsMax: 1_000, deadline });
}

/** The details of an error, without quotations from a body or a token. */
export function errorDetails(error: unknown): object {
  const { error: what, stack } = safeError(error);
  const cause = error instanceof Error ? error.cause : undefined;
  return { error: what, ...(cause instanceof Error && { cause: safeError(cause).error }), stack };
}

/** Removes quotations from an error: Lambda writes it into the log and into the record of a failed sweep. */
export function withoutQuotations(error: unknown): Error {
  const { error: what, stack } = safeError(error);
  const result = new Error(what.replace(/^Error: /, ''));
  result.stack = `${what}\n${stack}`;
  return result;
}
