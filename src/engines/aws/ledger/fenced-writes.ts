import { randomUUID } from 'node:crypto';

import type { TransactWriteItem } from '@aws-sdk/client-dynamodb';

import { isRetryable } from '../errors.ts';
import { withRetries } from '../../../util/backoff.ts';
import { putRow } from './items.ts';
import { keyItem, rebuildRunKey } from './ledger-table.ts';
import { transact, transactionWritesMax, type TransactOptions } from './transact.ts';

interface FenceOptions extends TransactOptions {
  readonly ledgerTable: string;
}

/** How many writes fit into a transaction beside the fence. */
export const fencedWritesMax = transactionWritesMax - 1;

/** Another rebuild of the store has started. */
export class RebuildSuperseded extends Error {
  override readonly name = 'RebuildSuperseded';
}

/**
 * The writes of one rebuild. A ledger row names the rebuild that may write, and every transaction
 * checks it: once another rebuild starts, no write of an earlier one takes effect, not even one that
 * is in flight.
 */
export class FencedWrites {
  readonly runId: string;
  readonly #options: FenceOptions;

  private constructor(options: FenceOptions, runId: string) {
    this.#options = options;
    this.runId = runId;
  }

  /** Gives this rebuild the right to write. */
  static async takeOver(options: FenceOptions): Promise<FencedWrites> {
    const { client, ledgerTable, backoff } = options;
    const startedAt = new Date(backoff.now()).toISOString();
    const runId = `${startedAt}-${randomUUID().slice(0, 8)}`;
    const row = { ...keyItem(rebuildRunKey), run_id: { S: runId } };
    await withRetries(backoff, isRetryable, () => putRow(client, ledgerTable, row));
    return new FencedWrites(options, runId);
  }

  /**
   * Carries out all writes once, or none. `refused`: a condition did not hold.
   * @throws {RebuildSuperseded}
   */
  async write(writes: readonly TransactWriteItem[]): Promise<'done' | 'refused'> {
    const outcome = await transact(this.#options, () => [this.#fence(), ...writes]);
    if (outcome.kind === 'done') return 'done';
    if (!outcome.failedWrites.has(0)) return 'refused';
    throw new RebuildSuperseded(
      'Another rebuild of this stack has started. The corrections of this one stay; see the report of the other.',
      { cause: outcome.cause },
    );
  }

  /**
   * Carries out independent conditional writes, together if all conditions hold. Returns how many
   * were done.
   */
  async writeEach(writes: readonly TransactWriteItem[]): Promise<number> {
    if ((await this.write(writes)) === 'done') return writes.length;
    let done = 0;
    for (const one of writes) if ((await this.write([one])) === 'done') done++;
    return done;
  }

  #fence(): TransactWriteItem {
    return {
      ConditionCheck: {
        TableName: this.#options.ledgerTable,
        Key: keyItem(rebuildRunKey),
        ConditionExpression: 'run_id = :run_id',
        ExpressionAttributeValues: { ':run_id': { S: this.runId } },
      },
    };
  }
}
