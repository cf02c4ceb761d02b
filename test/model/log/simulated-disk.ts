import { constants } from 'node:os';
import { posix } from 'node:path';
import { getSystemErrorMessage } from 'node:util';

import { seededRandom } from '../../../infra/local/seeded-random.ts';
import type { FileSystem, LogFile } from '../../../src/engines/embedded/log/file-system.ts';

export type OperationKind = keyof typeof systemCalls;
export type ErrorCode = keyof typeof constants.errno;

export interface Operation {
  kind: OperationKind;
  /** As the caller gave it; for operations on a file, as it was opened. */
  path: string;
  /** Counts up from 0 over the life of one disk; `size` and `close` are not operations. */
  index: number;
}

/**
 * What happens to an operation. `error`: it is not executed and throws. `shortWriteBytes`: a write
 * takes only that many bytes. After the power cuts, the operation throws `PowerCut`; it is not
 * executed, or it is.
 */
export type Fault =
  { error: ErrorCode } | { shortWriteBytes: number } | 'powerCutBefore' | 'powerCutAfter';

export interface SimulatedDiskOptions {
  seed: number;
  /** The unit that the disk writes as a whole: a power cut tears larger writes at its multiples. */
  sectorBytes?: number;
  /** Space for file contents, in whole sectors; holes and directories take none. */
  capacityBytes?: number;
  /**
   * Whether a power cut may also tear within a sector: some of the bytes last written exist, the
   * rest is as before or garbage. Other bytes of the sector are never damaged.
   */
  tornSectors?: boolean;
  /** A directory that exists from the start, durably. */
  root?: string;
}

/** Thrown at the power cut of a fault, and afterwards by the dead disk and its files. */
export class PowerCut extends Error {
  override readonly name = 'PowerCut';
}

/**
 * A disk in memory with a page cache in front of it, as POSIX allows the two to behave: when the
 * power fails, unsynced data may be lost, kept, reordered or torn. The seed determines all random
 * decisions. The disk is more hostile than any one file system, but never to synced data.
 */
export class SimulatedDisk implements FileSystem {
  /** May be changed at any time: a disk fills up, or an operator frees space. */
  capacityBytes: number;

  readonly #sectorBytes: number;
  readonly #tornSectors: boolean;
  readonly #random: Random;
  readonly #openFiles = new Set<{ file: File }>();
  readonly #nextFaults: { kind: OperationKind; fault: Fault }[] = [];
  readonly #syncPoints: number[] = [];
  readonly #started: (() => void)[] = [];
  #root = newDirectory();
  #operations = 0;
  #hook: ((operation: Operation) => Fault | undefined) | undefined;
  #dead = false;

  constructor(options: SimulatedDiskOptions) {
    this.#sectorBytes = options.sectorBytes ?? 512;
    this.capacityBytes = options.capacityBytes ?? Infinity;
    this.#tornSectors = options.tornSectors ?? true;
    this.#random = randomOf(options.seed);
    let directory = this.#root;
    for (const name of namesIn(options.root ?? '/')) {
      const child = newDirectory();
      directory.cached.set(name, child);
      directory.durable.set(name, child);
      directory = child;
    }
  }

  /** The number of operations so far, including failed ones. */
  get operations(): number {
    return this.#operations;
  }

  /** The indexes of the file and directory syncs that succeeded. */
  get syncPoints(): readonly number[] {
    return this.#syncPoints;
  }

