import type { FileSystem, LogFile } from './file-system.ts';
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

/** Bytes of the log, all of them once durable, in which no sound record stands. */
export interface Damage {
  readonly from: LogPosition;
  readonly to: LogPosition;
  /** The file, and where in it. */
  readonly path: string;
  readonly offset: number;
  readonly isFileMissing: boolean;
}

export type Surveyed =
  (ScannedRecord & { readonly damage?: never }) | { readonly damage: Damage; readonly end: number };

export interface LogPlace {
  readonly fileSystem: FileSystem;
  readonly directory: string;
  /** What the checksums of the log's frames begin with. */
  readonly salt: number;
  /** Of each segment. */
  readonly headerBytes: number;
}

/** Where the log of that identity is read. */
export function placeOfLog(
  fileSystem: FileSystem,
  directory: string,
  identity: LogIdentity,
): LogPlace {
  const headerBytes = headerBytesOf(identity);
  return { fileSystem, directory, salt: saltOfLog(identity.logId), headerBytes };
}

/** The log in a directory, where a header of it can be read. */
export function findLog(
  fileSystem: FileSystem,
  directory: string,
): (LogPlace & LogIdentity) | undefined {
  const identity = readLogIdentity(fileSystem, directory);
  if (identity === undefined) return undefined;
  const { logId, dayZone } = identity;
  return { ...placeOfLog(fileSystem, directory, identity), logId, dayZone };
}

interface SurveyOptions extends LogPlace {
  /** The end of a record, or 0. */
  readonly from: LogPosition;
  /** As far as the log is durable, at most. */
  readonly through: LogPosition;
}

/**
 * All records between two positions in order, and the damage between them: where `LogReader`
 * stops, this goes on behind it. A record is valid until the next one is asked for.
 */
export function* surveyLog(options: SurveyOptions): Generator<Surveyed> {
  const { fileSystem, directory, from, through } = options;
  const segments = listSegments(fileSystem, directory);
  let position = from;
  for (const [index, segment] of segments.entries()) {
    const end = Math.min(through, segments[index + 1]?.base ?? through);
    if (end <= position) continue;
    if (segment.base > position) yield missing(segment, position, Math.min(segment.base, through));
    if (segment.base >= through) return;
    yield* surveySegment(options, segment, position, end);
    position = end;
  }
  if (position < through) {
    yield missing(segments.at(-1) ?? { base: 0, path: directory }, position, through);
  }
}

/** Where the files of the log end, zeros ahead of the records included. */
export function endOfFiles({ fileSystem, directory }: LogPlace): LogPosition {
  const last = listSegments(fileSystem, directory).at(-1);
  if (last === undefined) return 0;
  const file = openOrMissing(fileSystem, last);
  const end = last.base + (file?.size() ?? 0);
  file?.close();
  return end;
}

/** The end of the last sound record, as far as can be told without knowing what was durable. */
export function lastRecordEnd(place: LogPlace): LogPosition {
  const last = listSegments(place.fileSystem, place.directory).at(-1);
  if (last === undefined) return 0;
  const through = endOfFiles(place);
  const options = { ...place, from: last.base, through };
  let end = last.base;
  for (const found of surveySegment(options, last, last.base, through)) {
    if (found.damage === undefined) ({ end } = found);
  }
  return end;
}

function* surveySegment(
  { fileSystem, salt, headerBytes }: SurveyOptions,
  segment: Segment,
  from: LogPosition,
  to: LogPosition,
): Generator<Surveyed> {
  const file = openOrMissing(fileSystem, segment);
  if (file === undefined) {
    yield missing(segment, from, to);
    return;
  }
  try {
    let position = Math.max(from, segment.base + headerBytes);
    while (position < to) {
      position = yield* scanFrames(file, segment, salt, position, to);
      if (position >= to) return;
      const sound = nextSound(file, segment, salt, position, to);
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

/** The place of the first sound record behind bytes that are none, or `to` where none is. */
function nextSound(
  file: LogFile,
  segment: Segment,
  salt: number,
  from: LogPosition,
  to: LogPosition,
): LogPosition {
  for (const { position } of searchFrames(file, segment, salt, from)) return Math.min(position, to);
  return to;
}

function missing({ path }: Segment, from: LogPosition, to: LogPosition): Surveyed {
  return { damage: { from, to, path, offset: 0, isFileMissing: true }, end: to };
}

function openOrMissing(fileSystem: FileSystem, { path }: Segment): LogFile | undefined {
  try {
    return fileSystem.open(path, 'read');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
