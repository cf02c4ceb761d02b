import { scanMemory, type ScanMemory } from '../../../domain/fast/scan-memory.ts';
import { copyBytes } from '../log/copy-bytes.ts';
import { tableLimits } from '../store/record-counter.ts';
import type { BorrowedBody, IngestOutcome, Submission } from '../../../pipeline/ports.ts';

/*
 * Submissions go from the main thread to the writer, and their outcomes back, through shared memory:
 * a body is copied once and not serialised. Slots are used and released in order. There is one
 * producer and one consumer.
 */

/** Maximum number of submissions in flight. */
export const ringSlots = 16_384;
const slotMask = ringSlots - 1;

/** Words of the control block. */
const published = 0;
const watch = 1;
const controlWords = 2;

/** Whether the writer polls the ring, blocks until `published` changes, or sleeps until a `wake`. */
const isAwake = 0;
const isWaiting = 1;
const isAsleep = 2;

/**
 * Words of a slot: the address of the body, its length, the length of the details before it, and their
 * kind: all fields of a submission but the body, or only the caller.
 */
const slotWords = 4;
const allDetails = 0;
const callerOnly = 1;

/** An outcome: 16 bytes batch id, f64 received at (ms), i32 enqueued, i32 kind. */
const outcomeBytes = 32;
const kindAt = 28;
const otherKind = 0;
const acceptedKind = 1;

/** The shared memory of a ring. */
export interface RingMemory {
  readonly control: SharedArrayBuffer;
  readonly slots: SharedArrayBuffer;
  readonly outcomes: SharedArrayBuffer;
  /** The memory of the writer's scanner, which reads bodies where they are. */
  readonly bodies: ScanMemory;
}

/** Creates the memory of a ring. Bodies of up to half of `bodyBytes` always fit into an empty ring. */
export function ringMemory(bodyBytes: number): RingMemory {
  return {
    control: new SharedArrayBuffer(controlWords * 4),
    slots: new SharedArrayBuffer(ringSlots * slotWords * 4),
    outcomes: new SharedArrayBuffer(ringSlots * outcomeBytes),
    bodies: scanMemory(tableLimits, bodyBytes),
  };
}

/** All fields of a submission but its body. */
type Details = Omit<Submission, 'body'>;

/** The main thread's side. */
export class RingProducer {
  readonly #control: Int32Array;
  readonly #slots: Int32Array;
  readonly #outcomes: Buffer;
  readonly #bodies: Buffer;
  /** The address of the bodies in their memory. */
  readonly #bodiesAt: number;
  /** Numbers of submissions put and released so far; modulo `ringSlots`, they are slots. */
  #put = 0;
  #released = 0;
  /** The offset for the next body, and that of the oldest one in use. */
  #head = 0;
  #tail = 0;

  constructor(memory: RingMemory) {
    this.#control = new Int32Array(memory.control);
    this.#slots = new Int32Array(memory.slots);
    this.#outcomes = Buffer.from(memory.outcomes);
    const { bodies } = memory;
    this.#bodiesAt = bodies.bodiesAt;
    this.#bodies = Buffer.from(bodies.memory.buffer, bodies.bodiesAt, bodies.bodyBytes);
  }

  /** Number of submissions put and not released. */
  get used(): number {
    return this.#put - this.#released;
  }

  /** Whether there is not even room for an empty body. */
  get isFull(): boolean {
    return this.used >= ringSlots || this.#room(1) === undefined;
  }

