import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import type { S3Client } from '@aws-sdk/client-s3';
import type { SQSClient } from '@aws-sdk/client-sqs';

import type { DayOf } from '../../../domain/day.ts';
import type { AuditSummary, Difference } from '../../../pipeline/findings.ts';
import type { DateRange, ReceivedRange } from '../../../pipeline/store-admin.ts';
import type { Backoff } from '../../../util/backoff.ts';
import { deadChunks } from '../dead-letters/dead-letter-pass.ts';
import { findShortestRetentionMs } from '../ledger/settings.ts';
import { compareKeys, keyDifferences, reusedKeys } from './key-findings.ts';
import { pacer, paced } from '../pacer.ts';
import { AuditReader } from './audit-rules.ts';
import { estimate, type Estimate } from './audit-estimate.ts';
import {
  batchDifferences,
  chunksNotCounted,
  counterDifferences,
  countsOf,
  findCountedWithoutDedupRecord,
  type AuditCounts,
} from './audit-findings.ts';
import { firstWholeDay, forgetExpiredRows, excludeExpired } from '../intake/raw-expiry.ts';
import { AuditDatabase } from './audit-database.ts';
import { settleCounters } from './audit-settlement.ts';
import { AuditSource } from './audit-source.ts';

/** A store on AWS to audit. */
export interface AuditedStore {
  readonly dynamodb: Pick<DynamoDBClient, 'send'>;
  readonly s3: Pick<S3Client, 'send'>;
  readonly sqs: Pick<SQSClient, 'send'>;
  readonly countersTable: string;
  readonly ledgerTable: string;
  readonly rawBucket: string;
  /** Undefined if the queue was deleted with its stack. */
  readonly deadLetterQueueUrl: string | undefined;
  readonly dayOf: DayOf;
  /** How long dedup records and batch rows are kept, in milliseconds. */
  readonly keepMs: number;
  /** The age at which a lifecycle rule deletes raw bodies, in milliseconds; undefined: never. */
  readonly rawExpiryMs?: number | undefined;
}

export interface AuditOptions {
  readonly store: AuditedStore;
  /** The backoff for requests that the SDK does not retry; `now` is the audit's clock. */
  readonly backoff: Backoff;
  /** The dates of the counters to compare; undefined: all. */
  readonly dates: DateRange | undefined;
  /** If set, the audit reads only these batches and compares no counters. */
  readonly received: ReceivedRange | undefined;
  /** Concurrent requests, and requests per second. */
  readonly width: number;
  readonly requestsPerSecond: number;
  /** A younger batch may still be on its way to the counters; milliseconds. */
  readonly inFlightMs: number;
  /** Called after the listing, before anything else is read. */
  readonly onEstimate: (estimate: Estimate) => void;
  /** Called periodically with the number of bodies read so far, and of all bodies. */
  readonly onProgress: (bodies: number, total: number) => void;
}

export interface AwsAuditSummary extends AuditSummary, AuditCounts {
  /** Counters that could not be compared, because they changed during every read. */
  readonly unsettled: number;
  /** The number of requests sent. */
  readonly requests: number;
}

/** The result of an audit; the findings are in the database. */
export interface AuditResult {
  readonly database: AuditDatabase;
  /** Batches received before this must be counted; milliseconds since 1970. */
  readonly inFlightBefore: number;
  /** Batches received since this must have a batch row; milliseconds since 1970. */
  readonly rowsSince: number;
  /** The shortest time for which keys were ever kept, in milliseconds. */
  readonly shortestRetentionMs: number;
  readonly counts: AuditCounts;
  readonly requests: number;
}

const allDates: DateRange = { from: '', to: '~' };

/**
 * Audits a stack while it runs: counts the raw bodies in S3 again and compares the sums with the
 * ledger and the counters. The audit database is a temporary file, so that memory does not grow with
 * the store.
 */
export async function auditStack(
  options: AuditOptions & { readonly onDifference: (difference: Difference) => void },
): Promise<AwsAuditSummary> {
  const database = new AuditDatabase('');
  try {
    const result = await runAudit(options, database);
    let differences = 0;
    let unsettled = 0;
    for (const difference of differencesOf(result)) {
      if (difference.code === 'counter_unsettled') unsettled++;
      else differences++;
      options.onDifference(difference);
    }
    return { ...result.counts, differences, unsettled, requests: result.requests };
  } finally {
    database.close();
  }
}

export function* differencesOf(result: AuditResult): Generator<Difference> {
  yield* batchDifferences(result.database, result);
  yield* keyDifferences(result.database);
  yield* reusedKeys(result.database, result.shortestRetentionMs);
  yield* counterDifferences(result.database);
}

