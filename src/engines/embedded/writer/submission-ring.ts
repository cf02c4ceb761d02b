import { copyBytes } from '../log/copy-bytes.ts';
import type { IngestOutcome, Submission } from '../../../pipeline/ports.ts';

/*
 * Submissions go from the main thread to the writer, and their verdicts back, through memory that
 * both share: nothing is serialised, and a body is copied once. Slots are taken and given back in
 * order. One thread puts, one takes.
 */

/** So many submissions may be on their way. */
export const ringSlots = 16_384;
const slotMask = ringSlots - 1;

/** Words of the control block. */
const published = 0;
const watch = 1;
const controlWords = 2;

/** Whether the writer watches the ring by itself, waits for `published` to change, or sleeps. */
const isAwake = 0;
const isWaiting = 1;
const isAsleep = 2;

/**
 * Words of a slot: where the body begins, its length, that of the details before it, and what
 * those are: all that a submission says beyond its body, or the caller alone.
 */
const slotWords = 4;
const allDetails = 0;
const callerOnly = 1;

/** Of a verdict: 16 bytes batch id, f64 received at (ms), i32 enqueued, i32 kind. */
const outcomeBytes = 32;
const kindAt = 28;
const otherKind = 0;
const acceptedKind = 1;

/** The memory of a ring, to be handed to the other thread. */
export interface RingMemory {
  readonly control: SharedArrayBuffer;
  readonly slots: SharedArrayBuffer;
  readonly outcomes: SharedArrayBuffer;
  readonly bodies: SharedArrayBuffer;
}

/** Bodies of up to half of `bodyBytes` always fit into an empty ring. */
export function ringMemory(bodyBytes: number): RingMemory {
  return {
    control: new SharedArrayBuffer(controlWords * 4),
    slots: new SharedArrayBuffer(ringSlots * slotWords * 4),
    outcomes: new SharedArrayBuffer(ringSlots * outcomeBytes),
    bodies: new SharedArrayBuffer(bodyBytes),
  };
}

/** What a submission says beyond its body. */
type Details = Omit<Submission, 'body'>;

/** The main thread's side. */
export class RingProducer {
  readonly #control: Int32Array;
  readonly #slots: Int32Array;
  readonly #outcomes: Buffer;
  readonly #bodies: Buffer;
  /** Slots put, and slots given back; they count on for ever, their remainders are the slots. */
  #put = 0;
  #released = 0;
  /** Where the next body goes, and where the oldest one that is kept begins. */
  #head = 0;
  #tail = 0;

  constructor(memory: RingMemory) {
    this.#control = new Int32Array(memory.control);
    this.#slots = new Int32Array(memory.slots);
    this.#outcomes = Buffer.from(memory.outcomes);
    this.#bodies = Buffer.from(memory.bodies);
  }

  /** Submissions put and not released. */
  get used(): number {
    return this.#put - this.#released;
  }

  /** Whether not even an empty body has room. */
  get isFull(): boolean {
    return this.used >= ringSlots || this.#room(1) === undefined;
  }

