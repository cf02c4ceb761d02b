import { readRawKey, type BatchId } from '../../domain/batch-id.ts';
import type { DeadLetterSink } from '../ports.ts';
import type {
  FinishedIntake,
  Orphan,
  SweepPorts,
  SweepPosition,
  SweepResult,
  SweepRules,
} from './ports.ts';
import { batchIdOf, batchIdsOf, startOf, timeOf } from './raw-keys.ts';
import { BatchReconciler, overtakenMs, type Outcome } from './reconcile.ts';
import { SendBudget } from './send-budget.ts';

/**
 * Finds stored batches that are not counted and queues what is missing. Two positions move through
 * the raw keys in order of time. The first passes each batch 15 minutes after it came; if the intake
 * of a batch was interrupted, it cuts the batch into its chunks again and queues them. The second
 * follows and passes batches that are counted. At a batch that is not counted it waits as long as
 * the queue is deep enough to hold its messages; if the queue is shallow, the messages are lost,
 * and it sends them again.
 *
 * A batch whose messages were sent again is an orphan: sweeps check it at growing intervals until
 * it is counted, or too old.
 */
export async function sweep(ports: SweepPorts, rules: SweepRules): Promise<SweepResult> {
  return await new Sweep(ports, rules).run();
}

/**
 * Reconciles one batch now: queues what is missing, and makes it an orphan that later sweeps check.
 * Returns why nothing can be queued, if so; writes no dead letter.
 */
export async function sweepBatch(
  rawKey: string,
  ports: Omit<SweepPorts, 'deadLetters'>,
  rules: SweepRules,
): Promise<string | undefined> {
  if (readRawKey(rawKey) === undefined || (await ports.raw(rawKey)) === undefined) {
    return 'raw_missing: its raw body is not in the store';
  }
  const reasons: string[] = [];
  const deadLetters: DeadLetterSink = {
    add(added) {
      reasons.push(...added.map(({ reason }) => reason));
      return Promise.resolve(new Set(added.map(({ messageId }) => messageId)));
    },
  };
  const reconciler = new BatchReconciler(
    { ...ports, deadLetters },
    rules,
    new SendBudget(rules),
    true,
  );
  await reconciler.reconcileBatch({ rawKey, attempts: 0 });
  return reasons[0];
}

/** The deadlines of the first two parts of a sweep, as fractions of its time. */
const [intakesShare, countedShare] = [0.75, 0.9];

interface IntakePass {
  readonly through: string;
  readonly isDone: boolean;
}

interface PageState {
  readonly intakes: ReadonlyMap<BatchId, FinishedIntake>;
  readonly counted: ReadonlySet<BatchId>;
}

class Sweep {
  readonly #ports: SweepPorts;
  readonly #rules: SweepRules;
  readonly #budget: SendBudget;
  readonly #reconciler: BatchReconciler;
  readonly #startedAt: number;
  readonly #counts = { batches: 0, behindMs: 0, waitingMs: 0 };
  /** Messages of the batches that the first position has passed. */
  #arrived = 0;

  constructor(ports: SweepPorts, rules: SweepRules) {
    this.#ports = ports;
    this.#rules = rules;
    this.#budget = new SendBudget(rules);
    this.#reconciler = new BatchReconciler(ports, rules, this.#budget);
    this.#startedAt = rules.now();
  }

