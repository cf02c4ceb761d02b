import { setTimeout as delay } from 'node:timers/promises';

import { dayRule } from '../../../src/domain/day.ts';
import {
  auditStack,
  type AwsAuditSummary,
  type AuditOptions,
  type AuditedStore,
} from '../../../src/engines/aws/verify/audit.ts';
import {
  rebuildStack,
  type WorkFileOptions,
  type RebuildOptions,
  type RebuildSummary,
} from '../../../src/engines/aws/verify/rebuild.ts';
import type { Backoff } from '../../../src/util/backoff.ts';
import type { Difference } from '../../../src/pipeline/findings.ts';
import type { AwsEmulators, AwsStore } from './aws-store.ts';
import { temporaryDirectory } from '../processes/server-process.ts';

const dayMs = 86_400_000;

export const testBackoff: Backoff = {
  attemptsMax: 50,
  delayMsMax: 50,
  deadline: Number.POSITIVE_INFINITY,
  now: Date.now,
  sleep: (milliseconds) => delay(milliseconds),
  random: Math.random,
};

type Options = Partial<Omit<AuditOptions, 'store'>> & Pick<AuditedStore, 'rawExpiryMs'>;

function verifyOptions(aws: AwsEmulators, store: AwsStore, options: Options): AuditOptions {
  const { dynamodb, s3, sqs } = aws;
  return {
    store: {
      ...{
        dynamodb,
        s3,
        sqs,
        dayOf: dayRule('as-written'),
        keepMs: 90 * dayMs,
        rawBucket: store.bucket,
      },
      ...store,
      rawExpiryMs: options.rawExpiryMs,
    },
    backoff: testBackoff,
    dates: undefined,
    received: undefined,
    width: 8,
    requestsPerSecond: 100_000,
    // Everything uncounted is late: these stores have nothing in progress.
    inFlightMs: -1_000,
    onEstimate: () => undefined,
    onProgress: () => undefined,
    ...options,
  };
}

/** Audits the store; returns the findings and the summary. */
export async function auditOf(
  aws: AwsEmulators,
  store: AwsStore,
  options: Options = {},
): Promise<{ differences: Difference[]; summary: AwsAuditSummary }> {
  const differences: Difference[] = [];
  const summary = await auditStack({
    ...verifyOptions(aws, store, options),
    onDifference: (difference) => differences.push(difference),
  });
  return { differences, summary };
}

type RebuildOf = Options &
  Partial<Pick<RebuildOptions, 'dryRun' | 'withoutDamaged'> & Pick<WorkFileOptions, 'workDir'>>;

export async function rebuildOf(
  aws: AwsEmulators,
  store: AwsStore,
  options: RebuildOf = {},
): Promise<{ differences: Difference[]; summary: RebuildSummary }> {
  const differences: Difference[] = [];
  const { dryRun = false, withoutDamaged = false, workDir = temporaryDirectory() } = options;
  const summary = await rebuildStack({
    ...verifyOptions(aws, store, options),
    ...{ dryRun, withoutDamaged, workDir, name: 'test', transactions: aws.dynamodb },
    onDifference: (difference) => differences.push(difference),
  });
  return { differences, summary };
}
