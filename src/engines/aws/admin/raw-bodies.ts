import { rawKeyOf, readRawKey, timeOfBatchId } from '../../../domain/batch-id.ts';
import type { RawBatchEntry, RawBodies, ReceivedRange } from '../../../pipeline/store-admin.ts';
import { s3RawStore, startOf, type S3RawBatch, type S3RawStore } from '../intake/raw-store.ts';
import { DynamodbBatchRecords } from '../ledger/batch-records.ts';
import type { AwsStore } from './stack.ts';

/** The raw bodies in the bucket. A page is a page of its listing: 1,000 objects. */
export function awsRawBodies(store: AwsStore): RawBodies {
  const bodies = s3RawStore(store.s3, store.rawBucket);
  return {
    isRemote: true,
    list: (range) => listEntries(bodies, range),
    async get(name) {
      const raw = await find(store, bodies, name);
      if (raw === undefined) throw new Error(`${name} is not in the bucket ${store.rawBucket}.`);
      return raw.body;
    },
  };
}

/** Later times have no four-digit year, as raw keys need. */
const lastTime = Date.UTC(9999, 11, 31);

async function* listEntries(
  bodies: S3RawStore,
  range: ReceivedRange | undefined,
): AsyncGenerator<readonly RawBatchEntry[]> {
  let at = 0;
  const { from = 0, to = Number.MAX_SAFE_INTEGER } = range ?? {};
  const before = to > lastTime ? {} : { before: startOf(to) };
  for await (const page of bodies.objects({ after: startOf(Math.max(0, from)), ...before })) {
    yield page.flatMap(({ rawKey, bytes }) => {
      const identity = readRawKey(rawKey);
      // Not one of our keys.
      if (identity === undefined) return [];
      const details = async () => (await bodies.head(rawKey))?.details;
      const load = async () => {
        const raw = await bodies.get(rawKey);
        return raw && { body: raw.body, details: raw };
      };
      const { receivedAt } = identity;
      return [{ rawKey, receivedAt, at: ++at, bytes, details, load }];
    });
  }
}

async function find(
  { dynamodb: client, ledgerTable, keepMs }: AwsStore,
  bodies: S3RawStore,
  name: string,
): Promise<S3RawBatch | undefined> {
  if (readRawKey(name) !== undefined) return await bodies.get(name);
  // Our batch ids contain their creation time, which is usually the time of receipt.
  const time = timeOfBatchId(name);
  const guessed = time === undefined ? undefined : await bodies.get(rawKeyOf(name, time));
  if (guessed !== undefined) return guessed;
  const records = new DynamodbBatchRecords({ client, ledgerTable, keepMs });
  const receivedAt = ledgerTable === '' ? undefined : await records.receivedAt(name);
  if (receivedAt !== undefined) return await bodies.get(rawKeyOf(name, receivedAt));
  throw new Error(
    `The ledger no longer has the raw key of ${name}. Give the raw key itself; raw list shows it.`,
  );
}
