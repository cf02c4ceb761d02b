import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { DatabaseSync, type StatementSync } from 'node:sqlite';

import type { Chance } from '../chance.ts';

/** One call to SQLite. */
export interface SqliteCall {
  readonly kind: 'exec' | 'run' | 'get' | 'all';
  readonly sql: string;
}

/** Decides what happens to a call: executes it, throws instead, or throws after executing it. */
export type Watch = <T>(call: SqliteCall, act: () => T) => T;

/** A connection to a real database that reports each of its calls. */
export class WatchedDatabase extends DatabaseSync {
  #watch: Watch;

  constructor(path: string, timeoutMs: number, watch: Watch) {
    super(path, { timeout: timeoutMs });
    this.#watch = watch;
  }

  override exec(sql: string): void {
    this.#watch({ kind: 'exec', sql }, () => super.exec(sql));
  }

  override prepare(sql: string): StatementSync {
    const watch = this.#watch;
    return new Proxy(super.prepare(sql), {
      get(statement, name) {
        const member: unknown = Reflect.get(statement, name);
        if (typeof member !== 'function') return member;
        const act = (...values: unknown[]): unknown => Reflect.apply(member, statement, values);
        if (name !== 'run' && name !== 'get' && name !== 'all') return act;
        return (...values: unknown[]) => watch({ kind: name, sql }, () => act(...values));
      },
    });
  }

  /** As at the end of the process: without further calls to the disk. */
  abandon(): void {
    // A statement keeps its connection alive, which the garbage collector cannot see. If the
    // connection referred to the machine, its timers and thereby the statements of the writer, none
    // of these would ever be freed.
    this.#watch = abandoned;
    if (!this.isOpen) return;
    if (this.isTransaction) super.exec('ROLLBACK');
    super.exec('PRAGMA synchronous = OFF');
    super.close();
  }

  setUnwatched(sql: string): void {
    super.exec(sql);
  }
}

function abandoned(): never {
  throw new Error('this connection is abandoned');
}

/** As node:sqlite throws them. Codes: sqlite.org/rescode.html */
export function sqliteError(code: 'EIO' | 'ENOSPC'): Error {
  const [errcode, errstr] = code === 'EIO' ? [10, 'disk I/O error'] : [13, 'database is full'];
  return Object.assign(new Error(errstr), { code: 'ERR_SQLITE_ERROR', errcode, errstr });
}

/** The content of the files of a database. Undefined: the file does not exist. */
export interface DatabaseFiles {
  readonly main: Buffer | undefined;
  readonly log: Buffer | undefined;
}

/** The files as the kernel has them now. */
export function readDatabaseFiles(path: string): DatabaseFiles {
  return { main: readIfThere(path), log: readIfThere(`${path}-wal`) };
}

export function writeDatabaseFiles(path: string, { main, log }: DatabaseFiles): void {
  for (const suffix of ['', '-wal', '-shm']) rmSync(path + suffix, { force: true });
  if (main !== undefined) writeFileSync(path, main);
  if (log !== undefined) writeFileSync(`${path}-wal`, log);
}

/*
 * Source: sqlite.org/walformat.html. The log has a header and a frame for each page. Checksums run
 * through all of it, so it is valid up to the first changed frame. The shared memory has the number
 * of frames (twice, first at 16) and how many of them a checkpoint has begun to move; before that,
 * it synced the log.
 */
const headerBytes = 32;
const frameHeaderBytes = 24;
const pageSizeAt = 8;
const framesAt = 16;
const attemptedAt = 128;

/**
 * The files as a power cut may leave them with `synchronous=NORMAL`: the frames that a checkpoint
 * has synced exist, and some first ones of the others; what follows is missing, torn or garbage.
 * SQLite itself finds the last whole transaction. No cut falls within a checkpoint, which SQLite
 * itself repeats from the log.
 */
export function databaseAfterPowerCut(path: string, chance: Chance): DatabaseFiles {
  const { main, log } = readDatabaseFiles(path);
  const shared = readIfThere(`${path}-shm`);
  if (log === undefined || shared === undefined || log.length < headerBytes) return { main, log };
  const frameBytes = frameHeaderBytes + log.readUInt32BE(pageSizeAt);
  const written = shared.readUInt32LE(framesAt);
  const synced = shared.readUInt32LE(attemptedAt);
  // Often none or all of them: the last transaction alone may be lost, or all since the checkpoint.
  const kept = chance.pick([synced, written, synced + chance.below(written - synced + 1)]);
  const sound = headerBytes + kept * frameBytes;
  const rest = Buffer.from(log.subarray(sound));
  const keptRest = chance.pick([
    () => Buffer.alloc(0),
    () => rest.subarray(0, chance.below(frameBytes)),
    () => rest.fill(0),
    () => rest.map(() => chance.below(256)),
    // The frame itself is lost, but those after it exist.
    () => rest.fill(0, 0, Math.min(frameBytes, rest.length)),
  ])();
  return { main, log: Buffer.concat([log.subarray(0, sound), keptRest]) };
}

function readIfThere(path: string): Buffer | undefined {
  return existsSync(path) ? readFileSync(path) : undefined;
}
