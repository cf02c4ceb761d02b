import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { S3Client } from '@aws-sdk/client-s3';
import { SQSClient } from '@aws-sdk/client-sqs';

import { deadLetterOnce } from '../../engines/aws/dead-letters/dead-letter-once.ts';
import { deadLetterQueue } from '../../engines/aws/dead-letters/dead-letter-queue.ts';
import { s3BodyGroups } from '../../engines/aws/intake/body-groups.ts';
import { s3RawStore } from '../../engines/aws/intake/raw-store.ts';
import { ensureDayRule, shortestRetentionMs } from '../../engines/aws/ledger/settings.ts';
import { backoff, requestHandler } from './clients.ts';
import { readEnvironment, storeRules } from './environment.ts';
import { cached } from './cached.ts';
import { observedDeadLetters } from './telemetry/counted-work.ts';
import { telemetryOf, type FunctionName } from './telemetry/telemetry.ts';

export type FunctionParts = ReturnType<typeof functionParts>;

/** The parts that every function has: settings, telemetry, and the tables and the queue of the stack. */
export function functionParts(name: FunctionName, env: Record<string, string | undefined>) {
  const environment = readEnvironment(env);
  const telemetry = telemetryOf(name, environment);
  return {
    environment,
    telemetry,
    ...storeRules(environment),
    countersTable: environment.text('COUNTERS_TABLE'),
    ledgerTable: environment.text('LEDGER_TABLE'),
    queueUrl: environment.text('QUEUE_URL'),
    dynamodb: telemetry.traced(new DynamoDBClient({ requestHandler })),
    sqs: telemetry.traced(new SQSClient({ requestHandler })),
  };
}

export function rawStoreOf(parts: FunctionParts) {
  return s3RawStore(s3Of(parts), parts.environment.text('RAW_BUCKET'));
}

export function bodyGroupsOf(parts: FunctionParts) {
  return s3BodyGroups(s3Of(parts), parts.environment.text('RAW_BUCKET'));
}

function s3Of({ environment, telemetry }: FunctionParts) {
  // An emulator has no host name for each bucket.
  const forcePathStyle = environment.optional('AWS_ENDPOINT_URL_S3') !== undefined;
  return telemetry.traced(new S3Client({ requestHandler, forcePathStyle }));
}

/** Adds each dead letter once, with a log line and a metric. */
export function deadLetterSinkOf(parts: FunctionParts, attemptsMax: number) {
  const { environment, telemetry, dynamodb, ledgerTable, keepMs, sqs } = parts;
  const queueUrl = environment.text('DEAD_LETTER_QUEUE_URL');
  const queue = deadLetterQueue({ client: sqs, queueUrl, backoff: backoff(attemptsMax) });
  const ledger = { client: dynamodb, ledgerTable, keepMs, now: Date.now };
  return deadLetterOnce(observedDeadLetters(queue, telemetry), ledger);
}

/**
 * Checks the day rule and reads the shortest time for which the ledger has kept its rows, in
 * milliseconds; once per environment.
 */
export function shortestRetentionMsOf({ dynamodb, ledgerTable, dayZone, keepMs }: FunctionParts) {
  return cached(async () => {
    await ensureDayRule(dynamodb, ledgerTable, dayZone);
    return await shortestRetentionMs(dynamodb, ledgerTable, keepMs);
  });
}
