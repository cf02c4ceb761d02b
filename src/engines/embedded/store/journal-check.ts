import { statSync } from 'node:fs';
import type { DatabaseSync } from 'node:sqlite';

import { nodeFileSystem, openIfExists, type LogFile } from '../log/file-system.ts';

/*
 * SQLite does not detect a journal (-wal) that belongs to another database, and mixes the pages of
 * both. So each commit, of any process, increments a number in the first page, which has a fixed
 * place in both files: the application id.
 * Source of the formats: sqlite.org/fileformat2.html, sections 1.3 and 4.
 */
const stampAt = 68;
const headerBytes = 32;
const frameHeaderBytes = 24;

/** Stamps the current transaction. @throws SQLite's errors. */
export function stampCommit(database: DatabaseSync): void {
  const stamp = Number(database.prepare('PRAGMA application_id').get()?.['application_id']);
  database.exec(`PRAGMA application_id = ${stampAfter(stamp)}`);
}

/** The next stamp, which wraps around. */
export function stampAfter(stamp: number): number {
  return (stamp + 1) | 0;
}

/** The size of the journal beside a database, in bytes. */
export function journalBytes(path: string): number {
  return statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0;
}

/** The journal of a running server may change during a check, which then fails by mistake. */
const attemptsMax = 3;

/**
 * Checks that a database and the journal beside it belong together, also while a server runs.
 * @throws if the journal begins after the state of the database, such as when an old database was
 *   restored beside a newer journal, or ends before it.
 */
export function checkJournal(path: string): void {
  if (journalBytes(path) === 0) return;
  for (let attempt = 1; ; attempt++) {
    const found = mismatch(path);
    if (found === undefined) return;
    if (attempt < attemptsMax) continue;
    throw new Error(
      `${path}-wal does not belong to ${path}, which is ${found}: SQLite would mix the two. Nothing was changed. If ${path} was restored, remove its -wal and -shm files; the log is counted again from where it stands. Else restore the whole data directory from a backup.`,
    );
  }
}

/**
 * Whether the database is older or newer than its journal. Commits reach the journal first: so a
 * journal read after the database contains the database's stamp, unless it has restarted with later
 * ones; and a database read after the journal has at least the stamp before the journal's first.
 */
function mismatch(path: string): 'older' | 'newer' | undefined {
  const before = stampOf(path);
  const journal = readIfExists(`${path}-wal`, journalStamps);
  const after = stampOf(path);
  if (journal === undefined || before === undefined || after === undefined) return undefined;
  if (difference(journal.first, after) > 1) return 'older';
  return difference(before, journal.last) > 0 ? 'newer' : undefined;
}

function stampOf(path: string): number | undefined {
  return readIfExists(path, (file) => readAt(file, stampAt, 4)?.readInt32BE());
}

/** How far `stamp` is ahead of `other`; stamps wrap around. */
function difference(stamp: number, other: number): number {
  return (stamp - other) | 0;
}

/**
 * The first and the last stamp of the commits in a journal, by the rule of SQLite's recovery: it ends
 * before the first frame with wrong salts or a wrong running checksum. Undefined if it has no commit.
 */
function journalStamps(file: LogFile): { first: number; last: number } | undefined {
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

/** Undefined if the file is too short. */
function readAt(file: LogFile, at: number, bytes: number): Buffer | undefined {
  const buffer = Buffer.alloc(bytes);
  return file.read(buffer, at) === bytes ? buffer : undefined;
}

function readIfExists<T>(path: string, read: (file: LogFile) => T): T | undefined {
  const file = openIfExists(nodeFileSystem, path);
  try {
    return file && read(file);
  } finally {
    file?.close();
  }
}