  get usedBytes(): number {
    const files = new Set(Array.from(this.#openFiles, ({ file }) => file));
    addFiles(this.#root, files);
    const sectors = Array.from(files, (file) => file.cached.sectors.size);
    return sectors.reduce((sum, count) => sum + count, 0) * this.#sectorBytes;
  }

  /**
   * Sets the hook that decides, before each operation, what happens to it; replaces an earlier
   * hook.
   */
  onOperation(hook: ((operation: Operation) => Fault | undefined) | undefined): void {
    this.#hook = hook;
  }

  /** Makes the next operation of that kind fail once; after two calls, the next two fail. */
  failNext(kind: OperationKind, fault: Fault): void {
    this.#nextFaults.push({ kind, fault });
  }

  /**
   * A disk as it may be after a power failure now. This disk is dead from then on, but can be asked
   * again: each call draws another outcome, or the one of the given seed.
   */
  powerCut(seed = this.#random.below(2 ** 32)): SimulatedDisk {
    this.#dead = true;
    const found = this.#successor(seed);
    found.#root = directoryAfterPowerCut(this.#root, {
      random: found.#random,
      sectorBytes: this.#sectorBytes,
      tornSectors: this.#tornSectors,
    });
    return found;
  }

  /**
   * The disk as the next process finds it after a kill: the page cache still exists, and unsynced
   * data is still unsynced. This disk is dead from then on.
   */
  crash(seed = this.#random.below(2 ** 32)): SimulatedDisk {
    this.#dead = true;
    const found = this.#successor(seed);
    found.#root = copyDirectory(this.#root);
    return found;
  }

  /**
   * Executes what was started in the background. A sync covers what was written before it started.
   */
  finishStarted(): void {
    for (const finish of this.#started.splice(0)) finish();
  }

  createDirectory(directory: string): void {
    this.#perform('createDirectory', directory, () => {
      let parent = this.#root;
      for (const [depth, name] of namesIn(directory).entries()) {
        const child = parent.cached.get(name) ?? newDirectory();
        if (child.kind === 'file') {
          const last = depth === namesIn(directory).length - 1;
          throw systemError(last ? 'EEXIST' : 'ENOTDIR', 'mkdir', directory);
        }
        if (!parent.cached.has(name)) changeEntry(parent, name, child);
        parent = child;
      }
    });
  }

  list(directory: string): string[] {
    return this.#perform('list', directory, () =>
      shuffled(
        [...this.#directory(namesIn(directory), 'list', directory).cached.keys()],
        this.#random,
      ),
    );
  }

  open(path: string, mode: 'read' | 'read-write' | 'create'): LogFile {
    return mode === 'create' ? this.#create(path) : this.#open(path, mode === 'read-write');
  }

