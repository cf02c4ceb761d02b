import { PutItemCommand, TransactWriteItemsCommand } from '@aws-sdk/client-dynamodb';
import { SendMessageBatchCommand } from '@aws-sdk/client-sqs';

import type { Random } from '../simulated-aws/aws-random.ts';
import type { Call, Invocation, Scheduler } from './aws-scheduler.ts';
import {
  networkError,
  serviceError,
  UnknownToSimulation,
} from '../simulated-aws/aws-simulated-errors.ts';
import type { Backend, Obstruction } from '../simulated-aws/aws-simulation.ts';

/** The probability of each fault, for each call. */
export interface Weather {
  /** A refusal before the call takes effect: a throttle, a service or a connection error. */
  readonly refused: number;
  /** The call takes effect, and the reply is lost. */
  readonly replyLost: number;
  /** A transaction conflicts, or a batch request succeeds in part. */
  readonly obstructed: number;
  /** The function is killed before the call takes effect, or after. */
  readonly killed: number;
  /** Seconds pass. */
  readonly slow: number;
}

export const calm: Weather = { refused: 0, replyLost: 0, obstructed: 0, killed: 0, slow: 0 };

export interface Effects {
  /** Called for every call that took effect, with its result. */
  onEffect(command: object, answer: unknown): void;
  /** Adds a line to the trace. */
  trace(line: () => string): void;
}

type Fault = 'none' | 'refused' | 'replyLost' | 'obstructed' | 'killedBefore' | 'killedAfter';

/** Answers calls from the backend, or with a fault. */
export class FaultLayer {
  weather: Weather = calm;
  readonly #backend: Backend;
  readonly #scheduler: Scheduler;
  readonly #random: Random;
  readonly #effects: Effects;

  constructor(backend: Backend, scheduler: Scheduler, random: Random, effects: Effects) {
    this.#backend = backend;
    this.#scheduler = scheduler;
    this.#random = random;
    this.#effects = effects;
  }

  /** Answers one call, and runs all code that waits for it. */
  async step(): Promise<void> {
    const call = await this.#scheduler.next();
    if (call === undefined) return;
    const drawn = this.#draw();
    const fault = drawn === 'obstructed' && !canBeObstructed(call.command) ? 'none' : drawn;
    if (fault !== 'none') call.invocation.faults++;
    this.#effects.trace(() => `${call.invocation.name} ${nameOf(call.command)} ${fault}`);
    await this.#answer(call, fault);
    const isSlow = this.#random.chance(this.weather.slow);
    this.#scheduler.pass(isSlow ? this.#random.below(8_000) : this.#random.below(20));
    await this.#scheduler.settle();
  }

  #draw(): Fault {
    const { refused, replyLost, obstructed, killed } = this.weather;
    let at = this.#random.next();
    if ((at -= refused) < 0) return 'refused';
    if ((at -= replyLost) < 0) return 'replyLost';
    if ((at -= obstructed) < 0) return 'obstructed';
    if (at - killed >= 0) return 'none';
    return this.#random.chance(0.5) ? 'killedBefore' : 'killedAfter';
  }

  async #answer(call: Call, fault: Fault): Promise<void> {
    if (fault === 'refused') {
      call.reject(refusal(this.#random, call.command));
      return;
    }
    if (fault === 'killedBefore') {
      this.#scheduler.kill(call.invocation);
      return;
    }
    const outcome = await this.#execute(call.command, fault);
    if (fault === 'killedAfter') this.#scheduler.kill(call.invocation);
    else if (fault === 'replyLost') call.reject(lostReply(this.#random));
    else if ('error' in outcome) call.reject(outcome.error);
    else call.resolve(outcome.answer);
  }

  async #execute(command: object, fault: Fault): Promise<{ answer: unknown } | { error: unknown }> {
    try {
      const obstruction = fault === 'obstructed' ? obstruct(this.#random, command) : {};
      const executed: unknown = this.#backend.execute(command, obstruction);
      const answer: unknown = executed instanceof Promise ? await executed : executed;
      this.#effects.onEffect(command, answer);
      return { answer };
    } catch (error) {
      // The engine would treat it as a failure of AWS and tolerate it.
      if (error instanceof UnknownToSimulation) throw error;
      return { error };
    }
  }
}

export function nameOf(command: object): string {
  return command.constructor.name.replace(/Command$/, '');
}

function canBeObstructed(command: object): boolean {
  return command instanceof SendMessageBatchCommand || command instanceof TransactWriteItemsCommand;
}

function obstruct(random: Random, command: object): Obstruction {
  if (command instanceof SendMessageBatchCommand) {
    const places = (command.input.Entries ?? []).keys();
    return { failed: new Set([...places].filter(() => random.chance(0.5))) };
  }
  if (command instanceof TransactWriteItemsCommand) {
    const code = random.pick(['TransactionConflict', 'ThrottlingError', 'TransactionConflict']);
    return {
      obstructed: new Map([[random.below(command.input.TransactItems?.length ?? 1), code]]),
    };
  }
  return {};
}

function refusal(random: Random, command: object): Error {
  const isTransaction = command instanceof TransactWriteItemsCommand;
  const isDynamodb = isTransaction || command instanceof PutItemCommand;
  return random.pick([
    () => serviceError(isDynamodb ? 'ThrottlingException' : 'SlowDown', isDynamodb ? 400 : 503),
    () => serviceError('InternalServerError', 500),
    () => networkError('ECONNREFUSED'),
    () =>
      isTransaction
        ? serviceError('TransactionInProgressException', 400)
        : serviceError('ServiceUnavailable', 503),
  ])();
}

function lostReply(random: Random): Error {
  return random.pick([
    () => networkError('ECONNRESET'),
    () => Object.assign(new Error('no answer in time'), { name: 'TimeoutError' }),
    () => serviceError('InternalServerError', 500),
  ])();
}

const sdkRetries = new Set([
  ...['ThrottlingException', 'SlowDown', 'TimeoutError', 'RequestTimeout'],
  ...['TransactionInProgressException', 'ProvisionedThroughputExceededException'],
]);
const sdkCodes = new Set(['ECONNRESET', 'ECONNREFUSED', 'EPIPE', 'ETIMEDOUT']);

/** A client of an invocation. Like the SDK's it retries safe requests. */
export function clientOf(
  invocation: Invocation,
  scheduler: Scheduler,
  random: Random,
  attemptsMax = 3,
): { send(command: object): Promise<never> } {
  return {
    async send(command) {
      for (let attempts = 1; ; attempts++) {
        try {
          return (await scheduler.call(invocation, command)) as never;
        } catch (error) {
          if (attempts >= attemptsMax || !isRetriedBySdk(error)) throw error;
          await scheduler.sleep(invocation, random.below(100 * 2 ** attempts));
        }
      }
    },
  };
}

function isRetriedBySdk(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const { code, $metadata } = error as { code?: string; $metadata?: { httpStatusCode?: number } };
  if (sdkRetries.has(error.name) || sdkCodes.has(code ?? '')) return true;
  return [500, 502, 503, 504].includes($metadata?.httpStatusCode ?? 0);
}
