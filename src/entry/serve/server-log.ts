import { pino, type Logger } from 'pino';

import {
  requestIdOf,
  type AnsweredRequest,
  type HttpObserver,
} from '../../http/server/observer.ts';
import { safeError } from '../cli/error-text.ts';
import { stderrOutput, type LogOutput } from './log-output.ts';
import type { LogSettings } from './serve-options.ts';
import { visible } from '../cli/terminal-text.ts';
import { withThousands } from '../../util/thousands.ts';

/** How long the process waits at its end for a slow reader of the log. */
const closeMs = 1_000;

/** A log on stderr. Lines that cannot be written are dropped and counted. */
export async function openLog({
  level,
  format,
}: LogSettings): Promise<{ log: Logger; output: LogOutput }> {
  const isText = format === 'text' || (format === 'auto' && process.stderr.isTTY);
  const options = {
    level,
    base: null,
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    formatters: { level: (label: string) => ({ level: label }) },
  };
  const output = stderrOutput((lines, reason) => {
    const fields = { event: 'log_lines_dropped', lines, reason };
    log.warn(fields, `dropped ${withThousands(lines)} lines of this log: ${visible(reason)}`);
  });
  const toText = isText ? await textFormat() : (line: string) => line;
  const log = pino(options, { write: (line) => output.write(toText(line)) });
  return { log, output };
}

async function textFormat(): Promise<(line: string) => string> {
  // In a bundle, a CommonJS module has only the default export.
  const { default: pretty } = await import('pino-pretty');
  return pretty.prettyFactory({
    // hasColors honours NO_COLOR, but exists only on terminals.
    colorize: process.stderr.isTTY && process.stderr.hasColors(),
    singleLine: true,
    translateTime: 'SYS:HH:MM:ss.l',
    ignore: 'event,pid',
  });
}

/** At most this many lines of a kind are written per window; further ones are only counted. */
const linesMax = 10;
const windowMs = 1_000;

/** Limits how many lines are logged, so that a flood of bad requests cannot fill a disk. */
export class LineLimiter {
  readonly #write: (kind: string, suppressed: number) => void;
  readonly #kinds = new Map<string, { lines: number; suppressed: number }>();
  #timer: NodeJS.Timeout | undefined;

  /** @param write called once per window for each kind whose lines were suppressed. */
  constructor(write: (kind: string, suppressed: number) => void) {
    this.#write = write;
  }

  /** Whether one more line of a kind may be written. The number of kinds must be small. */
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

/** The log of `serve`. */
export class ServerLog {
  readonly #log: Logger;
  readonly #output: LogOutput | undefined;
  readonly #refusals: LineLimiter;
  readonly #defects: LineLimiter;

  constructor(log: Logger, output?: LogOutput) {
    this.#log = log;
    this.#output = output;
    const more = (event: string) => (kind: string, suppressed: number) =>
      log.warn({ event, kind, suppressed }, `and ${withThousands(suppressed)} more: ${kind}`);
    this.#refusals = new LineLimiter(more('requests_refused'));
    this.#defects = new LineLimiter(more('defects'));
  }

  /** Lines that could not be written to stderr. */
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

  /** Logs that the storage failed and the server ends. */
  failure(message: string): void {
    this.#log.fatal({ event: 'storage_failed' }, visible(message));
  }

  /** Logs an unexpected error after which the server continues. */
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

  /** Logs a request that failed. Clients control only one of its fields, the request id. */
  answered({ requestId, route, method, status, seconds, problem, cut }: AnsweredRequest): void {
    if (cut !== undefined && this.#refusals.admit(`cut ${cut}`)) {
      const fields = { request_id: requestId, method, route, reason: cut };
      const message = `the response to ${method} ${route} was cut off: ${cut}`;
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

  accepted(requestId: string | undefined, batch: AcceptedBatch): void {
    const fields = { request_id: requestIdOf(requestId), ...batch };
    this.#log.debug({ event: 'batch_accepted', ...fields }, 'batch accepted');
  }

  /** Logs the counts of suppressed lines, and waits for a slow reader. */
  async close(): Promise<void> {
    this.#refusals.flush();
    this.#defects.flush();
    await this.#output?.close(closeMs);
  }
}

interface AcceptedBatch {
  readonly batch_id: string;
  readonly items: number;
  readonly refused: number;
  readonly bytes: number;
}

/** An observer that forwards to the traffic counters and the log; accepted batches at level debug only. */
export function observers(traffic: HttpObserver, log: ServerLog): HttpObserver {
  const { isDebug } = log;
  return {
    acceptedPlain(items, bytes, seconds, batchId, requestId) {
      traffic.acceptedPlain(items, bytes, seconds, batchId, requestId);
      if (isDebug) log.accepted(requestId, { batch_id: batchId, items, refused: 0, bytes });
    },
    decided(outcome, bytes, requestId) {
      traffic.decided(outcome, bytes, requestId);
      if (!isDebug || !outcome.accepted) return;
      const { batchId, enqueued: items, rejected: refused } = outcome;
      log.accepted(requestId, { batch_id: batchId, items, refused, bytes });
    },
    answered(exchange) {
      traffic.answered(exchange);
      log.answered(exchange);
    },
  };
}
