import type { DeviceEvent } from './client.ts';

export interface BufferedEvent {
  readonly event: DeviceEvent;
  /** Its JSON. */
  readonly text: string;
  /** Of its JSON, as UTF-8. */
  readonly bytes: number;
}

export interface BufferOptions {
  readonly itemsMax: number;
  /** Of a batch's body, before it is compressed. */
  readonly bytesMax: number;
  readonly msMax: number;
  /** Of memory, by estimate. */
  readonly memoryBytesMax: number;
  /** Aborted, those who wait for room are told. */
  readonly signal: AbortSignal;
  readonly onBatch: (events: readonly BufferedEvent[]) => void;
}

/** `{"processed_devices":[]}` */
const frameBytes = 24;
/** What an event takes of memory beside its text: so many empty events do not fit either. */
const overheadBytes = 64;

function memoryOf({ bytes }: BufferedEvent): number {
  return bytes + overheadBytes;
}

/** Events on their way into batches. Their room is given back once they are settled. */
export class EventBuffer {
  readonly #options: BufferOptions;
  #batch: BufferedEvent[] = [];
  #batchBytes = frameBytes;
  #usedBytes = 0;
  #timer: NodeJS.Timeout | undefined;
  /** Ends when every event so far has been let in: they come in one after the other. */
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

  /** Takes no more events; those that wait still come in. */
  close(): void {
    this.#isClosed = true;
  }

  /** Resolves once all events so far are in a batch that was handed on. */
  async drain(): Promise<void> {
    await this.#inserted;
    this.#closeBatch();
  }

  /** Gives back the room of settled events. */
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
    // A comma stands before each event but the first.
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
  // A gateway that hands bodies over as text puts this character in the place of lost bytes.
  const text = json.replaceAll('\ufffd', '\\ufffd');
  return { event, text, bytes: Buffer.byteLength(text) };
}
