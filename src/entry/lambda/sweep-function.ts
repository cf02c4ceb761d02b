import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { S3Client } from '@aws-sdk/client-s3';
import { SQSClient } from '@aws-sdk/client-sqs';
import { awsSweepPorts } from '../../engines/aws/intake/sweep-ports.ts';
import { ensureDayRule, leastKeepMs, roomMs } from '../../engines/aws/ledger/settings.ts';
import { deadLetterOnce } from '../../engines/aws/dead-letters/dead-letter-once.ts';
import { s3RawStore } from '../../engines/aws/intake/raw-store.ts';
import { sqsChunkQueue } from '../../engines/aws/queue/chunk-queue.ts';
import { deadLetterQueue } from '../../engines/aws/dead-letters/dead-letter-queue.ts';
import { ensureTablePair } from '../../engines/aws/ledger/table-pair.ts';
import { sweep } from '../../pipeline/sweep/sweep.ts';
import type { SweepResult } from '../../pipeline/sweep/ports.ts';
import { readRawKey } from '../../domain/batch-id.ts';
import { backoff, errorDetails, requestHandler, s3Settings } from './clients.ts';
import { countSweep, observedDeadLetters } from './telemetry/counted-work.ts';
import { readEnvironment, storeRules } from './environment.ts';
import { once } from './once.ts';
import { telemetryOf, type InvocationContext } from './telemetry/telemetry.ts';

export type SweepFunction = (event: unknown, context: InvocationContext) => Promise<SweepResult>;

/** The time reserved at the end of an invocation for work in progress. */
const closingMs = 20_000;
/** Concurrent batches; `awsSweepPorts` limits the bytes of their bodies. */
export const sweepWidth = 48;
/** Log lines for forgotten batches; the metric `BatchesForgotten` counts all. */
const forgottenShownMax = 20;

/** The scheduled function: completes interrupted intakes and sends lost messages again. */
export function sweepFunction(env: Record<string, string | undefined>): SweepFunction {
  const environment = readEnvironment(env);
  const telemetry = telemetryOf('sweep', environment);
  const { dayZone, dayOf, keepMs } = storeRules(environment);
  const afterMs = environment.number('SWEEP_AFTER_SECONDS', 0) * 1_000;
  const countersTable = environment.text('COUNTERS_TABLE');
  const ledgerTable = environment.text('LEDGER_TABLE');
  const client = telemetry.traced(new DynamoDBClient({ requestHandler }));
  const sqs = telemetry.traced(new SQSClient({ requestHandler }));
  const rawStore = s3RawStore(
    telemetry.traced(new S3Client(s3Settings(environment))),
    environment.text('RAW_BUCKET'),
  );
  const sqsTo = (variable: string) => ({
    client: sqs,
    queueUrl: environment.text(variable),
    backoff: backoff(6),
  });
  const deadLetters = deadLetterQueue(sqsTo('DEAD_LETTER_QUEUE_URL'));
  const ports = awsSweepPorts({
    ledger: { client, ledgerTable, keepMs },
    rawStore,
    queue: sqsChunkQueue(sqsTo('QUEUE_URL')),
    ...{ sqs, queueUrl: environment.text('QUEUE_URL'), backoff: backoff(6) },
    deadLetters: deadLetterOnce(observedDeadLetters(deadLetters, telemetry), {
      client,
      ledgerTable,
      keepMs,
      now: Date.now,
    }),
    width: sweepWidth,
  });
  const readRules = once(async () => {
    await ensureDayRule(client, ledgerTable, dayZone);
    return { leastMs: await leastKeepMs(client, ledgerTable, keepMs) };
  });

  return telemetry.handler(async (_event, context) => {
    // In each invocation: a table may be deleted and restored under its name at any time.
    await ensureTablePair({ client, countersTable, ledgerTable });
    const { leastMs } = await readRules();
    const deadline = Date.now() + context.getRemainingTimeInMillis() - closingMs;
    let forgotten = 0;
    const result = await sweep(ports, {
      dayOf,
      now: Date.now,
      afterMs,
      ageMsMax: leastMs - roomMs,
      keepMs: leastMs,
      deadline,
      onFailure: (error, rawKey) =>
        telemetry.log('ERROR', 'a batch could not be swept', {
          batch_id: readRawKey(rawKey)?.batchId,
          raw_key: rawKey,
          ...errorDetails(error),
        }),
      onForgotten(rawKey) {
        const message =
          'a batch is older than the ledger remembers, and nothing tells whether it is counted';
        if (++forgotten <= forgottenShownMax) telemetry.log('ERROR', message, { raw_key: rawKey });
      },
    });
    countSweep(result, telemetry);
    telemetry.log('INFO', 'swept', result);
    // Lambda runs the sweep again; an alarm reports repeated failures.
    if (result.failed > 0) throw new Error(`${result.failed} batches could not be swept`);
    return result;
  });
}
