import type { LogPosition } from '../log/frame.ts';

/** So many places are remembered; beyond, two become one that is as old as the older of them. */
const spansMax = 4_096;

/** Some records in a row. */
interface Span {
  end: LogPosition;
  /** Not after any of them was staged, nor any behind them; milliseconds since 1970. */
  since: number;
}

/** What is stored and not counted yet: how much, and since when. */
export class Backlog {
  #items = 0;
  /** In the order of the log. */
  #spans: Span[] = [];
  /** So many moments make a place; the last has so many. */
  #momentsPerSpan = 1;
  #momentsInLastSpan = 0;

  /** Items that are stored, or about to be, and not counted. */
  get items(): number {
    return this.#items;
  }

  /** Whatever was acknowledged before this moment is counted; undefined where nothing waits. */
  get since(): number | undefined {
    return this.#spans[0]?.since;
  }

  /** Takes note of a record, in the order of the log. */
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

  /** What ends at or before a position is counted now, and so many items with it. */
  removeCounted(countedThrough: LogPosition, items: number): void {
    this.#items -= items;
    const first = this.#spans.findIndex(({ end }) => end > countedThrough);
    this.#spans.splice(0, first === -1 ? this.#spans.length : first);
    if (first === -1) this.#momentsPerSpan = 1;
  }

  /** A clock that was put back: what is stored before is not older than what comes now. */
  #lowerTimesTo(at: number): void {
    for (let index = this.#spans.length - 1; index >= 0; index--) {
      const place = this.#spans[index];
      if (place === undefined || place.since <= at) return;
      place.since = at;
    }
  }

  #mergePairs(): void {
    const places = this.#spans;
    this.#spans = places
      .filter((_, index) => index % 2 === 0)
      .map(({ since, end }, index) => ({ since, end: places[2 * index + 1]?.end ?? end }));
    this.#momentsInLastSpan += places.length % 2 === 0 ? this.#momentsPerSpan : 0;
    this.#momentsPerSpan *= 2;
  }
}
