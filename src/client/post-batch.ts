import { setTimeout as delay } from 'node:timers/promises';

import { timerMsMax } from './checks.ts';
import { absence, addressHint, describeFailure, wrongServerHint } from './failure-text.ts';
import { requestOverHttp, type HttpRequest } from './http-request.ts';
import { uncompressed } from './uncompressed.ts';

/**
 * Why one item of a batch was rejected. `index` is its index in the batch, from 0; `field` is null
 * for the item as a whole.
 */
export interface ItemError {
  index: number;
  field: string | null;
  code: string;
  message: string;
}

/**
 * The outcome of a batch. `attempts` is the number of requests for it; a request and its immediate
 * repetition without compression count as one.
 */
export type PostOutcome = { attempts: number } & (
  | {
      kind: 'accepted';
      enqueued: number;
      rejected: number;
      errors: ItemError[];
      rawKey: string;
      /** For a replayed batch: whether the server already had it. */
      isKnown?: boolean;
    }
  | { kind: 'refused'; status: number; code: string; detail: string; errors: ItemError[] }
  | { kind: 'gave_up'; reason: string; neverReached: boolean }
);

/** Why a batch was not accepted. */
export function failureOf(outcome: Exclude<PostOutcome, { kind: 'accepted' }>): string {
  return outcome.kind === 'gave_up'
    ? outcome.reason
    : `${outcome.status} ${outcome.code}: ${outcome.detail}`;
}

/** A failed request for a batch that will be sent again. */
export interface Retry {
  /** The response, or why there was none. */
  readonly reason: string;
  /** The number of requests for the batch so far. */
  readonly attempts: number;
  /** Since the first request. */
  readonly elapsedMs: number;
  /** Until the next request. */
  readonly waitMs: number;
  readonly key: string | undefined;
}

/** A server with the state that all its batches share. */
export interface Server {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Whether any request has got a response. */
  reached: boolean;
  /** Whether to send compressed bodies; false once a response says that a gateway destroys them. */
  takesCompressed: boolean;
}

/** A request body with its idempotency key: however often it is sent, it counts once. */
export interface Batch {
  body: Uint8Array | string;
  key: string | undefined;
  /** Whether one invalid item refuses the whole batch; otherwise valid items are accepted. */
  strict?: boolean;
  /** Additional headers, such as `content-encoding`. */
  headers?: Readonly<Record<string, string>>;
}

/** How long to retry; all limits apply. */
export interface RetryLimits {
  attemptsMax: number;
  /** For one request with its response. */
  attemptMsMax: number;
  totalMsMax: number;
  /** In total, for a server that has never answered: it is more likely absent than busy. */
  firstContactMsMax: number;
  /** The longest wait before the first retry; it doubles with each, up to `backoffMsMax`. */
  backoffMsMin: number;
  backoffMsMax: number;
}

/** Twelve retries reach the longest wait; ten minutes outlast a restart or a deployment. */
export const defaultRetryLimits: RetryLimits = {
  attemptsMax: 60,
  attemptMsMax: 60_000,
  totalMsMax: 600_000,
  firstContactMsMax: 3_000,
  backoffMsMin: 200,
  backoffMsMax: 30_000,
};

/**
 * The side effects of the client. `sleep` resolves early, without an error, if the signal is aborted.
 * @internal
 */
export interface Effects {
  request: (url: string, request: HttpRequest) => Promise<Response>;
  random: () => number;
  now: () => number;
  sleep: (ms: number, signal: AbortSignal) => Promise<void>;
}

/**
 * Callbacks while a batch is posted.
 * @internal
 */
export interface PostHooks {
  onRetry?: (retry: Retry) => void;
  /** Called once per server, with its response to the first compressed body. */
  onCompressionOff?: (reason: string) => void;
}

/** @internal */
export const realEffects: Effects = {
  request: requestOverHttp,
  random: Math.random,
  now: () => Date.now(),
  sleep,
};

/** Statuses of temporary failures. */
const retryableStatuses = new Set([408, 429, 502, 503, 504]);
/** 5xx statuses that a retry does not change. */
const permanentStatuses = new Set([501, 505]);

/**
 * Other failures of the server or a proxy leave open whether the batch is stored: with a key it can
 * be sent again and counts once.
 */
function isRetryable(status: number, hasKey: boolean): boolean {
  return (
    retryableStatuses.has(status) || (hasKey && status >= 500 && !permanentStatuses.has(status))
  );
}

/** Failures after the connection was established: the server exists, even if it has not answered yet. */
const failuresAfterConnect: readonly string[] = [
  ...['ECONNRESET', 'EPIPE', 'ERR_STREAM_PREMATURE_CLOSE', 'TIMEOUT'],
];

