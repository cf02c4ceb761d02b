import { isUtf8 } from 'node:buffer';

import { jsonDepthMax } from '../../domain/batch.ts';
import { InputError, JsonScanner, type JsonListener } from './json-scanner.ts';

/** The unchanged bytes of an item, and where it begins in the input. */
export interface RawItem extends Place {
  bytes: Uint8Array;
}

/** A position in an input: `offset` counts bytes from 0, `line` lines from 1. */
export interface Place {
  offset: number;
  line: number;
}

/**
 * What a text may contain. `document`: one list of items, object with `processed_devices`, or item.
 * `values`: one or more documents or items. `line`: any number of these.
 */
export type TextKind = 'document' | 'values' | 'line';

/** The server limits the depth of a body, in which an item is two levels deep. */
const itemDepthMax = jsonDepthMax - 2;

/** The bytes between two positions of the input, collected from its chunks. */
class Span {
  from = -1;
  line = 0;
  #parts: Uint8Array[] = [];

  open(offset: number, line: number): void {
    this.from = offset;
    this.line = line;
  }

  /** Keeps the span's part of a chunk, if the span does not end in it. */
  keep(chunk: Uint8Array, chunkOffset: number): void {
    if (this.from >= 0) this.#parts.push(chunk.subarray(Math.max(0, this.from - chunkOffset)));
  }

  close(chunk: Uint8Array, chunkOffset: number, end: number): Uint8Array {
    const last = chunk.subarray(
      Math.max(0, this.from - chunkOffset),
      Math.max(0, end - chunkOffset),
    );
    const bytes = this.#parts.length === 0 ? last : Buffer.concat([...this.#parts, last]);
    this.discard();
    return bytes;
  }

  discard(): void {
    this.from = -1;
    if (this.#parts.length > 0) this.#parts = [];
  }
}

/** The name of the list of items in a document. */
export const listName = 'processed_devices';
const listNameQuoted = Buffer.from(`"${listName}"`);

/**
 * Extracts items from a stream of JSON: call `push` with every chunk, then `end`; each returns the items
 * completed since the last call. Items are views of the chunks, so do not reuse the chunks. Throws
 * InputError at the first invalid byte. Besides the last chunk, it holds at most one item of at most
 * `itemBytesMax` bytes.
 */
export class JsonSlicer implements JsonListener {
  /** The number of values at the root so far. */
  values = 0;
  /** Whether the last of them was an object with `processed_devices`. */
  isObjectWithList = false;
  readonly #kind: TextKind;
  readonly #itemBytesMax: number;
  readonly #scanner: JsonScanner;
  readonly #item = new Span();
  readonly #key = new Span();
  #items: RawItem[] = [];
  #chunk: Uint8Array = new Uint8Array();
  #rootOffset = 0;
  #rootLine = 1;
  #isListNext = false;
  #hasList = false;
  /** Whether the value at the root is an item, unless it turns out to contain the list. */
  #isRootItem = false;
  /** The depth at which values are items; -1 outside of a list. */
  #itemDepth = -1;
  /** The depth of the deepest container since the start of the current item or root. */
  #deepest = 0;

  constructor(kind: TextKind, itemBytesMax: number, start: Place = { offset: 0, line: 1 }) {
    this.#kind = kind;
    this.#itemBytesMax = itemBytesMax;
    this.#scanner = new JsonScanner(start, this);
  }

  /** The bytes read of an incomplete item. */
  get unfinishedBytes(): number {
    return this.#item.from < 0 ? 0 : this.#scanner.offset - this.#item.from;
  }

  push(chunk: Uint8Array): RawItem[] {
    this.#chunk = chunk;
    const chunkOffset = this.#scanner.offset;
    this.#scanner.scan(chunk);
    this.#item.keep(chunk, chunkOffset);
    this.#key.keep(chunk, chunkOffset);
    this.#bound(this.#scanner.offset);
    return this.#takeItems();
  }

