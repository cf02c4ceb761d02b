import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import type { S3Client } from '@aws-sdk/client-s3';
import type { SQSClient } from '@aws-sdk/client-sqs';

import type { DayOf } from '../../../domain/day.ts';
import type { AuditSummary, Difference } from '../../../pipeline/audit.ts';
import type { Backoff } from '../../../util/backoff.ts';
import { deadChunks } from '../dead-letters/dead-chunks.ts';
import { findLeastKeepMs } from '../ledger/least-keep.ts';
import { compareKeys, keyDifferences } from './key-findings.ts';
import { pacer, paced } from '../pacer.ts';
import { AuditReader, type ReceivedRange } from './audit-rules.ts';
import { estimate, type Estimate } from './audit-estimate.ts';
import {
  batchDifferences,
  chunksNotCounted,
  counterDifferences,
  countsOf,
  findCountedWithoutDedupRecord,
  type AuditCounts,
} from './audit-findings.ts';
import { firstWholeDay, forgetExpiredRows, setExpiredApart } from '../intake/raw-expiry.ts';
import { AuditDatabase } from './audit-database.ts';
import { settleCounters, type DateRange } from './audit-settlement.ts';
import { AuditSource } from './audit-source.ts';

/** A store on AWS, as a proof reads it. */
export interface AuditedStore {
  readonly dynamodb: Pick<DynamoDBClient, 'send'>;
  readonly s3: Pick<S3Client, 'send'>;
  readonly sqs: Pick<SQSClient, 'send'>;
  readonly countersTable: string;
  readonly ledgerTable: string;
  readonly rawBucket: string;
  /** Undefined where the queue went with its stack. */
  readonly deadLetterQueueUrl: string | undefined;
  readonly dayOf: DayOf;
  /** How long marks and batch rows are kept, in milliseconds. */
  readonly keepMs: number;
  /** When raw bodies are deleted by the bucket's rule, in milliseconds after they came; undefined: never. */
  readonly rawExpiryMs?: number | undefined;
}

export interface AuditOptions {
  readonly store: AuditedStore;
  /** How it is tried again where the SDK does not; `now` is its clock. */
  readonly backoff: Backoff;
  /** Counters of other dates are not compared. */
  readonly dates: DateRange | undefined;
  /** Only batches received then are read, and no counters compared. */
  readonly received: ReceivedRange;
  /** Requests under way at the same time, and a second. */
  readonly width: number;
  readonly requestsPerSecond: number;
  /** A batch that came so recently may still be on its way to the counters. */
  readonly inFlightMs: number;
  /** Told before anything is read but the listing. */
  readonly onEstimate: (estimate: Estimate) => void;
  /** Told now and then how many bodies are read, of how many. */
  readonly onProgress: (bodies: number, total: number) => void;
}

export interface AwsAuditSummary extends AuditSummary, AuditCounts {
  /** Counters that could not be held against the batches, since others wrote to them. */
  readonly unsettled: number;
  /** Requests that were sent. */
  readonly requests: number;
}

/** A finished comparison. */
export interface Proof {
  readonly scratch: AuditDatabase;
  /** A batch that came before, milliseconds since 1970, has had its time to be counted. */
  readonly inFlightBefore: number;
  /** The row of a batch received since then must stand. */
  readonly rowsSince: number;
  readonly counts: AuditCounts;
  readonly requests: number;
}

const allDates: DateRange = { from: '', to: '~' };

/**
 * Counts the raw bodies in S3 again and compares what they come to with the ledger and the counters,
 * beside a running system. Memory does not grow with the store: notes go into a temporary file that
 * is gone with the process.
 */
export async function auditStack(
  options: AuditOptions & { readonly onDifference: (difference: Difference) => void },
): Promise<AwsAuditSummary> {
  const scratch = new AuditDatabase('');
  try {
    const proof = await prove(options, scratch);
    let differences = 0;
    let unsettled = 0;
    for (const difference of differencesOf(proof)) {
      if (difference.code === 'counter_unsettled') unsettled++;
      else differences++;
      options.onDifference(difference);
    }
    return { ...proof.counts, differences, unsettled, requests: proof.requests };
  } finally {
    scratch.close();
  }
}

export function* differencesOf(proof: Proof): Generator<Difference> {
  yield* batchDifferences(proof.scratch, proof);
  yield* keyDifferences(proof.scratch);
  yield* counterDifferences(proof.scratch);
}

