import type { DeviceEvent } from './client.ts';

export interface BufferedEvent {
  readonly event: DeviceEvent;
  /** The event as JSON. */
  readonly text: string;
  /** The bytes of its JSON in UTF-8. */
  readonly bytes: number;
}

interface BufferOptions {
  readonly itemsMax: number;
  /** The largest body of a batch, before compression. */
  readonly bytesMax: number;
  readonly msMax: number;
  /** The memory of buffered events, by estimate. */
  readonly memoryBytesMax: number;
  /** Rejects waiting calls of `add` when aborted. */
  readonly signal: AbortSignal;
  readonly onBatch: (events: readonly BufferedEvent[]) => void;
}

/** `{"processed_devices":[]}` */
const frameBytes = 24;
/** The estimated memory of an event besides its text. */
const overheadBytes = 64;

function memoryOf({ bytes }: BufferedEvent): number {
  return bytes + overheadBytes;
}

/** Collects events into batches. Events occupy memory until `release`. */
export class EventBuffer {
  readonly #options: BufferOptions;
  #batch: BufferedEvent[] = [];
  #batchBytes = frameBytes;
  #usedBytes = 0;
  #timer: NodeJS.Timeout | undefined;
  /** Resolves when all events so far are inserted; they are inserted one after another. */
  #inserted: Promise<void> = Promise.resolve();
  #onSpaceFreed: (() => void) | undefined;
  #isClosed = false;

  constructor(options: BufferOptions) {
    this.#options = options;
  }

  async add(event: DeviceEvent): Promise<void> {
    if (this.#isClosed) throw new Error('the client is closed');
    this.#options.signal.throwIfAborted();
    const buffered = bufferedEvent(event);
    const { bytesMax, memoryBytesMax: roomBytes } = this.#options;
    const size = `an event of ${buffered.bytes} bytes is larger than`;
    if (frameBytes + buffered.bytes > bytesMax) {
      throw new RangeError(`${size} a batch may be; batchBytesMax is ${bytesMax}`);
    }
    if (memoryOf(buffered) > roomBytes) {
      throw new RangeError(`${size} the buffer; bufferBytesMax is ${roomBytes}`);
    }
    const admission = this.#inserted.then(() => this.#insert(buffered));
    this.#inserted = admission.catch(() => undefined);
    await admission;
  }

  /** Rejects further events; waiting ones are still inserted. */
  close(): void {
    this.#isClosed = true;
  }

  /** Resolves once all events so far are in batches that were passed to `onBatch`. */
  async drain(): Promise<void> {
    await this.#inserted;
    this.#closeBatch();
  }

  /** Frees the memory of acknowledged, rejected or given-up events. */
  release(events: readonly BufferedEvent[]): void {
    for (const event of events) this.#usedBytes -= memoryOf(event);
    this.#onSpaceFreed?.();
  }

  async #insert(buffered: BufferedEvent): Promise<void> {
    const { signal, memoryBytesMax: roomBytes, itemsMax, bytesMax, msMax } = this.#options;
    while (this.#usedBytes + memoryOf(buffered) > roomBytes) {
      this.#closeBatch();
      await this.#spaceFreed(signal);
    }
    signal.throwIfAborted();
    // 1 for the comma before each event but the first.
    if (this.#batchBytes + 1 + buffered.bytes > bytesMax) this.#closeBatch();
    this.#batchBytes += buffered.bytes + (this.#batch.length === 0 ? 0 : 1);
    this.#batch.push(buffered);
    this.#usedBytes += memoryOf(buffered);
    if (this.#batch.length >= itemsMax) this.#closeBatch();
    else this.#timer ??= setTimeout(() => this.#closeBatch(), msMax);
  }

  async #spaceFreed(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<undefined>();
    const onAbort = () => reject(signal.reason as Error);
    signal.addEventListener('abort', onAbort, { once: true });
    this.#onSpaceFreed = () => resolve(undefined);
    try {
      await promise;
    } finally {
      this.#onSpaceFreed = undefined;
      signal.removeEventListener('abort', onAbort);
    }
  }

  #closeBatch(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#batch.length === 0) return;
    const events = this.#batch;
    this.#batch = [];
    this.#batchBytes = frameBytes;
    this.#options.onBatch(events);
  }
}

function bufferedEvent(event: DeviceEvent): BufferedEvent {
  const json = JSON.stringify(event) as string | undefined;
  if (json?.startsWith('{') !== true) throw new TypeError('an event must be an object');
  // Escape U+FFFD: behind a gateway that decodes bodies as text, the server cannot tell it from
  // damaged bytes.
  const text = json.replaceAll('\ufffd', '\\ufffd');
  return { event, text, bytes: Buffer.byteLength(text) };
}
