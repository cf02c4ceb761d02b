interface Reader {
  /** Called when the consumer has received this many bytes, so that more can be sent. */
  consumed(bytes: number): void;
  /** Called when the consumer needs no more pieces. */
  cancel(): void;
}

type Result = IteratorResult<Uint8Array<ArrayBuffer>, undefined>;

interface Waiting {
  readonly resolve: (result: Result) => void;
  readonly reject: (reason: Error) => void;
}

/** The pieces of a streamed response, between the reader thread and their consumer. */
export class AnswerPieces implements AsyncIterableIterator<Uint8Array<ArrayBuffer>> {
  readonly #reader: Reader;
  readonly #pieces: Uint8Array<ArrayBuffer>[] = [];
  #waiting: Waiting | undefined;
  #end: 'ended' | Error | undefined;

  constructor(reader: Reader) {
    this.#reader = reader;
  }

  /** Adds a piece from the reader. */
  add(piece: Uint8Array<ArrayBuffer>): void {
    if (this.#end !== undefined) return;
    this.#pieces.push(piece);
    this.#deliver();
  }

  /** Ends the response, or fails it with an error. */
  finish(why: 'ended' | Error): void {
    this.#end ??= why;
    this.#deliver();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Must not be called again before its promise is settled. */
  next(): Promise<Result> {
    const { promise, resolve, reject } = Promise.withResolvers<Result>();
    this.#waiting = { resolve, reject };
    this.#deliver();
    return promise;
  }

  return(): Promise<Result> {
    this.#pieces.length = 0;
    if (this.#end === undefined) this.#reader.cancel();
    this.#end = 'ended';
    this.#deliver();
    return Promise.resolve({ done: true, value: undefined });
  }

  #deliver(): void {
    const waiting = this.#waiting;
    if (waiting === undefined) return;
    const value = this.#pieces.shift();
    if (value === undefined && this.#end === undefined) return;
    this.#waiting = undefined;
    if (value !== undefined) {
      this.#reader.consumed(value.length);
      waiting.resolve({ done: false, value });
    } else if (this.#end instanceof Error) waiting.reject(this.#end);
    else waiting.resolve({ done: true, value: undefined });
  }
}
