import { randomBytes } from 'node:crypto';

import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { S3Client } from '@aws-sdk/client-s3';
import { SQSClient } from '@aws-sdk/client-sqs';

import { batchIdMaker, type BatchId } from '../../domain/batch-id.ts';
import { awsIntake } from '../../engines/aws/intake/intake.ts';
import { CounterAdmission } from '../../engines/aws/counters/counter-admission.ts';
import { DynamodbBatchRecords } from '../../engines/aws/ledger/batch-records.ts';
import { awsReplayIntake } from '../../engines/aws/intake/replay-intake.ts';
import { ensureDayRule, leastKeepMs, roomMs } from '../../engines/aws/ledger/settings.ts';
import { dynamodbSweepProgress } from '../../engines/aws/ledger/sweep-progress.ts';
import { s3RawStore } from '../../engines/aws/intake/raw-store.ts';
import { sqsChunkQueue } from '../../engines/aws/queue/chunk-queue.ts';
import { checkTablePair } from '../../engines/aws/ledger/table-pair.ts';
import { orUnavailable } from '../../engines/aws/unavailable.ts';
import { ingest } from '../../pipeline/ingest.ts';
import { replay } from '../../pipeline/replay.ts';
import type { Pipeline } from '../../pipeline/ports.ts';
import { backoff, errorDetails, requestHandler, s3Settings } from './clients.ts';
import {
  bodyBytesMax,
  countersPerDayMax,
  itemsPerMessage,
  readEnvironment,
  storeRules,
} from './environment.ts';
import { httpFunction, type HttpFunction } from './http-function.ts';
import { once } from './once.ts';
import { telemetryOf } from './telemetry/telemetry.ts';

/** How long replays rely on the last check that no table was restored. */
const tablesCheckedMs = 60_000;

/** The function behind `POST /ingest`. */
export function ingestFunction(env: Record<string, string | undefined>): HttpFunction {
  const environment = readEnvironment(env);
  const telemetry = telemetryOf('ingest', environment);
  const { dayZone, dayOf, keepMs } = storeRules(environment);
  const ledgerTable = environment.text('LEDGER_TABLE');
  const dynamodb = telemetry.traced(new DynamoDBClient({ requestHandler }));
  const sqs = telemetry.traced(new SQSClient({ requestHandler }));
  const onFailure = (error: unknown, batchId?: BatchId) =>
    telemetry.log('ERROR', 'a batch was not taken', {
      ...(batchId !== undefined && { batch_id: batchId }),
      ...errorDetails(error),
    });
  const countersTable = environment.text('COUNTERS_TABLE');
  const countersMax = countersPerDayMax(environment);
  const common = {
    records: new DynamodbBatchRecords({ client: dynamodb, ledgerTable, keepMs }),
    rawStore: s3RawStore(
      telemetry.traced(new S3Client(s3Settings(environment))),
      environment.text('RAW_BUCKET'),
    ),
    queue: sqsChunkQueue({
      client: sqs,
      queueUrl: environment.text('QUEUE_URL'),
      backoff: backoff(6),
    }),
    itemsPerMessage: itemsPerMessage(environment),
    admission: new CounterAdmission({
      client: dynamodb,
      countersTable,
      countersPerDayMax: countersMax,
      dayOf,
      now: Date.now,
    }),
    dayOf,
    now: Date.now,
    onFailure,
  };
  const intake = awsIntake({ ...common, makeBatchId: batchIdMaker(randomBytes) });
  const replayIntake = awsReplayIntake({
    ...common,
    orphans: dynamodbSweepProgress(dynamodb, ledgerTable),
    leastKeepMs: () => leastKeepMs(dynamodb, ledgerTable, keepMs),
    roomMs,
  });
  const checkDayRule = once(() => ensureDayRule(dynamodb, ledgerTable, dayZone));
  const checkTables = once(
    () => checkTablePair({ client: dynamodb, countersTable, ledgerTable }),
    tablesCheckedMs,
  );

  const pipeline: Pipeline = {
    async ingest(submission) {
      const notAccepted = 'Batches cannot be accepted now. Send this one again after a moment.';
      await orUnavailable(notAccepted, onFailure, checkDayRule);
      const { replayOf } = submission;
      if (replayOf === undefined) return await ingest(submission, intake, { bodyBytesMax, dayOf });
      // A restored ledger may lack the dedup records of a counted batch.
      await orUnavailable(notAccepted, onFailure, checkTables);
      return await replay(submission, replayOf, replayIntake, { bodyBytesMax, dayOf });
    },
    query: notRoutedHere,
    stats: notRoutedHere,
    receipt: notRoutedHere,
    status: notRoutedHere,
  };
  return httpFunction(pipeline, environment, telemetry);
}

/** Everything but batches goes to the query function. */
function notRoutedHere(): Promise<never> {
  return Promise.reject(new Error('the query function answers this route'));
}