  /** Copies a submission into the ring; says whether there was room. Unseen before `publish`. */
  put({ body, encoding, strict, caller, idempotencyKey, replayOf }: Submission): boolean {
    if (this.used >= ringSlots) return false;
    const isPlain =
      encoding === 'identity' && !strict && idempotencyKey === undefined && replayOf === undefined;
    const details = isPlain
      ? encodeCaller(caller)
      : encodeDetails({
          ...{ encoding, strict, caller, idempotencyKey },
          ...(replayOf !== undefined && { replayOf }),
        });
    const at = this.#room(details.length + body.length);
    if (at === undefined) return false;
    this.#bodies.set(details, at);
    copyBytes(body, this.#bodies, at + details.length);
    const slot = (this.#put & slotMask) * slotWords;
    this.#slots[slot] = at + details.length;
    this.#slots[slot + 1] = body.length;
    this.#slots[slot + 2] = details.length;
    this.#slots[slot + 3] = isPlain ? callerOnly : allDetails;
    this.#head = at + details.length + body.length;
    this.#put++;
    return true;
  }

  /** Shows the writer all that was put. Returns whether it sleeps and has to be woken. */
  publish(): boolean {
    Atomics.store(this.#control, published, this.#put | 0);
    const was = Atomics.exchange(this.#control, watch, isAwake);
    if (was === isWaiting) Atomics.notify(this.#control, published);
    return was === isAsleep;
  }

  /** The accepted batch that a verdict speaks of; undefined where it is another outcome. */
  acceptance(number: number): Acceptance | undefined {
    const at = (number & slotMask) * outcomeBytes;
    if (this.#outcomes.readInt32LE(at + kindAt) === otherKind) return undefined;
    return {
      batchId: this.#outcomes.subarray(at, at + 16),
      receivedAt: this.#outcomes.readDoubleLE(at + 16),
      enqueued: this.#outcomes.readInt32LE(at + 24),
    };
  }

  /** Gives the slots below `through` back, with their bodies. */
  release(through: number): void {
    this.#released = through;
    if (this.used === 0) {
      this.#head = this.#tail = 0;
      return;
    }
    const oldest = (through & slotMask) * slotWords;
    this.#tail = (this.#slots[oldest] ?? 0) - (this.#slots[oldest + 2] ?? 0);
  }

  /** Where so many bytes have room in one piece. */
  #room(bytes: number): number | undefined {
    const { length } = this.#bodies;
    if (this.used === 0) return bytes <= length ? 0 : undefined;
    // The head may not come up to the tail from below: full would look like empty.
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
  readonly bytes: Uint8Array;
  readonly #control: Int32Array;
  readonly #slots: Int32Array;
  readonly #outcomes: Buffer;
  #next = 0;

  constructor(memory: RingMemory) {
    this.#control = new Int32Array(memory.control);
    this.#slots = new Int32Array(memory.slots);
    this.#outcomes = Buffer.from(memory.outcomes);
    this.bytes = new Uint8Array(memory.bodies);
  }

  /** The number of the next submission to take. */
  get next(): number {
    return this.#next;
  }

  /** How many submissions wait. */
  get waiting(): number {
    return (Atomics.load(this.#control, published) - this.#next) | 0;
  }

  /** Blocks the thread until something waits, but not longer; says whether it does. */
  wait(milliseconds: number): boolean {
    if (this.waiting > 0) return true;
    Atomics.store(this.#control, watch, isWaiting);
    Atomics.wait(this.#control, published, this.#next | 0, milliseconds);
    Atomics.store(this.#control, watch, isAwake);
    return this.waiting > 0;
  }

  /** Says that the producer has to wake this side. False where something has come meanwhile. */
  sleep(): boolean {
    Atomics.store(this.#control, watch, isAsleep);
    if (this.waiting === 0) return true;
    // Where the producer has seen it too, it wakes this side for nothing.
    Atomics.store(this.#control, watch, isAwake);
    return false;
  }

  /** Where the body of a submission begins in `bytes`. */
  bodyAt(number: number): number {
    return this.#slots[(number & slotMask) * slotWords] ?? 0;
  }

  bodyBytes(number: number): number {
    return this.#slots[(number & slotMask) * slotWords + 1] ?? 0;
  }

  /** Whether it is nothing but a caller's body: not compressed, not strict, without a key. */
  isPlain(number: number): boolean {
    return this.#slots[(number & slotMask) * slotWords + 3] === callerOnly;
  }

  /** Who sent it, where it is plain. */
  plainCaller(number: number): string {
    const details = this.#details(number);
    return details.length === 0 ? '' : details.toString();
  }

  /** The submission with a copy of its body: not every library takes shared memory. */
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

  /** Takes the submissions below `through` for done, whose verdicts are written. */
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

  /** Another outcome, which goes by message. */
  writeOther(number: number): void {
    this.#outcomes.writeInt32LE(otherKind, (number & slotMask) * outcomeBytes + kindAt);
  }
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

/** Outcomes that are no plain acceptance, by the number of their submission. */
export type OtherOutcomes = readonly (readonly [number, IngestOutcome])[];
