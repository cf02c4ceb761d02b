/** A UUID in its canonical form, lower case: 36 characters. */
export type BatchId = string;

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const rawKeyForm = /^raw\/(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z)-([0-9a-f-]{36})\.json$/;

/** The largest log position that fits into a batch id: 256 TiB. */
export const positionMax = 2 ** 48 - 1;

/**
 * A UUIDv8 (RFC 9562, 5.8) with the batch's position in the log in its first 48 bits; the rest,
 * except version and variant, is random, so that ids cannot be guessed from positions.
 * `random` is 10 bytes.
 */
export function batchIdAtPosition(place: number, random: Uint8Array): Uint8Array {
  const bytes = Buffer.allocUnsafe(16);
  bytes.writeUIntBE(place, 0, 6);
  bytes.set(random.subarray(0, 10), 6);
  bytes[6] = 0x80 | (bytes.readUInt8(6) & 0x0f);
  bytes[8] = 0x80 | (bytes.readUInt8(8) & 0x3f);
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

/** The byte of an id after its variant's two bits, in an id of `carriedBatchId` and in no other of ours. */
const carriedMark = 0xbf;
const [markAt, itemsAt] = [8, 9];

/** The most items that an id of `carriedBatchId` can name. */
export const carriedItemsMax = 255;

/**
 * The id of a batch whose message carries its body: one of `batchIdMaker` with a mark and the number
 * of items in place of 14 random bits, so that it says all that a receipt shows. 48 bits stay random.
 */
export function carriedBatchId(id: BatchId, items: number): BatchId {
  const bytes = Buffer.from(id.replaceAll('-', ''), 'hex');
  bytes[markAt] = carriedMark;
  bytes.writeUInt8(items, itemsAt);
  return formatBatchId(bytes);
}

/** What the id of a batch says whose message carries its body; undefined for other batches. */
export function readCarriedBatchId(
  id: string,
): { readonly items: number; readonly receivedAt: number } | undefined {
  const receivedAt = timeOfBatchId(id);
  const digits = id.replaceAll('-', '');
  if (receivedAt === undefined || digits.slice(2 * markAt, 2 * itemsAt) !== 'bf') return undefined;
  const items = Number.parseInt(digits.slice(2 * itemsAt, 2 * itemsAt + 2), 16);
  return items === 0 ? undefined : { items, receivedAt };
}

/**
 * Returns a function that makes UUIDv7 ids (RFC 9562, 5.7). They sort by time; those of one maker
 * sort strictly, because the 12 bits after the time count within a millisecond (6.2, method 1).
 * None has the mark of `carriedBatchId`. `now` is milliseconds since 1970, `random` returns the given
 * number of random bytes.
 */
export function batchIdMaker(random: (bytes: number) => Uint8Array): (now: number) => BatchId {
  let time = 0;
  let count = 0;
  return (now) => {
    // If the clock stands still or goes back, the counter carries into the time.
    if (now > time) [time, count] = [now, 0];
    else if (++count > 0xfff) [time, count] = [time + 1, 0];
    const bytes = Buffer.alloc(16);
    bytes.writeUIntBE(time, 0, 6);
    bytes.writeUInt16BE(0x7000 | count, 6);
    bytes.set(random(8).subarray(0, 8), 8);
    const variant = 0x80 | (bytes.readUInt8(8) & 0x3f);
    bytes[8] = variant === carriedMark ? carriedMark - 1 : variant;
    return formatBatchId(bytes);
  };
}

/** The time in an id of `batchIdMaker`; undefined if the text is not a UUIDv7. */
export function timeOfBatchId(id: string): number | undefined {
  if (!uuid.test(id) || id[14] !== '7') return undefined;
  return Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16);
}

/** Whether the text is an id in its canonical form. */
export function isBatchId(text: string): boolean {
  return uuid.test(text);
}
