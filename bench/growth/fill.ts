import { mkdirSync, rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

import { typeStateKey, type Increments } from '../../src/domain/counter.ts';
import { dataPaths } from '../../src/engines/embedded/data-directory.ts';
import { embeddedDefaults } from '../../src/engines/embedded/options.ts';
import { nodeFileSystem } from '../../src/engines/embedded/log/file-system.ts';
import { SegmentedLog } from '../../src/engines/embedded/log/segmented-log.ts';
import { SqliteCounterStore } from '../../src/engines/embedded/store/counter-store.ts';
import { openDatabase } from '../../src/engines/embedded/store/schema.ts';
import { bodiesOver, counterAt, countersOf, type CounterSpace } from './traffic.ts';

export async function temporaryDirectory(): Promise<string> {
  return await mkdtemp(join(tmpdir(), 'device-pipeline-growth-'));
}

/** Runs on an empty data directory, and removes it. */
export async function withDataDirectory<T>(use: (dataDir: string) => Promise<T>): Promise<T> {
  const dataDir = await temporaryDirectory();
  try {
    return await use(dataDir);
  } finally {
    rmSync(dataDir, { recursive: true });
  }
}

/** Gives every counter of the space the count 1, in a database without a log. */
export function fillCounters(dataDir: string, space: CounterSpace): void {
  const database = openDatabase(dataPaths(dataDir).database);
  const insert = database.prepare('INSERT INTO counters VALUES (?, ?, ?, ?, 1)');
  database.exec('BEGIN');
  for (let index = 0; index < countersOf(space); index++) {
    const { date, type, state } = counterAt(space, index);
    insert.run(date, typeStateKey(type, state), type, state);
  }
  database.exec('COMMIT; PRAGMA wal_checkpoint(TRUNCATE)');
  database.close();
}

export interface LogFill {
  /** The approximate size of the log. */
  readonly bytes: number;
  readonly space: CounterSpace;
  readonly itemsPerRecord: number;
  /** Whether the log is counted. */
  readonly isCounted: boolean;
}

/** Creates a log with the engine's own writer; returns the number of its items. */
export async function fillLog(dataDir: string, fill: LogFill): Promise<number> {
  const paths = dataPaths(dataDir);
  mkdirSync(paths.log, { recursive: true });
  const log = SegmentedLog.open({
    directory: paths.log,
    fileSystem: nodeFileSystem,
    segmentBytes: embeddedDefaults.segmentBytes,
    countedThrough: 0,
    now: Date.now,
  });
  const bodies = bodiesOver(fill.space, fill.itemsPerRecord).map((body) => Buffer.from(body));
  let records = 0;
  for (; log.bytes < fill.bytes; records++) {
    const body = bodies[records % bodies.length] ?? Buffer.alloc(0);
    log.stage({
      receivedAt: Date.now(),
      accepted: fill.itemsPerRecord,
      rejected: 0,
      encoding: 'identity',
      caller: '',
      idempotency: undefined,
      body,
    });
  }
  log.commit();
  const items = records * fill.itemsPerRecord;
  if (fill.isCounted) await markCounted(paths.database, log, oneCounter(fill.space, items));
  log.close();
  return items;
}

/** Marks the log as counted, in a single counter, which is enough because only the sum is checked. */
async function markCounted(path: string, log: SegmentedLog, tally: Increments): Promise<void> {
  const store = new SqliteCounterStore(openDatabase(path));
  store.adoptLog(log.logId);
  await store.apply([
    { dedupKey: { from: 0, to: log.durableEnd }, increments: tally, keys: [], deadLetters: [] },
  ]);
  store.close();
}

function oneCounter(space: CounterSpace, count: number): Increments {
  const { date, type, state } = counterAt(space, 0);
  return new Map([[date, new Map([[type, new Map([[state, count]])]])]]);
}

/** @throws if the sum of the counters differs. No server may run on the directory. */
export function checkSum(dataDir: string, expected: number): void {
  const database = new DatabaseSync(dataPaths(dataDir).database, { readOnly: true });
  const sum = Number(database.prepare('SELECT sum(count) AS sum FROM counters').get()?.['sum']);
  database.close();
  if (sum !== expected) throw new Error(`${sum} counted of ${expected} acknowledged`);
}
