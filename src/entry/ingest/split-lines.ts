import { InputError } from './json-scanner.ts';
import { JsonSlicer, listName, type RawItem } from './split-json.ts';

/** A line that cannot be parsed, and why. */
export interface BadLine {
  readonly line: number;
  readonly message: string;
}

/** The longest line. A line is held in memory, so that no item of a bad line is sent. */
const lineBytesMaxDefault = 64 * 1024 * 1024;

export const newline = 0x0a;
const lineEnd = Buffer.from('\n');
const openingBracket = 0x5b;
const openingBrace = 0x7b;

/**
 * Extracts items from a stream of NDJSON: call `push` with every chunk, then `end`; each returns the
 * items of the lines completed since the last call. Reports malformed lines to `onBadLine` and
 * continues. Items are views of the chunks, so do not reuse the chunks.
 */
export class LineSlicer {
  readonly #itemBytesMax: number;
  readonly #lineBytesMax: number;
  readonly #onBadLine: (bad: BadLine) => void;
  /** The parts of the incomplete line, unless it is too long. */
  #parts: Uint8Array[] = [];
  #bytes = 0;
  #offset: number;
  #line = 1;

  constructor(
    itemBytesMax: number,
    onBadLine: (bad: BadLine) => void,
    { offset = 0, lineBytesMax = lineBytesMaxDefault } = {},
  ) {
    this.#itemBytesMax = itemBytesMax;
    this.#onBadLine = onBadLine;
    this.#offset = offset;
    this.#lineBytesMax = lineBytesMax;
  }

  /** The bytes read of an incomplete line. */
  get unfinishedBytes(): number {
    return this.#bytes;
  }

  push(chunk: Uint8Array): RawItem[] {
    const items: RawItem[] = [];
    let from = 0;
    for (let end = chunk.indexOf(newline); end >= 0; end = chunk.indexOf(newline, from)) {
      this.#keep(chunk.subarray(from, end));
      from = end + 1;
      for (const item of this.#endLine()) items.push(item);
    }
    this.#keep(chunk.subarray(from));
    return items;
  }

  end(): RawItem[] {
    return this.#endLine();
  }

  #keep(part: Uint8Array): void {
    this.#bytes += part.length;
    if (this.#bytes > this.#lineBytesMax) this.#parts = [];
    else if (part.length > 0) this.#parts.push(part);
  }

  #endLine(): RawItem[] {
    const start = { offset: this.#offset, line: this.#line };
    const isTooLong = this.#bytes > this.#lineBytesMax;
    const [only = new Uint8Array(), ...others] = this.#parts;
    const text = others.length === 0 ? only : Buffer.concat(this.#parts);
    this.#offset += this.#bytes + 1;
    this.#line += 1;
    this.#parts = [];
    this.#bytes = 0;
    try {
      if (isTooLong) {
        const message = `the line is longer than ${this.#lineBytesMax} bytes`;
        throw new InputError(message, start.offset, start.line);
      }
      const slicer = new JsonSlicer('line', this.#itemBytesMax, start);
      return slicer.push(text).concat(slicer.end());
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      this.#onBadLine({ line: error.line, message: error.message });
      return [];
    }
  }
}

/** `lines`: one or more values on each line. `document`: values that may span lines. */
export type Layout = 'lines' | 'document';

/** How many lines to look at; each of them may be malformed. */
const shownLinesMax = 16;

/**
 * Detects the layout from the head of a text; undefined if that needs more of it. The text is NDJSON
 * if its first line holds complete values. It is also NDJSON if the head cannot be the beginning of a
 * document and some lines are complete objects: then the first lines are malformed or truncated.
 */
export function layoutOf(head: Buffer, isWhole: boolean): Layout | undefined {
  const lines = firstLines(head, isWhole);
  const [first, second] = lines;
  if (first === undefined) return isWhole ? 'document' : undefined;
  if (stateOf(first) === 'whole') return isWhole && second === undefined ? 'document' : 'lines';
  // The lines of a malformed list may be items, but the text is not NDJSON.
  if (first[0] === openingBracket || first.includes(listName)) return 'document';
  if (isBroken(lines, isWhole)) {
    const objects = lines.map((line) => line[0] === openingBrace && stateOf(line) === 'whole');
    const isPair = objects.some((isObject, at) => isObject && objects[at + 1] === true);
    const isAfterBroken = stateOf(first) === 'broken' && objects.includes(true);
    const isOnly = isWhole && lines.length === 2 && objects[1] === true;
    if (isPair || isAfterBroken || isOnly) return 'lines';
  }
  return isWhole || lines.length === shownLinesMax ? 'document' : undefined;
}

/** Whether these lines cannot be the beginning of values that span lines. */
function isBroken(lines: readonly Buffer[], isWhole: boolean): boolean {
  const slicer = new JsonSlicer('values', Number.POSITIVE_INFINITY);
  return isSyntaxErrorIn(() => {
    for (const line of lines) {
      slicer.push(line);
      slicer.push(lineEnd);
    }
    if (isWhole && lines.length < shownLinesMax) slicer.end();
  });
}

/** The first complete lines that are not blank, trimmed. */
function firstLines(head: Buffer, isWhole: boolean): Buffer[] {
  const lines: Buffer[] = [];
  for (let from = 0; from < head.length && lines.length < shownLinesMax;) {
    const end = head.indexOf(newline, from);
    if (end < 0 && !isWhole) break;
    const to = end < 0 ? head.length : end;
    const line = Buffer.from(head.toString('latin1', from, to).trim(), 'latin1');
    if (line.length > 0) lines.push(line);
    from = to + 1;
  }
  return lines;
}

/** Whether a line holds complete values, the beginning of one, or a syntax error. */
function stateOf(line: Uint8Array): 'whole' | 'open' | 'broken' {
  const slicer = new JsonSlicer('line', Number.POSITIVE_INFINITY);
  const isInvalid = isSyntaxErrorIn(() => {
    slicer.push(line);
    // The line end completes a number or word, and is an error within a string.
    slicer.push(lineEnd);
  });
  if (isInvalid) return 'broken';
  return isSyntaxErrorIn(() => slicer.end()) ? 'open' : 'whole';
}

function isSyntaxErrorIn(read: () => void): boolean {
  try {
    read();
    return false;
  } catch (error) {
    if (error instanceof InputError) return true;
    throw error;
  }
}
