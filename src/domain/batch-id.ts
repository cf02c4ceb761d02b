/** A UUID in its canonical form, lower case: 36 characters. */
export type BatchId = string;

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const rawKeyForm = /^raw\/(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z)-([0-9a-f-]{36})\.json$/;

/** Places in the log beyond this, 256 TiB, cannot be carried by a batch id. */
export const positionMax = 2 ** 48 - 1;

/**
 * A UUIDv8 (RFC 9562, 5.8) that carries the batch's place in the log in its first 48 bits; the
 * rest but version and variant is random, so that an id cannot be guessed from a place.
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

/** The place that an id made by `batchIdAt` carries; undefined where the text is no such id. */
export function positionOfBatchId(id: string): number | undefined {
  if (!uuid.test(id) || id[14] !== '8') return undefined;
  return Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16);
}

/** `bytes` is 16 bytes. */
export function formatBatchId(bytes: Uint8Array): BatchId {
  const hex = Buffer.from(bytes.buffer, bytes.byteOffset, 16).toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/** The name of a raw body: when it was received (milliseconds since 1970) and whose it is. */
export function rawKeyOf(batchId: BatchId, receivedAt: number): string {
  if (receivedAt !== last.receivedAt) {
    last = { receivedAt, received: new Date(receivedAt).toISOString() };
  }
  return `raw/${last.received}-${batchId}.json`;
}

/** Many batches come within a millisecond, and writing it out is a good part of a raw key's cost. */
let last = { receivedAt: NaN, received: '' };

/** What a raw key says, or undefined where the text is none. */
export function readRawKey(rawKey: string): { batchId: BatchId; receivedAt: number } | undefined {
  const match = rawKeyForm.exec(rawKey);
  const [, received, batchId] = match ?? [];
  if (received === undefined || batchId === undefined || !uuid.test(batchId)) return undefined;
  const receivedAt = Date.parse(received);
  if (Number.isNaN(receivedAt)) return undefined;
  // Date.parse takes February 30th, and the hour 24, for a moment that another key names.
  return rawKeyOf(batchId, receivedAt) === rawKey ? { batchId, receivedAt } : undefined;
}

/**
 * Makes ids that sort by the time they were made, those of one maker strictly: UUIDv7 (RFC 9562,
 * 5.7) whose 12 bits behind the time count on within a millisecond (6.2, method 1). `now` is in
 * milliseconds since 1970, `random` gives so many random bytes.
 */
export function batchIdMaker(random: (bytes: number) => Uint8Array): (now: number) => BatchId {
  let time = 0;
  let count = 0;
  return (now) => {
    // The counter's carry goes into the time, as long as the clock stands or goes back.
    if (now > time) [time, count] = [now, 0];
    else if (++count > 0xfff) [time, count] = [time + 1, 0];
    const bytes = Buffer.alloc(16);
    bytes.writeUIntBE(time, 0, 6);
    bytes.writeUInt16BE(0x7000 | count, 6);
    bytes.set(random(8).subarray(0, 8), 8);
    bytes[8] = 0x80 | (bytes.readUInt8(8) & 0x3f);
    return formatBatchId(bytes);
  };
}

/** The time that an id of `batchIdMaker` was made with; undefined where the text is no UUIDv7. */
export function timeOfBatchId(id: string): number | undefined {
  if (!uuid.test(id) || id[14] !== '7') return undefined;
  return Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16);
}

/** Whether the text is an id in its canonical form. */
export function isBatchId(text: string): boolean {
  return uuid.test(text);
}
