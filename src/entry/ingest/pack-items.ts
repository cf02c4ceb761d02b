import { TimedReader } from './timed-reader.ts';
import { listName, type RawItem } from './split-json.ts';

/** A request body composed of items. */
export interface Pack {
  body: Buffer;
  items: number;
  /** The number of its first item in the input, from 0. */
  firstItem: number;
  /** The line of the input on which each item begins. */
  lines: readonly number[];
  /** Whether it was sent before it was full, because no further item came in time. */
  isCutByTime: boolean;
}

/** The limits of a request body. */
interface PackBounds {
  readonly itemsMax: number;
  readonly bytesMax: number;
  /** How long an item waits for further ones; undefined: until the body is full. */
  readonly waitMsMax?: number | undefined;
}

const head = Buffer.from(`{"${listName}":[`);
const comma = Buffer.from(',');
const tail = Buffer.from(']}');

/** The bytes of a body without its items and the commas between them. */
export const packOverheadBytes = head.length + tail.length;

/** Packs items in order, unchanged, into bodies within the limits. Each item must fit in a body. */
export async function* packItems(
  slices: AsyncIterable<RawItem[]> | Iterable<RawItem[]>,
  { itemsMax, bytesMax, waitMsMax }: PackBounds,
): AsyncGenerator<Pack, void> {
  const reader = new TimedReader(slices);
  let parts: RawItem[] = [];
  let bytes = packOverheadBytes;
  let firstItem = 0;
  let dueAt = Number.POSITIVE_INFINITY;
  const pack = (isCutByTime = false) => {
    const lines = parts.map(({ line }) => line);
    const done = { body: bodyOf(parts), items: parts.length, firstItem, lines, isCutByTime };
    firstItem += parts.length;
    parts = [];
    bytes = packOverheadBytes;
    return done;
  };
  try {
    for (;;) {
      const isWaiting = parts.length > 0 && waitMsMax !== undefined;
      const next = await reader.next(isWaiting ? dueAt - performance.now() : undefined);
      if (next?.done === true) break;
      if (next === undefined) yield pack(true);
      for (const item of next?.value ?? []) {
        const isFull = parts.length === itemsMax || bytes + item.bytes.length > bytesMax;
        if (isFull && parts.length > 0) yield pack();
        if (parts.length === 0) dueAt = performance.now() + (waitMsMax ?? 0);
        parts.push(item);
        bytes += item.bytes.length + 1;
      }
    }
    if (parts.length > 0) yield pack();
  } finally {
    reader.close();
  }
}

function bodyOf(items: readonly RawItem[]): Buffer {
  const joined = items.flatMap(({ bytes }, at) => (at === 0 ? [bytes] : [comma, bytes]));
  return Buffer.concat([head, ...joined, tail]);
}
