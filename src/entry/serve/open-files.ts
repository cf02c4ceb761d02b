import { readdirSync } from 'node:fs';

/**
 * File descriptors that a server needs besides sockets: 20 for the writer and a reader thread with their
 * databases, the log segment and the lock, 9 for the thread that computes sums, and some for the next
 * segment and its directory, segments that are read again, SQLite files, tokens and disk metrics.
 */
const storageMax = 38;
/** An estimate of what Node itself holds open, for systems without /dev/fd. */
const openAtStart = 24;

/** The limit on open files and sockets of this process; undefined if there is none. */
export function openFilesMax(): number | undefined {
  const { userLimits } = process.report.getReport() as {
    readonly userLimits?: { readonly open_files?: { readonly soft?: unknown } };
  };
  // Node raises the soft limit to the hard one when it starts.
  const soft = userLimits?.open_files?.soft;
  return typeof soft === 'number' ? soft : undefined;
}

/**
 * The number of sockets that leave enough file descriptors for storage. Call it before opening storage.
 * @throws an Error that says what to do if the limit is too low.
 */
export function socketsWithin(openFiles: number): number {
  const sockets = openFiles - countOpen(openFiles) - storageMax;
  if (sockets >= 2) return sockets;
  throw new Error(
    `The limit on open files is ${openFiles}, but the server needs at least ${openFiles + 2 - sockets}. Raise it (ulimit -n, or LimitNOFILE= in systemd); 1024 is usually enough.`,
  );
}

/** Counts descriptors below the limit; inherited ones above it do not count towards it. */
function countOpen(openFiles: number): number {
  try {
    return readdirSync('/dev/fd').filter((fd) => Number(fd) < openFiles).length;
  } catch {
    return openAtStart;
  }
}
