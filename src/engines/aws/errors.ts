/** Names of throttling errors. */
const throttles = new Set([
  'EC2ThrottledException',
  'LimitExceededException',
  'OverLimit',
  'PriorRequestNotComplete',
  'ProvisionedThroughputExceeded',
  'ProvisionedThroughputExceededException',
  'RequestLimitExceeded',
  'RequestThrottled',
  'RequestThrottledException',
  'SlowDown',
  'ThrottledException',
  'Throttling',
  'ThrottlingError',
  'ThrottlingException',
  'TooManyRequestsException',
]);

/** Names of transient errors, and of errors after which the effect of the request is unknown. */
const transient = new Set([
  'AbortError',
  'InternalError',
  'InternalFailure',
  'InternalServerError',
  'RequestTimeout',
  'RequestTimeoutException',
  'ServiceUnavailable',
  'TimeoutError',
  'TransactionConflict',
  'TransactionConflictException',
  'TransactionInProgressException',
]);

const networkCodes = new Set([
  'EAI_AGAIN',
  'ECONNREFUSED',
  'ECONNRESET',
  'ENOTFOUND',
  'EPIPE',
  'ETIMEDOUT',
]);

export function isThrottle(error: unknown): boolean {
  if (throttles.has(nameOf(error)) || statusOf(error) === 429) return true;
  return error instanceof Error && error.cause !== undefined && isThrottle(error.cause);
}

/** Whether the same request may succeed if it is sent again. */
export function isRetryable(error: unknown): boolean {
  if (isThrottle(error) || transient.has(nameOf(error))) return true;
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (typeof code === 'string' && networkCodes.has(code)) return true;
  return (statusOf(error) ?? 0) >= 500;
}

/** The service's name for the error; empty if there is none. */
export function nameOf(error: unknown): string {
  return error instanceof Error ? error.name : '';
}

/**
 * Whether a retry may succeed after this code of a transaction's cancellation reason or of a failed
 * batch entry.
 */
export function isRetryableCode(code: string): boolean {
  return throttles.has(code) || throttles.has(`${code}Exception`) || transient.has(code);
}

function statusOf(error: unknown): number | undefined {
  if (!(error instanceof Error) || !('$metadata' in error)) return undefined;
  return (error.$metadata as { httpStatusCode?: number } | undefined)?.httpStatusCode;
}
