import { pipeline } from 'node:stream';
import { createGunzip } from 'node:zlib';

import type { IngestOptions } from './ingest-options.ts';
import { readInput, type Input } from './inputs.ts';
import { packItems, packOverheadBytes, type Pack } from './pack-items.ts';
import { TimedReader } from './timed-reader.ts';
import { JsonSlicer, type RawItem } from './split-json.ts';
import { LineSlicer, layoutOf, newline, type BadLine, type Layout } from './split-lines.ts';

/** The format of an input and the limits of a request. */
interface PackOptions extends Pick<IngestOptions, 'format' | 'items' | 'maxBody'> {
  /** Whether lines of a live input are sent soon, in requests that are not full. */
  readonly isSentSoon: boolean;
}

/** How far an input is read; updated while it is read. */
export interface ReadingState {
  /** If so, bad lines are reported at once and not at the end, which may be far away. */
  readonly isLive: boolean;
  bytes: number;
  items: number;
  /** Bytes of an incomplete item or line. */
  unfinishedBytes: number;
  readonly onBadLine: (bad: BadLine) => void;
}

const bom = Buffer.from('\ufeff');

/** A line waits at most a second: half for detecting the format, half for filling a request. */
const liveWaitMs = 1_000 / 2;

/**
 * Reads an input, plain or gzipped, into request bodies. A document that fits in a request is sent
 * unchanged; otherwise its items are sent unchanged.
 * @throws InputError if a document is malformed, or the error of reading or inflating it.
 */
export async function* readPacks(
  input: Input,
  options: PackOptions,
  stopping: AbortSignal,
  state: ReadingState,
): AsyncGenerator<Pack, void> {
  const { items: itemsMax, maxBody: bytesMax } = options;
  const waitMsMax = input.isLive && options.isSentSoon ? liveWaitMs : undefined;
  const chunks = new TimedReader(inflate(input.name, read(input, stopping, state)));
  const { head, isWhole, layout } = await readHead(chunks, input.name, options, state, waitMsMax);
  const offset = bomBytes(head);
  const text = chain(head.subarray(offset), chunks.rest());
  const itemBytesMax = bytesMax - packOverheadBytes;
  if (layout === 'lines') {
    const slicer = new LineSlicer(itemBytesMax, state.onBadLine, { offset });
    return yield* packItems(slicesOf(slicer, text, state), { itemsMax, bytesMax, waitMsMax });
  }
  const kind = options.format === 'json' ? 'document' : 'values';
  const slicer = new JsonSlicer(kind, itemBytesMax, { offset, line: 1 });
  const slices = slicesOf(slicer, text, state);
  if (!isWhole) return yield* packItems(slices, { itemsMax, bytesMax });

  const items = (await Array.fromAsync(slices)).flat();
  if (slicer.values === 1 && slicer.isObjectWithList) {
    const lines = items.map(({ line }) => line);
    yield { body: head, items: items.length, firstItem: 0, lines, isCutByTime: false };
  } else yield* packItems([items], { itemsMax, bytesMax });
}

async function* read(
  input: Input,
  stopping: AbortSignal,
  state: ReadingState,
): AsyncGenerator<Buffer, void> {
  for await (const chunk of readInput(input, stopping)) {
    state.bytes += chunk.length;
    yield chunk;
  }
}

async function* inflate(
  name: string,
  source: AsyncGenerator<Buffer, void>,
): AsyncGenerator<Buffer, void> {
  const reader = new TimedReader(source);
  const head = await readAhead(reader, 2);
  const isGzip = head[0] === 0x1f && head[1] === 0x8b;
  if (!isGzip && name.endsWith('.gz'))
    throw new Error('its name ends in .gz, but it is not gzip data');
  if (!isGzip) return yield* chain(head, reader.rest());
  const gunzip = createGunzip({ chunkSize: 256 * 1024 });
  // An error of either stream ends the other, and is thrown below where the inflated bytes are read.
  pipeline(chain(head, reader.rest()), gunzip, () => undefined);
  yield* gunzip as AsyncIterable<Buffer>;
}

async function* slicesOf(
  slicer: JsonSlicer | LineSlicer,
  chunks: AsyncIterable<Buffer>,
  state: ReadingState,
): AsyncGenerator<RawItem[], void> {
  const counted = (items: RawItem[]) => {
    state.items += items.length;
    state.unfinishedBytes = slicer.unfinishedBytes;
    return items;
  };
  for await (const chunk of chunks) yield counted(slicer.push(chunk));
  yield counted(slicer.end());
}

interface Head {
  readonly head: Buffer;
  /** Whether it is the whole input. */
  readonly isWhole: boolean;
  readonly layout: Layout;
}

/**
 * Reads the head of the input to detect its layout: a little more than fits in a request, or for an
 * input that is sent soon, what arrives within `waitMs`.
 */
async function readHead(
  chunks: TimedReader<Buffer>,
  name: string,
  { format, maxBody }: PackOptions,
  state: ReadingState,
  waitMs = Number.POSITIVE_INFINITY,
): Promise<Head> {
  const parts: Buffer[] = [];
  if (format === 'ndjson' || (format === 'auto' && /\.(ndjson|jsonl)(\.gz)?$/i.test(name))) {
    return { head: await readAhead(chunks, bom.length), isWhole: false, layout: 'lines' };
  }
  const headOf = (isWhole: boolean): Head => {
    const head = Buffer.concat(parts);
    const layout =
      format === 'json' ? 'document' : layoutOf(head.subarray(bomBytes(head)), isWhole);
    return { head, isWhole, layout: layout ?? 'document' };
  };
  let dueAt = Number.POSITIVE_INFINITY;
  while (state.unfinishedBytes <= maxBody) {
    const isLate = performance.now() >= dueAt;
    const next = await chunks.next(isLate ? undefined : dueAt - performance.now());
    if (next?.done === true) return headOf(true);
    if (next !== undefined) {
      if (parts.length === 0) dueAt = performance.now() + waitMs;
      parts.push(next.value);
      state.unfinishedBytes += next.value.length;
    }
    // Try again only when another line is complete.
    if (next !== undefined && !(isLate && next.value.includes(newline))) continue;
    const head = headOf(false);
    if (head.layout === 'lines') return head;
  }
  return headOf(false);
}

function bomBytes(head: Buffer): number {
  return head.subarray(0, bom.length).equals(bom) ? bom.length : 0;
}

/** Reads at least `bytes` bytes, or the whole input. */
async function readAhead(chunks: TimedReader<Buffer>, bytes: number): Promise<Buffer> {
  let head = Buffer.alloc(0);
  while (head.length < bytes) {
    const next = await chunks.next();
    if (next === undefined || next.done === true) break;
    head = Buffer.concat([head, next.value]);
  }
  return head;
}

async function* chain(
  head: Buffer,
  rest: AsyncGenerator<Buffer, void>,
): AsyncGenerator<Buffer, void> {
  yield head;
  yield* rest;
}
