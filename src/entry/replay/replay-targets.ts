import { requestOverHttp } from '../../client/http-request.ts';
import { parseObject, readText, sleep, type Retry } from '../../client/post-batch.ts';
import { RetryReporter } from '../../client/retry-reporter.ts';
import { replayHeader, writeReplayHeader } from '../../http/app/replay-header.ts';
import type { ReplayTarget } from '../../pipeline/store-admin.ts';
import { openStore } from '../cli/open-store.ts';
import { affectsAllBatches, commandClient, printWarning } from '../cli/sending.ts';
import type { ReplayOptions } from './replay-options.ts';
import type { SourceBatch } from './replay-source.ts';

type TargetOutcome =
  | { readonly kind: 'sent' | 'known'; readonly rawKey: string }
  /** A retry would fail, too; `isForAllBatches`: every other batch would fail as well. */
  | { readonly kind: 'refused'; readonly detail: string; readonly isForAllBatches: boolean }
  | { readonly kind: 'failed'; readonly detail: string };

export interface OpenedTarget {
  /** The day rule; undefined if unknown. */
  readonly dayZone: string | undefined;
  /** The command that checks the result, without the program's name. */
  readonly check: string;
  store(batch: SourceBatch, signal: AbortSignal): Promise<TargetOutcome>;
  close(): Promise<void>;
}

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
  sourceZone: string | undefined,
): Promise<OpenedTarget> {
  if ('url' in to) return urlTarget({ url: to.url, ...options }, await dayZoneOfServer(to.url));
  const store = await openStore(to);
  const target = await store.openReplayTarget(sourceZone, printWarning);
  const { dayZone, check } = target;
  return {
    ...{ dayZone, check },
    store: withRetries(target),
    async close() {
      store.close();
      await target.close();
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
): OpenedTarget {
  const { url } = server;
  const client = commandClient(server);
  return {
    dayZone,
    check: `stats --url ${url}, and audit where its data is`,
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

function withRetries(target: ReplayTarget): OpenedTarget['store'] {
  const { onRetry } = new RetryReporter(target.name, printWarning);
  return (batch, signal) => storeWithRetries(target, batch, signal, onRetry);
}

/** Retries the batch while the target responds with a time to wait. */
async function storeWithRetries(
  target: ReplayTarget,
  { rawKey: name, ...batch }: SourceBatch,
  signal: AbortSignal,
  onRetry: (retry: Retry) => void,
): Promise<TargetOutcome> {
  const startedAt = performance.now();
  for (let attempts = 1; ; attempts++) {
    const outcome = await target.ingest({ ...batch, strict: false });
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
