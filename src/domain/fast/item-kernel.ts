import type { DayOfUtc } from '../day.ts';
import { plainKernel, type KernelExports } from './plain-kernel.ts';
import { itemsMax, layoutBytes, regionsOf, type ScanMemory } from './scan-memory.ts';

/** Why `scanItems` stopped. */
export const stopped = { layoutDiffers: 0, valueDiffers: 1, afterItem: 2 } as const;

/** Increase it with each change of `assembly/item-kernel.ts` that makes earlier builds incompatible. */
const kernelVersion = 1;

/** The exports of `assembly/item-kernel.ts`. */
interface CompiledExports extends KernelExports {
  version(): number;
  configure(addresses: number): void;
}

/**
 * The part of the scanner that is compiled to WebAssembly, over the memory of one scanner: it reads
 * items of known layouts and known counters, and finds counters.
 */
export class ItemKernel {
  readonly exports: KernelExports;
  /** Whether it is WebAssembly. */
  readonly isCompiled: boolean;
  readonly memory: ScanMemory;
  readonly regions: ReturnType<typeof regionsOf>;
  /** The numbers of the counters of the scanned items. */
  readonly numbers: Int32Array;
  /** The whole memory: an index is an address. */
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Words: why `scanItems` stopped, the number of scanned items, whether days follow a rule. */
  readonly #control: Int32Array;
  #dayOfUtc: DayOfUtc | undefined;

  /** @param random a secret whole number below 2^32, against chosen collisions. */
  constructor(memory: ScanMemory, random: number, module: WebAssembly.Module | undefined) {
    const { buffer } = memory.memory;
    this.memory = memory;
    this.regions = regionsOf(memory.limits);
    this.bytes = new Uint8Array(buffer);
    this.view = new DataView(buffer);
    this.numbers = new Int32Array(buffer, this.regions.numbersAt, itemsMax);
    this.#control = new Int32Array(buffer, this.regions.controlAt, 3);
    // Without a kernel, `BatchScanner` reads all items, so it must not treat them as of unknown layouts.
    this.#control[0] = stopped.valueDiffers;
    const compiled = module && this.#instantiate(module, random);
    this.exports = compiled ?? plainKernel(memory, random);
    this.isCompiled = compiled !== undefined;
  }

  /** Undefined if the module is of another version. */
  #instantiate(module: WebAssembly.Module, random: number): KernelExports | undefined {
    const { memory } = this.memory;
    const dayOfUtc = (date: number, minute: number) => this.#dayOfUtc?.(date, minute) ?? 0;
    const imports = { env: { memory }, 'item-kernel': { dayOfUtc } };
    const instance = new WebAssembly.Instance(module, imports);
    const exports = instance.exports as unknown as CompiledExports;
    if (exports.version() !== kernelVersion) return undefined;
    const { controlAt, masksAt, multipliersAt, layoutsAt, addressesAt } = this.regions;
    const { slotsAt, slotCount, entriesAt, keysAt, numbersAt } = this.regions;
    new Int32Array(memory.buffer, multipliersAt, 9).set(multipliers(random));
    new Int32Array(memory.buffer, addressesAt, 11).set([
      ...[controlAt, masksAt, layoutsAt, layoutBytes, slotsAt, slotCount],
      ...[entriesAt, keysAt, numbersAt, itemsMax, multipliersAt],
    ]);
    exports.configure(addressesAt);
    return exports;
  }

  /** Sets the day rule for times in UTC; undefined: the date as written, with any offset. */
  set dayOfUtc(rule: DayOfUtc | undefined) {
    this.#dayOfUtc = rule;
    this.#control[2] = rule === undefined ? 0 : 1;
  }

  get stopped(): number {
    return this.#control[0] as number;
  }

  get items(): number {
    return this.#control[1] as number;
  }

  set items(count: number) {
    this.#control[1] = count;
  }

  /** Appends an item that the kernel has not scanned; returns whether there was room. */
  addItem(number: number): boolean {
    const { items } = this;
    if (items === itemsMax) return false;
    this.numbers[items] = number;
    this.items = items + 1;
    return true;
  }

  /** Whether an index into the bytes is an address. */
  isMemory({ buffer, byteOffset }: Uint8Array): boolean {
    return byteOffset === 0 && buffer === this.bytes.buffer;
  }

  /** Copies a body of up to `copiedBytesMax` into the memory; returns its address. */
  copy(body: Uint8Array): number {
    this.bytes.set(body, this.memory.copyAt);
    return this.memory.copyAt;
  }
}

/** Odd numbers from a secret one. */
function multipliers(random: number): number[] {
  return Array.from({ length: 9 }, (_, index) => {
    let hash = Math.imul((random | 0) + Math.imul(index + 1, 0x9e3779b1), 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 15), 0xc2b2ae35);
    return (hash ^ (hash >>> 13)) | 1;
  });
}
