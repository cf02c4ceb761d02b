import { setTimeout as delay } from 'node:timers/promises';

import type { AuditOptions } from '../../engines/aws/verify/audit.ts';
import type { Backoff } from '../../util/backoff.ts';
import type { Estimate } from '../../engines/aws/verify/audit-estimate.ts';
import type { AuditCounts } from '../../engines/aws/verify/audit-findings.ts';
import { withThousands, openProgress, type Progress } from '../cli/progress.ts';
import type { StackAuditOptions } from './stack-options.ts';
import type { AwsStore } from '../cli/stack.ts';

/** Tries where the SDK does not try itself. */
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

/** What a proof of the stack needs, and how it tells what it will cost and how far it is. */
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

  options(store: AwsStore): Omit<AuditOptions, 'dates' | 'received'> {
    const { width, requestsPerSecond, inFlightMs } = this.#options;
    return {
      ...{ store, width, requestsPerSecond, inFlightMs, backoff: commandBackoff() },
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
  return `will read ${withThousands(objects)} bodies (${mib} MiB): about ${withThousands(s3Lists)} lists and ${withThousands(s3Gets)} gets of S3 and ${withThousands(dynamodbReadUnits)} read units of DynamoDB, ${dollars.toFixed(4)} dollars by the list prices of ${prices.region} of ${prices.date}; counters that differ take a little more`;
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

/** What is told beside differences, a line each. */
export function noteLines(counts: AuditCounts): string[] {
  const { deadLetters, inFlight, forgotten, dropped, strangers } = counts;
  const { wholeFrom, aboveExpired = 0 } = counts;
  const lines: [number, string][] = [
    [deadLetters, 'chunks are among the dead letters, and not counted'],
    [inFlight, 'batches came lately and may still be on their way'],
    [forgotten, 'batches are older than the ledger remembers, and taken as counted'],
    [dropped, 'batches were dropped, wholly or in part, and are not counted'],
    [strangers, 'counted items were queued by others: no raw body tells of them'],
  ];
  const notes = lines.flatMap(([amount, text]) =>
    amount > 0 ? [`${withThousands(amount)} ${text}`] : [],
  );
  if (wholeFrom === undefined) return notes;
  return [
    ...notes,
    `raw bodies are deleted by rule (rawExpiryDays): counters of days before ${wholeFrom} may be above the recount, and ${withThousands(aboveExpired)} are`,
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
    strangers,
  } = counts;
  return {
    ...{ batches, items, bytes, counters, keys, dead_letters: deadLetters, in_flight: inFlight },
    ...{ forgotten, dropped, strangers },
    ...{ whole_from: counts.wholeFrom, above_expired: counts.aboveExpired },
  };
}
