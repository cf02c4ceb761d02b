import type { DatabaseSync } from 'node:sqlite';

import type { FileSystem, LogFile } from '../../../src/engines/embedded/log/file-system.ts';
import type { Platform } from '../../../src/engines/embedded/writer/platform.ts';
import type { Variant } from './writer-schedule.ts';

/** Plausible mistakes that a few runs without faults would not show. */
export const plantedBugs: Record<string, Variant> = {
  'does not sync': withFiles((file) => ({
    ...file,
    sync: () => undefined,
    startSync: (done) => queueMicrotask(() => done(null)),
  })),
  'does not sync in the background': withFiles((file) => ({
    ...file,
    startSync: (done) => queueMicrotask(() => done(null)),
  })),
  'acknowledges and counts before the sync, which it does next': syncsLate,
  'repeats a sync that failed': withFiles((file) => ({
    ...file,
    sync: () => twice(() => file.sync()),
    startSync: (done) =>
      file.startSync((error) => (error === null ? done(null) : file.startSync(done))),
  })),
  'does not sync directories': (machine) => ({
    ...machine,
    fileSystem: { ...bound(machine.fileSystem), syncDirectory: () => undefined },
  }),
  'counts, then moves its position in another transaction': withStatements((database) => {
    const { run, isMove } = positionOf(database);
    return (sql, values) => {
      if (isMove(sql)) database.exec('COMMIT; BEGIN IMMEDIATE');
      return run(sql, values);
    };
  }),
  'moves its position, then counts in another transaction': withStatements((database) => {
    const { run, isMove } = positionOf(database);
    let late: (readonly [string, readonly unknown[]])[] = [];
    return (sql, values) => {
      if (sql.startsWith('INSERT INTO counters ')) {
        late.push([sql, values]);
        return { changes: 1 };
      }
      const result = run(sql, values);
      if (!isMove(sql)) return result;
      database.exec('COMMIT; BEGIN IMMEDIATE');
      for (const each of late) run(...each);
      late = [];
      return result;
    };
  }),
  'moves its position and forgets some counters': withStatements((database) => {
    const { run } = positionOf(database);
    let counters = 0;
    return (sql, values) =>
      sql.startsWith('INSERT INTO counters ') && ++counters % 37 === 0
        ? { changes: 1 }
        : run(sql, values);
  }),
  'keeps no keys': withStatements((database) => {
    const { run } = positionOf(database);
    return (sql, values) =>
      sql.startsWith('INSERT INTO idempotency_keys ') ? { changes: 1 } : run(sql, values);
  }),
  'removes segments that the database may still need': (machine) =>
    withConnection(machine, (_database, prepare) => (sql) => {
      const statement = prepare(sql);
      if (!sql.includes('wal_checkpoint')) return statement;
      return new Proxy(statement, { get: () => () => ({ busy: 0, log: 0, checkpointed: 0 }) });
    }),
};

function withFiles(change: (file: LogFile, machine: Platform) => LogFile): Variant {
  return (machine) => {
    const inner = bound(machine.fileSystem);
    const open: FileSystem['open'] = (path, mode) => change(inner.open(path, mode), machine);
    return { ...machine, fileSystem: { ...inner, open } };
  };
}

/** Its methods as separate functions. */
function bound(fileSystem: FileSystem): FileSystem {
  return {
    list: (directory) => fileSystem.list(directory),
    open: (path, mode) => fileSystem.open(path, mode),
    remove: (path) => fileSystem.remove(path),
    rename: (from, to) => fileSystem.rename(from, to),
    syncDirectory: (directory) => fileSystem.syncDirectory(directory),
  };
}

/** Reports that it has synced, but does so only before the next operation. */
function syncsLate(machine: Platform) {
  const inner = bound(machine.fileSystem);
  let due: (() => void) | undefined;
  const before = <T>(act: () => T): T => {
    const sync = due;
    due = undefined;
    sync?.();
    return act();
  };
  const open: FileSystem['open'] = (path, mode) => {
    const file = before(() => inner.open(path, mode));
    return {
      ...file,
      read: (target, offset) => before(() => file.read(target, offset)),
      write: (bytes, offset) => before(() => file.write(bytes, offset)),
      truncate: (length) => before(() => file.truncate(length)),
      sync: () => (due = () => file.sync()),
      startSync: (done) => {
        due = () => file.sync();
        queueMicrotask(() => done(null));
      },
      close: () => before(() => file.close()),
    };
  };
  return { ...machine, fileSystem: { ...inner, open } };
}

function twice(act: () => void): void {
  try {
    act();
  } catch {
    act();
  }
}

type Prepare = DatabaseSync['prepare'];

function withConnection(
  machine: Platform,
  change: (database: DatabaseSync, prepare: Prepare) => Prepare,
) {
  return {
    ...machine,
    connect: (path: string) => {
      const database = machine.connect(path, 0);
      const prepare: Prepare = database.prepare.bind(database);
      return Object.assign(database, { prepare: change(database, prepare) });
    },
  };
}

type Run = (sql: string, values: readonly unknown[]) => unknown;

/** Runs statements in another way. */
function withStatements(change: (database: DatabaseSync) => Run): Variant {
  return (machine) =>
    withConnection(machine, (database, prepare) => {
      const run = change(
        Object.assign(Object.create(database) as DatabaseSync, {
          exec: (sql: string) => database.exec(sql),
          prepare,
        }),
      );
      return (sql) =>
        new Proxy(prepare(sql), {
          get: (statement, name) => {
            if (name === 'run') return (...values: unknown[]) => run(sql, values);
            return Reflect.get(statement, name) as unknown;
          },
        });
    });
}

function positionOf(database: DatabaseSync): { run: Run; isMove: (sql: string) => boolean } {
  return {
    run: (sql, values) => database.prepare(sql).run(...(values as string[])),
    isMove: (sql) => sql.startsWith('UPDATE progress SET position'),
  };
}
