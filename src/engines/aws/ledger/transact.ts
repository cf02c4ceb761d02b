import { randomUUID } from 'node:crypto';

import {
  TransactionCanceledException,
  TransactWriteItemsCommand,
  type DynamoDBClient,
  type TransactWriteItem,
} from '@aws-sdk/client-dynamodb';

import { waitForRetry, type Backoff } from '../../../util/backoff.ts';
import { isRetryable, isRetryableCode } from '../errors.ts';

/** DynamoDB's limit of writes in one TransactWriteItems. */
export const transactionWritesMax = 100;

export interface TransactOptions {
  /** A client that does not retry: `transact` decides which requests are sent again. */
  readonly client: Pick<DynamoDBClient, 'send'>;
  readonly backoff: Backoff;
}

type TransactionOutcome =
  | { readonly kind: 'done' }
  /** Nothing was written; `places` are the indexes of the writes whose condition failed. */
  | { readonly kind: 'refused'; readonly places: ReadonlySet<number>; readonly cause: unknown };

/**
 * Carries out all writes once, or none. An attempt with an unknown effect is sent again with its
 * token, so that it cannot take effect twice; a cancelled attempt had no effect, and `writesOf`
 * makes its successor.
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
      const codes = cancellationCodes(error);
      const places = failedConditions(codes ?? []);
      if (places.size > 0) return { kind: 'refused', places, cause: error };
      const isTransient = codes?.every(isTransientCode) ?? isRetryable(error);
      if (!isTransient || !(await waitForRetry(backoff, attempts))) throw error;
      if (codes !== undefined) request = requestOf(writesOf());
    }
  }
}

/** The code of each write of a cancelled transaction, `None` where it is not the cause. */
function cancellationCodes(error: unknown): string[] | undefined {
  if (!(error instanceof TransactionCanceledException)) return undefined;
  return (error.CancellationReasons ?? []).map(({ Code = 'None' }) => Code);
}

export function isTransientCode(code: string): boolean {
  return code === 'None' || isRetryableCode(code);
}

function failedConditions(codes: readonly string[]): ReadonlySet<number> {
  const places = codes.flatMap((code, at) => (code === 'ConditionalCheckFailed' ? [at] : []));
  return new Set(places);
}

function requestOf(TransactItems: TransactWriteItem[]) {
  return { TransactItems, ClientRequestToken: randomUUID() };
}
