import {
  rawKeyOf,
  readCarriedBatchId,
  readRawKey,
  timeOfBatchId,
} from '../../../domain/batch-id.ts';
import type { RawBodies } from '../../../pipeline/store-admin.ts';
import { s3RawBatches, type RawBatches } from '../intake/raw-batches.ts';
import { DynamodbBatchRecords } from '../ledger/batch-records.ts';
import type { AwsStore } from './stack.ts';

/**
 * The raw bodies in the bucket, in both forms. A page is about one page of the bucket's listing:
 * 1,000 objects.
 */
export function awsRawBodies(store: AwsStore): RawBodies {
  const bodies = s3RawBatches(store.s3, store.rawBucket);
  return {
    isRemote: true,
    list: (range = { from: 0, to: Number.MAX_SAFE_INTEGER }) => bodies.list(range),
    async get(name) {
      const body = await find(store, bodies, name);
      if (body === undefined) {
        const hint =
          readCarriedBatchId(readRawKey(name)?.batchId ?? name) === undefined ? '' : notYet;
        throw new Error(`${name} is not in the bucket ${store.rawBucket}.${hint}`);
      }
      return body;
    },
  };
}

const notYet = ' Its message carries the body until the batch is counted.';

async function find(
  { dynamodb: client, ledgerTable, keepMs }: AwsStore,
  bodies: RawBatches,
  name: string,
): Promise<Uint8Array | undefined> {
  if (readRawKey(name) !== undefined) return await bodies.get(name);
  // Our batch ids contain their creation time, which is usually the time of receipt.
  const time = timeOfBatchId(name);
  const guessed = time === undefined ? undefined : await bodies.get(rawKeyOf(name, time));
  if (guessed !== undefined || readCarriedBatchId(name) !== undefined) return guessed;
  const records = new DynamodbBatchRecords({ client, ledgerTable, keepMs });
  const receivedAt = ledgerTable === '' ? undefined : await records.receivedAt(name);
  if (receivedAt !== undefined) return await bodies.get(rawKeyOf(name, receivedAt));
  throw new Error(
    `The ledger no longer has the raw key of ${name}. Give the raw key itself; raw list shows it.`,
  );
}
