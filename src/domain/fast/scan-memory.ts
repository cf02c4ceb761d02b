/*
 * The memory of a scanner, in which WebAssembly finds what it reads: its tables, then bodies. It is
 * shared, so that another thread may put the bodies there. Most of it is never touched, and such
 * pages take no memory of the machine.
 */

export interface CounterTableLimits {
  /** The most counters in the table. */
  readonly countersMax: number;
  /** The most bytes of their names. */
  readonly keyBytesMax: number;
}

export interface ScanMemory {
  readonly memory: WebAssembly.Memory;
  readonly limits: CounterTableLimits;
  /** The address of the bodies of the other thread. */
  readonly bodiesAt: number;
  readonly bodyBytes: number;
  /** The address to which the scanner copies bodies that are not in this memory. */
  readonly copyAt: number;
}

/** How many bytes after the end of a body may be read, and are ignored. */
const readAheadBytes = 4096;
/** The most items of a scanned body. */
export const itemsMax = 2 ** 21;
/** The most bytes of a body that a scanner copies into its memory. */
export const copiedBytesMax = 64 * 1024 * 1024;

/** Words of a counter's entry: the first 16 bytes of each name, then these. */
export const entryWords = 16;
export const dateWord = 8;
export const lengthsWord = 9;
export const keyAtWord = 10;
/** A search gives up after this many probes, so that chosen names cannot make it slow. */
export const probesMax = 32;
/** The most literals of a layout: one more than the members of an item. */
export const literalsMax = 13;
export const literalBytes = 80;
export const layoutsMax = 8;
export const layoutBytes = 16 + literalsMax * literalBytes;

const controlAt = 0;
const masksAt = 64;
const multipliersAt = 128;
const addressesAt = 256;
const layoutsAt = 1024;
const pageBytes = 65_536;

/** The addresses of the tables. */
export function regionsOf({ countersMax, keyBytesMax }: CounterTableLimits) {
  // At least twice as many slots as counters.
  const slotCount = 2 ** Math.ceil(Math.log2(2 * countersMax));
  const slotsAt = pageBytes;
  const entriesAt = slotsAt + 4 * slotCount;
  const keysAt = entriesAt + 4 * entryWords * countersMax;
  const numbersAt = roundUp(keysAt + keyBytesMax + readAheadBytes);
  const bodiesAt = roundUp(numbersAt + 4 * itemsMax);
  return {
    ...{ controlAt, masksAt, multipliersAt, addressesAt, layoutsAt },
    ...{ slotsAt, slotCount, entriesAt, keysAt, numbersAt, bodiesAt },
  };
}

/** @param bodyBytes for the bodies of another thread. */
export function scanMemory(limits: CounterTableLimits, bodyBytes = 0): ScanMemory {
  const { bodiesAt } = regionsOf(limits);
  const copyAt = roundUp(bodiesAt + bodyBytes + readAheadBytes);
  const pages = roundUp(copyAt + copiedBytesMax + readAheadBytes) / pageBytes;
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  return { memory, limits, bodiesAt, bodyBytes, copyAt };
}

function roundUp(bytes: number): number {
  return Math.ceil(bytes / pageBytes) * pageBytes;
}
