import { setTimeout as delay } from 'node:timers/promises';

import { requestOverHttp } from '../../client/http-request.ts';
import { parseObject, readText, sleep, type Retry } from '../../client/post-batch.ts';
import { RetryReporter } from '../../client/retry-reporter.ts';
import { awsReplayIntake } from '../../engines/aws/intake/replay-intake.ts';
import { DynamodbBatchRecords } from '../../engines/aws/ledger/batch-records.ts';
import { ensureDayRule, leastKeepMs, roomMs } from '../../engines/aws/ledger/settings.ts';
import { dynamodbSweepProgress } from '../../engines/aws/ledger/sweep-progress.ts';
import { s3RawStore } from '../../engines/aws/intake/raw-store.ts';
import { sqsChunkQueue } from '../../engines/aws/queue/chunk-queue.ts';
import { checkTablePair } from '../../engines/aws/ledger/table-pair.ts';
import { dayMs, embeddedDefaults } from '../../engines/embedded/options.ts';
import { Writer } from '../../engines/embedded/writer/writer.ts';
import { replayHeader, writeReplayHeader } from '../../http/app/replay-header.ts';
import type { IngestOutcome, Submission } from '../../pipeline/ports.ts';
import { replay } from '../../pipeline/replay.ts';
import { backoff } from '../lambda/clients.ts';
import type { ReplayOptions } from './replay-options.ts';
import type { SourceBatch } from './replay-sources.ts';
import { affectsAllBatches, commandClient, printWarning } from '../cli/sending.ts';
import { openStack } from '../../engines/aws/admin/stack.ts';

type TargetOutcome =
  | { readonly kind: 'sent' | 'known'; readonly rawKey: string }
  /** A retry would fail, too; `isForAllBatches`: and so would every other batch. */
  | { readonly kind: 'refused'; readonly detail: string; readonly isForAllBatches: boolean }
  | { readonly kind: 'failed'; readonly detail: string };

export interface ReplayTarget {
  /** The day rule; undefined if unknown. */
  readonly dayZone: string | undefined;
  /** A command that checks the result. */
  readonly check: string;
  store(batch: SourceBatch, signal: AbortSignal): Promise<TargetOutcome>;
  close(): Promise<void>;
}

/** Larger than any stored body. */
const bodyBytesMax = 1024 * 1024 * 1024;
/** Expires no keys here: the server does that by its own settings. */
const keepKeysMs = 36_500 * dayMs;
/** The limits of the request for a server's day rule. */
const askMsMax = 5_000;
const answerBytesMax = 64 * 1024;
/** How long a batch is retried. */
const tryMsMax = 600_000;

/**
 * @param sourceZone the day rule of the source, which a new data directory adopts.
 * @throws an Error that says what is wrong with the target.
 */
export async function openTarget(
  { to, ...options }: Pick<ReplayOptions, 'to' | 'token' | 'compress'>,
  env: Record<string, string | undefined>,
  sourceZone: string | undefined,
): Promise<ReplayTarget> {
  switch (to.kind) {
    case 'directory':
      return directoryTarget(to.path, sourceZone);
    case 'stack':
      return await stackTarget(to.name, env);
    case 'url':
      return urlTarget({ url: to.url, ...options }, await dayZoneOfServer(to.url));
  }
}

function directoryTarget(dataDir: string, sourceZone: string | undefined): ReplayTarget {
  let failure: string | undefined;
  const warn = (message: string) => void process.stderr.write(`device-pipeline: ${message}\n`);
  const writer = Writer.open(
    { ...embeddedDefaults, ...{ bodyBytesMax, keepKeysMs, dataDir, newDayZone: sourceZone } },
    {
      onProgress: () => undefined,
      onFailure: (message) => (failure = message),
      onUnexpectedError: warn,
    },
  );
  const ingest = async (submission: Submission) => {
    const outcome = await writer.ingest(submission);
    if (failure !== undefined) throw new Error(failure);
    return outcome;
  };
  return {
    dayZone: writer.dayZone,
    check: `npx device-pipeline audit --data-dir ${dataDir}`,
    store: withRetries(dataDir, ingest),
    async close() {
      const isBehind = () => {
        const { countedThrough, durableEnd } = writer.progress();
        return failure === undefined && countedThrough < durableEnd;
      };
      while (isBehind()) await delay(20);
      await writer.close();
      if (failure !== undefined) throw new Error(failure);
    },
  };
}

