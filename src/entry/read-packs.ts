import { createReadStream } from 'node:fs';
import { addAbortSignal, pipeline } from 'node:stream';
import { createGunzip } from 'node:zlib';

import { packItems, packOverheadBytes, type Pack } from './pack-items.ts';
import { JsonSlicer, type InputFormat, type RawItem } from './split-json.ts';

/** What a file is, and the most that a request may hold. */
export interface PackOptions {
  format: InputFormat;
  itemsPerBatch: number;
  bodyBytesMax: number;
}

const chunkBytes = 256 * 1024;

/**
 * Reads a file, gzipped or not, into request bodies; `-` is standard input. A document that fits
 * goes out byte for byte as it is; of anything else the items do. `onBytes` is told how much was
 * read.
 * @throws InputError where the file is malformed, or the error of reading or inflating it.
 */
export async function* readPacks(
  file: string,
  options: PackOptions,
  stopping: AbortSignal,
  onBytes: (bytes: number) => void,
): AsyncGenerator<Pack, void> {
  const { itemsPerBatch, bodyBytesMax } = options;
  const chunks = inflate(file, read(file, stopping, onBytes));
  const { head, isWhole } = await readAhead(chunks, bodyBytesMax + 1);
  const isNdjson = options.format === 'auto' && /\.(ndjson|jsonl)(\.gz)?$/i.test(file);
  const format = isNdjson ? 'ndjson' : options.format;
  const bomBytes = head.subarray(0, 3).toString('latin1') === '\xef\xbb\xbf' ? 3 : 0;
  const slicer = new JsonSlicer(format, bodyBytesMax - packOverheadBytes, bomBytes);
  const slices = slicesOf(slicer, chain(head.subarray(bomBytes), chunks));
  if (!isWhole) return yield* packItems(slices, itemsPerBatch, bodyBytesMax);

  const items = (await Array.fromAsync(slices)).flat();
  if (format !== 'ndjson' && slicer.values === 1 && slicer.isObjectWithList) {
    yield { body: head, items: items.length, firstItem: 0 };
  } else yield* packItems([items], itemsPerBatch, bodyBytesMax);
}

async function* read(
  file: string,
  stopping: AbortSignal,
  onBytes: (bytes: number) => void,
): AsyncGenerator<Buffer, void> {
  const stream =
    file === '-' ? process.stdin : createReadStream(file, { highWaterMark: chunkBytes });
  for await (const chunk of addAbortSignal(stopping, stream) as AsyncIterable<Buffer>) {
    onBytes(chunk.length);
    yield chunk;
  }
}

async function* inflate(
  file: string,
  source: AsyncGenerator<Buffer, void>,
): AsyncGenerator<Buffer, void> {
  const { head } = await readAhead(source, 2);
  const isGzip = head[0] === 0x1f && head[1] === 0x8b;
  if (!isGzip && file.endsWith('.gz')) throw new Error('it is not gzip data, as its name says');
  if (!isGzip) return yield* chain(head, source);
  const gunzip = createGunzip({ chunkSize: chunkBytes });
  // An error of either stream ends the other and surfaces below, where the inflated bytes are read.
  pipeline(chain(head, source), gunzip, () => undefined);
  yield* gunzip as AsyncIterable<Buffer>;
}

async function* slicesOf(
  slicer: JsonSlicer,
  chunks: AsyncIterable<Buffer>,
): AsyncGenerator<RawItem[], void> {
  for await (const chunk of chunks) yield slicer.push(chunk);
  yield slicer.end();
}

/** The first `bytes` bytes or a little more; or all there is, and then `isWhole`. */
async function readAhead(
  chunks: AsyncGenerator<Buffer, void>,
  bytes: number,
): Promise<{ head: Buffer; isWhole: boolean }> {
  const parts: Buffer[] = [];
  let length = 0;
  while (length < bytes) {
    const next = await chunks.next();
    if (next.done === true) return { head: Buffer.concat(parts), isWhole: true };
    parts.push(next.value);
    length += next.value.length;
  }
  return { head: Buffer.concat(parts), isWhole: false };
}

async function* chain(
  head: Buffer,
  rest: AsyncGenerator<Buffer, void>,
): AsyncGenerator<Buffer, void> {
  yield head;
  yield* rest;
}
