import type { LogPosition } from '../log/frame.ts';

/** Maximum number of spans; above it, pairs are merged into spans as old as their older part. */
const spansMax = 4_096;

/** Consecutive records. */
interface Span {
  end: LogPosition;
  /** No record of this or a later span was staged before this; milliseconds since 1970. */
  since: number;
}

/**
 * Tracks the records that are stored but not counted yet: the number of their items, and since when
 * they wait.
 */
export class Backlog {
  #items = 0;
  /** The spans in the order of the log. */
  #spans: Span[] = [];
  /** How many distinct times a span covers, and how many the last one covers so far. */
  #momentsPerSpan = 1;
  #momentsInLastSpan = 0;

  /** Items that are staged or stored, but not counted. */
  get items(): number {
    return this.#items;
  }

  /** Everything acknowledged before this is counted; undefined if the backlog is empty. */
  get since(): number | undefined {
    return this.#spans[0]?.since;
  }

  /** Adds a record; call it in the order of the log. */
  add(end: LogPosition, items: number, at: number): void {
    this.#items += items;
    const last = this.#spans.at(-1);
    if (last?.since === at) {
      last.end = end;
      return;
    }
    this.#lowerTimesTo(at);
    if (last !== undefined && this.#momentsInLastSpan < this.#momentsPerSpan) {
      last.end = end;
      this.#momentsInLastSpan++;
      return;
    }
    this.#spans.push({ end, since: at });
    this.#momentsInLastSpan = 1;
    if (this.#spans.length > spansMax) this.#mergePairs();
  }

  /** Removes the records that end at or before a position, and their items. */
  removeCounted(countedThrough: LogPosition, items: number): void {
    this.#items -= items;
    const first = this.#spans.findIndex(({ end }) => end > countedThrough);
    this.#spans.splice(0, first === -1 ? this.#spans.length : first);
    if (first === -1) this.#momentsPerSpan = 1;
  }

  /** Called after the clock was set back: earlier records must not have later times. */
  #lowerTimesTo(at: number): void {
    for (let index = this.#spans.length - 1; index >= 0; index--) {
      const span = this.#spans[index];
      if (span === undefined || span.since <= at) return;
      span.since = at;
    }
  }

  #mergePairs(): void {
    const spans = this.#spans;
    this.#spans = spans
      .filter((_, index) => index % 2 === 0)
      .map(({ since, end }, index) => ({ since, end: spans[2 * index + 1]?.end ?? end }));
    this.#momentsInLastSpan += spans.length % 2 === 0 ? this.#momentsPerSpan : 0;
    this.#momentsPerSpan *= 2;
  }
}
