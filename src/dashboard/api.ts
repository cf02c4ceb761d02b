/** The answer is not one that the page can show. */
export class ApiError extends Error {
  /** 0: no answer at all. */
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export interface Reply {
  readonly value: unknown;
  /** Whether it is what was answered before. */
  readonly isSame: boolean;
}

const keptMax = 16;
const waitMsMax = 30_000;
const tokenKey = 'device-pipeline-token';

/** Asks the pipeline, with this tab's token, and for what is known only whether it changed. */
export class Api {
  readonly #kept = new Map<string, { etag: string; value: unknown }>();

  get token(): string | undefined {
    return sessionStorage.getItem(tokenKey) ?? undefined;
  }

  set token(token: string | undefined) {
    this.#kept.clear();
    if (token === undefined) sessionStorage.removeItem(tokenKey);
    else sessionStorage.setItem(tokenKey, token);
  }

  /** @throws {ApiError} and, where `signal` says so, the reason of its abort. */
  async get(path: string, signal: AbortSignal): Promise<Reply> {
    const kept = this.#kept.get(path);
    const response = await this.#fetch(path, signal, kept?.etag);
    if (response.status === 304 && kept !== undefined) return { value: kept.value, isSame: true };
    if (!response.ok) throw await errorOf(response);
    const value: unknown = await response.json();
    const etag = response.headers.get('etag');
    this.#kept.delete(path);
    if (etag !== null) this.#keep(path, etag, value);
    return { value, isSame: false };
  }

  /** The bytes of an answer, as a file to save. */
  async blob(path: string, signal: AbortSignal): Promise<Blob> {
    const response = await this.#fetch(path, signal);
    if (!response.ok) throw await errorOf(response);
    return await response.blob();
  }

  async #fetch(path: string, signal: AbortSignal, etag?: string): Promise<Response> {
    const headers = new Headers();
    const { token } = this;
    if (token !== undefined) headers.set('authorization', `Bearer ${token}`);
    if (etag !== undefined) headers.set('if-none-match', etag);
    try {
      return await fetch(path, {
        headers,
        cache: 'no-store',
        credentials: 'omit',
        signal: AbortSignal.any([signal, AbortSignal.timeout(waitMsMax)]),
      });
    } catch (error) {
      if (signal.aborted) throw error;
      throw new ApiError(
        0,
        'The pipeline does not answer. Is it running? Here that would be: npm start.',
      );
    }
  }

  #keep(path: string, etag: string, value: unknown): void {
    this.#kept.set(path, { etag, value });
    const [oldest] = this.#kept.keys();
    if (this.#kept.size > keptMax && oldest !== undefined) this.#kept.delete(oldest);
  }
}

async function errorOf(response: Response): Promise<ApiError> {
  const problem: unknown = await response.json().catch(() => undefined);
  const detail =
    typeof problem === 'object' && problem !== null && 'detail' in problem
      ? String(problem.detail)
      : `The answer was ${response.status}.`;
  return new ApiError(response.status, detail);
}