  remove(path: string): void {
    this.#perform('remove', path, () => {
      const { parent, name, entry } = this.#entry('remove', path);
      if (entry === undefined) throw systemError('ENOENT', 'unlink', path);
      if (entry.kind === 'directory') throw systemError('EISDIR', 'unlink', path);
      changeEntry(parent, name, undefined);
    });
  }

  rename(from: string, to: string): void {
    this.#perform('rename', from, () => {
      const old = this.#entry('rename', from);
      if (old.entry === undefined) throw systemError('ENOENT', 'rename', from);
      const target = this.#entry('rename', to);
      if (target.parent !== old.parent) throw systemError('EXDEV', 'rename', from);
      changeEntries(old.parent, [
        { name: old.name, node: undefined },
        { name: target.name, node: old.entry },
      ]);
    });
  }

  #inBackground(done: (error: unknown) => void, act: () => void): void {
    this.#started.push(() => {
      try {
        act();
      } catch (error) {
        if (error instanceof PowerCut) throw error;
        done(error);
        return;
      }
      done(null);
    });
  }

  syncDirectory(directory: string): void {
    const find = () => this.#directory(namesIn(directory), 'syncDirectory', directory);
    this.#perform(
      'syncDirectory',
      directory,
      (index) => {
        syncEntries(find());
        this.#syncPoints.push(index);
      },
      () => abandonUnsynced(find()),
    );
  }

  #create(path: string): LogFile {
    return this.#perform('create', path, () => {
      const { parent, name, entry } = this.#entry('create', path);
      if (entry !== undefined) throw systemError('EEXIST', 'open', path);
      const file = newFile();
      changeEntry(parent, name, file);
      return this.#handle(file, path, true);
    });
  }

  #open(path: string, writable: boolean): LogFile {
    return this.#perform('open', path, () => {
      const { entry } = this.#entry('open', path);
      if (entry === undefined) throw systemError('ENOENT', 'open', path);
      if (entry.kind === 'directory') throw systemError('EISDIR', 'open', path);
      return this.#handle(entry, path, writable);
    });
  }

  #handle(file: File, path: string, writable: boolean): LogFile {
    const handle = { file };
    this.#openFiles.add(handle);
    const assertOpen = (systemCall: string, allowed = true) => {
      this.#assertAlive();
      if (!this.#openFiles.has(handle) || !allowed) throw systemError('EBADF', systemCall, path);
    };
    return {
      size: () => {
        assertOpen('fstat');
        return file.cached.length;
      },
      read: (target, offset) => {
        assertOpen('read');
        assertByteCount(offset);
        return this.#perform('read', path, () =>
          readContent(file.cached, target, offset, this.#sectorBytes),
        );
      },
      write: (bytes, offset) => {
        assertOpen('write', writable);
        assertByteCount(offset);
        return this.#perform('write', path, (_index, bytesMax) =>
          this.#write(file, bytes.subarray(0, bytesMax), offset, path),
        );
      },
      truncate: (length) => {
        assertOpen('ftruncate', writable);
        assertByteCount(length);
        this.#perform('truncate', path, () => truncateFile(file, length, this.#sectorBytes));
      },
      sync: () => {
        assertOpen('fdatasync');
        this.#sync(file, path, file.unsynced.length);
      },
      startSync: (done) => {
        assertOpen('fdatasync');
        const covered = file.unsynced.length;
        this.#inBackground(done, () => this.#sync(file, path, covered));
      },
      close: () => {
        assertOpen('close');
        this.#openFiles.delete(handle);
      },
    };
  }

  /** @param covered the number of unsynced changes that the sync covers. */
  #sync(file: File, path: string, covered: number): void {
    this.#perform(
      'sync',
      path,
      (index) => {
        syncFile(file, this.#sectorBytes, covered);
        this.#syncPoints.push(index);
      },
      () => abandonUnsynced(file),
    );
  }

  #write(file: File, bytes: Uint8Array, offset: number, path: string): number {
    const freeBytes =
      this.capacityBytes === Infinity ? Infinity : this.capacityBytes - this.usedBytes;
    const freeSectors = Math.floor(freeBytes / this.#sectorBytes);
    const written = writeFile(file, bytes, offset, this.#sectorBytes, freeSectors);
    if (written === 0 && bytes.length > 0) throw systemError('ENOSPC', 'write', path);
    return written;
  }

  /**
   * `onError` is what a failing operation leaves behind; `bytesMax` bounds a write that is cut
   * short.
   */
  #perform<Result>(
    kind: OperationKind,
    path: string,
    action: (index: number, bytesMax: number) => Result,
    onError?: () => void,
  ): Result {
    this.#assertAlive();
    const index = this.#operations++;
    const fault = this.#faultFor({ kind, path, index });
    if (fault === 'powerCutBefore') this.#die(kind, path, index);
    if (typeof fault === 'object' && 'error' in fault) {
      onError?.();
      throw systemError(fault.error, systemCalls[kind], path);
    }
    try {
      return action(index, typeof fault === 'object' ? fault.shortWriteBytes : Infinity);
    } finally {
      if (fault === 'powerCutAfter') this.#die(kind, path, index);
    }
  }

  #faultFor(operation: Operation): Fault | undefined {
    const fromHook = this.#hook?.(operation);
    const next = this.#nextFaults.findIndex(({ kind }) => kind === operation.kind);
    const fault = next < 0 ? fromHook : this.#nextFaults.splice(next, 1)[0]?.fault;
    if (typeof fault === 'object' && 'shortWriteBytes' in fault && operation.kind !== 'write') {
      throw new TypeError(`shortWriteBytes is for writes, not for ${operation.kind}`);
    }
    return fault;
  }

  #die(kind: OperationKind, path: string, index: number): never {
    this.#dead = true;
    throw new PowerCut(`power cut at operation ${index}, ${kind} of ${path}`);
  }

  #assertAlive(): void {
    if (this.#dead)
      throw new PowerCut(
        'this disk is dead: continue with the disk that powerCut() or crash() returned',
      );
  }

  #successor(seed: number): SimulatedDisk {
    return new SimulatedDisk({
      seed,
      sectorBytes: this.#sectorBytes,
      capacityBytes: this.capacityBytes,
      tornSectors: this.#tornSectors,
    });
  }

  #directory(names: string[], kind: OperationKind, path: string): Directory {
    let directory = this.#root;
    for (const name of names) {
      const child = directory.cached.get(name);
      if (child === undefined) throw systemError('ENOENT', systemCalls[kind], path);
      if (child.kind === 'file') throw systemError('ENOTDIR', systemCalls[kind], path);
      directory = child;
    }
    return directory;
  }

  #entry(kind: OperationKind, path: string) {
    const names = namesIn(path);
    const name = names.pop();
    if (name === undefined) throw systemError('EISDIR', systemCalls[kind], path);
    const parent = this.#directory(names, kind, path);
    return { parent, name, entry: parent.cached.get(name) };
  }
}

