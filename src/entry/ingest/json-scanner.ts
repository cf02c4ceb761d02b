/** A syntax error in an input. `offset` counts bytes from 0, `line` lines from 1. */
export class InputError extends Error {
  override readonly name = 'InputError';
  readonly offset: number;
  readonly line: number;

  constructor(message: string, offset: number, line: number) {
    super(`line ${line}, byte offset ${offset}: ${message}`);
    this.offset = offset;
    this.line = line;
  }
}

const between = 0;
const value = 1;
const valueOrEnd = 2;
const keyOrEnd = 3;
const key = 4;
const colon = 5;
const after = 6;
const text = 7;
const escape = 8;
const hex = 9;
const scalar = 10;

/** The input that each state expects, for error messages. */
const expected = [
  'a value',
  'a value',
  'a value or ]',
  'a name in double quotes or }',
  'a name in double quotes',
  'a colon',
  'a comma or a closing bracket',
  'a string without bare control characters',
  'one of "\\/bfnrtu after a backslash',
  'four hexadecimal digits',
  'a number, true, false or null',
] as const;

const scalarShape = /^(true|false|null|-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?)$/;
const scalarBytesMax = 4096;
const depthMax = 100_000;

/**
 * Callbacks for every value, and for every name in an object at the root. `end` is the offset after
 * the last byte.
 */
export interface JsonListener {
  valueStart(depth: number, byte: number, offset: number): void;
  valueEnd(depth: number, end: number): void;
  keyStart(offset: number): void;
  keyEnd(end: number): void;
}

/** A streaming checker of JSON values (RFC 8259). It reports where values are and builds none. */
export class JsonScanner {
  offset: number;
  line: number;
  readonly #listener: JsonListener;
  #state = between;
  /** Whether each open container, outermost first, is an object. */
  readonly #isObject: boolean[] = [];
  #isKey = false;
  #hexDigitsLeft = 0;
  #scalar = '';

  constructor({ offset, line }: { offset: number; line: number }, listener: JsonListener) {
    this.offset = offset;
    this.line = line;
    this.#listener = listener;
  }

  scan(chunk: Uint8Array): void {
    for (let at = 0; at < chunk.length; at += 1) {
      if (this.#state === text) at = skipText(chunk, at);
      if (at < chunk.length) this.#step(chunk[at] as number, this.offset + at);
    }
    this.offset += chunk.length;
  }

  /** Checks that the text is complete. `what` names it in the error, such as `line`. */
  end(what: string): void {
    if (this.#state === scalar) this.#endScalar(this.offset);
    if (this.#state === between) return;
    const wanted = expected[this.#state] ?? '';
    throw new InputError(`the ${what} ends where ${wanted} should follow`, this.offset, this.line);
  }

  #step(byte: number, offset: number): void {
    if (this.#state === scalar) {
      if (isScalar(byte)) {
        this.#scalar += String.fromCharCode(byte);
        if (this.#scalar.length <= scalarBytesMax) return;
      }
      this.#endScalar(offset);
    }
    if (this.#state >= text) this.#stepText(byte, offset);
    else if (isSpace(byte)) this.line += byte === 0x0a ? 1 : 0;
    else this.#stepStructure(byte, offset);
  }

  #stepStructure(byte: number, offset: number): void {
    const isInObject = this.#isObject.at(-1) === true;
    const mayClose = this.#state === (isInObject ? keyOrEnd : valueOrEnd) || this.#state === after;
    if (mayClose && byte === (isInObject ? 0x7d : 0x5d)) {
      this.#isObject.pop();
      this.#endValue(offset + 1);
      return;
    }
    switch (this.#state) {
      case keyOrEnd:
      case key:
        if (byte !== 0x22) this.#fail(byte, offset);
        if (this.#isObject.length === 1) this.#listener.keyStart(offset);
        this.#isKey = true;
        this.#state = text;
        break;
      case colon:
        if (byte !== 0x3a) this.#fail(byte, offset);
        this.#state = value;
        break;
      case after:
        if (byte !== 0x2c) this.#fail(byte, offset);
        this.#state = isInObject ? key : value;
        break;
      default:
        this.#begin(byte, offset);
    }
  }

  #begin(byte: number, offset: number): void {
    this.#listener.valueStart(this.#isObject.length, byte, offset);
    const isObject = byte === 0x7b;
    if (isObject || byte === 0x5b) {
      if (this.#isObject.push(isObject) > depthMax) {
        throw new InputError(`nested more than ${depthMax} deep`, offset, this.line);
      }
      this.#state = isObject ? keyOrEnd : valueOrEnd;
    } else if (byte === 0x22) {
      this.#isKey = false;
      this.#state = text;
    } else if (isScalar(byte)) {
      this.#scalar = String.fromCharCode(byte);
      this.#state = scalar;
    } else this.#fail(byte, offset);
  }

  #stepText(byte: number, offset: number): void {
    const character = String.fromCharCode(byte);
    if (this.#state === escape) {
      if (!'"\\/bfnrtu'.includes(character)) this.#fail(byte, offset);
      this.#hexDigitsLeft = 4;
      this.#state = byte === 0x75 ? hex : text;
    } else if (this.#state === hex) {
      if (!/[\da-f]/i.test(character)) this.#fail(byte, offset);
      this.#hexDigitsLeft -= 1;
      if (this.#hexDigitsLeft === 0) this.#state = text;
    } else if (byte === 0x5c) {
      this.#state = escape;
    } else if (byte !== 0x22) {
      this.#fail(byte, offset);
    } else if (this.#isKey) {
      this.#state = colon;
      if (this.#isObject.length === 1) this.#listener.keyEnd(offset + 1);
    } else this.#endValue(offset + 1);
  }

  #endScalar(end: number): void {
    if (!scalarShape.test(this.#scalar) || this.#scalar.length > scalarBytesMax) {
      const message = `expected a value, found ${this.#scalar.slice(0, 40)}`;
      throw new InputError(message, end - this.#scalar.length, this.line);
    }
    this.#endValue(end);
  }

  #endValue(end: number): void {
    this.#state = this.#isObject.length === 0 ? between : after;
    this.#listener.valueEnd(this.#isObject.length, end);
  }

  #fail(byte: number, offset: number): never {
    const isPrintable = byte > 0x20 && byte < 0x7f;
    const found = isPrintable ? String.fromCharCode(byte) : `byte 0x${byte.toString(16)}`;
    const message = `expected ${expected[this.#state] ?? ''}, found ${found}`;
    throw new InputError(message, offset, this.line);
  }
}

/**
 * The index of the first byte at or after `from` that matters: a quote, backslash or control character.
 */
function skipText(chunk: Uint8Array, from: number): number {
  let at = from;
  while (at < chunk.length) {
    const byte = chunk[at] as number;
    if (byte === 0x22 || byte === 0x5c || byte < 0x20) break;
    at += 1;
  }
  return at;
}

function isSpace(byte: number): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

/** Whether a byte may be part of a number, true, false, null, or a misspelt one of these. */
function isScalar(byte: number): boolean {
  const isLetter = (byte | 0x20) >= 0x61 && (byte | 0x20) <= 0x7a;
  return (
    isLetter || (byte >= 0x30 && byte <= 0x39) || (byte >= 0x2b && byte <= 0x2e && byte !== 0x2c)
  );
}