  end(): RawItem[] {
    this.#chunk = new Uint8Array();
    this.#scanner.end(this.#kind === 'line' ? 'line' : 'input');
    if (this.values === 0 && this.#kind !== 'line')
      throw new InputError('the input is empty', 0, 1);
    return this.#takeItems();
  }

  valueStart(depth: number, byte: number, offset: number): void {
    if (byte === 0x7b || byte === 0x5b) this.#deepest = Math.max(this.#deepest, depth);
    if (depth === 0) this.#startRoot(byte, offset);
    else if (depth === this.#itemDepth) this.#startItem(offset);
    else if (depth === 1 && this.#isListNext) {
      if (byte !== 0x5b) this.#fail(`"${listName}" must be a list`, offset);
      this.#isListNext = false;
      this.#itemDepth = 2;
    }
  }

  valueEnd(depth: number, end: number): void {
    if (depth === this.#itemDepth) this.#items.push(this.#closeItem(depth, end));
    else if (depth === this.#itemDepth - 1) this.#itemDepth = -1;
    if (depth === 0 && !this.#hasList) this.#endLoneRoot(end);
  }

  keyStart(offset: number): void {
    this.#key.open(offset, this.#scanner.line);
  }

  keyEnd(end: number): void {
    const offset = this.#key.from;
    if (!isListName(this.#key.close(this.#chunk, this.#scanner.offset, end))) return;
    // JSON.parse would use the last one and silently lose the items of the first.
    if (this.#hasList) this.#fail(`a duplicate "${listName}"`, offset);
    this.#hasList = true;
    this.isObjectWithList = true;
    this.#isListNext = true;
    this.#item.discard();
  }

  #startRoot(byte: number, offset: number): void {
    this.values += 1;
    if (this.values > 1 && this.#kind === 'document') this.#fail('text after the document', offset);
    this.#rootOffset = offset;
    this.#rootLine = this.#scanner.line;
    this.isObjectWithList = false;
    this.#hasList = byte === 0x5b;
    if (this.#hasList) this.#itemDepth = 1;
    this.#isRootItem = !this.#hasList && (this.#kind !== 'document' || byte === 0x7b);
    if (this.#isRootItem) this.#startItem(offset);
  }

  #endLoneRoot(end: number): void {
    this.#bound(end);
    if (this.#item.from < 0) this.#failWithoutList();
    this.#items.push(this.#closeItem(0, end));
  }

  #startItem(offset: number): void {
    this.#item.open(offset, this.#scanner.line);
    this.#deepest = 0;
  }

  #closeItem(depth: number, end: number): RawItem {
    this.#bound(end);
    const { from: offset, line } = this.#item;
    // The server would refuse the whole request with all its lines.
    if (this.#kind === 'line' && this.#deepest - depth >= itemDepthMax) {
      throw new InputError(`the item that begins here is nested too deep`, offset, line);
    }
    const bytes = this.#item.close(this.#chunk, this.#scanner.offset, end);
    if (!isUtf8(bytes))
      throw new InputError('the item that begins here is not UTF-8', offset, line);
    return { bytes, offset, line };
  }

  /** Limits memory. A root value too large for an item may still turn out to contain a list. */
  #bound(end: number): void {
    for (const span of [this.#item, this.#key]) {
      if (span.from < 0 || end - span.from <= this.#itemBytesMax) continue;
      const isItem = span === this.#key || this.#itemDepth >= 0;
      const message = `the item that begins here is larger than the ${this.#itemBytesMax} bytes that fit in a request`;
      if (isItem) throw new InputError(message, span.from, span.line);
      span.discard();
    }
  }

  #takeItems(): RawItem[] {
    const items = this.#items;
    this.#items = [];
    return items;
  }

  #failWithoutList(): never {
    const hint = this.#isRootItem ? ' and is too large for an item' : '';
    const message = `the document is not a list and has no "${listName}" at its root${hint}`;
    throw new InputError(message, this.#rootOffset, this.#rootLine);
  }

  #fail(message: string, offset: number): never {
    throw new InputError(message, offset, this.#scanner.line);
  }
}

function isListName(quoted: Uint8Array): boolean {
  if (listNameQuoted.equals(quoted)) return true;
  // Written as \uXXXX, a character of the name takes six bytes.
  if (!quoted.includes(0x5c) || quoted.length > 6 * listNameQuoted.length) return false;
  return JSON.parse(Buffer.from(quoted).toString()) === listName;
}
