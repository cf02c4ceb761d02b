import { randomUUID } from 'node:crypto';
import { pathToFileURL } from 'node:url';

import { Environment, type Outcome } from '../environment.ts';

/** The largest event and the largest response of a synchronous invocation, in bytes. */
export const payloadBytesMax = 6 * 1024 * 1024;

export interface FunctionSettings {
  /** Letters only. With a number, it is the id of an environment and the access key id of its calls. */
  readonly name: string;
  readonly arn: string;
  /** The path of the module, and the name of its export. */
  readonly modulePath: string;
  readonly handlerName: string;
  readonly timeoutMs: number;
  readonly memoryMb: number;
  /** The variables of an environment, by its id. */
  readonly variables: (environmentId: string) => Readonly<Record<string, string>>;
  readonly environmentsMax: number;
  /**
   * How many invocations may wait for an environment; further ones are throttled. On Lambda none wait,
   * but there may be 1,000 environments.
   */
  readonly waitingMax: number;
}

export type InvocationResult =
  | { readonly kind: 'succeeded'; readonly payload: string }
  | { readonly kind: 'failed'; readonly errorType: string; readonly errorMessage: string }
  | { readonly kind: 'throttled' }
  | { readonly kind: 'too-large'; readonly bytes: number };

/** Says why an invocation failed. */
export function invocationFailure(result: InvocationResult): string {
  return result.kind === 'failed' ? `${result.errorType}: ${result.errorMessage}` : result.kind;
}

/** The content of Lambda's REPORT line for an invocation. */
export interface InvocationReport {
  readonly functionName: string;
  readonly environmentId: string;
  readonly requestId: string;
  readonly outcome: 'succeeded' | 'failed' | 'timeout' | 'killed';
  readonly durationMs: number;
  /** From the start of the environment until the handler is ready; 0 if it was warm. */
  readonly initMs: number;
  /** The part of it in which the bundle was loaded. */
  readonly importMs: number;
  /** Initialisation and execution, rounded up to 1 ms. */
  readonly billedMs: number;
  readonly memoryMb: number;
  readonly requestBytes: number;
  readonly responseBytes: number;
}

export interface FunctionObserver {
  readonly onReport?: ((report: InvocationReport) => void) | undefined;
  readonly onOutput?: ((functionName: string, text: string) => void) | undefined;
}

/** A function with its environments. Each handles one event at a time and is started on demand. */
export class LambdaFunction {
  readonly #settings: FunctionSettings;
  readonly #observer: FunctionObserver;
  readonly #environments = new Set<Environment>();
  /** Idle environments; the last used one is used first. */
  readonly #idle: Environment[] = [];
  readonly #waiting: ((environment: Environment | undefined) => void)[] = [];
  #started = 0;
  #isClosed = false;

  constructor(settings: FunctionSettings, observer: FunctionObserver = {}) {
    this.#settings = settings;
    this.#observer = observer;
  }

  get name(): string {
    return this.#settings.name;
  }