const systemCalls = {
  write: 'write',
  sync: 'fdatasync',
  truncate: 'ftruncate',
  create: 'open',
  remove: 'unlink',
  rename: 'rename',
  syncDirectory: 'fsync',
  open: 'open',
  read: 'read',
  list: 'scandir',
  createDirectory: 'mkdir',
} as const;

function systemError(code: ErrorCode, syscall: string, path: string): Error {
  const errno = -constants.errno[code];
  const message = `${code}: ${getSystemErrorMessage(errno)}, ${syscall}`;
  return Object.assign(new Error(message), { errno, code, syscall, path });
}

function namesIn(path: string): string[] {
  return posix
    .resolve('/', path)
    .split('/')
    .filter((name) => name !== '');
}

function assertByteCount(value: number): void {
  if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`not a byte count: ${value}`);
}

// --- What files and directories have in common: a cache, a durable state, and the changes between

interface Cached<State, Change> {
  cached: State;
  durable: State;
  /** In order; the next sync makes them durable. */
  unsynced: Change[];
  /**
   * Changes that were unsynced when a sync failed. As on Linux, they may have reached the disk or
   * not. They are marked clean, so a later sync does not write them unless they are made again.
   */
  abandoned: Change[];
}

function abandonUnsynced<State, Change>(node: Cached<State, Change>): void {
  node.abandoned = [...node.abandoned, ...node.unsynced];
  node.unsynced = [];
}

type Node = File | Directory;

/** `copies` keeps a node with several entries, durable and not, one node. */
function copyDirectory(directory: Directory, copies = new Map<Node, Node>()): Directory {
  const copy = newDirectory();
  copies.set(directory, copy);
  const copyNode = (node: Node): Node => {
    const known = copies.get(node);
    if (known !== undefined) return known;
    if (node.kind === 'directory') return copyDirectory(node, copies);
    const file = copyFile(node);
    copies.set(node, file);
    return file;
  };
  const copyChange = (changes: EntryChanges) =>
    changes.map(({ name, node }) => ({ name, node: node && copyNode(node) }));
  for (const [name, node] of directory.cached) copy.cached.set(name, copyNode(node));
  for (const [name, node] of directory.durable) copy.durable.set(name, copyNode(node));
  copy.unsynced = directory.unsynced.map(copyChange);
  copy.abandoned = directory.abandoned.map(copyChange);
  return copy;
}

function copyFile({ cached, durable, unsynced, abandoned }: File): File {
  return {
    kind: 'file',
    cached: copyContent(cached),
    durable: copyContent(durable),
    unsynced: [...unsynced],
    abandoned: [...abandoned],
  };
}

// --- Directories

/** Changes of entries that are made at once are kept or lost at once. */
type EntryChanges = readonly EntryChange[];

interface Directory extends Cached<Map<string, Node>, EntryChanges> {
  kind: 'directory';
}

interface EntryChange {
  name: string;
  /** Undefined: the entry is removed. */
  node: Node | undefined;
}

function newDirectory(): Directory {
  return { kind: 'directory', cached: new Map(), durable: new Map(), unsynced: [], abandoned: [] };
}

function addFiles(directory: Directory, files: Set<File>): void {
  for (const node of directory.cached.values()) {
    if (node.kind === 'file') files.add(node);
    else addFiles(node, files);
  }
}

function changeEntry(directory: Directory, name: string, node: Node | undefined): void {
  changeEntries(directory, [{ name, node }]);
}

function changeEntries(directory: Directory, changes: EntryChanges): void {
  for (const change of changes) applyEntryChange(directory.cached, change);
  directory.unsynced.push(changes);
}

function applyEntryChange(entries: Map<string, Node>, { name, node }: EntryChange): void {
  if (node === undefined) entries.delete(name);
  else entries.set(name, node);
}

function syncEntries(directory: Directory): void {
  const changes = directory.unsynced.flat();
  const names = new Set(changes.map(({ name }) => name));
  for (const change of changes) applyEntryChange(directory.durable, change);
  directory.unsynced = [];
  directory.abandoned = directory.abandoned
    .map((each) => each.filter(({ name }) => !names.has(name)))
    .filter((each) => each.length > 0);
}