  /** Copies a submission into the ring; returns whether there was room. Invisible to the writer before `publish`. */
  put(submission: Submission<BorrowedBody>): boolean {
    const { body, encoding, strict, caller, idempotencyKey, replayOf } = submission;
    if (this.used >= ringSlots) return false;
    const isPlain =
      encoding === 'identity' && !strict && idempotencyKey === undefined && replayOf === undefined;
    const details = isPlain
      ? encodeCaller(caller)
      : encodeDetails({
          ...{ encoding, strict, caller, idempotencyKey },
          ...(replayOf !== undefined && { replayOf }),
        });
    const pieces = 'buffer' in body ? [body] : body;
    const bodyBytes = lengthOf(body);
    const at = this.#room(details.length + bodyBytes);
    if (at === undefined) return false;
    this.#bodies.set(details, at);
    const bodyAt = at + details.length;
    this.#head = bodyAt;
    for (const piece of pieces) {
      copyBytes(piece, this.#bodies, this.#head);
      this.#head += piece.length;
    }
    const slot = (this.#put & slotMask) * slotWords;
    this.#slots[slot] = this.#bodiesAt + bodyAt;
    this.#slots[slot + 1] = bodyBytes;
    this.#slots[slot + 2] = details.length;
    this.#slots[slot + 3] = isPlain ? callerOnly : allDetails;
    this.#put++;
    return true;
  }

  /** Makes all submissions visible to the writer. Returns whether it sleeps and must be woken. */
  publish(): boolean {
    Atomics.store(this.#control, published, this.#put | 0);
    const was = Atomics.exchange(this.#control, watch, isAwake);
    if (was === isWaiting) Atomics.notify(this.#control, published);
    return was === isAsleep;
  }

  /** The outcome of a submission, if it is plainly accepted; other outcomes go by message. */
  acceptance(number: number): Acceptance | undefined {
    const at = (number & slotMask) * outcomeBytes;
    if (this.#outcomes.readInt32LE(at + kindAt) === otherKind) return undefined;
    return {
      batchId: this.#outcomes.subarray(at, at + 16),
      receivedAt: this.#outcomes.readDoubleLE(at + 16),
      enqueued: this.#outcomes.readInt32LE(at + 24),
    };
  }

  /** Releases the slots below `through` and their bodies. */
  release(through: number): void {
    this.#released = through;
    if (this.used === 0) {
      this.#head = this.#tail = 0;
      return;
    }
    const oldest = (through & slotMask) * slotWords;
    const oldestAt = (this.#slots[oldest] ?? 0) - (this.#slots[oldest + 2] ?? 0);
    this.#tail = oldestAt - this.#bodiesAt;
  }

  /** The offset at which `bytes` fit contiguously. */
  #room(bytes: number): number | undefined {
    const { length } = this.#bodies;
    if (this.used === 0) return bytes <= length ? 0 : undefined;
    // The head must not reach the tail from below: full would look like empty.
    if (this.#head < this.#tail) return this.#head + bytes < this.#tail ? this.#head : undefined;
    if (this.#head + bytes <= length) return this.#head;
    return bytes < this.#tail ? 0 : undefined;
  }
}

export interface Acceptance {
  /** 16 bytes, valid until the slot is released. */
  readonly batchId: Uint8Array;
  /** Milliseconds since 1970. */
  readonly receivedAt: number;
  readonly enqueued: number;
}

/** The writer's side. */
export class RingConsumer {
  /** The memory of the bodies: an index is an address. */
  readonly bytes: Uint8Array;
  readonly #control: Int32Array;
  readonly #slots: Int32Array;
  readonly #outcomes: Buffer;
  #next = 0;

  constructor(memory: RingMemory) {
    this.#control = new Int32Array(memory.control);
    this.#slots = new Int32Array(memory.slots);
    this.#outcomes = Buffer.from(memory.outcomes);
    this.bytes = new Uint8Array(memory.bodies.memory.buffer);
  }

  /** The number of the next submission to take. */
  get next(): number {
    return this.#next;
  }

  /** The number of waiting submissions. */
  get waiting(): number {
    return (Atomics.load(this.#control, published) - this.#next) | 0;
  }

  /** Blocks the thread until a submission waits or the time is over; returns whether one waits. */
  wait(milliseconds: number): boolean {
    if (this.waiting > 0) return true;
    Atomics.store(this.#control, watch, isWaiting);
    Atomics.wait(this.#control, published, this.#next | 0, milliseconds);
    Atomics.store(this.#control, watch, isAwake);
    return this.waiting > 0;
  }

  /** Declares that the producer must wake this side. Returns false if a submission has arrived meanwhile. */
  sleep(): boolean {
    Atomics.store(this.#control, watch, isAsleep);
    if (this.waiting === 0) return true;
    // If the producer has already seen `isAsleep`, it sends a needless wake.
    Atomics.store(this.#control, watch, isAwake);
    return false;
  }

  /** The address of a submission's body. */
  bodyAt(number: number): number {
    return this.#slots[(number & slotMask) * slotWords] ?? 0;
  }

  bodyBytes(number: number): number {
    return this.#slots[(number & slotMask) * slotWords + 1] ?? 0;
  }

  /** Whether a submission is plain: not compressed, not strict, without a key, not a replay. */
  isPlain(number: number): boolean {
    return this.#slots[(number & slotMask) * slotWords + 3] === callerOnly;
  }

  /** The caller of a plain submission. */
  plainCaller(number: number): string {
    const details = this.#details(number);
    return details.length === 0 ? '' : details.toString();
  }

  /** The submission, with a copy of its body, since not every library accepts shared memory. */
  submission(number: number): Submission {
    const at = this.bodyAt(number);
    const details = this.isPlain(number)
      ? { ...plainDetails, caller: this.plainCaller(number) }
      : decodeDetails(this.#details(number));
    return { ...details, body: this.bytes.slice(at, at + this.bodyBytes(number)) };
  }

  #details(number: number): Buffer {
    const at = this.bodyAt(number);
    const length = this.#slots[(number & slotMask) * slotWords + 2] ?? 0;
    return length === 0 ? noDetails : Buffer.from(this.bytes.slice(at - length, at).buffer);
  }

  /** Moves past the submissions below `through`, whose outcomes are written. */
  advanceTo(through: number): void {
    this.#next = through;
  }

  writeAccepted(number: number, { batchId, receivedAt, enqueued }: Acceptance): void {
    const at = (number & slotMask) * outcomeBytes;
    this.#outcomes.set(batchId, at);
    this.#outcomes.writeDoubleLE(receivedAt, at + 16);
    this.#outcomes.writeInt32LE(enqueued, at + 24);
    this.#outcomes.writeInt32LE(acceptedKind, at + kindAt);
  }

  /** Records that the outcome is not plain acceptance and goes by message. */
  writeOther(number: number): void {
    this.#outcomes.writeInt32LE(otherKind, (number & slotMask) * outcomeBytes + kindAt);
  }
}

/** The length of a body in bytes. */
export function lengthOf(body: BorrowedBody): number {
  if ('buffer' in body) return body.length;
  let bytes = 0;
  for (const piece of body) bytes += piece.length;
  return bytes;
}

const noDetails = Buffer.alloc(0);
const plainDetails = { encoding: 'identity', strict: false, idempotencyKey: undefined } as const;

function encodeCaller(caller: string): Uint8Array {
  return caller === '' ? noDetails : Buffer.from(caller);
}

function encodeDetails(details: Details): Uint8Array {
  return Buffer.from(JSON.stringify(details));
}

function decodeDetails(bytes: Buffer): Details {
  const details = JSON.parse(bytes.toString()) as Details;
  return { ...details, idempotencyKey: details.idempotencyKey };
}

/** Outcomes other than plain acceptance, by the number of their submission. */
export type OtherOutcomes = readonly (readonly [number, IngestOutcome])[];
