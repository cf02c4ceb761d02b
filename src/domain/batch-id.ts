/** A UUID in its canonical form, lower case: 36 characters. */
export type BatchId = string;

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const rawKeyForm = /^raw\/(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z)-([0-9a-f-]{36})\.json$/;

/** The largest log position that fits into a batch id: 256 TiB. */
export const positionMax = 2 ** 48 - 1;

/**
 * A UUIDv8 (RFC 9562, 5.8) with the batch's position in the log in its first 48 bits; the rest, except
 * version and variant, is random, so that ids cannot be guessed from positions. It never has the marker
 * of carried batches, so that a stack that receives it by replay does not mistake it for the id of one.
 * `random` is 10 bytes.
 */
export function batchIdAtPosition(place: number, random: Uint8Array): Uint8Array {
  const bytes = Buffer.allocUnsafe(16);
  bytes.writeUIntBE(place, 0, 6);
  bytes.set(random.subarray(0, 10), 6);
  bytes[6] = 0x80 | (bytes.readUInt8(6) & 0x0f);
  bytes[8] = variantWithoutMark(bytes.readUInt8(8));
  return bytes;
}

/** The log position in an id; undefined if it is not a UUIDv8. */
export function positionOfBatchId(id: string): number | undefined {
  if (!uuid.test(id) || id[14] !== '8') return undefined;
  return Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16);
}

