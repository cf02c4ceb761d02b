import { inspect } from 'node:util';

/**
 * Losses that nobody was told of. Whoever takes them tells of them; what is left when the process
 * ends is written to stderr.
 */
export class Losses {
  #first: string | undefined;
  #more = 0;

  add(text: string): void {
    if (this.#first === undefined) this.#first = text;
    else this.#more += 1;
    watch(this);
  }

  /** One sentence for those since the last call; undefined where there are none. */
  take(): string | undefined {
    unwatch(this);
    const first = this.#first;
    const more = this.#more === 0 ? '' : ` (and ${this.#more} more)`;
    this.#first = undefined;
    this.#more = 0;
    return first === undefined ? undefined : `${first}${more}`;
  }
}

/** Of clients that were dropped without a flush: those of so many are kept for the end. */
const clientsMax = 1000;

/** One listener for all clients, and only while something is untold. */
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

/** Writes what is untold; a process that is ended by a signal has no other end. */
export function reportAll(): void {
  for (const losses of unreported) report(losses);
}

function report(losses: Losses): void {
  const text = losses.take();
  if (text !== undefined) {
    writeError(`no onRefused, onGaveUp, flush or close was told: ${text}`);
  }
}

/** A line on stderr; what servers and callbacks say must not steer a terminal. */
export function writeError(text: string): void {
  process.stderr.write(`device-pipeline: ${text.replace(/\p{Cc}+/gu, ' ')}\n`);
}

/** What was thrown may be anything, also what has no text. */
export function textOf(error: unknown): string {
  return error instanceof Error ? String(error) : inspect(error);
}
