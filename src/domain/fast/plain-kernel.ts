import {
  dateWord,
  entryWords,
  keyAtWord,
  lengthsWord,
  probesMax,
  regionsOf,
  type ScanMemory,
} from './scan-memory.ts';

/** The part of the kernel that scanners use. Addresses and lengths are in bytes. */
export interface KernelExports {
  /** Adds a layout, or replaces one; `count`: of all layouts. */
  setLayout(index: number, count: number): void;
  /** Scans items from the beginning of one on; returns where it stopped. */
  scanItems(from: number, to: number): number;
  /** The number of a counter; -1 if it is not in the table, -2 if there is no room for it either. */
  find(date: number, type: number, typeBytes: number, state: number, stateBytes: number): number;
  /** Adds the counter that `find` has just not found. */
  add(
    number: number,
    keyAt: number,
    date: number,
    type: number,
    typeBytes: number,
    state: number,
    stateBytes: number,
  ): void;
}

/**
 * The table of the kernel in TypeScript, used if the kernel is not built or not supported. It scans no
 * items: `BatchScanner` then reads all of them itself.
 */
export function plainKernel(memory: ScanMemory, random: number): KernelExports {
  const { buffer } = memory.memory;
  const { slotsAt, slotCount, entriesAt, keysAt } = regionsOf(memory.limits);
  const slots = new Int32Array(buffer, slotsAt, slotCount);
  const entries = new Int32Array(buffer, entriesAt, memory.limits.countersMax * entryWords);
  const keys = new Uint8Array(buffer, keysAt, memory.limits.keyBytesMax);
  const bytes = new Uint8Array(buffer);
  let freeSlot = 0;

  /** Whether the name at `at` is the key at `keyAt`. */
  function isKey(keyAt: number, at: number, length: number): boolean {
    for (let index = 0; index < length; index++) {
      if (keys[keyAt + index] !== bytes[at + index]) return false;
    }
    return true;
  }

  function mix(hash: number, at: number, length: number): number {
    let mixed = hash ^ length;
    for (let index = at; index < at + length; index++) {
      mixed = Math.imul(mixed ^ (bytes[index] as number), 0x01000193);
    }
    return mixed;
  }

  return {
    setLayout() {},
    scanItems: (from) => from,
    find(date, typeAt, typeBytes, stateAt, stateBytes) {
      const lengths = typeBytes | (stateBytes << 8);
      const hashOfType = mix(Math.imul(random ^ date, 0x9e3779b1), typeAt, typeBytes);
      let hash = mix(hashOfType, stateAt, stateBytes);
      hash = Math.imul(hash ^ (hash >>> 15), 0x85ebca6b);
      let slot = (hash ^ (hash >>> 13)) & (slotCount - 1);
      for (let probes = 0; probes < probesMax; probes++) {
        const number = (slots[slot] as number) - 1;
        if (number < 0) {
          freeSlot = slot;
          return -1;
        }
        const entry = number * entryWords;
        const keyAt = entries[entry + keyAtWord] as number;
        if (
          entries[entry + dateWord] === date &&
          entries[entry + lengthsWord] === lengths &&
          isKey(keyAt, typeAt, typeBytes) &&
          isKey(keyAt + typeBytes, stateAt, stateBytes)
        ) {
          return number;
        }
        slot = (slot + 1) & (slotCount - 1);
      }
      return -2;
    },
    add(number, keyAt, date, typeAt, typeBytes, stateAt, stateBytes) {
      slots[freeSlot] = number + 1;
      entries[number * entryWords + dateWord] = date;
      entries[number * entryWords + lengthsWord] = typeBytes | (stateBytes << 8);
      entries[number * entryWords + keyAtWord] = keyAt;
      keys.set(bytes.subarray(typeAt, typeAt + typeBytes), keyAt);
      keys.set(bytes.subarray(stateAt, stateAt + stateBytes), keyAt + typeBytes);
    },
  };
}
