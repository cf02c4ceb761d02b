import type { SweepRules } from './ports.ts';

const [defaultResendsMax, defaultShallowDepth, defaultQueuedMax] = [100_000, 1_000, 500_000];
/** Messages of interrupted intakes that a sweep may send however deep the queue is. */
const interruptedSendsMin = 1_000;
/** Messages of overtaken batches that a sweep may send again however deep the queue is. */
const overtakenSendsMax = 1_000;

type BudgetRules = Pick<SweepRules, 'resendsMax' | 'shallowDepth' | 'queuedMax'>;

/**
 * How many messages a sweep may send. Sending what is still on the queue costs money and counts
 * nothing sooner: the deeper the queue, the smaller the budget.
 */
export class SendBudget {
  readonly #rules: BudgetRules;
  #interrupted = 0;
  #resends = 0;
  #overtaken = overtakenSendsMax;

  constructor(rules: BudgetRules) {
    this.#rules = rules;
  }

  /**
   * Sets the budget for interrupted intakes. Whether their messages were sent is unknown: if many
   * wait on the queue, these may be among them.
   */
  allowInterrupted(queueDepth: number): void {
    const { queuedMax = defaultQueuedMax } = this.#rules;
    this.#interrupted = Math.max(interruptedSendsMin, queuedMax - queueDepth);
  }

  /**
   * Sets the budget for messages that were queued before: zero if as many wait as came since the
   * sweep before (`arrived`).
   */
  allowResends(queueDepth: number, arrived: number): void {
    const { resendsMax = defaultResendsMax, shallowDepth = defaultShallowDepth } = this.#rules;
    const free = 1 - queueDepth / Math.max(arrived, shallowDepth);
    this.#resends = Math.floor(resendsMax * Math.max(0, free));
  }

  get isInterruptedSpent(): boolean {
    return this.#interrupted <= 0;
  }

  /** Whether messages that were queued before may be sent again. */
  mayResend(isOvertaken: boolean): boolean {
    return this.#resends > 0 || (isOvertaken && this.#overtaken > 0);
  }

  spend(messages: number, wereQueued: boolean): void {
    if (!wereQueued) this.#interrupted -= messages;
    else if (this.#resends > 0) this.#resends -= messages;
    else this.#overtaken -= messages;
  }
}
