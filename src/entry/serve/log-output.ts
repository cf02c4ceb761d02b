import { writeSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

interface LogOutputOptions {
  /** Writes some of the bytes and returns their number; throws like `fs.writeSync`. */
  readonly write: (bytes: Uint8Array) => number;
  /** Called when lines can be written again, to log how many were dropped and why. */
  readonly onRecovered: (lines: number, reason: string) => void;
}

/** How many bytes may wait for a slow reader of a pipe; further lines are dropped. */
const waitingBytesMax = 1024 * 1024;
/** The time until the next attempt to write to a full pipe, */
const slowRetryMs = 50;
/** and to an output that failed, such as a file on a full disk. */
const failureRetryMs = 1_000;

/**
 * Writes lines; never blocks and never throws. It writes a line at once if it can, so that the last
 * lines before a crash are not lost. It drops and counts lines that it cannot write: a full disk or a
 * stalled reader must not stop the server.
 */
export class LogOutput {
  readonly #options: LogOutputOptions;
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  /** Whether the first waiting line is written in part. */
  #isCut = false;
  /** Whether the last attempt to write failed. */
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
    // A pending retry writes the waiting lines first: an attempt for each line would be slow.
    if (this.#timer === undefined) this.#flush();
  }

  /** Waits until everything is written, at most `graceMs`. */
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
    // Keep the rest of a line that is written in part, so that the next line starts on a new line.
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

  /** Logs how many lines were dropped. If that line is dropped, too, the counts stay as they were. */
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
 * The log's output on stderr. Opening `process.stderr` makes Node set a pipe to non-blocking, so that
 * writing to a full pipe fails with EAGAIN instead of blocking the server.
 */
export function stderrOutput(onRecovered: LogOutputOptions['onRecovered']): LogOutput {
  const { fd } = process.stderr;
  return new LogOutput({ write: (bytes) => writeSync(fd, bytes), onRecovered });
}