/** Reads the store into the audit database and writes the findings there. */
export async function runAudit(
  options: AuditOptions,
  database: AuditDatabase,
): Promise<AuditResult> {
  const { store, backoff, received, width, inFlightMs } = options;
  const pace = pacer(options.requestsPerSecond);
  const dynamodb = paced(store.dynamodb, pace);
  const sqs = paced(store.sqs, pace);
  const source = new AuditSource({
    ...{ dynamodb, s3: paced(store.s3, pace), backoff },
    countersTable: store.countersTable,
    ledgerTable: store.ledgerTable,
    rawBucket: store.rawBucket,
    segments: Math.min(width, 16),
  });
  const recorded = (await findShortestRetentionMs(dynamodb, store.ledgerTable)) ?? store.keepMs;
  const shortestRetentionMs = Math.min(recorded, store.keepMs);
  const { now } = backoff;
  const rules = { dayOf: store.dayOf, now, shortestRetentionMs, inFlightMs, width };
  const reader = new AuditReader(source, database, rules);
  const size = await reader.measure(received);
  options.onEstimate(estimate(size, received === undefined));
  const readDeadLetters = async () => {
    const { deadLetterQueueUrl, dayOf } = store;
    if (deadLetterQueueUrl === undefined) return;
    database.addDead(await deadChunks(sqs, deadLetterQueueUrl, dayOf, now));
  };
  await readDeadLetters();
  const onProgress = (bodies: number) => options.onProgress(bodies, size.unread.objects);
  const inFlightBefore = now() - inFlightMs;
  if (received === undefined) {
    await reader.readAll(onProgress);
    await compareCounters(options, { reader, source, database });
  } else {
    await reader.readListed(onProgress);
  }
  // A chunk may have been dead-lettered since the first reading of the dead letters.
  if (chunksNotCounted(database, inFlightBefore).length > 0) {
    await reader.refreshDedupRecords();
    await readDeadLetters();
  }
  if (received === undefined) {
    await excludeForeignMessages(options, { source, database });
    findCountedWithoutDedupRecord(database);
    tolerateUnattributed(database);
  }
  const expiry = excludeExpiredBodies(database, store, now());
  await compareKeys(source, database, rules, received === undefined);
  return {
    ...{ database, inFlightBefore, rowsSince: now() - shortestRetentionMs, shortestRetentionMs },
    counts: { ...countsOf(database, inFlightBefore), ...expiry },
    requests: pace.requests,
  };
}

async function compareCounters(
  { dates = allDates, width }: AuditOptions,
  parts: { reader: AuditReader; source: AuditSource; database: AuditDatabase },
): Promise<void> {
  const { reader, source, database } = parts;
  await reader.addCounters(dates);
  await settleCounters(reader, source, database, { width }, dates);
}

/**
 * Foreign messages are counted and have no raw body; their dedup records name the counter. A counter
 * that counted some since the ledger was read becomes unsettled: it cannot be compared.
 */
async function excludeForeignMessages(
  { dates = allDates }: AuditOptions,
  { source, database }: { source: AuditSource; database: AuditDatabase },
): Promise<void> {
  const before = database.number('SELECT sum(count) FROM foreign_messages');
  if (before === 0 && database.number(`SELECT count(*) ${exceeding}`) === 0) return;
  database.run('CREATE TEMP TABLE foreign_messages_before AS SELECT * FROM foreign_messages');
  database.run('DELETE FROM foreign_messages');
  await source.ledger((rows) =>
    database.addLedger(rows.filter(({ kind }) => kind === 'foreign_message')),
  );
  database.run(
    `INSERT OR REPLACE INTO findings
     SELECT s.counter, 'unsettled', n.count, coalesce(e.count, 0), 0
     FROM foreign_messages s JOIN counters c ON c.id = s.counter
     LEFT JOIN foreign_messages_before b ON b.counter = s.counter
     LEFT JOIN counted n ON n.counter = s.counter LEFT JOIN expected e ON e.counter = s.counter
     WHERE s.count > coalesce(b.count, 0) AND c.date BETWEEN ? AND ?`,
    ...[dates.from, dates.to],
  );
  database.run('DROP TABLE foreign_messages_before');
}

function excludeExpiredBodies(database: AuditDatabase, { rawExpiryMs }: AuditedStore, now: number) {
  if (rawExpiryMs === undefined) return {};
  const wholeFrom = firstWholeDay(now, rawExpiryMs);
  forgetExpiredRows(database, now - rawExpiryMs);
  return { wholeFrom, aboveExpired: excludeExpired(database, wholeFrom) };
}

const exceeding = `FROM findings WHERE kind = 'differs' AND excess > 0`;

/**
 * Dedup records of earlier versions name no counter. If they can explain all counters that exceed the
 * recount, these are no findings.
 */
function tolerateUnattributed(database: AuditDatabase): void {
  const unattributed = database.number('SELECT count FROM foreign_messages WHERE counter = 0');
  const excess = database.number(`SELECT sum(excess) ${exceeding}`);
  if (excess <= unattributed) database.run(`DELETE ${exceeding}`);
}
