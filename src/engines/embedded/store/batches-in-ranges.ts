import type { DatabaseSync } from 'node:sqlite';

import { rawKeyOf } from '../../../domain/batch-id.ts';
import type { LogPosition } from '../log/frame.ts';

const namedMax = 5;

interface ByteRange {
  readonly from: LogPosition;
  readonly to: LogPosition;
}

/**
 * The batches of a part of the log that are recorded in the database: those with idempotency keys,
 * and replayed ones.
 */
interface KnownBatches {
  /** The raw keys of up to five batches whose time of receipt is known. */
  readonly rawKeys: readonly string[];
  /**
   * A list such as `raw/… and 3 more`; empty if no batch is known. Replayed batches without a key
   * appear with their id.
   */
  readonly text: string;
}

/**
 * Names the batches in parts of the log that cannot be read any more, as far as the database has
 * recorded them. `ranges` are sorted and do not overlap; the results are in the same order. Reads
 * each table once.
 */
export function knownBatches(database: DatabaseSync, ranges: readonly ByteRange[]): KnownBatches[] {
  const found = ranges.map((range) => ({ range, names: new NameList(), rawKeys: [] as string[] }));
  const first = found[0];
  const last = found.at(-1);
  if (first === undefined || last === undefined) return [];
  const rows = database.prepare(batchesByPosition).iterate(first.range.from, last.range.to);
  let index = 0;
  for (const row of rows) {
    const position = Number(row['position']);
    while ((found[index]?.range.to ?? Number.POSITIVE_INFINITY) <= position) index++;
    const within = found[index];
    if (within === undefined || position < within.range.from) continue;
    const { received_at: receivedAt, batch_id: id } = row;
    const isKeyed = typeof receivedAt === 'number';
    const name = isKeyed ? rawKeyOf(String(id), receivedAt) : `batch ${String(id)}`;
    if (within.names.add(name) && isKeyed) within.rawKeys.push(name);
  }
  return found.map(({ rawKeys, names }) => ({ rawKeys, text: names.text() }));
}

/** A replayed batch with a key has the same id in both tables, so grouping merges its rows. */
const batchesByPosition = `
  SELECT position, batch_id, max(received_at) AS received_at FROM (
    SELECT position, batch_id, received_at FROM idempotency_keys
    UNION ALL
    SELECT position, batch_id, NULL FROM replayed_batches)
  WHERE position >= ? AND position < ? GROUP BY position, batch_id ORDER BY position`;

/** A list of names that shows the first five. */
export class NameList {
  readonly #names: string[] = [];
  #more = 0;

  /** Returns whether the list shows the name. */
  add(name: string): boolean {
    if (this.#names.length === namedMax) {
      this.#more++;
      return false;
    }
    this.#names.push(name);
    return true;
  }

  get isFull(): boolean {
    return this.#names.length === namedMax;
  }

  /** @param total the number of names, if not all were added. */
  text(total = this.#names.length + this.#more): string {
    const more = total - this.#names.length;
    return this.#names.join(', ') + (more > 0 ? ` and ${more} more` : '');
  }
}
