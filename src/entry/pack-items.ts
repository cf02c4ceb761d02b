import { listName, type RawItem } from './split-json.ts';

/** A request body made of items; `firstItem` is the number of the first in the input, from 0. */
export interface Pack {
  body: Buffer;
  items: number;
  firstItem: number;
}

const head = Buffer.from(`{"${listName}":[`);
const comma = Buffer.from(',');
const tail = Buffer.from(']}');

/** How many bytes a body has beside its items and the commas between them. */
export const packOverheadBytes = head.length + tail.length;

/** Packs items in order, byte for byte, into bodies within both bounds. Each must fit in a body. */
export async function* packItems(
  slices: AsyncIterable<RawItem[]> | Iterable<RawItem[]>,
  itemsMax: number,
  bytesMax: number,
): AsyncGenerator<Pack, void> {
  let parts: Uint8Array[] = [];
  let bytes = packOverheadBytes;
  let firstItem = 0;
  const pack = () => {
    const items = parts.length;
    const joined = parts.flatMap((part, at) => (at === 0 ? [part] : [comma, part]));
    const done = { body: Buffer.concat([head, ...joined, tail]), items, firstItem };
    parts = [];
    bytes = packOverheadBytes;
    firstItem += items;
    return done;
  };
  for await (const slice of slices) {
    for (const item of slice) {
      const isFull = parts.length === itemsMax || bytes + item.bytes.length > bytesMax;
      if (isFull && parts.length > 0) yield pack();
      parts.push(item.bytes);
      bytes += item.bytes.length + 1;
    }
  }
  if (parts.length > 0) yield pack();
}