const answerBytesMax = 1024 * 1024;

/** The `Authorization` header, if there is a token. */
export function authorization(token: string | undefined): Record<string, string> {
  return token === undefined ? {} : { authorization: `Bearer ${token}` };
}

export function serverAt(
  url: string,
  { token, compress = true }: { token?: string | undefined; compress?: boolean | undefined } = {},
): Server {
  const headers = { 'content-type': 'application/json', ...authorization(token) };
  return { url, headers, reached: false, takesCompressed: compress };
}

/**
 * Posts a batch until it gets a final response or reaches the limits; never rejects.
 * @internal
 */
export async function postBatch(
  server: Server,
  batch: Batch,
  signal: AbortSignal,
  limits: RetryLimits = defaultRetryLimits,
  effects: Effects = realEffects,
  { onRetry, onCompressionOff }: PostHooks = {},
): Promise<PostOutcome> {
  const post = { server, batch, signal, effects };
  const startedAt = effects.now();
  for (let attempts = 1; ; attempts += 1) {
    const elapsedMs = effects.now() - startedAt;
    const timeoutMs = Math.max(1, Math.min(limits.attemptMsMax, limits.totalMsMax - elapsedMs));
    const answer = await attempt(post, timeoutMs, onCompressionOff);
    if (answer.kind !== 'retry') return { ...answer, attempts };

    const gaveUp = { kind: 'gave_up', attempts, neverReached: !server.reached } as const;
    if (signal.aborted) return { ...gaveUp, reason: 'interrupted' };
    const isAbsent = !server.reached && !answer.connected;
    const totalMsMax = isAbsent ? limits.firstContactMsMax : limits.totalMsMax;
    const waitMs = answer.retryAfterMs + backoffMs(attempts, limits, effects.random);
    const leftMs = totalMsMax - (effects.now() - startedAt);
    const isOutOfTime = waitMs > leftMs;
    if (isAbsent && isOutOfTime) return { ...gaveUp, reason: absence(server.url, answer) };
    if (isOutOfTime || attempts >= limits.attemptsMax) {
      const after = `${answer.reason}, after ${attempts} ${attempts === 1 ? 'attempt' : 'attempts'}`;
      const isWaitTooLong = answer.retryAfterMs > Math.max(0, leftMs);
      const waitText = isWaitTooLong ? `; ${waitTooLong(answer.retryAfterMs, totalMsMax)}` : '';
      return { ...gaveUp, reason: `${after}${waitText}` };
    }
    const soFar = { attempts, elapsedMs: effects.now() - startedAt };
    onRetry?.({ reason: answer.reason, ...soFar, waitMs, key: batch.key });
    await effects.sleep(waitMs, signal);
  }
}

/** Says that the server's Retry-After exceeds the limits. */
function waitTooLong(retryAfterMs: number, totalMsMax: number): string {
  const [asked, most] = [retryAfterMs, totalMsMax].map((ms) => Math.ceil(ms / 1000));
  return `the server asks to wait ${asked} s, but a batch is retried for at most ${most} s`;
}

type Settled = PostOutcome extends infer Outcome
  ? Outcome extends { kind: 'accepted' | 'refused' }
    ? Omit<Outcome, 'attempts'>
    : never
  : never;

type Attempt =
  | Settled
  | { kind: 'retry'; code: string; reason: string; retryAfterMs: number; connected: boolean };

/** The parts that all requests for a batch share. */
interface Post {
  readonly server: Server;
  readonly batch: Batch;
  readonly signal: AbortSignal;
  readonly effects: Effects;
}

/** The problem code for a compressed body that a gateway has destroyed. */
const compressionNotSupported = 'compression_not_supported';

/** Sends one request; if a gateway destroys the compressed body, it sends the plain body at once. */
async function attempt(
  post: Post,
  timeoutMs: number,
  onCompressionOff?: (reason: string) => void,
): Promise<Attempt> {
  const { server, batch, effects } = post;
  const startedAt = effects.now();
  const plain = server.takesCompressed ? undefined : await uncompressed(batch);
  const answer = await request({ ...post, batch: plain ?? batch }, timeoutMs);
  if (answer.kind !== 'refused' || answer.code !== compressionNotSupported) return answer;
  const again = plain === undefined ? await uncompressed(batch) : undefined;
  if (again === undefined) return answer;
  if (server.takesCompressed) {
    server.takesCompressed = false;
    onCompressionOff?.(`${answer.status} ${answer.code}: ${answer.detail}`);
  }
  const leftMs = Math.max(1, timeoutMs - (effects.now() - startedAt));
  return await request({ ...post, batch: again }, leftMs);
}