function directoryAfterPowerCut(directory: Directory, cut: Cut): Directory {
  const entries = new Map(directory.durable);
  const changes = [...directory.abandoned, ...directory.unsynced];
  for (const change of survivors(changes, cut.random).flat()) {
    applyEntryChange(entries, change);
  }
  const found = newDirectory();
  for (const [name, node] of entries) {
    const child =
      node.kind === 'file' ? fileAfterPowerCut(node, cut) : directoryAfterPowerCut(node, cut);
    found.cached.set(name, child);
    found.durable.set(name, child);
  }
  return found;
}

// --- Files

interface File extends Cached<Content, ContentChange> {
  kind: 'file';
}

interface Content {
  /**
   * By number; a missing one is a hole. The arrays are never changed and can therefore be shared.
   */
  sectors: Map<number, Uint8Array>;
  length: number;
}

type ContentChange = SectorWrite | { kind: 'truncate' | 'extend'; length: number };

interface SectorWrite {
  kind: 'write';
  sector: number;
  /** The whole sector as it was in the cache after the write. */
  image: Uint8Array;
  /** Which part of it was written. */
  start: number;
  end: number;
}

function newFile(): File {
  const empty = (): Content => ({ sectors: new Map(), length: 0 });
  return { kind: 'file', cached: empty(), durable: empty(), unsynced: [], abandoned: [] };
}

function copyContent({ sectors, length }: Content): Content {
  return { sectors: new Map(sectors), length };
}

function readContent(
  content: Content,
  target: Uint8Array,
  offset: number,
  sectorBytes: number,
): number {
  const length = Math.max(0, Math.min(target.length, content.length - offset));
  let done = 0;
  while (done < length) {
    const start = (offset + done) % sectorBytes;
    const count = Math.min(sectorBytes - start, length - done);
    const image = content.sectors.get(Math.floor((offset + done) / sectorBytes));
    if (image === undefined) target.fill(0, done, done + count);
    else target.set(image.subarray(start, start + count), done);
    done += count;
  }
  return length;
}

/** Writes as long as there are free sectors; allocated ones need none. */
function writeFile(
  file: File,
  bytes: Uint8Array,
  offset: number,
  sectorBytes: number,
  freeSectors: number,
): number {
  let done = 0;
  while (done < bytes.length) {
    const sector = Math.floor((offset + done) / sectorBytes);
    const old = file.cached.sectors.get(sector);
    if (old === undefined && --freeSectors < 0) break;
    const start = (offset + done) % sectorBytes;
    const end = Math.min(sectorBytes, start + bytes.length - done);
    const image = old?.slice() ?? new Uint8Array(sectorBytes);
    image.set(bytes.subarray(done, done + end - start), start);
    writeSector(file, { kind: 'write', sector, image, start, end });
    done += end - start;
  }
  const reached = done === 0 ? 0 : offset + done;
  if (reached > file.cached.length || needsLengthAgain(file, reached)) {
    file.unsynced.push({ kind: 'extend', length: reached });
    file.cached.length = Math.max(reached, file.cached.length);
  }
  return done;
}

/** Whether the durable file may be shorter than this one, because the length is not synced. */
function needsLengthAgain({ durable, abandoned }: File, reached: number): boolean {
  return (
    reached > durable.length ||
    abandoned.some((change) => change.kind === 'truncate' && change.length < reached)
  );
}

function writeSector(file: File, write: SectorWrite): void {
  file.cached.sectors.set(write.sector, write.image);
  file.unsynced.push(write);
}

function truncateFile(file: File, length: number, sectorBytes: number): void {
  const change = { kind: length < file.cached.length ? 'truncate' : 'extend', length } as const;
  applyContentChange(file.cached, change, sectorBytes);
  file.unsynced.push(change);
  // The cache has cleared the rest of the last sector, which will be written, too.
  const sector = Math.floor(length / sectorBytes);
  const image = file.cached.sectors.get(sector);
  if (change.kind === 'truncate' && image !== undefined) {
    writeSector(file, {
      kind: 'write',
      sector,
      image,
      start: length % sectorBytes,
      end: sectorBytes,
    });
  }
}

function applyContentChange(content: Content, change: ContentChange, sectorBytes: number): void {
  switch (change.kind) {
    case 'write':
      content.sectors.set(change.sector, change.image);
      return;
    case 'extend':
      content.length = Math.max(content.length, change.length);
      return;
    case 'truncate':
      content.length = change.length;
      clearBeyond(content, change.length, sectorBytes);
  }
}

