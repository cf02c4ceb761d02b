import type { ItemKernel } from './item-kernel.ts';
import { layoutBytes, layoutsMax, literalBytes, literalsMax } from './scan-memory.ts';

/** The members of an item; all but ours are `other`. */
export const member = { other: 0, type: 1, state: 2, timestamp: 3 } as const;
export type Member = (typeof member)[keyof typeof member];

/** The longest literal of a layout. */
const textBytesMax = literalBytes - 16;

/**
 * The layouts that the kernel can read: the bytes of an item apart from its values. A client's serializer
 * writes all items in the same layout, so `BatchScanner` records the layout of each item that it reads
 * itself, and the kernel reads the following items.
 */
export class ItemLayouts {
  readonly #kernel: ItemKernel;
  /** The members of the item: kind, begin and end of the value. */
  readonly #members = new Int32Array(3 * literalsMax);
  #memberWords = 0;
  #from = 0;
  #count = 0;
  #next = 0;

  constructor(kernel: ItemKernel) {
    this.#kernel = kernel;
  }

  beginItem(from: number): void {
    this.#from = from;
    this.#memberWords = 0;
  }

  noteMember(kind: Member, from: number, to: number): void {
    const members = this.#members;
    if (this.#memberWords < members.length) {
      const at = this.#memberWords;
      members[at] = kind;
      members[at + 1] = from;
      members[at + 2] = to;
    }
    this.#memberWords += 3;
  }

  /** Adds the layout of the recorded item to the kernel; it replaces an old one if there are too many. */
  learn(end: number): void {
    if (this.#memberWords > this.#members.length) return;
    const literals = this.#literals(end);
    if (literals.length > literalsMax || literals.some(({ text }) => text.length > textBytesMax)) {
      return;
    }
    const { bytes, view, regions, exports } = this.#kernel;
    const layoutAt = regions.layoutsAt + this.#next * layoutBytes;
    view.setInt32(layoutAt, literals.length - 1, true);
    for (const [index, { text, kind }] of literals.entries()) {
      const at = layoutAt + 16 + index * literalBytes;
      view.setInt32(at, kind, true);
      view.setInt32(at + 4, text.length, true);
      view.setInt32(at + 8, 2 ** Math.min(text.length, 16) - 1, true);
      bytes.set(text, at + 16);
    }
    this.#count = Math.max(this.#count, this.#next + 1);
    exports.setLayout(this.#next, this.#count);
    this.#next = (this.#next + 1) % layoutsMax;
  }

  /** The literals of the recorded item, each with the kind of the value after it. */
  #literals(end: number): { readonly text: Uint8Array; readonly kind: number }[] {
    const { bytes } = this.#kernel;
    const literals = [];
    let from = this.#from;
    for (let word = 0; word < this.#memberWords; word += 3) {
      const [kind, valueAt, valueEnd] = this.#members.subarray(word, word + 3) as unknown as [
        Member,
        number,
        number,
      ];
      literals.push({ text: bytes.subarray(from, valueAt), kind });
      from = valueEnd;
    }
    return [...literals, { text: bytes.subarray(from, end), kind: member.other }];
  }
}
