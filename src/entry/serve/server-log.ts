import { pino, type Logger } from 'pino';
import { prettyFactory } from 'pino-pretty';

import { requestIdOf, type Exchange, type HttpObserver } from '../../http/server/observer.ts';
import { safeError } from '../cli/error-text.ts';
import { stderrOutput, type LogOutput } from './log-output.ts';
import type { LogSettings } from './log-settings.ts';
import { visible } from '../cli/terminal-text.ts';

/** How long the end of the process waits for a slow reader of the log. */
const closeMs = 1_000;

/** A log on stderr. Lines that stderr does not take are dropped and counted. */
export function openLog({ level, format }: LogSettings): { log: Logger; output: LogOutput } {
  const isText = format === 'text' || (format === 'auto' && process.stderr.isTTY);
  const options = {
    level,
    base: null,
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    formatters: { level: (label: string) => ({ level: label }) },
  };
  const output = stderrOutput((lines, reason) => {
    const fields = { event: 'log_lines_dropped', lines, reason };
    log.warn(
      fields,
      `${lines.toLocaleString('en')} lines of this log were dropped: ${visible(reason)}`,
    );
  });
  const toText = isText ? textFormat() : (line: string) => line;
  const log = pino(options, { write: (line) => output.write(toText(line)) });
  return { log, output };
}

function textFormat(): (line: string) => string {
  return prettyFactory({
    // It knows NO_COLOR; what is no terminal does not have it.
    colorize: process.stderr.isTTY && process.stderr.hasColors(),
    singleLine: true,
    translateTime: 'SYS:HH:MM:ss.l',
    ignore: 'event,pid',
  });
}

/** So many lines of a kind are written in a second; of the others, their number. */
const linesMax = 10;
const windowMs = 1_000;

/** Bounds what is logged of requests: a flood of bad ones must not fill a disk. */
export class LineLimiter {
  readonly #write: (kind: string, suppressed: number) => void;
  readonly #kinds = new Map<string, { lines: number; suppressed: number }>();
  #timer: NodeJS.Timeout | undefined;

  /** @param write is told once a second of each kind how many lines were left out, if any were. */
  constructor(write: (kind: string, suppressed: number) => void) {
    this.#write = write;
  }

  /** Whether one more line of a kind may be written. There must be few kinds. */
  admit(kind: string): boolean {
    this.#timer ??= setTimeout(() => this.flush(), windowMs).unref();
    const seen = this.#kinds.get(kind) ?? { lines: 0, suppressed: 0 };
    this.#kinds.set(kind, seen);
    if (seen.lines >= linesMax) {
      seen.suppressed++;
      return false;
    }
    seen.lines++;
    return true;
  }

  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const [kind, { suppressed }] of this.#kinds)
      if (suppressed > 0) this.#write(kind, suppressed);
    this.#kinds.clear();
  }
}

/** What `serve` writes into its log. */
export class ServerLog {
  readonly #log: Logger;
  readonly #output: LogOutput | undefined;
  readonly #refusals: LineLimiter;
  readonly #defects: LineLimiter;

  constructor(log: Logger, output?: LogOutput) {
    this.#log = log;
    this.#output = output;
    const more = (event: string) => (kind: string, suppressed: number) =>
      log.warn({ event, kind, suppressed }, `and ${suppressed.toLocaleString('en')} more: ${kind}`);
    this.#refusals = new LineLimiter(more('requests_refused'));
    this.#defects = new LineLimiter(more('defects'));
  }

  /** Lines that stderr did not take. */
  get linesDropped(): number {
    return this.#output?.dropped ?? 0;
  }

  get isDebug(): boolean {
    return this.#log.isLevelEnabled('debug');
  }

  info(event: string, fields: Readonly<Record<string, unknown>>, message: string): void {
    this.#log.info({ event, ...fields }, visible(message));
  }

  warn(event: string, fields: Readonly<Record<string, unknown>>, message: string): void {
    this.#log.warn({ event, ...fields }, visible(message));
  }

  /** The storage has failed, and the server ends. */
  failure(message: string): void {
    this.#log.fatal({ event: 'storage_failed' }, visible(message));
  }

  /** An error of ours, or something that is wrong while the server goes on. */
  defect(error: Error | string): void {
    if (!this.#defects.admit('defect')) return;
    if (typeof error === 'string') {
      this.#log.error({ event: 'defect' }, visible(error));
      return;
    }
    const { error: what, stack } = safeError(error);
    this.#log.error(
      { event: 'defect', stack: stack.split('\n').map((line) => line.trim()) },
      visible(what),
    );
  }

  /** Nothing of what it writes was chosen by a client, but the request's id. */
  answered({ requestId, route, method, status, seconds, problem, cut }: Exchange): void {
    if (cut !== undefined && this.#refusals.admit(`cut ${cut}`)) {
      const fields = { request_id: requestId, method, route, reason: cut };
      const message = `the answer to ${method} ${route} was cut: ${cut}`;
      this.#log.warn({ event: 'answer_cut', ...fields }, message);
    }
    if (problem === undefined) return;
    const level = status >= 500 ? 'warn' : 'info';
    if (!this.#log.isLevelEnabled(level) || !this.#refusals.admit(`${status} ${problem}`)) return;
    const fields = { request_id: requestId, method, route, status, code: problem };
    this.#log[level](
      { event: 'request_refused', ...fields, duration_ms: Math.round(seconds * 1e5) / 100 },
      `${method} ${route} answered ${status} ${problem}`,
    );
  }

  accepted(batch: AcceptedBatch): void {
    const { requestId, batchId, items, refused, bytes } = batch;
    const fields = { request_id: requestIdOf(requestId), batch_id: batchId, items, refused, bytes };
    this.#log.debug({ event: 'batch_accepted', ...fields }, 'a batch was accepted');
  }

  /** Writes what is left, of lines that were left out. */
  async close(): Promise<void> {
    this.#refusals.flush();
    this.#defects.flush();
    await this.#output?.close(closeMs);
  }
}

interface AcceptedBatch {
  readonly requestId: string | undefined;
  readonly batchId: string;
  readonly items: number;
  readonly refused: number;
  readonly bytes: number;
}

/** Tells both; the log of accepted batches only where it wants to know. */
export function observers(traffic: HttpObserver, log: ServerLog): HttpObserver {
  const { isDebug } = log;
  return {
    acceptedPlain(items, bytes, seconds, batchId, requestId) {
      traffic.acceptedPlain(items, bytes, seconds, batchId, requestId);
      if (isDebug) log.accepted({ requestId, batchId, items, refused: 0, bytes });
    },
    judged(outcome, bytes, requestId) {
      traffic.judged(outcome, bytes, requestId);
      if (!isDebug || !outcome.accepted) return;
      const { batchId, enqueued: items, rejected: refused } = outcome;
      log.accepted({ requestId, batchId, items, refused, bytes });
    },
    answered(exchange) {
      traffic.answered(exchange);
      log.answered(exchange);
    },
  };
}