function clearBeyond(content: Content, length: number, sectorBytes: number): void {
  for (const [sector, image] of content.sectors) {
    const kept = length - sector * sectorBytes;
    if (kept <= 0) content.sectors.delete(sector);
    else if (kept < sectorBytes) content.sectors.set(sector, image.slice().fill(0, kept));
  }
}

function isLengthChange(change: ContentChange): boolean {
  return change.kind !== 'write';
}

function syncFile(file: File, sectorBytes: number, covered: number): void {
  const { durable, cached } = file;
  const unsynced = file.unsynced.splice(0, covered);
  const rewritten = new Set<number>();
  let cutTo = Infinity;
  for (const change of unsynced) {
    applyContentChange(durable, change, sectorBytes);
    if (change.kind === 'write') rewritten.add(change.sector);
    if (change.kind === 'truncate') cutTo = Math.min(cutTo, change.length);
  }
  // The inode has the length and the holes; it is written as a whole or not at all.
  const inodeWritten = unsynced.some(isLengthChange);
  if (inodeWritten) {
    durable.length = cached.length;
    for (const sector of durable.sectors.keys()) {
      if (!cached.sectors.has(sector)) durable.sectors.delete(sector);
    }
  }
  file.abandoned = file.abandoned.filter((change) =>
    change.kind === 'write'
      ? !rewritten.has(change.sector) && change.sector * sectorBytes < cutTo
      : !inodeWritten,
  );
}

// --- The outcome of a power cut

interface Cut {
  random: Random;
  sectorBytes: number;
  tornSectors: boolean;
}

function fileAfterPowerCut(file: File, { random, sectorBytes, tornSectors }: Cut): File {
  const changes = [...file.abandoned, ...file.unsynced];
  // Chosen independently, so that a long file may hold zeros and data may lie beyond a lost
  // extension.
  const written = survivors(
    changes.filter((change) => !isLengthChange(change)),
    random,
  );
  const lengths = survivors(changes.filter(isLengthChange), random);
  const kept = new Set([...written, ...lengths]);
  const durable = copyContent(file.durable);
  const tearing = tornSectors && random.below(2) === 0;
  for (const change of changes.filter((change) => kept.has(change))) {
    const torn = tearing && change.kind === 'write' && random.below(3) === 0;
    const done = torn ? tear(change, durable.sectors.get(change.sector), random) : change;
    applyContentChange(durable, done, sectorBytes);
  }
  clearBeyond(durable, durable.length, sectorBytes);
  return { kind: 'file', cached: copyContent(durable), durable, unsynced: [], abandoned: [] };
}

/** Some first bytes of the written part exist; the rest of it is as before, or garbage. */
function tear(write: SectorWrite, before: Uint8Array | undefined, random: Random): SectorWrite {
  const image = write.image.slice();
  const cut = write.start + random.below(write.end - write.start);
  const garbage = random.below(2) === 0;
  for (let at = cut; at < write.end; at++) {
    image[at] = garbage ? random.below(256) : (before?.[at] ?? 0);
  }
  return { ...write, image };
}

/**
 * Any subset, but more often the usual ones (none, all, the first, the last, all but one). This
 * also covers any order: of two writes to a sector, the earlier one is as good as lost.
 */
function survivors<Change>(changes: Change[], random: Random): Change[] {
  const at = random.below(changes.length + 1);
  switch (random.below(6)) {
    case 0:
      return [];
    case 1:
      return changes;
    case 2:
      return changes.slice(0, at);
    case 3:
      return changes.slice(at);
    case 4:
      return changes.filter((_change, index) => index !== at);
    default:
      return changes.filter(() => random.below(2) === 0);
  }
}

// --- Random decisions

interface Random {
  /** A whole number from 0 to limit - 1. */
  below(limit: number): number;
}

function randomOf(seed: number): Random {
  const random = seededRandom(seed);
  return { below: (limit) => Math.floor(random() * limit) };
}

function shuffled<Item>(items: Item[], random: Random): Item[] {
  return items
    .map((item) => ({ item, key: random.below(2 ** 32) }))
    .sort((left, right) => left.key - right.key)
    .map(({ item }) => item);
}
