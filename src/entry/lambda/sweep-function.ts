import { deadLetterQueue } from '../../engines/aws/dead-letters/dead-letter-queue.ts';
import { keepDeadBodies } from '../../engines/aws/dead-letters/keep-bodies.ts';
import { awsSweepPorts } from '../../engines/aws/intake/sweep-ports.ts';
import { redriveMarginMs } from '../../engines/aws/ledger/settings.ts';
import { sqsChunkQueue } from '../../engines/aws/queue/chunk-queue.ts';
import { ensureTablePair } from '../../engines/aws/ledger/table-pair.ts';
import { sweep } from '../../pipeline/sweep/sweep.ts';
import type { SweepResult } from '../../pipeline/sweep/ports.ts';
import { readRawKey } from '../../domain/batch-id.ts';
import { backoff, errorDetails } from './clients.ts';
import {
  bodyGroupsOf,
  deadLetterSinkOf,
  functionParts,
  shortestRetentionMsOf,
  rawStoreOf,
} from './function-parts.ts';
import { countSweep } from './telemetry/counted-work.ts';
import type { InvocationContext } from './telemetry/telemetry.ts';

/** The sweeps in the first minutes of each hour look for bodies among the dead letters. */
const [bodiesEveryMs, bodiesWithinMs] = [3_600_000, 300_000];
const passRules = { now: Date.now, limit: 10_000, waitSeconds: 1 };

type SweepFunction = (event: unknown, context: InvocationContext) => Promise<SweepResult>;

/** The time reserved at the end of an invocation for work in progress. */
const closingMs = 20_000;
/** Concurrent batches; `awsSweepPorts` limits the bytes of their bodies. */
export const sweepWidth = 48;
/** At most this many log lines for forgotten batches; the metric `BatchesForgotten` counts all. */
const forgottenShownMax = 20;

/** The scheduled function: completes interrupted intakes and sends lost messages again. */
export function sweepFunction(env: Record<string, string | undefined>): SweepFunction {
  const parts = functionParts('sweep', env);
  const { environment, telemetry, dayOf, keepMs } = parts;
  const { countersTable, ledgerTable, queueUrl, dynamodb: client, sqs } = parts;
  const afterMs = environment.number('SWEEP_AFTER_SECONDS', 0) * 1_000;
  const ports = awsSweepPorts({
    ledger: { client, ledgerTable, keepMs },
    rawStore: rawStoreOf(parts),
    queue: sqsChunkQueue({ client: sqs, queueUrl, backoff: backoff(6) }),
    ...{ sqs, queueUrl, backoff: backoff(6) },
    deadLetters: deadLetterSinkOf(parts, 6),
    width: sweepWidth,
  });
  const shortestRetentionMs = shortestRetentionMsOf(parts);
  const bodies = {
    pass: { client: sqs, queueUrl: environment.text('DEAD_LETTER_QUEUE_URL'), ...passRules },
    deadLetters: deadLetterQueue({
      ...{ client: sqs, queueUrl: environment.text('DEAD_LETTER_QUEUE_URL') },
      backoff: backoff(6),
    }),
    groups: bodyGroupsOf(parts),
  };
  const keepBodies = async () => {
    const kept = await keepDeadBodies(bodies);
    if (kept > 0) telemetry.log('WARN', 'bodies of dead letters stored', { letters: kept });
  };

  return telemetry.handler(async (_event, context) => {
    // In each invocation: a table may be deleted and restored under its name at any time.
    await ensureTablePair({ client, countersTable, ledgerTable });
    const retentionMs = await shortestRetentionMs();
    if (Date.now() % bodiesEveryMs < bodiesWithinMs) {
      // A later sweep tries again; batches must not wait for dead letters.
      await keepBodies().catch((error: unknown) =>
        telemetry.log('ERROR', 'bodies of dead letters were not stored', errorDetails(error)),
      );
    }
    const deadline = Date.now() + context.getRemainingTimeInMillis() - closingMs;
    let forgotten = 0;
    const result = await sweep(ports, {
      dayOf,
      now: Date.now,
      afterMs,
      ageMsMax: retentionMs - redriveMarginMs,
      keepMs: retentionMs,
      deadline,
      onFailure: (error, rawKey) =>
        telemetry.log('ERROR', 'a batch could not be swept', {
          batch_id: readRawKey(rawKey)?.batchId,
          raw_key: rawKey,
          ...errorDetails(error),
        }),
      onForgotten(rawKey) {
        const message =
          'batch older than the retention of the ledger: unknown whether it was counted';
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
