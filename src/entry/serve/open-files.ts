import { readdirSync } from 'node:fs';

/**
 * File descriptors that a server opens: the threads with their databases, the segment of the log,
 * the lock (20 at the start), and later the thread for sums (9), the next segment and its directory,
 * segments that are read again, files of SQLite, tokens, the metrics of the disk.
 */
const storageMax = 38;
/** What Node itself holds open, where it cannot be counted. */
const openAtStart = 24;

/** How many files and sockets the process may have open; undefined where there is no limit. */
export function openFilesMax(): number | undefined {
  const { userLimits } = process.report.getReport() as {
    readonly userLimits?: { readonly open_files?: { readonly soft?: unknown } };
  };
  // Node raises the soft limit to the hard one when it starts.
  const soft = userLimits?.open_files?.soft;
  return typeof soft === 'number' ? soft : undefined;
}

/**
 * How many sockets may be open, so that storage always has the descriptors that it needs. To be
 * called before storage is opened.
 * @throws an Error that says what to do, where there is no room for any.
 */
export function socketsWithin(openFiles: number): number {
  const sockets = openFiles - countOpen(openFiles) - storageMax;
  if (sockets >= 2) return sockets;
  throw new Error(
    `This process may open ${openFiles} files and sockets, and needs ${openFiles + 2 - sockets} at least. Raise the limit (ulimit -n, or LimitNOFILE= of systemd); 1,024 are enough for most.`,
  );
}

/** Those below the limit: a higher one was inherited, and takes no room. */
function countOpen(openFiles: number): number {
  try {
    return readdirSync('/dev/fd').filter((fd) => Number(fd) < openFiles).length;
  } catch {
    return openAtStart;
  }
}
