import { setTimeout as delay } from 'node:timers/promises';

import { timerMsMax } from './checks.ts';
import { absence, addressHint, describeFailure } from './failure-text.ts';
import { requestOverHttp, type HttpRequest } from './http-request.ts';
import { uncompressed } from './uncompressed.ts';

/**
 * Why one item of a batch was refused. `index` counts from 0 within the batch; `field` is null
 * where it is the item as a whole.
 */
export interface ItemError {
  index: number;
  field: string | null;
  code: string;
  message: string;
}

/**
 * What became of a batch. `attempts` counts the requests made for it; one that went again at once
 * without compression counts as one.
 */
export type PostOutcome = { attempts: number } & (
  | {
      kind: 'accepted';
      enqueued: number;
      rejected: number;
      errors: ItemError[];
      rawKey: string;
      /** Whether a replayed batch was there before; undefined of any other. */
      isKnown?: boolean;
    }
  | { kind: 'refused'; status: number; code: string; detail: string; errors: ItemError[] }
  | { kind: 'gave_up'; reason: string; neverReached: boolean }
);

/** A request for a batch failed, and the batch will be sent again. */
export interface Retry {
  /** What was wrong: the answer, or why there was none. */
  readonly reason: string;
  /** Requests made for the batch so far. */
  readonly attempts: number;
  /** Since the first of them. */
  readonly elapsedMs: number;
  /** Until the next one. */
  readonly waitMs: number;
  readonly key: string | undefined;
}

/** A server to post to, and what is known of it, shared by all its batches. */
export interface Server {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Whether any request got an answer. */
  reached: boolean;
  /** Whether compressed bodies may be sent: until an answer says that they do not reach it intact. */
  takesCompressed: boolean;
}

/** A request body, and the key under which the server counts it once, however often it comes. */
export interface Batch {
  body: Uint8Array | string;
  key: string | undefined;
  /** Whether one bad item refuses the whole batch; else the good ones are accepted. */
  strict?: boolean;
  /** Of this batch alone, such as `content-encoding`. */
  headers?: Readonly<Record<string, string>>;
}

/** How long to try; all bounds hold at once. */
export interface RetryLimits {
  attemptsMax: number;
  /** One request, with its answer. */
  attemptMsMax: number;
  totalMsMax: number;
  /** For a server that has never answered: it is more likely absent than busy. */
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
 * The world as the client sees it. `sleep` resolves early, without error, at an aborted signal.
 * @internal
 */
export interface Effects {
  request: (url: string, request: HttpRequest) => Promise<Response>;
  random: () => number;
  now: () => number;
  sleep: (ms: number, signal: AbortSignal) => Promise<void>;
}

/**
 * What is reported while a batch is posted.
 * @internal
 */
export interface PostHooks {
  onRetry?: (retry: Retry) => void;
  /** Called once for a server, with its answer to the first compressed body. */
  onCompressionOff?: (reason: string) => void;
}

/** @internal */
export const realEffects: Effects = {
  request: requestOverHttp,
  random: Math.random,
  now: () => Date.now(),
  sleep,
};

/** Statuses that say "not now"; other refusals would be the same again. */
const retryableStatuses = new Set([408, 429, 502, 503, 504]);
/** These say that nobody there will ever know how. */
const permanentStatuses = new Set([501, 505]);

/**
 * Any other failure of a server, or of what stands before it, leaves open whether the batch is counted:
 * with a key it is sent again, and counts once.
 */
function isRetryable(status: number, hasKey: boolean): boolean {
  return (
    retryableStatuses.has(status) || (hasKey && status >= 500 && !permanentStatuses.has(status))
  );
}

/** Failures after a connection was made: somebody listens, even if nobody has answered yet. */
const failuresAfterConnect = new Set([
  ...['ECONNRESET', 'EPIPE', 'ERR_STREAM_PREMATURE_CLOSE', 'TIMEOUT'],
]);

const answerBytesMax = 1024 * 1024;

/** The header that shows a token, if there is one. */
export function authorization(token: string | undefined): Record<string, string> {
  return token === undefined ? {} : { authorization: `Bearer ${token}` };
}

/** Describes the server at `url`. */
export function serverAt(
  url: string,
  { token, compress = true }: { token?: string | undefined; compress?: boolean | undefined } = {},
): Server {
  const headers = { 'content-type': 'application/json', ...authorization(token) };
  return { url, headers, reached: false, takesCompressed: compress };
}

/**
 * Posts a batch until it is answered for good or the limits are reached; never rejects.
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
  const startedAt = effects.now();
  for (let attempts = 1; ; attempts += 1) {
    const elapsedMs = effects.now() - startedAt;
    const timeoutMs = Math.max(1, Math.min(limits.attemptMsMax, limits.totalMsMax - elapsedMs));
    const answer = await attempt(server, batch, timeoutMs, signal, effects, onCompressionOff);
    if (answer.kind !== 'retry') return { ...answer, attempts };

    const gaveUp = { kind: 'gave_up', attempts, neverReached: !server.reached } as const;
    if (signal.aborted) return { ...gaveUp, reason: 'interrupted' };
    const isAbsent = !server.reached && !answer.connected;
    const totalMsMax = isAbsent ? limits.firstContactMsMax : limits.totalMsMax;
    const waitMs = answer.retryAfterMs + backoffMs(attempts, limits, effects.random);
    const leftMs = totalMsMax - (effects.now() - startedAt);
    const isOutOfTime = waitMs > leftMs;
    if (isAbsent && isOutOfTime) return { ...gaveUp, reason: absence(server.url, answer.reason) };
    if (isOutOfTime || attempts >= limits.attemptsMax) {
      const after = `${answer.reason}, after ${attempts} ${attempts === 1 ? 'attempt' : 'attempts'}`;
      const isAskedTooMuch = answer.retryAfterMs > Math.max(0, leftMs);
      const asked = isAskedTooMuch ? `; ${waitTooLong(answer.retryAfterMs, totalMsMax)}` : '';
      return { ...gaveUp, reason: `${after}${asked}` };
    }
    const soFar = { attempts, elapsedMs: effects.now() - startedAt };
    onRetry?.({ reason: answer.reason, ...soFar, waitMs, key: batch.key });
    await effects.sleep(waitMs, signal);
  }
}

/** Why a wait that the server asks for is not even begun. */
function waitTooLong(retryAfterMs: number, totalMsMax: number): string {
  const [asked, most] = [retryAfterMs, totalMsMax].map((ms) => Math.ceil(ms / 1000));
  return `the server asks to wait ${asked} s, and a batch is tried for ${most} s at most`;
}

type Settled = PostOutcome extends infer Outcome
  ? Outcome extends { kind: 'accepted' | 'refused' }
    ? Omit<Outcome, 'attempts'>
    : never
  : never;

type Attempt =
  Settled | { kind: 'retry'; reason: string; retryAfterMs: number; connected: boolean };

/** What a server answers to a compressed body that a gateway before it has made unreadable. */
const compressionNotSupported = 'compression_not_supported';

/** Where the compressed body does not reach the server intact, the plain one follows at once. */
async function attempt(
  server: Server,
  batch: Batch,
  timeoutMs: number,
  signal: AbortSignal,
  effects: Effects,
  onCompressionOff?: (reason: string) => void,
): Promise<Attempt> {
  const startedAt = effects.now();
  const plain = server.takesCompressed ? undefined : await uncompressed(batch);
  const answer = await request(server, plain ?? batch, timeoutMs, signal, effects);
  if (answer.kind !== 'refused' || answer.code !== compressionNotSupported) return answer;
  const again = plain === undefined ? await uncompressed(batch) : undefined;
  if (again === undefined) return answer;
  if (server.takesCompressed) {
    server.takesCompressed = false;
    onCompressionOff?.(`${answer.status} ${answer.code}: ${answer.detail}`);
  }
  const leftMs = Math.max(1, timeoutMs - (effects.now() - startedAt));
  return await request(server, again, leftMs, signal, effects);
}

async function request(
  server: Server,
  batch: Batch,
  timeoutMs: number,
  signal: AbortSignal,
  effects: Effects,
): Promise<Attempt> {
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
      signal: AbortSignal.any([
        signal,
        AbortSignal.timeout(Math.ceil(Math.min(timeoutMs, timerMsMax))),
      ]),
    });
    server.reached = true;
    const text = await readText(response, answerBytesMax);
    const answer = { url: server.url, response, text };
    return interpret(answer, batch.key !== undefined, effects.now());
  } catch (error) {
    const { code, reason } = describeFailure(error, timeoutMs);
    return { kind: 'retry', reason, retryAfterMs: 0, connected: failuresAfterConnect.has(code) };
  }
}

