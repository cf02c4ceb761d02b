import { inspect } from 'node:util';

/**
 * Lost events that no callback has reported. `take` returns them for an error; when the process ends, the
 * remaining ones are written to stderr.
 */
export class Losses {
  #first: string | undefined;
  #more = 0;

  add(text: string): void {
    if (this.#first === undefined) this.#first = text;
    else this.#more += 1;
    watch(this);
  }

  /** The losses since the last call as one sentence; undefined without losses. */
  take(): string | undefined {
    unwatch(this);
    const first = this.#first;
    const more = this.#more === 0 ? '' : ` (and ${this.#more} more)`;
    this.#first = undefined;
    this.#more = 0;
    return first === undefined ? undefined : `${first}${more}`;
  }
}

/** At most this many clients report their losses at the exit; further clients report theirs at once. */
const clientsMax = 1000;

/** The clients with unreported losses. While there are any, one exit listener serves all of them. */
const unreported = new Set<Losses>();

function watch(losses: Losses): void {
  if (unreported.has(losses)) return;
  const [oldest] = unreported;
  if (unreported.size >= clientsMax && oldest !== undefined) report(oldest);
  if (unreported.size === 0) process.on('exit', reportAll);
  unreported.add(losses);
}

function unwatch(losses: Losses): void {
  if (unreported.delete(losses) && unreported.size === 0) process.off('exit', reportAll);
}

/** Writes all unreported losses. A process that a signal ends emits no 'exit'. */
export function reportAll(): void {
  for (const losses of unreported) report(losses);
}

function report(losses: Losses): void {
  const text = losses.take();
  if (text !== undefined) {
    writeError(`not reported by onRefused, onGaveUp, flush or close: ${text}`);
  }
}

/** Writes a line to stderr, without control characters from servers and callbacks. */
export function writeError(text: string): void {
  process.stderr.write(`device-pipeline: ${text.replace(/\p{Cc}+/gu, ' ')}\n`);
}

/** A text for any thrown value. */
export function textOf(error: unknown): string {
  return error instanceof Error ? String(error) : inspect(error);
}
