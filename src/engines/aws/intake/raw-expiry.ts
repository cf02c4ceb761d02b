import {
  GetBucketLifecycleConfigurationCommand,
  type LifecycleRule,
  type S3Client,
} from '@aws-sdk/client-s3';

import { timeOfBatchId } from '../../../domain/batch-id.ts';
import { dayMs } from '../../../domain/timestamp.ts';
import type { DateRange } from '../../../pipeline/store-admin.ts';
import { nameOf } from '../errors.ts';
import { groupPrefix } from './body-groups.ts';
import { rawPrefix } from './raw-store.ts';
import type { AuditDatabase } from '../verify/audit-database.ts';

const batchesAtOnce = 10_000;

/** The age in milliseconds at which a lifecycle rule deletes raw bodies; undefined without a rule. */
export async function expiryOfBucket(
  client: Pick<S3Client, 'send'>,
  Bucket: string,
): Promise<number | undefined> {
  const days = (await rulesOf(client, Bucket))
    .filter((rule) => rule.Status === 'Enabled' && appliesToRawBodies(rule))
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

function appliesToRawBodies({ Filter }: LifecycleRule): boolean {
  const prefix = Filter?.And?.Prefix ?? Filter?.Prefix ?? '';
  return [rawPrefix, groupPrefix].some((own) => own.startsWith(prefix) || prefix.startsWith(own));
}

/**
 * The first day since whose start the lifecycle rule has deleted no batch, in every time zone. Earlier
 * batches may hold events of later days, from a fast clock; these are unknown.
 */
export function firstWholeDay(now: number, rawExpiryMs: number): string {
  return new Date(now - rawExpiryMs + 2 * dayMs).toISOString().slice(0, 10);
}

/**
 * Refuses to rebuild days with deleted bodies: the rebuild would remove their counts.
 * @throws an Error that names the days that can be rebuilt.
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
    `Raw bodies of this stack are deleted after ${Math.round(rawExpiryMs / dayMs)} days (rawExpiryDays), and a rebuild would remove their counts. Rebuild only days whose batches all exist: --from ${first}, or a later day. Nothing was changed.`,
  );
}

/**
 * Removes the findings on counters of days before `first` that are above the recount: deleted bodies
 * may explain them. Returns their number. Findings on counters below the recount stay.
 */
export function excludeExpired(database: AuditDatabase, first: string): number {
  const above = `FROM findings WHERE kind = 'differs' AND excess > 0
    AND counter IN (SELECT id FROM counters WHERE date < ?)`;
  const count = database.number(`SELECT count(*) ${above}`, first);
  database.run(`DELETE ${above}`, first);
  return count;
}

/** Dedup records and batch rows may outlive the body; such batches are no finding. */
export function forgetExpiredRows(database: AuditDatabase, expiredBefore: number): void {
  const hasBody = 'EXISTS (SELECT 1 FROM batches b WHERE b.batch = o.batch)';
  for (let after = ''; ;) {
    const gone = database.all<{ batch: string }>(
      `SELECT batch FROM batch_rows o WHERE batch > ? AND NOT ${hasBody}
       UNION SELECT batch FROM dedup_records o WHERE batch > ? AND NOT ${hasBody} ORDER BY batch LIMIT ${batchesAtOnce}`,
      ...[after, after],
    );
    const last = gone.at(-1);
    if (last === undefined) return;
    after = last.batch;
    database.transaction(() => {
      for (const { batch } of gone) {
        const createdAt = timeOfBatchId(batch);
        if (createdAt === undefined || createdAt >= expiredBefore) continue;
        database.run('DELETE FROM dedup_records WHERE batch = ?', batch);
        database.run('DELETE FROM batch_rows WHERE batch = ?', batch);
      }
    });
  }
}