/** Reads the store into the notes and compares; what differs stands there. */
export async function prove(options: AuditOptions, scratch: AuditDatabase): Promise<Proof> {
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
  const least = (await findLeastKeepMs(dynamodb, store.ledgerTable)) ?? store.keepMs;
  const leastKeepMs = Math.min(least, store.keepMs);
  const { now } = backoff;
  const rules = { dayOf: store.dayOf, now, leastKeepMs, inFlightMs, width };
  const reader = new AuditReader(source, scratch, rules);
  const survey = await reader.survey(received);
  options.onEstimate(estimate(survey, received === undefined));
  const noteDead = async () => {
    const { deadLetterQueueUrl, dayOf } = store;
    if (deadLetterQueueUrl === undefined) return;
    const { chunks } = await deadChunks(sqs, deadLetterQueueUrl, dayOf);
    scratch.addDead(chunks);
  };
  await noteDead();
  const onProgress = (bodies: number) => options.onProgress(bodies, survey.unread.objects);
  const inFlightBefore = now() - inFlightMs;
  if (received === undefined) {
    await reader.readAll(onProgress);
    await compareCounters(options, { reader, source, scratch });
  } else {
    await reader.readListed(onProgress);
  }
  // What was put there meanwhile was on its way when that was looked at.
  if (chunksNotCounted(scratch, inFlightBefore).length > 0) {
    await reader.refreshMarks();
    await noteDead();
  }
  if (received === undefined) {
    await setStrangersApart(options, { source, scratch });
    findCountedWithoutDedupRecord(scratch);
    allowForUnnoted(scratch);
  }
  const expiry = allowForExpired(scratch, store, now());
  await compareKeys(source, scratch, rules, received === undefined);
  return {
    ...{ scratch, inFlightBefore, rowsSince: now() - leastKeepMs },
    counts: { ...countsOf(scratch, inFlightBefore), ...expiry },
    requests: pace.requests,
  };
}

async function compareCounters(
  { dates = allDates, width }: AuditOptions,
  parts: { reader: AuditReader; source: AuditSource; scratch: AuditDatabase },
): Promise<void> {
  const { reader, source, scratch } = parts;
  await reader.addCounters(dates);
  await settleCounters(reader, source, scratch, { width }, dates);
}

/**
 * What others queued themselves is counted, and no raw body tells of it: their marks name the
 * counter. Where some were counted since the ledger was read, a counter cannot be said to agree or
 * to differ.
 */
async function setStrangersApart(
  { dates = allDates }: AuditOptions,
  { source, scratch }: { source: AuditSource; scratch: AuditDatabase },
): Promise<void> {
  const before = scratch.number('SELECT sum(count) FROM strangers');
  if (before === 0 && scratch.number(`SELECT count(*) ${exceeding}`) === 0) return;
  scratch.run('CREATE TEMP TABLE strangers_before AS SELECT * FROM strangers');
  scratch.run('DELETE FROM strangers');
  await source.ledger((rows) => scratch.addLedger(rows.filter(({ kind }) => kind === 'stranger')));
  scratch.run(
    `INSERT OR REPLACE INTO verdicts
     SELECT s.counter, 'unsettled', n.count, coalesce(e.count, 0), 0
     FROM strangers s JOIN counters c ON c.id = s.counter
     LEFT JOIN strangers_before b ON b.counter = s.counter
     LEFT JOIN counted n ON n.counter = s.counter LEFT JOIN expected e ON e.counter = s.counter
     WHERE s.count > coalesce(b.count, 0) AND c.date BETWEEN ? AND ?`,
    ...[dates.from, dates.to],
  );
  scratch.run('DROP TABLE strangers_before');
}

function allowForExpired(scratch: AuditDatabase, { rawExpiryMs }: AuditedStore, now: number) {
  if (rawExpiryMs === undefined) return {};
  const wholeFrom = firstWholeDay(now, rawExpiryMs);
  forgetExpiredRows(scratch, now - rawExpiryMs);
  return { wholeFrom, aboveExpired: setExpiredApart(scratch, wholeFrom) };
}

const exceeding = `FROM verdicts WHERE kind = 'differs' AND excess > 0`;

/** Marks of earlier versions name no counter: counters may exceed by as many as these are, together. */
function allowForUnnoted(scratch: AuditDatabase): void {
  const unnoted = scratch.number('SELECT count FROM strangers WHERE counter = 0');
  const excess = scratch.number(`SELECT sum(excess) ${exceeding}`);
  if (excess <= unnoted) scratch.run(`DELETE ${exceeding}`);
}