async function stackTarget(
  name: string,
  env: Record<string, string | undefined>,
): Promise<ReplayTarget> {
  const stack = await openStack(name, env);
  const { dynamodb, countersTable, ledgerTable, keepMs, dayZone, dayOf } = stack;
  await checkTablePair({ client: dynamodb, countersTable, ledgerTable });
  await ensureDayRule(dynamodb, ledgerTable, dayZone);
  let least: Promise<number> | undefined;
  const intake = awsReplayIntake({
    records: new DynamodbBatchRecords({ client: dynamodb, ledgerTable, keepMs }),
    rawStore: s3RawStore(stack.s3, stack.rawBucket),
    queue: sqsChunkQueue({ client: stack.sqs, queueUrl: stack.queueUrl, backoff: backoff(6) }),
    orphans: dynamodbSweepProgress(dynamodb, ledgerTable),
    itemsPerMessage: stack.itemsPerMessage,
    dayOf,
    now: Date.now,
    leastKeepMs: () => (least ??= leastKeepMs(dynamodb, ledgerTable, keepMs)),
    roomMs,
    // Reported with the batch if its retries fail.
    onFailure: (error) => (lastFailure = error),
  });
  let lastFailure: unknown;
  const ingest = async (submission: Submission): Promise<IngestOutcome> => {
    const { replayOf } = submission;
    if (replayOf === undefined) throw new Error('the batch lacks its origin');
    const outcome = await replay(submission, replayOf, intake, { bodyBytesMax, dayOf });
    if (outcome.accepted || outcome.problem.retryAfterSeconds === undefined) return outcome;
    const why = lastFailure instanceof Error ? ` (${lastFailure.message})` : '';
    const { detail, ...problem } = outcome.problem;
    return { accepted: false, problem: { ...problem, detail: detail + why } };
  };
  return {
    dayZone,
    check: `npx device-pipeline audit --stack ${name}, once the queue is empty`,
    store: withRetries(name, ingest),
    close() {
      stack.close();
      return Promise.resolve();
    },
  };
}

/** Undefined if the server does not state it, or cannot be reached; then sending a batch fails, too. */
async function dayZoneOfServer(url: string): Promise<string | undefined> {
  try {
    const signal = AbortSignal.timeout(askMsMax);
    const request = { method: 'GET', headers: {}, signal } as const;
    const response = await requestOverHttp(`${url}/healthz`, request);
    const { day_zone: dayZone } = parseObject(await readText(response, answerBytesMax));
    return typeof dayZone === 'string' ? dayZone : undefined;
  } catch {
    return undefined;
  }
}

function urlTarget(
  server: Parameters<typeof commandClient>[0],
  dayZone: string | undefined,
): ReplayTarget {
  const { url } = server;
  const client = commandClient(server);
  return {
    dayZone,
    check: `npx device-pipeline stats --url ${url}, and audit where its data is`,
    async store({ rawKey, body, encoding, idempotencyKey: key, ...claim }, signal) {
      const header = writeReplayHeader(rawKey, claim);
      if (header === undefined) {
        const detail = `The over-limit items of ${rawKey} do not fit in the header ${replayHeader}. Replay it directly into the data directory or the stack.`;
        return { kind: 'refused', detail, isForAllBatches: false };
      }
      const headers = {
        [replayHeader]: header,
        ...(encoding !== 'identity' && { 'content-encoding': encoding }),
      };
      const outcome = await client.sendBatch({ body, key, headers }, signal);
      switch (outcome.kind) {
        case 'accepted':
          if (outcome.isKnown === undefined) {
            const detail = `${url} does not support replays and accepted ${rawKey} as a new batch. Check the version of the server.`;
            return { kind: 'refused', detail, isForAllBatches: true };
          }
          return { kind: outcome.isKnown ? 'known' : 'sent', rawKey: outcome.rawKey };
        case 'refused': {
          const detail = `${outcome.status} ${outcome.code}: ${outcome.detail}`;
          return { kind: 'refused', detail, isForAllBatches: affectsAllBatches(outcome) };
        }
        case 'gave_up':
          return { kind: 'failed', detail: outcome.reason };
      }
    },
    close: () => Promise.resolve(),
  };
}

type Ingest = (submission: Submission) => Promise<IngestOutcome>;

function withRetries(target: string, ingest: Ingest): ReplayTarget['store'] {
  const { onRetry } = new RetryReporter(target, printWarning);
  return (batch, signal) => storeWithRetries(ingest, batch, signal, onRetry);
}

/** Retries the batch while the target answers with a time to wait. */
async function storeWithRetries(
  ingest: Ingest,
  { rawKey: name, ...batch }: SourceBatch,
  signal: AbortSignal,
  onRetry: (retry: Retry) => void,
): Promise<TargetOutcome> {
  const startedAt = performance.now();
  for (let attempts = 1; ; attempts++) {
    const outcome = await ingest({ ...batch, strict: false });
    if (outcome.accepted) {
      return { kind: outcome.isKnown === true ? 'known' : 'sent', rawKey: outcome.rawKey };
    }
    const { code, detail, retryAfterSeconds } = outcome.problem;
    if (retryAfterSeconds === undefined) {
      return { kind: 'refused', detail: `${code}: ${detail}`, isForAllBatches: false };
    }
    const elapsedMs = performance.now() - startedAt;
    if (signal.aborted || elapsedMs > tryMsMax) {
      return { kind: 'failed', detail: `${name}: ${detail}` };
    }
    const waitMs = Math.random() * retryAfterSeconds * 1000;
    onRetry({ reason: detail, attempts, elapsedMs, waitMs, key: batch.idempotencyKey });
    await sleep(waitMs, signal);
  }
}
