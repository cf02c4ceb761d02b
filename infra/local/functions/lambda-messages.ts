/** The worker data of an environment. */
export interface EnvironmentData {
  /** The URL of the module, and the name of its export that is the handler. */
  readonly moduleUrl: string;
  readonly handlerName: string;
  readonly functionName: string;
  readonly functionArn: string;
  readonly memoryMb: number;
}

/** A message to an environment: one event. The next event follows after its response. */
export interface InvocationMessage {
  readonly requestId: string;
  readonly payload: string;
  /** On the clock of `Date.now`. */
  readonly deadline: number;
}

export interface HandlerError {
  readonly errorType: string;
  readonly errorMessage: string;
  readonly trace: readonly string[];
}

/** A message from an environment. */
export type EnvironmentMessage =
  | { readonly kind: 'ready'; readonly importMs: number }
  | { readonly kind: 'init-failed'; readonly error: HandlerError }
  | { readonly kind: 'succeeded'; readonly payload: string }
  | { readonly kind: 'failed'; readonly error: HandlerError };
