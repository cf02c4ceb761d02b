import type { LogPosition } from '../log/frame.ts';

/** So many places are remembered; beyond, two become one that is as old as the older of them. */
const placesMax = 4_096;

/** Some records in a row. */
interface Place {
  end: LogPosition;
  /** Not after any of them was staged, nor any behind them; milliseconds since 1970. */
  since: number;
}

/** What is stored and not counted yet: how much, and since when. */
export class Backlog {
  #items = 0;
  /** In the order of the log. */
  #places: Place[] = [];
  /** So many moments make a place; the last has so many. */
  #momentsEach = 1;
  #momentsInLast = 0;

  /** Items that are stored, or about to be, and not counted. */
  get items(): number {
    return this.#items;
  }

  /** Whatever was acknowledged before this moment is counted; undefined where nothing waits. */
  get since(): number | undefined {
    return this.#places[0]?.since;
  }

  /** Takes note of a record, in the order of the log. */
  add(end: LogPosition, items: number, at: number): void {
    this.#items += items;
    const last = this.#places.at(-1);
    if (last?.since === at) {
      last.end = end;
      return;
    }
    this.#holdBack(at);
    if (last !== undefined && this.#momentsInLast < this.#momentsEach) {
      last.end = end;
      this.#momentsInLast++;
      return;
    }
    this.#places.push({ end, since: at });
    this.#momentsInLast = 1;
    if (this.#places.length > placesMax) this.#thinOut();
  }

  /** What ends at or before a position is counted now, and so many items with it. */
  take(countedThrough: LogPosition, items: number): void {
    this.#items -= items;
    const first = this.#places.findIndex(({ end }) => end > countedThrough);
    this.#places.splice(0, first === -1 ? this.#places.length : first);
    if (first === -1) this.#momentsEach = 1;
  }

  /** A clock that was put back: what is stored before is not older than what comes now. */
  #holdBack(at: number): void {
    for (let index = this.#places.length - 1; index >= 0; index--) {
      const place = this.#places[index];
      if (place === undefined || place.since <= at) return;
      place.since = at;
    }
  }

  #thinOut(): void {
    const places = this.#places;
    this.#places = places
      .filter((_, index) => index % 2 === 0)
      .map(({ since, end }, index) => ({ since, end: places[2 * index + 1]?.end ?? end }));
    this.#momentsInLast += places.length % 2 === 0 ? this.#momentsEach : 0;
    this.#momentsEach *= 2;
  }
}