/** `bytes` is 16 bytes. */
export function formatBatchId(bytes: Uint8Array): BatchId {
  const hex = Buffer.from(bytes.buffer, bytes.byteOffset, 16).toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/** The raw key of a batch. `receivedAt` is milliseconds since 1970. */
export function rawKeyOf(batchId: BatchId, receivedAt: number): string {
  if (receivedAt !== last.receivedAt) {
    last = { receivedAt, received: new Date(receivedAt).toISOString() };
  }
  return `raw/${last.received}-${batchId}.json`;
}

/** A cache: many batches arrive within a millisecond, and formatting the time is expensive. */
let last = { receivedAt: NaN, received: '' };

/** Parses a raw key; undefined if the text is not one. */
export function readRawKey(rawKey: string): { batchId: BatchId; receivedAt: number } | undefined {
  const match = rawKeyForm.exec(rawKey);
  const [, received, batchId] = match ?? [];
  if (received === undefined || batchId === undefined || !uuid.test(batchId)) return undefined;
  const receivedAt = Date.parse(received);
  if (Number.isNaN(receivedAt)) return undefined;
  // Date.parse normalises February 30th and the hour 24 to times of other keys.
  return rawKeyOf(batchId, receivedAt) === rawKey ? { batchId, receivedAt } : undefined;
}

/**
 * The markers in the id of a carried batch: the digit of the UUID version, and the byte that contains the
 * variant. Earlier versions of the pipeline used UUID version 7, as for all other ids.
 */
const [carriedVersion, earlierCarriedVersion, carriedMark] = ['8', '7', 'bf'] as const;
const carriedMarkByte = Number.parseInt(carriedMark, 16);

/** A random byte that contains the variant and is not the marker of carried batches. */
function variantWithoutMark(random: number): number {
  const variant = 0x80 | (random & 0x3f);
  return variant === carriedMarkByte ? carriedMarkByte - 1 : variant;
}

/** The most items that the id of a carried batch can encode. */
export const carriedItemsMax = 255;

/** The ids in a block: their dedup records share a row, which must stay below 1 KB. */
export const blockIdsMax = 100;

/** Reads the id of a carried batch; undefined for other ids. */
export function readCarriedBatchId(
  id: string,
): { readonly items: number; readonly receivedAt: number } | undefined {
  const receivedAt = timeOfBatchId(id);
  if (receivedAt === undefined || id.slice(19, 21) !== carriedMark) return undefined;
  const items = Number.parseInt(id.slice(21, 23), 16);
  return items === 0 ? undefined : { items, receivedAt };
}

/** The block of an id of `batchIdMaker`, and a number that is unique in the block. */
export interface PlaceInBlock {
  readonly block: string;
  /** A whole number below 2^36. */
  readonly number: number;
}

/** The block of the id of a carried batch; undefined for other ids. */
export function placeInBlock(id: BatchId): PlaceInBlock | undefined {
  if (id[14] !== carriedVersion || readCarriedBatchId(id) === undefined) return undefined;
  const digits = id.slice(9, 13) + id.slice(15, 18) + id.slice(21, 23);
  return { block: `${id.slice(0, 8)}-${id.slice(24)}`, number: Number.parseInt(digits, 16) };
}

/** The id for a block and a number: the inverse of `placeInBlock`. */
export function batchIdInBlock({ block, number }: PlaceInBlock): BatchId {
  const digits = number.toString(16).padStart(9, '0');
  const [low, count, items] = [digits.slice(0, 4), digits.slice(4, 7), digits.slice(7)];
  const [high, node] = [block.slice(0, 8), block.slice(9)];
  return `${high}-${low}-${carriedVersion}${count}-${carriedMark}${items}-${node}`;
}

/** `carriedItems`: the number of items of a carried batch. */
export type BatchIdMaker = (now: number, carriedItems?: number) => BatchId;

/**
 * Returns a function that creates ids with 48 bits of time, 12 that count within a millisecond (RFC 9562,
 * 6.2, method 1), and 62 random ones. So they sort by time; those of one function sort strictly. They are
 * UUIDv7. Only a carried batch has a UUIDv8, which encodes in place of random bits the marker of carried
 * batches, the number of items, and the block: 48 random bits that `blockIdsMax` ids of one function
 * share. `now` is milliseconds since 1970, `random` returns the given number of bytes.
 */
export function batchIdMaker(random: (bytes: number) => Uint8Array): BatchIdMaker {
  let time = 0;
  let count = 0;
  let block: { random: Uint8Array; ids: number } = { random: Buffer.alloc(6), ids: blockIdsMax };
  return (now, carriedItems) => {
    // If the clock stands still or goes back, the counter carries into the time.
    if (now > time) [time, count] = [now, 0];
    else if (++count > 0xfff) [time, count] = [time + 1, 0];
    const bytes = Buffer.alloc(16);
    bytes.writeUIntBE(time, 0, 6);
    bytes.writeUInt16BE((carriedItems === undefined ? 0x7000 : 0x8000) | count, 6);
    if (carriedItems === undefined) {
      bytes.set(random(8).subarray(0, 8), 8);
      bytes[8] = variantWithoutMark(bytes.readUInt8(8));
    } else {
      // Drawn for a request and not at the start: copies of an environment draw their own.
      if (block.ids === blockIdsMax) block = { random: random(6), ids: 0 };
      block.ids++;
      bytes.writeUInt8(carriedMarkByte, 8);
      bytes.writeUInt8(carriedItems, 9);
      bytes.set(block.random.subarray(0, 6), 10);
    }
    return formatBatchId(bytes);
  };
}

/**
 * Ids of the embedded engine are UUIDv8, too, with a log position (in bytes) in place of the time.
 * Earlier versions of it could set the marker by chance, in one id of 64. Read as a time, a position
 * below 1.58 TB is before 2020, so such an id is not taken as one of a carried batch.
 */
const carriedTimeMin = Date.UTC(2020, 0);

/** The time in an id of `batchIdMaker`; undefined for other texts. */
export function timeOfBatchId(id: string): number | undefined {
  if (!uuid.test(id)) return undefined;
  const time = Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16);
  if (id[14] === earlierCarriedVersion) return time;
  const isOurs = id[14] === carriedVersion && id.slice(19, 21) === carriedMark;
  return isOurs && time >= carriedTimeMin ? time : undefined;
}

/** Whether the text is an id in its canonical form. */
export function isBatchId(text: string): boolean {
  return uuid.test(text);
}
