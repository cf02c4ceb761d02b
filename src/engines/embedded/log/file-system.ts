import {
  closeSync,
  fdatasync,
  fdatasyncSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  unlinkSync,
  writeSync,
} from 'node:fs';

/**
 * The file operations that the log needs, and the seam at which tests make the disk fail. All but
 * one are synchronous, since the log runs on a thread of its own. Failures are thrown as Node's
 * system errors (`code` such as ENOSPC, EIO, EACCES).
 */
export interface FileSystem {
  /** The names in a directory, in no particular order. */
  list(directory: string): string[];
  /** `create` fails with EEXIST if the file exists; the others with ENOENT if it does not. */
  open(path: string, mode: 'read' | 'read-write' | 'create'): LogFile;
  remove(path: string): void;
  /** Renames within a directory; atomically replaces the file that has the name. */
  rename(from: string, to: string): void;
  /** Makes creations, removals and renames in a directory durable. */
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
  /** Makes content and length durable (fdatasync). After a failure, the content on disk is unknown. */
  sync(): void;
  /**
   * Syncs earlier writes in the background; `done` is called with the error or null. The caller
   * must not start another sync, nor close the file, before that.
   */
  startSync(done: (error: unknown) => void): void;
  close(): void;
}

const flags = { read: 'r', 'read-write': 'r+', create: 'wx+' } as const;

export const nodeFileSystem: FileSystem = {
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

/** Opens a file to read it, and closes it when `use` has returned. */
export function withFile<T>(
  fileSystem: FileSystem,
  path: string,
  use: (file: LogFile) => T,
  mode: Parameters<FileSystem['open']>[1] = 'read',
): T {
  const file = fileSystem.open(path, mode);
  try {
    return use(file);
  } finally {
    file.close();
  }
}

/** Opens a file to read it; undefined if it does not exist. */
export function openIfExists(fileSystem: FileSystem, path: string): LogFile | undefined {
  try {
    return fileSystem.open(path, 'read');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

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
