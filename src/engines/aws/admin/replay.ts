import { replay } from '../../../pipeline/replay.ts';
import type { ReplayTarget } from '../../../pipeline/store-admin.ts';
import { realBackoff } from '../../../util/backoff.ts';
import { s3BodyGroups } from '../intake/body-groups.ts';
import { s3RawStore } from '../intake/raw-store.ts';
import { awsReplayIntake } from '../intake/replay-intake.ts';
import { DynamodbBatchRecords } from '../ledger/batch-records.ts';
import { ensureDayRule, shortestRetentionMs, redriveMarginMs } from '../ledger/settings.ts';
import { dynamodbSweepProgress } from '../ledger/sweep-progress.ts';
import { checkTablePair } from '../ledger/table-pair.ts';
import { sqsChunkQueue } from '../queue/chunk-queue.ts';
import { deployed, type AwsStore } from './stack.ts';

/** Larger than any stored body. */
const bodyBytesMax = 1024 * 1024 * 1024;

/** Accepts replayed batches into a stack, as its ingest function does. */
export async function replayTarget(store: AwsStore): Promise<ReplayTarget> {
  const stack = deployed(store);
  const { dynamodb, countersTable, ledgerTable, keepMs, dayZone, dayOf, name } = stack;
  await checkTablePair({ client: dynamodb, countersTable, ledgerTable });
  await ensureDayRule(dynamodb, ledgerTable, dayZone);
  let shortest: Promise<number> | undefined;
  let lastFailure: unknown;
  const backoff = realBackoff({ attemptsMax: 6, delayMsMax: 1_000 });
  const intake = awsReplayIntake({
    records: new DynamodbBatchRecords({ client: dynamodb, ledgerTable, keepMs }),
    rawStore: s3RawStore(stack.s3, stack.rawBucket),
    groups: s3BodyGroups(stack.s3, stack.rawBucket),
    queue: sqsChunkQueue({ client: stack.sqs, queueUrl: stack.queueUrl, backoff }),
    orphans: dynamodbSweepProgress(dynamodb, ledgerTable),
    itemsPerMessage: stack.itemsPerMessage,
    dayOf,
    now: Date.now,
    shortestRetentionMs: () => (shortest ??= shortestRetentionMs(dynamodb, ledgerTable, keepMs)),
    redriveMarginMs,
    // Reported with the batch if its retries fail.
    onFailure: (error) => (lastFailure = error),
  });
  return {
    ...{ name, dayZone, check: `audit --stack ${name}, once the queue is empty` },
    async ingest(submission) {
      const { replayOf } = submission;
      if (replayOf === undefined) throw new Error('the batch has no origin');
      const outcome = await replay(submission, replayOf, intake, { bodyBytesMax, dayOf });
      if (outcome.accepted || outcome.problem.retryAfterSeconds === undefined) return outcome;
      const why = lastFailure instanceof Error ? ` (${lastFailure.message})` : '';
      const { detail, ...problem } = outcome.problem;
      return { accepted: false, problem: { ...problem, detail: detail + why } };
    },
    close: () => Promise.resolve(),
  };
}
