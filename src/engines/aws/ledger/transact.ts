import { randomUUID } from 'node:crypto';

import {
  TransactionCanceledException,
  TransactWriteItemsCommand,
  type CancellationReason,
  type DynamoDBClient,
  type TransactWriteItem,
} from '@aws-sdk/client-dynamodb';

import { waitForRetry, type Backoff } from '../../../util/backoff.ts';
import { isRetryable, isRetryableCode } from '../errors.ts';
import type { Item } from './ledger-table.ts';

/** DynamoDB's limit of writes in one TransactWriteItems. */
export const transactionWritesMax = 100;

export interface TransactOptions {
  /** A client that does not retry: `transact` decides which requests are sent again. */
  readonly client: Pick<DynamoDBClient, 'send'>;
  readonly backoff: Backoff;
}

type TransactionOutcome =
  | { readonly kind: 'done' }
  /**
   * Nothing was written; `failedWrites` are the indexes of the writes whose condition failed, each
   * with the existing row if the write requested it.
   */
  | {
      readonly kind: 'refused';
      readonly failedWrites: ReadonlyMap<number, Item | undefined>;
      readonly cause: unknown;
    };

/**
 * Carries out all writes once, or none. An attempt with an unknown effect is sent again with its
 * token, so that it cannot take effect twice; a cancelled attempt had no effect, and `writesOf`
 * builds the next one.
 * @throws if retrying does not help, or the backoff ends.
 */
export async function transact(
  { client, backoff }: TransactOptions,
  writesOf: () => TransactWriteItem[],
): Promise<TransactionOutcome> {
  let request = requestOf(writesOf());
  for (let attempts = 1; ; attempts++) {
    try {
      await client.send(new TransactWriteItemsCommand(request));
      return { kind: 'done' };
    } catch (error) {
      const reasons = cancellationReasons(error);
      const failedWrites = failedConditions(reasons ?? []);
      if (failedWrites.size > 0) return { kind: 'refused', failedWrites, cause: error };
      const isTransient =
        reasons?.every(({ Code = 'None' }) => isTransientCode(Code)) ?? isRetryable(error);
      if (!isTransient || !(await waitForRetry(backoff, attempts))) throw error;
      if (reasons !== undefined) request = requestOf(writesOf());
    }
  }
}

/** The reason of each write of a cancelled transaction, with the code `None` where it is not the cause. */
function cancellationReasons(error: unknown): readonly CancellationReason[] | undefined {
  if (!(error instanceof TransactionCanceledException)) return undefined;
  return error.CancellationReasons ?? [];
}

export function isTransientCode(code: string): boolean {
  return code === 'None' || isRetryableCode(code);
}

function failedConditions(
  reasons: readonly CancellationReason[],
): ReadonlyMap<number, Item | undefined> {
  return new Map(
    [...reasons.entries()]
      .filter(([, { Code }]) => Code === 'ConditionalCheckFailed')
      .map(([at, { Item }]) => [at, Item]),
  );
}

function requestOf(TransactItems: TransactWriteItem[]) {
  return { TransactItems, ClientRequestToken: randomUUID() };
}
