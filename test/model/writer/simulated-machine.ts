import { dataPaths, type DirectoryLock } from '../../../src/engines/embedded/data-directory.ts';
import type { Platform } from '../../../src/engines/embedded/writer/platform.ts';
import type { Chance } from '../chance.ts';
import { PowerCut, type Fault, type SimulatedDisk } from '../log/simulated-disk.ts';
import {
  databaseAfterPowerCut,
  readDatabaseFiles,
  sqliteError,
  WatchedDatabase,
  writeDatabaseFiles,
  type SqliteCall,
} from './simulated-sqlite.ts';

/** One call to the log's disk or to SQLite. */
export interface MachineCall {
  /** Counts up from 0 over the life of the machine. */
  readonly index: number;
  readonly name: string;
}

/** `errorAfter` is for SQLite's COMMIT: it is executed and fails nevertheless. */
export type MachineFault =
  | { readonly error: 'EIO' | 'ENOSPC' }
  | { readonly errorAfter: 'EIO' }
  | { readonly shortWriteBytes: number }
  | 'powerCutBefore'
  | 'powerCutAfter';

export type FaultFor = (call: MachineCall) => MachineFault | undefined;

/** More calls than in the longest run: the code loops. */
const timersMax = 10_000;

/** How a machine ends: a power failure, or the end of its process, whose files the kernel keeps. */
export type Ending = 'power cut' | 'crash';

interface Timer {
  readonly at: number;
  readonly act: () => void;
}

export interface MachineOptions {
  readonly dataDir: string;
  readonly disk: SimulatedDisk;
  /** Milliseconds since 1970. */
  readonly wallMs: number;
  /** The size of SQLite's log, in pages, beyond which a checkpoint moves it into the database. */
  readonly checkpointPages: number;
}

/**
 * A machine for one process: the log on a simulated disk, the counters in a real SQLite database,
 * and clocks and timers that the test moves. Each call may be the last one. The next machine finds
 * what a power cut or the end of the process has left of both.
 */
export class SimulatedMachine implements Platform {
  readonly dataDir: string;
  readonly disk: SimulatedDisk;
  readonly fileSystem: SimulatedDisk;
  faultFor: FaultFor = () => undefined;
  /** The time of the wall clock, and whether it stands still. */
  wallMs: number;
  isClockStopped = false;
  /** The faults so far, except power cuts. */
  faults = 0;
  readonly #checkpointPages: number;
  readonly #connections: WatchedDatabase[] = [];
  #timers: Timer[] = [];
  #elapsedMs = 0;
  #calls = 0;
  #isDead = false;

  constructor({ dataDir, disk, wallMs, checkpointPages }: MachineOptions) {
    this.dataDir = dataDir;
    this.disk = this.fileSystem = disk;
    this.wallMs = wallMs;
    this.#checkpointPages = checkpointPages;
    disk.onOperation(({ kind }) =>
      this.#isDead ? 'powerCutBefore' : (this.#befall(kind) as Fault | undefined),
    );
  }

  /** The machine as an object that can be destructured. */
  platform(): Platform {
    const { fileSystem, lockDirectory: takeDirectory, connect, now, elapsedMs, runLater } = this;
    return { fileSystem, lockDirectory: takeDirectory, connect, now, elapsedMs, runLater };
  }

  get isDead(): boolean {
    return this.#isDead;
  }

  get calls(): number {
    return this.#calls;
  }

  readonly lockDirectory = (): DirectoryLock => ({ release: () => undefined });

  readonly connect = (path: string): WatchedDatabase => {
    this.assertAlive();
    const connection = new WatchedDatabase(path, 0, (call, act) => this.#watch(call, act));
    connection.setUnwatched(`PRAGMA wal_autocheckpoint = ${this.#checkpointPages}`);
    this.#connections.push(connection);
    return connection;
  };

  readonly now = (): number => this.wallMs;

  readonly elapsedMs = (): number => this.#elapsedMs;

  readonly runLater = (act: () => void, delayMs: number): (() => void) => {
    const timer = { at: this.#elapsedMs + delayMs, act };
    this.#timers.push(timer);
    return () => (this.#timers = this.#timers.filter((each) => each !== timer));
  };

  /** Lets time pass, and runs all timers that are due. */
  async advance(milliseconds: number): Promise<void> {
    const end = this.#elapsedMs + milliseconds;
    for (let timers = 0; ; timers++) {
      if (timers > timersMax) throw new Error('the timers never come to rest');
      await settled();
      const due = this.#timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (due === undefined || this.#isDead) break;
      this.#timers = this.#timers.filter((each) => each !== due);
      this.#moveTo(Math.max(due.at, this.#elapsedMs));
      due.act();
    }
    this.#moveTo(end);
  }

  /** As if the process had been stopped: time passes, and timers run only afterwards. */
  skip(milliseconds: number): void {
    this.#moveTo(this.#elapsedMs + milliseconds);
  }

  /** Waits for a promise, while background operations run and time passes. */
  async until<T>(promise: Promise<T>): Promise<T> {
    const progress = { isOver: false };
    const end = () => void (progress.isOver = true);
    promise.then(end, end);
    await settled();
    for (let round = 0; !progress.isOver; round++) {
      if (round > 1000) throw new Error('nothing happens any more');
      this.disk.finishStarted();
      await this.advance(round < 10 ? 0 : 50);
    }
    return promise;
  }

  /** Ends the life of this machine; leaves the files of the database as the next one finds them. */
  end(how: Ending, chance: Chance): SimulatedDisk {
    this.#isDead = true;
    const { database } = dataPaths(this.dataDir);
    const files =
      how === 'crash' ? readDatabaseFiles(database) : databaseAfterPowerCut(database, chance);
    for (const connection of this.#connections) connection.abandon();
    writeDatabaseFiles(database, files);
    return how === 'crash' ? this.disk.crash() : this.disk.powerCut(chance.below(2 ** 32));
  }

  assertAlive(): void {
    if (this.#isDead) throw new PowerCut('this machine is dead');
  }

  #moveTo(elapsedMs: number): void {
    if (!this.isClockStopped) this.wallMs += elapsedMs - this.#elapsedMs;
    this.#elapsedMs = elapsedMs;
  }

  #watch<T>(call: SqliteCall, act: () => T): T {
    this.assertAlive();
    const fault = this.#befall(`${call.kind} ${call.sql}`);
    if (fault === 'powerCutBefore') this.assertAlive();
    if (typeof fault === 'object' && 'error' in fault) throw sqliteError(fault.error);
    const result = act();
    if (fault === 'powerCutAfter') this.assertAlive();
    if (typeof fault === 'object' && 'errorAfter' in fault) throw sqliteError(fault.errorAfter);
    return result;
  }

  #befall(name: string): MachineFault | undefined {
    const fault = this.faultFor({ index: this.#calls++, name });
    if (fault === 'powerCutBefore' || fault === 'powerCutAfter') this.#isDead = true;
    else if (fault !== undefined && !('shortWriteBytes' in fault)) this.faults++;
    return fault;
  }
}

/** Resolves when everything has run that needs neither the disk nor the clock. */
export function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