  async run(): Promise<SweepResult> {
    const from = await this.#start();
    const receivedBefore = this.#startedAt - this.#rules.afterMs;
    this.#budget.allowInterrupted(await this.#ports.queueDepth());
    const intakes = await this.#passIntakes(from.intakesThrough, receivedBefore);
    if (!intakes.isDone) {
      this.#counts.behindMs = receivedBefore - timeOf(intakes.through, receivedBefore);
    }
    this.#budget.allowResends(await this.#ports.queueDepth(), this.#arrived);
    await this.#passCounted(from.countedThrough, intakes, receivedBefore);
    await this.#checkOrphans();
    const { batches, ...delays } = this.#counts;
    return { batches, ...this.#reconciler.counts, ...delays };
  }

  /** The first sweep starts at the oldest batch that can still be counted: older ones predate the ledger. */
  async #start(): Promise<SweepPosition> {
    const position = await this.#ports.progress.position();
    if (position.intakesThrough !== '') return position;
    const oldest = startOf(this.#startedAt - this.#rules.ageMsMax);
    return { intakesThrough: oldest, countedThrough: oldest };
  }

  async #passIntakes(after: string, receivedBefore: number): Promise<IntakePass> {
    const ports = this.#ports;
    let through = after;
    let latest: readonly string[] = [];
    for await (const page of ports.keys({ after, before: startOf(receivedBefore) })) {
      const intakes = await ports.intakes(batchIdsOf(page));
      const isComplete = await this.#completeInterrupted(page, intakes);
      // The next sweep starts an incomplete page again.
      if (!isComplete || this.#isTimeUp(intakesShare)) return { through, isDone: false };
      this.#counts.batches += batchIdsOf(page).length;
      for (const { chunks } of intakes.values()) this.#arrived += chunks;
      const last = page.at(-1);
      if (last === undefined) continue;
      latest = page;
      through = last;
      await ports.progress.moveTo(through);
    }
    await this.#noteLatestCounted(latest);
    return { through, isDone: true };
  }

  /** Returns false if batches are left for lack of time or budget. */
  async #completeInterrupted(
    page: readonly string[],
    intakes: PageState['intakes'],
  ): Promise<boolean> {
    const interrupted = page.filter((rawKey) => !intakes.has(batchIdOf(rawKey)));
    let isComplete = true;
    await this.#ports.each(interrupted, async (rawKey) => {
      const mayStart = !this.#budget.isInterruptedSpent && !this.#isTimeUp(intakesShare);
      const outcome = mayStart
        ? await this.#reconciler.reconcileOnce({ rawKey, attempts: 0 }, { isInterrupted: true })
        : 'postponed';
      if (outcome === 'postponed') isComplete = false;
    });
    return isComplete;
  }

  /** Whether it finds a counted batch that was received hours after the waiting batch was queued. */
  async #isOvertaken(waiting: string): Promise<boolean> {
    const after = startOf((this.#reconciler.queuedAt(waiting) ?? this.#startedAt) + overtakenMs);
    const before = startOf(this.#startedAt - this.#rules.afterMs);
    const known = this.#reconciler.latestCountedAt;
    for await (const page of this.#ports.keys({ after, before })) {
      await this.#noteLatestCounted(page);
      break;
    }
    return this.#reconciler.latestCountedAt > known;
  }

  async #noteLatestCounted(page: readonly string[]): Promise<void> {
    if (page.length === 0) return;
    const { counted } = await this.#stateOfPage(page);
    const last = page.findLast((rawKey) => counted.has(batchIdOf(rawKey)));
    const { latestCountedAt } = this.#reconciler;
    this.#reconciler.latestCountedAt = Math.max(latestCountedAt, timeOf(last ?? '', 0));
  }

  async #passCounted(after: string, intakes: IntakePass, receivedBefore: number): Promise<void> {
    const ports = this.#ports;
    let through = after;
    let provenBefore = timeOf(after, 0);
    // Up to the first position, which is included.
    for await (const page of ports.keys({ after, before: `${intakes.through}\0` })) {
      let waiting = await this.#findWaiting(page);
      if (waiting !== undefined && (await this.#isOvertaken(waiting))) {
        waiting = await this.#findWaiting(page);
      }
      through = lastBefore(page, waiting) ?? through;
      provenBefore = timeOf(waiting ?? through, provenBefore);
      if (page.length > 0) await ports.progress.countedTo(through, provenBefore);
      if (waiting !== undefined) {
        const since = this.#reconciler.receivedAt(waiting) ?? this.#startedAt;
        this.#counts.waitingMs = this.#startedAt - since;
        return;
      }
    }
    if (intakes.isDone) await ports.progress.countedTo(through, receivedBefore);
  }

  /** Reconciles the batches of a page; returns the first that waits. */
  async #findWaiting(page: readonly string[]): Promise<string | undefined> {
    const { intakes, counted } = await this.#stateOfPage(page);
    const open = page.filter((rawKey) => !counted.has(batchIdOf(rawKey)));
    // The sweep does not reconcile batches behind the first that waits: a later sweep does.
    let waiting = await this.#firstWaiting(open, intakes);
    await this.#ports.each(open, async (rawKey) => {
      if (waiting !== undefined && rawKey >= waiting) return;
      const outcome = this.#isTimeUp(countedShare)
        ? 'waiting'
        : await this.#reconciler.reconcileOnce({ rawKey, attempts: 0 });
      const isFirst = waiting === undefined || rawKey < waiting;
      if (isWaiting(outcome) && isFirst) waiting = rawKey;
    });
    return waiting;
  }

  async #firstWaiting(
    rawKeys: readonly string[],
    intakes: PageState['intakes'],
  ): Promise<string | undefined> {
    for (const rawKey of rawKeys) {
      const intake = intakes.get(batchIdOf(rawKey));
      if (intake === undefined || !this.#reconciler.mayWait(rawKey, intake)) continue;
      if (isWaiting(await this.#reconciler.reconcileOnce({ rawKey, attempts: 0 }))) return rawKey;
    }
    return undefined;
  }

  async #checkOrphans(): Promise<void> {
    const ports = this.#ports;
    for await (const page of ports.progress.orphans(this.#startedAt)) {
      if (this.#isTimeUp()) return;
      const state = await this.#stateOfPage(page.map(({ rawKey }) => rawKey));
      let waiting = 0;
      await ports.each(page, async (orphan) => {
        if (this.#isTimeUp()) return;
        const outcome = await this.#checkOrphan(orphan, state);
        if (outcome === 'waiting') waiting++;
        if (outcome === 'settled') await ports.progress.removeOrphan(orphan.rawKey);
      });
      // If all of a page wait, so do those behind them, which are younger.
      if (page.length > 0 && waiting === page.length) return;
    }
  }

  async #checkOrphan(orphan: Orphan, { intakes, counted }: PageState): Promise<Outcome> {
    const batchId = batchIdOf(orphan.rawKey);
    if (counted.has(batchId)) return 'settled';
    const intake = intakes.get(batchId);
    const mayWait = intake !== undefined && this.#reconciler.mayWait(orphan.rawKey, intake);
    return mayWait ? 'waiting' : await this.#reconciler.reconcileOnce(orphan);
  }

  /** How far the batches had come some moments ago. */
  async #stateOfPage(rawKeys: readonly string[]): Promise<PageState> {
    const intakes = await this.#ports.intakes(batchIdsOf(rawKeys));
    return { intakes, counted: await this.#ports.counted(intakes) };
  }

  #isTimeUp(share = 1): boolean {
    const { now, deadline } = this.#rules;
    return now() >= this.#startedAt + share * (deadline - this.#startedAt);
  }
}

function isWaiting(outcome: Outcome): boolean {
  return outcome === 'waiting' || outcome === 'completed' || outcome === 'postponed';
}

/** The last key of the page, or the last before `waiting`, if there is one. */
function lastBefore(page: readonly string[], waiting: string | undefined): string | undefined {
  return waiting === undefined ? page.at(-1) : page[page.indexOf(waiting) - 1];
}
