import { hash } from 'node:crypto';

import type { BatchId } from '../../../domain/batch-id.ts';
import type { Difference } from '../../../pipeline/findings.ts';
import { inflateStored } from '../../../pipeline/recount.ts';
import type { S3RawBatch } from '../intake/raw-store.ts';
import type { AuditDatabase } from './audit-database.ts';

/*
 * A batch may be stored more than once: in two groups after a crash, or in a group and, once replayed, in
 * an object of its own. The copies may be compressed differently, but their bodies must be the same. The
 * table `bodies` has a row for each different body under a batch id.
 */

/** The SHA-256 of the uncompressed body. */
export function bodySha256Of(raw: S3RawBatch): Uint8Array {
  const { encoding, sha256 } = raw;
  // The audit has compared it with the bytes.
  if (encoding === 'identity' && sha256 !== undefined) return Buffer.from(sha256, 'hex');
  const inflated = inflateStored(raw);
  return hash('sha256', inflated.code === undefined ? inflated.body : raw.body, 'buffer');
}

/** `key`: the key of the object that has the body. */
export function noteBody(
  database: AuditDatabase,
  batchId: BatchId,
  bodySha256: Uint8Array,
  key: string,
): void {
  database.run('INSERT OR IGNORE INTO bodies VALUES (?, ?, ?)', batchId, bodySha256, key);
}

/** The findings on batch ids under which several bodies are stored. */
export function* differentBodies(database: AuditDatabase): Generator<Difference> {
  const sql = `SELECT b.batch, json_group_array(b.place) AS keys,
      (SELECT max(r.raw_key) FROM batches r WHERE r.batch = b.batch) AS raw_key
    FROM bodies b GROUP BY b.batch HAVING count(*) > 1 ORDER BY raw_key`;
  type Row = { batch: string; keys: string; raw_key: string };
  for (const { batch, keys, raw_key } of database.each<Row>(sql)) {
    const found = [...new Set(JSON.parse(keys) as string[])].sort().join(' and ');
    const detail = `Different bodies of batch ${batch} are stored, in ${found}; only one of them is counted.`;
    yield { code: 'raw_differs', detail, rawKeys: [raw_key] };
  }
}