function interpret(
  { url, response, text }: { url: string; response: Response; text: string },
  hasKey: boolean,
  now: number,
): Attempt {
  const body = parseObject(text);
  const status = response.status;
  const code = stringOr(body['code'], `http_${status}`);
  const location = response.headers.get('location');
  const fallback = location === null ? text.slice(0, 200) : `it redirects to ${location}`;
  const given = stringOr(body['detail'], stringOr(body['title'], fallback));
  const detail = `${given}${addressHint(url, status)}`;
  const errors = itemErrors(body['errors']);
  if (isRetryable(status, hasKey)) {
    const retryAfterMs = parseRetryAfter(response.headers.get('retry-after'), now);
    return { kind: 'retry', reason: `${status} ${code}: ${detail}`, retryAfterMs, connected: true };
  }
  if (!response.ok) return { kind: 'refused', status, code, detail, errors };

  const { enqueued, rejected, raw_key: rawKey, already_there: isKnown } = body;
  if (typeof enqueued !== 'number' || typeof rawKey !== 'string') {
    const foreign = 'the answer is not one of device-pipeline; is this its address?';
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
 * Milliseconds to wait by a Retry-After header (RFC 9110, 10.2.3: seconds or a date); 0 if there
 * is none.
 */
export function parseRetryAfter(header: string | null, now: number): number {
  if (header === null) return 0;
  if (/^\d{1,9}$/.test(header)) return Number(header) * 1000;
  const at = Date.parse(header);
  return Number.isNaN(at) ? 0 : Math.max(0, at - now);
}

/** Exponential back-off, full jitter: clients turned away together do not return together. */
function backoffMs(attempts: number, limits: RetryLimits, random: () => number): number {
  const ceilingMs = limits.backoffMsMin * 2 ** Math.min(attempts - 1, 30);
  return random() * Math.min(limits.backoffMsMax, ceilingMs);
}

/**
 * The text of an answer, cut at `bytesMax`: what answers need not be our server.
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

/** The members of a JSON object; none where the text is something else. */
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
    const { index, field, code, message } = (entry ?? {}) as Record<string, unknown>;
    if (typeof index !== 'number') return [];
    const text = {
      field: typeof field === 'string' ? field : null,
      code: stringOr(code, ''),
      message: stringOr(message, ''),
    };
    return [{ index, ...text }];
  });
}

/** The value if it is a string with something in it, else the fallback. */
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
