import { randomBytes } from 'node:crypto';

import { batchIdMaker, type BatchId } from '../../domain/batch-id.ts';
import { awsIntake } from '../../engines/aws/intake/intake.ts';
import { CounterAdmission } from '../../engines/aws/counters/counter-admission.ts';
import { DynamodbBatchRecords } from '../../engines/aws/ledger/batch-records.ts';
import { awsReplayIntake } from '../../engines/aws/intake/replay-intake.ts';
import {
  ensureDayRule,
  shortestRetentionMs,
  redriveMarginMs,
} from '../../engines/aws/ledger/settings.ts';
import { dynamodbSweepProgress } from '../../engines/aws/ledger/sweep-progress.ts';
import { sqsChunkQueue } from '../../engines/aws/queue/chunk-queue.ts';
import { checkTablePair } from '../../engines/aws/ledger/table-pair.ts';
import { orUnavailable } from '../../engines/aws/unavailable.ts';
import { ingest } from '../../pipeline/ingest.ts';
import { replay } from '../../pipeline/replay.ts';
import type { Ingest, IngestOutcome } from '../../pipeline/ports.ts';
import { backoff, errorDetails } from './clients.ts';
import { bodyBytesMax, carriesBodies, countersPerDayMax, itemsPerMessage } from './environment.ts';
import { bodyGroupsOf, functionParts, rawStoreOf } from './function-parts.ts';
import { httpFunction, type HttpFunction } from './http-function.ts';
import { cached } from './cached.ts';
import type { Telemetry } from './telemetry/telemetry.ts';

/** How long replays rely on the last check that no table was restored. */
const tablesCheckedMs = 60_000;

/** The function behind `POST /ingest`. */
export function ingestFunction(env: Record<string, string | undefined>): HttpFunction {
  const parts = functionParts('ingest', env);
  const { environment, telemetry, dayZone, dayOf, keepMs } = parts;
  const { countersTable, ledgerTable, queueUrl, dynamodb, sqs } = parts;
  const onFailure = (error: unknown, batchId?: BatchId) =>
    telemetry.log('ERROR', 'batch not accepted', {
      ...(batchId !== undefined && { batch_id: batchId }),
      ...errorDetails(error),
    });
  const common = {
    records: new DynamodbBatchRecords({ client: dynamodb, ledgerTable, keepMs }),
    rawStore: rawStoreOf(parts),
    queue: sqsChunkQueue({ client: sqs, queueUrl, backoff: backoff(6) }),
    itemsPerMessage: itemsPerMessage(environment),
    shortestRetentionMs: () => shortestRetentionMs(dynamodb, ledgerTable, keepMs),
    admission: new CounterAdmission({
      client: dynamodb,
      countersTable,
      countersPerDayMax: countersPerDayMax(environment),
      dayOf,
      now: Date.now,
    }),
    dayOf,
    now: Date.now,
    onFailure,
  };
  const intake = awsIntake({
    ...common,
    makeBatchId: batchIdMaker(randomBytes),
    carriesBodies: carriesBodies(environment),
  });
  const replayIntake = awsReplayIntake({
    ...common,
    groups: bodyGroupsOf(parts),
    orphans: dynamodbSweepProgress(dynamodb, ledgerTable),
    redriveMarginMs,
  });
  const checkDayRule = cached(() => ensureDayRule(dynamodb, ledgerTable, dayZone));
  const checkTables = cached(
    () => checkTablePair({ client: dynamodb, countersTable, ledgerTable }),
    tablesCheckedMs,
  );

  const accept: Ingest['ingest'] = async (submission) => {
    const notAccepted = 'Batches cannot be accepted now. Send this one again after a moment.';
    await orUnavailable(notAccepted, onFailure, checkDayRule);
    const { replayOf } = submission;
    if (replayOf === undefined) return await ingest(submission, intake, { bodyBytesMax, dayOf });
    // A restored ledger may lack the dedup records of a counted batch.
    await orUnavailable(notAccepted, onFailure, checkTables);
    return await replay(submission, replayOf, replayIntake, { bodyBytesMax, dayOf });
  };
  const batches: Ingest = {
    async ingest(submission) {
      const outcome = await accept(submission);
      reportBatch(outcome, submission.body.length, telemetry);
      return outcome;
    },
  };
  return httpFunction({ batches }, parts);
}

function reportBatch(
  outcome: IngestOutcome,
  bytes: number,
  { log, about, count }: Telemetry,
): void {
  const { rejected = 0, rejectedByCode = [] } = outcome.accepted ? outcome : outcome.problem;
  for (const [code, items] of rejectedByCode) {
    count('ItemsRefused', items);
    count(`ItemError_${code}`, items);
  }
  if (!outcome.accepted) return;
  const { batchId, enqueued } = outcome;
  count('BatchesAccepted', 1);
  count('ItemsAccepted', enqueued);
  count('BodyBytes', bytes);
  about({ batch_id: batchId });
  log('DEBUG', 'batch accepted', { items: enqueued, refused: rejected, bytes });
}
