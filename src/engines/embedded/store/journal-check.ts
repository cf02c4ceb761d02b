import { closeSync, openSync, readSync, statSync } from 'node:fs';
import type { DatabaseSync } from 'node:sqlite';

/*
 * SQLite does not notice a journal (-wal) beside a database that is not the one it was written for,
 * and mixes the pages of both. So each commit, of any process, writes a number, one higher than the
 * last, as the application id into the first page, which has a fixed place in both files.
 * Source of the formats: sqlite.org/fileformat2.html, sections 1.3 and 4.
 */
const stampAt = 68;
const headerBytes = 32;
const frameHeaderBytes = 24;

/** Stamps what the current transaction commits. @throws SQLite's errors. */
export function stampCommit(database: DatabaseSync): void {
  const stamp = Number(database.prepare('PRAGMA application_id').get()?.['application_id']);
  database.exec(`PRAGMA application_id = ${stampAfter(stamp)}`);
}

/** The number that follows a stamp. */
export function stampAfter(stamp: number): number {
  return (stamp + 1) | 0;
}

/** The size of the journal beside a database, in bytes. */
export function journalBytes(path: string): number {
  return statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0;
}

/** The journal of a running server may change while it is read. */
const attemptsMax = 3;

/**
 * Holds the journal beside a database against it, beside a running server, too.
 * @throws an Error where the journal begins after the database, as where an old database was put beside
 *   a newer journal, or where it ends before.
 */
export function checkJournal(path: string): void {
  if (journalBytes(path) === 0) return;
  for (let look = 1; ; look++) {
    const found = mismatch(path);
    if (found === undefined) return;
    if (look < attemptsMax) continue;
    throw new Error(
      `${path}-wal does not belong to ${path}, which is ${found}: SQLite would mix the two. Nothing was changed. If ${path} was restored, remove its -wal and -shm files; the log is counted again from where it stands. Else restore the whole data directory from a backup.`,
    );
  }
}

/**
 * What a database is, seen from its journal. All that it has stood in the journal before; so what it has
 * now is in a journal that is read later, unless that has begun anew with later commits; and where the
 * journal begins, the database has come to by then.
 */
function mismatch(path: string): 'older' | 'newer' | undefined {
  const before = stampOf(path);
  const journal = withFile(`${path}-wal`, journalStamps);
  const after = stampOf(path);
  if (journal === undefined || before === undefined || after === undefined) return undefined;
  if (difference(journal.first, after) > 1) return 'older';
  return difference(before, journal.last) > 0 ? 'newer' : undefined;
}

function stampOf(path: string): number | undefined {
  return withFile(path, (file) => readAt(file, stampAt, 4)?.readInt32BE());
}

/** How far one stamp is ahead of another; they wrap around. */
function difference(stamp: number, other: number): number {
  return (stamp - other) | 0;
}

/**
 * The first and the last stamp of what is committed in a journal, by the rule of SQLite's recovery: it
 * ends before the first frame whose salts or running checksum are not right. Undefined where it has none.
 */
function journalStamps(file: number): { first: number; last: number } | undefined {
  const header = readAt(file, 0, headerBytes);
  if (header === undefined) return undefined;
  const isBigEndian = (header.readUInt32BE(0) & 1) === 1;
  const pageBytes = header.readUInt32BE(8);
  const salts = header.subarray(16, 24);
  let sum = checksum(header.subarray(0, 24), isBigEndian, [0, 0]);
  if (!matchesChecksum(header, 24, sum)) return undefined;
  let found: { first: number; last: number } | undefined;
  let uncommitted: number | undefined;
  for (let at = headerBytes; ; at += frameHeaderBytes + pageBytes) {
    const frame = readAt(file, at, frameHeaderBytes + pageBytes);
    if (frame === undefined || !frame.subarray(8, 16).equals(salts)) return found;
    const page = frame.subarray(frameHeaderBytes);
    sum = checksum(page, isBigEndian, checksum(frame.subarray(0, 8), isBigEndian, sum));
    if (!matchesChecksum(frame, 16, sum)) return found;
    if (frame.readUInt32BE(0) === 1) uncommitted = page.readInt32BE(stampAt);
    const isCommit = frame.readUInt32BE(4) > 0;
    if (!isCommit || uncommitted === undefined) continue;
    found = { first: found?.first ?? uncommitted, last: uncommitted };
    uncommitted = undefined;
  }
}

type Checksum = readonly [number, number];

function checksum(bytes: Buffer, isBigEndian: boolean, [first, second]: Checksum): Checksum {
  let [a, b] = [first, second];
  for (let at = 0; at < bytes.length; at += 8) {
    a = (a + b + (isBigEndian ? bytes.readUInt32BE(at) : bytes.readUInt32LE(at))) >>> 0;
    b = (b + a + (isBigEndian ? bytes.readUInt32BE(at + 4) : bytes.readUInt32LE(at + 4))) >>> 0;
  }
  return [a, b];
}

function matchesChecksum(bytes: Buffer, at: number, [first, second]: Checksum): boolean {
  return bytes.readUInt32BE(at) === first && bytes.readUInt32BE(at + 4) === second;
}

/** Undefined where the file ends before. */
function readAt(file: number, at: number, bytes: number): Buffer | undefined {
  const buffer = Buffer.alloc(bytes);
  return readSync(file, buffer, 0, bytes, at) === bytes ? buffer : undefined;
}

function withFile<T>(path: string, read: (file: number) => T): T | undefined {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    return read(file);
  } finally {
    closeSync(file);
  }
}