  /**
   * Runs the handler once. Never rejects: errors are results, as for the services that call Lambda. With
   * `killAfterMs`, an environment that still runs by then is killed.
   */
  async invoke(
    payload: string,
    { killAfterMs }: { killAfterMs?: number | undefined } = {},
  ): Promise<InvocationResult> {
    const bytes = Buffer.byteLength(payload);
    if (bytes > payloadBytesMax) return { kind: 'too-large', bytes };
    const environment = await this.#take();
    if (environment === undefined) return { kind: 'throttled' };
    const isCold = !environment.wasUsed;
    const init = await environment.ready;
    if ('errorType' in init) {
      this.#release(environment, true);
      return { kind: 'failed', errorType: init.errorType, errorMessage: init.errorMessage };
    }
    const requestId = randomUUID();
    const began = performance.now();
    const outcome = await this.#run(environment, requestId, payload, killAfterMs);
    const durationMs = performance.now() - began;
    this.#release(environment, outcome.kind === 'lost');
    const { initMs, importMs } = isCold ? init : { initMs: 0, importMs: 0 };
    const { name: functionName, memoryMb } = this.#settings;
    const responseBytes = outcome.kind === 'succeeded' ? Buffer.byteLength(outcome.payload) : 0;
    this.#observer.onReport?.({
      ...{ functionName, environmentId: environment.id, requestId, memoryMb, durationMs },
      ...{ initMs, importMs, requestBytes: bytes, responseBytes },
      outcome: reported(outcome),
      billedMs: Math.ceil(initMs + durationMs),
    });
    return this.#result(outcome, requestId, responseBytes);
  }

  /** Kills the environment with this id, if it still exists. */
  kill(environmentId: string): void {
    for (const environment of this.#environments) {
      if (environment.id === environmentId) environment.destroy('killed');
    }
  }

  /** Ends all environments: running invocations fail, and waiting ones are throttled. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const giveUp of this.#waiting.splice(0)) giveUp(undefined);
    await Promise.all([...this.#environments].map((environment) => environment.close()));
  }

  async #run(
    environment: Environment,
    requestId: string,
    payload: string,
    killAfterMs: number | undefined,
  ): Promise<Outcome> {
    const { timeoutMs } = this.#settings;
    const timers = [setTimeout(() => environment.destroy('timeout'), timeoutMs)];
    if (killAfterMs !== undefined) {
      timers.push(setTimeout(() => environment.destroy('killed'), killAfterMs));
    }
    const deadline = Date.now() + timeoutMs;
    const outcome = await environment.invoke({ requestId, payload, deadline });
    for (const timer of timers) clearTimeout(timer);
    return outcome;
  }

  #result(outcome: Outcome, requestId: string, responseBytes: number): InvocationResult {
    switch (outcome.kind) {
      case 'succeeded':
        if (responseBytes <= payloadBytesMax) return outcome;
        return {
          kind: 'failed',
          errorType: 'Function.ResponseSizeTooLarge',
          errorMessage: `Response payload size exceeded maximum allowed payload size (${payloadBytesMax} bytes).`,
        };
      case 'failed': {
        const { errorType, errorMessage } = outcome.error;
        this.#observer.onOutput?.(this.name, `${outcome.error.trace.join('\n')}\n`);
        return { kind: 'failed', errorType, errorMessage };
      }
      case 'lost': {
        const isTimeout = outcome.reason === 'timeout';
        const seconds = (this.#settings.timeoutMs / 1000).toFixed(2);
        const what = isTimeout ? `Task timed out after ${seconds} seconds` : outcome.detail;
        return {
          kind: 'failed',
          errorType: isTimeout ? 'Sandbox.Timedout' : 'Runtime.ExitError',
          errorMessage: `RequestId: ${requestId} Error: ${what}`,
        };
      }
    }
  }

  #take(): Promise<Environment | undefined> | Environment | undefined {
    if (this.#isClosed) return undefined;
    for (let idle = this.#idle.pop(); idle !== undefined; idle = this.#idle.pop()) {
      if (!idle.isLost) return idle;
      this.#environments.delete(idle);
    }
    const { environmentsMax, waitingMax } = this.#settings;
    if (this.#environments.size < environmentsMax) return this.#start();
    if (this.#waiting.length >= waitingMax) return undefined;
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #release(environment: Environment, isLost: boolean): void {
    if (isLost || environment.isLost) {
      this.#environments.delete(environment);
      void environment.close();
    }
    const isThere = this.#environments.has(environment);
    const next = this.#isClosed ? undefined : this.#waiting.shift();
    if (next !== undefined) next(isThere ? environment : this.#start());
    else if (isThere) this.#idle.push(environment);
  }

  #start(): Environment {
    const { name, arn, modulePath, handlerName, memoryMb, variables } = this.#settings;
    const id = `${name}${this.#started++}`;
    const { onOutput } = this.#observer;
    const environment = new Environment({
      id,
      data: {
        moduleUrl: pathToFileURL(modulePath).href,
        ...{ handlerName, functionName: name, functionArn: arn, memoryMb },
      },
      variables: variables(id),
      onOutput: onOutput && ((text) => onOutput(name, text)),
    });
    this.#environments.add(environment);
    return environment;
  }
}

function reported(outcome: Outcome): InvocationReport['outcome'] {
  if (outcome.kind !== 'lost') return outcome.kind;
  return outcome.reason === 'timeout' ? 'timeout' : 'killed';
}
