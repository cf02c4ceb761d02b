import { setTimeout as delay } from 'node:timers/promises';

import type { AuditOptions } from '../../engines/aws/verify/audit.ts';
import type { Backoff } from '../../util/backoff.ts';
import type { Estimate } from '../../engines/aws/verify/audit-estimate.ts';
import type { AuditCounts } from '../../engines/aws/verify/audit-findings.ts';
import { withThousands, openProgress, type Progress } from '../cli/progress.ts';
import type { StackAuditOptions } from './stack-options.ts';
import type { AwsStore } from '../../engines/aws/admin/stack.ts';

/** Retries for requests that the SDK does not retry. */
export function commandBackoff(): Backoff {
  return {
    attemptsMax: 30,
    delayMsMax: 2_000,
    deadline: Number.POSITIVE_INFINITY,
    now: Date.now,
    sleep: (milliseconds) => delay(milliseconds),
    random: Math.random,
  };
}

/** The common part of `audit` and `rebuild` on a stack: options, cost estimate and progress. */
export class StackAuditRun {
  readonly #options: StackAuditOptions;
  #progress: Progress | undefined;
  #estimate: Estimate | undefined;

  constructor(options: StackAuditOptions) {
    this.#options = options;
  }

  get estimate(): Estimate | undefined {
    return this.#estimate;
  }

  async options(store: AwsStore): Promise<Omit<AuditOptions, 'dates' | 'received'>> {
    const { width, requestsPerSecond, inFlightMs } = this.#options;
    const rawExpiryMs = await store.rawExpiryMs();
    return {
      ...{
        store: { ...store, rawExpiryMs },
        width,
        requestsPerSecond,
        inFlightMs,
        backoff: commandBackoff(),
      },
      onEstimate: (estimate) => {
        this.#estimate = estimate;
        process.stderr.write(`${estimateText(estimate)}\n`);
      },
      onProgress: (bodies, total) => {
        this.#progress ??= openProgress(total);
        this.#progress.update(bodies, `${withThousands(bodies)} bodies read`);
      },
    };
  }

  stop(): void {
    this.#progress?.stop();
  }
}

function estimateText({
  objects,
  bytes,
  s3Lists,
  s3Gets,
  dynamodbReadUnits,
  dollars,
  prices,
}: Estimate) {
  const mib = withThousands(Math.ceil(bytes / 1024 ** 2));
  return `will read ${withThousands(objects)} bodies (${mib} MiB): about ${withThousands(s3Lists)} S3 list requests, ${withThousands(s3Gets)} S3 get requests and ${withThousands(dynamodbReadUnits)} DynamoDB read units, ${dollars.toFixed(4)} dollars at the list prices of ${prices.region} of ${prices.date}; each difference costs a little more`;
}

export function estimateJson({
  objects,
  bytes,
  s3Lists,
  s3Gets,
  dynamodbReadUnits,
  dollars,
  prices,
}: Estimate) {
  return {
    ...{
      objects,
      bytes,
      s3_lists: s3Lists,
      s3_gets: s3Gets,
      dynamodb_read_units: dynamodbReadUnits,
    },
    ...{ dollars, prices },
  };
}

/** Notes beside the differences, one per line. */
export function noteLines(counts: AuditCounts): string[] {
  const { deadLetters, inFlight, forgotten, dropped, foreignMessages } = counts;
  const { wholeFrom, aboveExpired = 0 } = counts;
  const lines: [number, string][] = [
    [deadLetters, 'chunks are dead letters and not counted'],
    [inFlight, 'batches are recent and may not be counted yet'],
    [forgotten, 'batches are older than the rows of the ledger and assumed to be counted'],
    [dropped, 'batches were dropped as a whole or in part and are not counted'],
    [foreignMessages, 'counted items came from foreign messages and have no raw body'],
  ];
  const notes = lines.flatMap(([amount, text]) =>
    amount > 0 ? [`${withThousands(amount)} ${text}`] : [],
  );
  if (wholeFrom === undefined) return notes;
  return [
    ...notes,
    `rawExpiryDays deletes raw bodies, so counters of days before ${wholeFrom} may exceed the recount, and ${withThousands(aboveExpired)} do`,
  ];
}

export function countsJson(counts: AuditCounts): object {
  const {
    batches,
    items,
    bytes,
    counters,
    keys,
    deadLetters,
    inFlight,
    forgotten,
    dropped,
    foreignMessages: strangers,
  } = counts;
  return {
    ...{ batches, items, bytes, counters, keys, dead_letters: deadLetters, in_flight: inFlight },
    ...{ forgotten, dropped, strangers },
    ...{ whole_from: counts.wholeFrom, above_expired: counts.aboveExpired },
  };
}
