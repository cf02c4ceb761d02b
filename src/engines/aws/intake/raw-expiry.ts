import {
  GetBucketLifecycleConfigurationCommand,
  type LifecycleRule,
  type S3Client,
} from '@aws-sdk/client-s3';

import { timeOfBatchId } from '../../../domain/batch-id.ts';
import type { DateRange } from '../verify/audit-settlement.ts';
import { nameOf } from '../errors.ts';
import type { AuditDatabase } from '../verify/audit-database.ts';

const dayMs = 86_400_000;
const batchesAtOnce = 10_000;
const rawPrefix = 'raw/';

/** After how many milliseconds a rule of the bucket deletes raw bodies; undefined: none does. */
export async function expiryOfBucket(
  client: Pick<S3Client, 'send'>,
  Bucket: string,
): Promise<number | undefined> {
  const days = (await rulesOf(client, Bucket))
    .filter((rule) => rule.Status === 'Enabled' && isOfRawBodies(rule))
    .flatMap(({ Expiration }) => Expiration?.Days ?? []);
  return days.length === 0 ? undefined : Math.min(...days) * dayMs;
}

async function rulesOf(client: Pick<S3Client, 'send'>, Bucket: string): Promise<LifecycleRule[]> {
  try {
    const request = new GetBucketLifecycleConfigurationCommand({ Bucket });
    return (await client.send(request)).Rules ?? [];
  } catch (error) {
    if (nameOf(error) === 'NoSuchLifecycleConfiguration') return [];
    throw error;
  }
}

function isOfRawBodies({ Filter }: LifecycleRule): boolean {
  const prefix = Filter?.And?.Prefix ?? Filter?.Prefix ?? '';
  return rawPrefix.startsWith(prefix) || prefix.startsWith(rawPrefix);
}

/**
 * The first day of which the bucket's rule has deleted no batch that came on it or later, wherever
 * that day begins. Events of a later day in a batch that came before, from a clock that was ahead,
 * are not known of.
 */
export function firstWholeDay(now: number, rawExpiryMs: number): string {
  return new Date(now - rawExpiryMs + 2 * dayMs).toISOString().slice(0, 10);
}

/**
 * What the deleted bodies counted cannot be counted again: it would be taken out.
 * @throws an Error that says which days can be rebuilt.
 */
export function refuseExpired(
  rawExpiryMs: number | undefined,
  dates: DateRange | undefined,
  now: number,
): void {
  if (rawExpiryMs === undefined) return;
  const first = firstWholeDay(now, rawExpiryMs);
  if (dates !== undefined && dates.from >= first) return;
  throw new Error(
    `Raw bodies of this stack are deleted after ${Math.round(rawExpiryMs / dayMs)} days (rawExpiryDays), and what they counted would be taken out of the counters. Rebuild only days of which all batches are still there: --from ${first}, or a later day. Nothing was changed.`,
  );
}

/**
 * Counters of earlier days that are above the recount do not differ: the bodies that may explain
 * them are gone. Returns how many such there are. Those below it do.
 */
export function setExpiredApart(scratch: AuditDatabase, first: string): number {
  const above = `FROM verdicts WHERE kind = 'differs' AND excess > 0
    AND counter IN (SELECT id FROM counters WHERE date < ?)`;
  const count = scratch.number(`SELECT count(*) ${above}`, first);
  scratch.run(`DELETE ${above}`, first);
  return count;
}

/** Marks and rows may outlive the body by a while: of such batches no body is missed. */
export function forgetExpiredRows(scratch: AuditDatabase, expiredBefore: number): void {
  const known = 'EXISTS (SELECT 1 FROM batches b WHERE b.batch = o.batch)';
  for (let after = ''; ;) {
    const gone = scratch.all<{ batch: string }>(
      `SELECT batch FROM batch_rows o WHERE batch > ? AND NOT ${known}
       UNION SELECT batch FROM marks o WHERE batch > ? AND NOT ${known} ORDER BY batch LIMIT ${batchesAtOnce}`,
      ...[after, after],
    );
    const last = gone.at(-1);
    if (last === undefined) return;
    after = last.batch;
    scratch.transaction(() => {
      for (const { batch } of gone) {
        const madeAt = timeOfBatchId(batch);
        if (madeAt === undefined || madeAt >= expiredBefore) continue;
        scratch.run('DELETE FROM marks WHERE batch = ?', batch);
        scratch.run('DELETE FROM batch_rows WHERE batch = ?', batch);
      }
    });
  }
}
