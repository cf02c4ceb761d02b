import { randomUUID } from 'node:crypto';

import {
  PutItemCommand,
  TransactWriteItemsCommand,
  TransactionCanceledException,
  type DynamoDBClient,
  type TransactWriteItem,
} from '@aws-sdk/client-dynamodb';

import { isRetryable, isRetryableCode } from '../errors.ts';
import { waitForRetry, type Backoff } from '../../../util/backoff.ts';
import { keyItem, rebuildRunKey } from './ledger-table.ts';

export interface FenceOptions {
  /** One that tries once: what is tried again, and how, is decided here. */
  readonly client: Pick<DynamoDBClient, 'send'>;
  readonly ledgerTable: string;
  readonly backoff: Backoff;
}

/** So many writes fit into a transaction beside the fence. */
export const fencedWritesMax = 99;

/** Somebody else has begun to rebuild the store. */
export class Overtaken extends Error {
  override readonly name = 'Overtaken';
}

/**
 * Writes of one rebuild. A row of the ledger names the rebuild that may write, and every transaction
 * holds to it: once another has begun, nothing of an earlier one takes effect any more, be it still
 * on its way.
 */
export class FencedWrites {
  readonly runId: string;
  readonly #options: FenceOptions;

  private constructor(options: FenceOptions, runId: string) {
    this.#options = options;
    this.runId = runId;
  }

  /** From now on, writes of others fail. */
  static async takeOver(options: FenceOptions): Promise<FencedWrites> {
    const { client, ledgerTable, backoff } = options;
    const begunAt = new Date(backoff.now()).toISOString();
    const runId = `${begunAt}-${randomUUID().slice(0, 8)}`;
    const Item = { ...keyItem(rebuildRunKey), run_id: { S: runId } };
    for (let attempts = 1; ; attempts++) {
      try {
        await client.send(new PutItemCommand({ TableName: ledgerTable, Item }));
        return new FencedWrites(options, runId);
      } catch (error) {
        if (!isRetryable(error) || !(await waitForRetry(backoff, attempts))) throw error;
      }
    }
  }

  /**
   * Carries all of it out, once, or nothing. `refused`: a condition did not hold.
   * @throws {Overtaken}
   */
  async write(writes: readonly TransactWriteItem[]): Promise<'done' | 'refused'> {
    const { client, backoff } = this.#options;
    const TransactItems = [this.#fence(), ...writes];
    let request = { TransactItems, ClientRequestToken: randomUUID() };
    for (let attempts = 1; ; attempts++) {
      try {
        await client.send(new TransactWriteItemsCommand(request));
        return 'done';
      } catch (error) {
        const codes =
          error instanceof TransactionCanceledException
            ? (error.CancellationReasons ?? []).map(({ Code = 'None' }) => Code)
            : undefined;
        if (codes?.[0] === 'ConditionalCheckFailed') throw overtaken(error);
        if (codes?.includes('ConditionalCheckFailed') === true) return 'refused';
        const isPassing =
          codes === undefined
            ? isRetryable(error)
            : codes.every((code) => code === 'None' || isRetryableCode(code));
        if (!isPassing || !(await waitForRetry(backoff, attempts))) throw error;
        // One whose fate is not known is sent as it was: its token keeps it from taking effect twice.
        if (codes !== undefined) request = { TransactItems, ClientRequestToken: randomUUID() };
      }
    }
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

function overtaken(cause: unknown): Overtaken {
  const message =
    'Another rebuild of this stack has begun meanwhile. What this one has corrected stays; see what the other says.';
  return new Overtaken(message, { cause });
}
