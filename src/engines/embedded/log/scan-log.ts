import { openIfExists, type FileSystem, type LogFile } from './file-system.ts';
import { scanFrames, searchFrames, type ScannedRecord } from './frame-scanner.ts';
import type { LogPosition } from './frame.ts';
import {
  headerBytesOf,
  listSegments,
  readLogIdentity,
  saltOfLog,
  type LogIdentity,
  type Segment,
} from './segment.ts';

/** A range of the log that was durable and holds no valid record. */
export interface Damage {
  readonly from: LogPosition;
  readonly to: LogPosition;
  /** The file, and the offset in it at which the damage begins. */
  readonly path: string;
  readonly offset: number;
  readonly isFileMissing: boolean;
}

export type ScannedEntry =
  (ScannedRecord & { readonly damage?: never }) | { readonly damage: Damage; readonly end: number };

export interface LogLocation {
  readonly fileSystem: FileSystem;
  readonly directory: string;
  /** See `saltOfLog`. */
  readonly salt: number;
  /** Length of each segment's header. */
  readonly headerBytes: number;
}

export function logLocation(
  fileSystem: FileSystem,
  directory: string,
  identity: LogIdentity,
): LogLocation {
  const headerBytes = headerBytesOf(identity);
  return { fileSystem, directory, salt: saltOfLog(identity.logId), headerBytes };
}

/** The log in a directory; undefined if none of its headers is valid. */
export function findLog(
  fileSystem: FileSystem,
  directory: string,
): (LogLocation & LogIdentity) | undefined {
  const identity = readLogIdentity(fileSystem, directory);
  if (identity === undefined) return undefined;
  const { logId, dayZone } = identity;
  return { ...logLocation(fileSystem, directory, identity), logId, dayZone };
}

interface ScanRange extends LogLocation {
  /** The end of a record, or 0. */
  readonly from: LogPosition;
  /** At most the end of the durable log. */
  readonly through: LogPosition;
}

/**
 * Yields all records between two positions in order, and the damaged ranges between them, at which
 * `LogReader` would stop. Each record is valid until the next entry is requested.
 */
export function* scanLog(options: ScanRange): Generator<ScannedEntry> {
  const { fileSystem, directory, from, through } = options;
  const segments = listSegments(fileSystem, directory);
  let position = from;
  for (const [index, segment] of segments.entries()) {
    const end = Math.min(through, segments[index + 1]?.base ?? through);
    if (end <= position) continue;
    if (segment.base > position)
      yield missingFile(segment, position, Math.min(segment.base, through));
    if (segment.base >= through) return;
    yield* scanSegment(options, segment, position, end);
    position = end;
  }
  if (position < through) {
    yield missingFile(segments.at(-1) ?? { base: 0, path: directory }, position, through);
  }
}

/** The end of the log's files, including zeros allocated ahead. */
export function endOfFiles({ fileSystem, directory }: LogLocation): LogPosition {
  const last = listSegments(fileSystem, directory).at(-1);
  if (last === undefined) return 0;
  const file = openIfExists(fileSystem, last.path);
  const end = last.base + (file?.size() ?? 0);
  file?.close();
  return end;
}

/** The end of the last valid record in the last segment. */
export function lastRecordEnd(place: LogLocation): LogPosition {
  const last = listSegments(place.fileSystem, place.directory).at(-1);
  if (last === undefined) return 0;
  const through = endOfFiles(place);
  const options = { ...place, from: last.base, through };
  let end = last.base;
  for (const found of scanSegment(options, last, last.base, through)) {
    if (found.damage === undefined) ({ end } = found);
  }
  return end;
}

function* scanSegment(
  { fileSystem, salt, headerBytes }: ScanRange,
  segment: Segment,
  from: LogPosition,
  to: LogPosition,
): Generator<ScannedEntry> {
  const file = openIfExists(fileSystem, segment.path);
  if (file === undefined) {
    yield missingFile(segment, from, to);
    return;
  }
  try {
    let position = Math.max(from, segment.base + headerBytes);
    while (position < to) {
      position = yield* scanFrames(file, segment, salt, position, to);
      if (position >= to) return;
      const sound = nextSoundRecord(file, segment, salt, position, to);
      const offset = position - segment.base;
      const isFileMissing = offset >= file.size();
      const damage = { from: position, to: sound, path: segment.path, offset, isFileMissing };
      yield { damage, end: sound };
      position = sound;
    }
  } finally {
    file.close();
  }
}

/** The position of the next valid record after damaged bytes; `to` if there is none before it. */
function nextSoundRecord(
  file: LogFile,
  segment: Segment,
  salt: number,
  from: LogPosition,
  to: LogPosition,
): LogPosition {
  for (const { position } of searchFrames(file, segment, salt, from)) return Math.min(position, to);
  return to;
}

function missingFile({ path }: Segment, from: LogPosition, to: LogPosition): ScannedEntry {
  return { damage: { from, to, path, offset: 0, isFileMissing: true }, end: to };
}
