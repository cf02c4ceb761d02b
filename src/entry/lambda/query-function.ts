import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { S3Client } from '@aws-sdk/client-s3';
import { SQSClient } from '@aws-sdk/client-sqs';

import { awsStatus } from '../../engines/aws/ledger/status.ts';
import { dynamodbCounterReader } from '../../engines/aws/counters/counter-reader.ts';
import { dynamodbReceipts } from '../../engines/aws/ledger/receipts.ts';
import { s3RawStore } from '../../engines/aws/intake/raw-store.ts';
import { orUnavailable } from '../../engines/aws/unavailable.ts';
import type { Pages } from '../../http/app/pages.ts';
import type { Queries } from '../../pipeline/ports.ts';
import { gatherStats } from '../../pipeline/stats.ts';
import { errorDetails, requestHandler, s3Settings } from './clients.ts';
import { readEnvironment, storeRules } from './environment.ts';
import { httpFunction, type HttpFunction } from './http-function.ts';
import { telemetryOf } from './telemetry/telemetry.ts';

/** The limit of an uncompressed answer; compression reduces it to about a tenth. */
const answerBytesMax = 48 * 1024 * 1024;

/** The function that answers all queries. */
export function queryFunction(
  env: Record<string, string | undefined>,
  pages?: Pages,
): HttpFunction {
  const environment = readEnvironment(env);
  const telemetry = telemetryOf('query', environment);
  const { keepMs } = storeRules(environment);
  const client = telemetry.traced(new DynamoDBClient({ requestHandler }));
  const reader = dynamodbCounterReader(client, environment.text('COUNTERS_TABLE'));
  const ledgerTable = environment.text('LEDGER_TABLE');
  const status = awsStatus({
    sqs: telemetry.traced(new SQSClient({ requestHandler })),
    queueUrl: environment.text('QUEUE_URL'),
    deadLetterQueueUrl: environment.text('DEAD_LETTER_QUEUE_URL'),
    dynamodb: client,
    ledgerTable,
    rawStore: s3RawStore(
      telemetry.traced(new S3Client(s3Settings(environment))),
      environment.text('RAW_BUCKET'),
    ),
    now: Date.now,
  });
  const receipts = dynamodbReceipts({ client, ledgerTable, keepMs, now: Date.now });

  const onFailure = (error: unknown) =>
    telemetry.log('ERROR', 'a query failed', errorDetails(error));
  const answered = <T>(act: () => Promise<T>) => orUnavailable(notNow, onFailure, act);

  const queries: Queries = {
    query: (query, take) => answered(() => reader.query(query, take)),
    stats: (request, known) => answered(() => gatherStats(reader, request, known, answerBytesMax)),
    receipt: (batchId) => answered(() => receipts.find(batchId)),
    status: () => answered(status),
  };
  return httpFunction({ queries }, environment, telemetry, pages);
}

const notNow = 'The query cannot be answered now. Send it again after a moment.';
