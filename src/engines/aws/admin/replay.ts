import { originOf, replay } from '../../../pipeline/replay.ts';
import type { ReceivedRange, ReplaySource, ReplayTarget } from '../../../pipeline/store-admin.ts';
import { realBackoff } from '../../../util/backoff.ts';
import { s3RawStore } from '../intake/raw-store.ts';
import { awsReplayIntake } from '../intake/replay-intake.ts';
import { DynamodbBatchRecords } from '../ledger/batch-records.ts';
import { ensureDayRule, leastKeepMs, roomMs } from '../ledger/settings.ts';
import { dynamodbSweepProgress } from '../ledger/sweep-progress.ts';
import { checkTablePair } from '../ledger/table-pair.ts';
import { sqsChunkQueue } from '../queue/chunk-queue.ts';
import { listEntries } from './raw-bodies.ts';
import { deployed, type AwsStore } from './stack.ts';

/** The batches of the bucket. The ledger has only hashes of their idempotency keys. */
export function replaySource(store: AwsStore, range: ReceivedRange | undefined): ReplaySource {
  const bodies = s3RawStore(store.s3, store.rawBucket);
  return {
    dayZone: store.dayZone,
    total: undefined,
    async *batches() {
      let at = 0;
      for await (const page of listEntries(bodies, range)) {
        for (const { rawKey } of page) {
          const load = async () => {
            const raw = await bodies.get(rawKey);
            if (raw === undefined) throw new Error(`${rawKey} was deleted during the replay.`);
            const { body, encoding } = raw;
            const unkeyed = { caller: '', idempotencyKey: undefined };
            return { rawKey, body, encoding, ...unkeyed, replayOf: originOf(raw) };
          };
          yield { kind: 'batch', rawKey, at: ++at, load };
        }
      }
    },
    hasKeys: () => false,
  };
}

/** Larger than any stored body. */
const bodyBytesMax = 1024 * 1024 * 1024;

/** A stack, as its ingest function takes replayed batches. */
export async function replayTarget(store: AwsStore): Promise<ReplayTarget> {
  const stack = deployed(store);
  const { dynamodb, countersTable, ledgerTable, keepMs, dayZone, dayOf, name } = stack;
  await checkTablePair({ client: dynamodb, countersTable, ledgerTable });
  await ensureDayRule(dynamodb, ledgerTable, dayZone);
  let least: Promise<number> | undefined;
  let lastFailure: unknown;
  const backoff = realBackoff({ attemptsMax: 6, delayMsMax: 1_000 });
  const intake = awsReplayIntake({
    records: new DynamodbBatchRecords({ client: dynamodb, ledgerTable, keepMs }),
    rawStore: s3RawStore(stack.s3, stack.rawBucket),
    queue: sqsChunkQueue({ client: stack.sqs, queueUrl: stack.queueUrl, backoff }),
    orphans: dynamodbSweepProgress(dynamodb, ledgerTable),
    itemsPerMessage: stack.itemsPerMessage,
    dayOf,
    now: Date.now,
    leastKeepMs: () => (least ??= leastKeepMs(dynamodb, ledgerTable, keepMs)),
    roomMs,
    // Reported with the batch if its retries fail.
    onFailure: (error) => (lastFailure = error),
  });
  return {
    ...{ name, dayZone, check: `audit --stack ${name}, once the queue is empty` },
    async ingest(submission) {
      const { replayOf } = submission;
      if (replayOf === undefined) throw new Error('the batch lacks its origin');
      const outcome = await replay(submission, replayOf, intake, { bodyBytesMax, dayOf });
      if (outcome.accepted || outcome.problem.retryAfterSeconds === undefined) return outcome;
      const why = lastFailure instanceof Error ? ` (${lastFailure.message})` : '';
      const { detail, ...problem } = outcome.problem;
      return { accepted: false, problem: { ...problem, detail: detail + why } };
    },
    close: () => Promise.resolve(),
  };
}
