import { recall, remember } from './storage.ts';

/** A request failed, or its response cannot be shown. */
export class ApiError extends Error {
  /** The HTTP status; 0: no response. */
  readonly status: number;

  /** Whether a retry may succeed. */
  get isPassing(): boolean {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
  }

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export interface Reply {
  readonly value: unknown;
  /** Identifies this value (ETag); undefined if the server sends none. */
  readonly version: string | undefined;
}

/**
 * Larger than the number of values that one load caches; otherwise the next load would get all of them
 * again.
 */
const keptMax = 16;
/** The timeouts until the response starts and until it is complete. */
const waitMsMax = 30_000;
const bodyMsMax = 600_000;
const tokenKey = 'device-pipeline-token';
/** The page sends several requests at once; with a rate limit, they are retried after 429. */
const turnsMax = 8;
const turnMsMax = 5_000;

/** Whether the text can be sent in a header. */
export function isToken(text: string): boolean {
  return /^[!-~]{1,4096}$/.test(text);
}

/** Sends requests with this tab's token, and conditional ones (ETag) for values that it has cached. */
export class Api {
  readonly #kept = new Map<string, { etag: string; value: unknown }>();

  get token(): string | undefined {
    return recall('sessionStorage', tokenKey);
  }

  set token(token: string | undefined) {
    this.#kept.clear();
    remember('sessionStorage', tokenKey, token);
  }

  /**
   * @param path relative to the page: a proxy may serve it under a prefix
   * @param isKept whether to cache the value, so that the next request is conditional
   * @throws {ApiError} or, if `signal` is aborted, its reason
   */
  async get(path: string, signal: AbortSignal, isKept = false): Promise<Reply> {
    const kept = isKept ? this.#kept.get(path) : undefined;
    const response = await this.#fetch(path, signal, kept?.etag);
    if (response.status === 304 && kept !== undefined) {
      this.#keep(path, kept.etag, kept.value);
      return { value: kept.value, version: kept.etag };
    }
    if (!response.ok) throw await errorOf(response);
    const value: unknown = await whole(response.json(), signal);
    const version = response.headers.get('etag') ?? undefined;
    if (isKept && version !== undefined) this.#keep(path, version, value);
    return { value, version };
  }

  /** The bytes of a response, as a file to save. */
  async blob(path: string, signal: AbortSignal): Promise<Blob> {
    const response = await this.#fetch(path, signal);
    if (!response.ok) throw await errorOf(response);
    return await whole(response.blob(), signal);
  }

  async #fetch(path: string, signal: AbortSignal, etag?: string): Promise<Response> {
    const headers = new Headers();
    const { token } = this;
    if (token !== undefined) headers.set('authorization', `Bearer ${token}`);
    if (etag !== undefined) headers.set('if-none-match', etag);
    for (let turn = 1; ; turn++) {
      const response = await ask(path, headers, signal);
      const waitMs = 1000 * Number(response.headers.get('retry-after') ?? NaN);
      if (response.status !== 429 || turn === turnsMax || !(waitMs <= turnMsMax)) return response;
      await sleep(waitMs, signal);
    }
  }

  #keep(path: string, etag: string, value: unknown): void {
    this.#kept.delete(path);
    this.#kept.set(path, { etag, value });
    const [oldest] = this.#kept.keys();
    if (this.#kept.size > keptMax && oldest !== undefined) this.#kept.delete(oldest);
  }
}

async function ask(path: string, headers: Headers, signal: AbortSignal): Promise<Response> {
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), waitMsMax);
  try {
    return await fetch(path, {
      headers,
      cache: 'no-store',
      credentials: 'omit',
      signal: AbortSignal.any([signal, late.signal, AbortSignal.timeout(bodyMsMax)]),
    });
  } catch (error) {
    if (signal.aborted) throw error;
    throw new ApiError(0, 'The server does not respond. Check that it is running.');
  } finally {
    clearTimeout(timer);
  }
}

async function whole<T>(body: Promise<T>, signal: AbortSignal): Promise<T> {
  try {
    return await body;
  } catch (error) {
    if (signal.aborted) throw error;
    throw new ApiError(0, 'The response was cut off before its end.');
  }
}

/** @throws The reason of an abort. */
async function sleep(ms: number, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const end = AbortSignal.any([signal, AbortSignal.timeout(ms)]);
  await new Promise((resolve) => end.addEventListener('abort', resolve));
  signal.throwIfAborted();
}

async function errorOf(response: Response): Promise<ApiError> {
  const problem: unknown = await response.json().catch(() => undefined);
  const detail =
    typeof problem === 'object' && problem !== null && 'detail' in problem
      ? String(problem.detail)
      : `The server responded with status ${response.status}.`;
  return new ApiError(response.status, detail);
}