async function request(post: Post, timeoutMs: number): Promise<Attempt> {
  const { server, batch, signal, effects } = post;
  const timeout = AbortSignal.timeout(Math.ceil(Math.min(timeoutMs, timerMsMax)));
  try {
    const response = await effects.request(`${server.url}/ingest`, {
      method: 'POST',
      headers: {
        ...server.headers,
        ...(batch.strict === true && { prefer: 'handling=strict' }),
        ...batch.headers,
        ...(batch.key !== undefined && { 'idempotency-key': batch.key }),
      },
      body: batch.body,
      signal: AbortSignal.any([signal, timeout]),
    });
    server.reached = true;
    return interpret(post, response, await readText(response, answerBytesMax));
  } catch (error) {
    const failure = describeFailure(error, timeoutMs);
    const connected = failuresAfterConnect.includes(failure.code);
    return { kind: 'retry', ...failure, retryAfterMs: 0, connected };
  }
}

function interpret({ server, batch, effects }: Post, response: Response, text: string): Attempt {
  const body = parseObject(text);
  const { status, headers } = response;
  const code = stringOr(body['code'], `http_${status}`);
  const location = headers.get('location');
  const fallback = location === null ? text.slice(0, 200) : `it redirects to ${location}`;
  const given = stringOr(body['detail'], stringOr(body['title'], fallback));
  const detail = `${given}${addressHint(server.url, status)}`;
  const errors = itemErrors(body['errors']);
  if (isRetryable(status, batch.key !== undefined)) {
    const retryAfterMs = parseRetryAfter(headers.get('retry-after'), effects.now());
    const reason = `${status} ${code}: ${detail}`;
    return { kind: 'retry', code, reason, retryAfterMs, connected: true };
  }
  if (!response.ok) return { kind: 'refused', status, code, detail, errors };

  const { enqueued, rejected, raw_key: rawKey, already_there: isKnown } = body;
  if (typeof enqueued !== 'number' || typeof rawKey !== 'string') {
    const foreign = `unexpected response; ${wrongServerHint}`;
    return { kind: 'refused', status, code: 'unexpected_answer', detail: foreign, errors: [] };
  }
  return {
    kind: 'accepted',
    enqueued,
    rejected: typeof rejected === 'number' ? rejected : 0,
    errors,
    rawKey,
    ...(typeof isKnown === 'boolean' && { isKnown }),
  };
}

/**
 * The milliseconds of a Retry-After header (RFC 9110, 10.2.3: seconds or a date); 0 without one.
 */
export function parseRetryAfter(header: string | null, now: number): number {
  if (header === null) return 0;
  if (/^\d{1,9}$/.test(header)) return Number(header) * 1000;
  const at = Date.parse(header);
  return Number.isNaN(at) ? 0 : Math.max(0, at - now);
}

/** Exponential backoff with full jitter, so that clients do not retry all at the same time. */
function backoffMs(attempts: number, limits: RetryLimits, random: () => number): number {
  const ceilingMs = limits.backoffMsMin * 2 ** Math.min(attempts - 1, 30);
  return random() * Math.min(limits.backoffMsMax, ceilingMs);
}

/**
 * The text of a response, cut at `bytesMax` because any program may be at the address.
 * @internal
 */
export async function readText(response: Response, bytesMax: number): Promise<string> {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of (response.body ?? []) as AsyncIterable<Uint8Array>) {
    parts.push(part);
    bytes += part.byteLength;
    if (bytes >= bytesMax) break;
  }
  return Buffer.concat(parts).toString('utf8', 0, bytesMax);
}

/** The members of a JSON object; empty for any other text. */
export function parseObject(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? { ...value } : {};
  } catch (error) {
    if (error instanceof SyntaxError) return {};
    throw error;
  }
}

function itemErrors(value: unknown): ItemError[] {
  if (!Array.isArray(value)) return [];
  return value.flatMap((entry: unknown) => {
    const { index, field: name, code, message } = (entry ?? {}) as Record<string, unknown>;
    if (typeof index !== 'number') return [];
    const field = typeof name === 'string' ? name : null;
    return [{ index, field, code: stringOr(code, ''), message: stringOr(message, '') }];
  });
}

/** The value if it is a non-empty string, otherwise the fallback. */
export function stringOr(value: unknown, fallback: string): string {
  return typeof value === 'string' && value !== '' ? value : fallback;
}

/**
 * Resolves after `ms`, or as soon as the signal is aborted.
 * @internal
 */
export async function sleep(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await delay(Math.min(ms, timerMsMax), undefined, { signal });
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}
