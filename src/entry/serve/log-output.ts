import { writeSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

interface LogOutputOptions {
  /** Writes some of the bytes and returns how many; throws as `fs.writeSync` does. */
  readonly write: (bytes: Uint8Array) => number;
  /** Called once lines can be written again, to log how many were dropped and why. */
  readonly onRecovered: (lines: number, reason: string) => void;
}

/** Bytes that wait for a slow reader of a pipe. Lines beyond that are dropped. */
const waitingBytesMax = 1024 * 1024;
/** A full pipe is tried again after this time, */
const slowRetryMs = 50;
/** and an output that failed, such as a file on a full disk, after this. */
const failureRetryMs = 1_000;

/**
 * Writes lines without waiting and without failing. A line is written at once where that is
 * possible, so that the last lines before a crash are not lost. Lines that cannot be written are
 * dropped and counted: a full disk or a reader that has stopped must not stop the server.
 */
export class LogOutput {
  readonly #options: LogOutputOptions;
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  /** Whether the beginning of the first waiting line is written already. */
  #isCut = false;
  /** Whether the output failed and was not tried again since. */
  #hasFailed = false;
  #dropped = 0;
  #unreported = 0;
  #reason = '';
  #timer: NodeJS.Timeout | undefined;

  constructor(options: LogOutputOptions) {
    this.#options = options;
  }

  /** Lines dropped since the start. */
  get dropped(): number {
    return this.#dropped;
  }

  write(line: string): void {
    if (this.#hasFailed) {
      this.#drop(1, this.#reason);
      return;
    }
    const bytes = Buffer.from(line);
    if (this.#waitingBytes + bytes.length > waitingBytesMax) {
      this.#drop(1, 'the reader of the pipe is too slow');
      return;
    }
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
    // Lines that wait already go first, at the next retry: an attempt for each line would be slow.
    if (this.#timer === undefined) this.#flush();
  }

  /** Waits until all is written, at most `graceMs`. */
  async close(graceMs: number): Promise<void> {
    const deadline = performance.now() + graceMs;
    this.#flush();
    while (this.#waiting.length > 0 && performance.now() < deadline) {
      await delay(slowRetryMs);
      this.#flush();
    }
    clearTimeout(this.#timer);
  }

  #flush(): void {
    this.#hasFailed = false;
    for (let first = this.#waiting[0]; first !== undefined; first = this.#waiting[0]) {
      let written: number;
      try {
        written = this.#options.write(first);
      } catch (error) {
        this.#onFailure(error as NodeJS.ErrnoException);
        return;
      }
      this.#waitingBytes -= written;
      this.#isCut = written < first.length;
      if (this.#isCut) this.#waiting[0] = first.subarray(written);
      else this.#waiting.shift();
    }
    if (this.#unreported > 0) this.#report();
  }

  #onFailure({ code, message }: NodeJS.ErrnoException): void {
    if (code === 'EAGAIN') {
      this.#retryAfter(slowRetryMs);
      return;
    }
    // The rest of a line that was begun is kept, so that the next line begins a line.
    const kept = this.#isCut ? this.#waiting.slice(0, 1) : [];
    this.#drop(this.#waiting.length - kept.length, message);
    this.#waiting = kept;
    this.#waitingBytes = kept.reduce((bytes, { length }) => bytes + length, 0);
    this.#hasFailed = true;
    this.#retryAfter(failureRetryMs);
  }

  #drop(lines: number, reason: string): void {
    this.#dropped += lines;
    this.#unreported += lines;
    this.#reason = reason;
  }

  /** Logs how many lines were dropped. Where that line cannot be written either, nothing changes. */
  #report(): void {
    const [dropped, unreported] = [this.#dropped, this.#unreported];
    this.#unreported = 0;
    this.#options.onRecovered(unreported, this.#reason);
    if (this.#unreported === 0) return;
    this.#dropped = dropped;
    this.#unreported = unreported;
  }

  #retryAfter(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#flush();
    }, ms).unref();
  }
}

/**
 * The log's output on stderr. Node sets a pipe to non-blocking when it opens `process.stderr`: a
 * full one then gives EAGAIN instead of stopping the server until the reader goes on.
 */
export function stderrOutput(onRecovered: LogOutputOptions['onRecovered']): LogOutput {
  const { fd } = process.stderr;
  return new LogOutput({ write: (bytes) => writeSync(fd, bytes), onRecovered });
}
