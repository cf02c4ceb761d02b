import {
  closeSync,
  fdatasync,
  fdatasyncSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  unlinkSync,
  writeSync,
} from 'node:fs';

/**
 * The few file operations the log stands on, and the seam at which tests make the disk fail.
 * All but one are synchronous: the log lives on a worker thread that has nothing better to do.
 * Failures are thrown as Node's system errors (`code` such as ENOSPC, EIO, EACCES).
 */
export interface FileSystem {
  /** Makes the directory and its missing parents. Durable once the parent is synced. */
  makeDirectory(directory: string): void;
  /** The names in a directory, in no particular order. */
  list(directory: string): string[];
  /** `create` fails with EEXIST on a file that is there; `read` and `read-write` with ENOENT. */
  open(path: string, mode: 'read' | 'read-write' | 'create'): LogFile;
  remove(path: string): void;
  /** Within a directory, in the place of what has the name: at any time the one or the other. */
  rename(from: string, to: string): void;
  /** Makes the creations, removals and renamings in a directory durable. */
  syncDirectory(directory: string): void;
}

export interface LogFile {
  /** Length in bytes. */
  size(): number;
  /** Reads up to `target.length` bytes at `offset`; returns how many were read, 0 at the end. */
  read(target: Uint8Array, offset: number): number;
  /** Writes at `offset`; returns how many bytes were written, which may be fewer. */
  write(bytes: Uint8Array, offset: number): number;
  truncate(length: number): void;
  /** Makes content and length durable (fdatasync). After a failure nothing may be assumed. */
  sync(): void;
  /**
   * The same in the background, for what is written before; `done` is called later, with the
   * error or null. Not during another sync; the file stays open until then.
   */
  startSync(done: (error: unknown) => void): void;
  close(): void;
}

const flags = { read: 'r', 'read-write': 'r+', create: 'wx+' } as const;

export const nodeFileSystem: FileSystem = {
  makeDirectory: (directory) => void mkdirSync(directory, { recursive: true }),
  list: (directory) => readdirSync(directory),
  open: (path, mode) => nodeLogFile(openSync(path, flags[mode], 0o640)),
  remove: (path) => unlinkSync(path),
  rename: (from, to) => renameSync(from, to),
  syncDirectory(directory) {
    const descriptor = openSync(directory, 'r');
    try {
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
  },
};

function nodeLogFile(descriptor: number): LogFile {
  return {
    size: () => fstatSync(descriptor).size,
    read: (target, offset) => readSync(descriptor, target, 0, target.length, offset),
    write: (bytes, offset) => writeSync(descriptor, bytes, 0, bytes.length, offset),
    truncate: (length) => ftruncateSync(descriptor, length),
    sync: () => fdatasyncSync(descriptor),
    startSync: (done) => fdatasync(descriptor, done),
    close: () => closeSync(descriptor),
  };
}
