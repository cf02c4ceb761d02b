import { mkdirSync } from 'node:fs';

import {
  ArchiveDamaged,
  listLogIds,
  readArchive,
  type ArchiveContent,
} from '../../../src/engines/embedded/archive/read-archive.ts';
import { nameOf, numberIn } from '../../../src/engines/embedded/archive/archive-objects.ts';
import { unneededObjects } from '../../../src/engines/embedded/archive/manage/unneeded-objects.ts';
import { restoreArchivedLog } from '../../../src/engines/embedded/archive/restore/restore-log.ts';
import type { ObjectStore } from '../../../src/engines/embedded/archive/stores/object-store.ts';
import { nodeFileSystem } from '../../../src/engines/embedded/log/file-system.ts';
import { listSegments } from '../../../src/engines/embedded/log/segment.ts';
import { LogDamaged } from '../../../src/engines/embedded/log/recovery.ts';
import { assert, Violation } from './archive-oracle.ts';
import { openLog, type World } from './archive-server.ts';
import { readRecords, type KnownRecord } from './archived-log.ts';
import { RequestFailed } from './simulated-bucket.ts';
import { SimulatedProcess } from './simulated-time.ts';

export interface Restored {
  readonly directory: string;
  readonly records: KnownRecord[];
  readonly content: ArchiveContent;
  readonly end: number;
  /** How often the tail had changed when the restore began. */
  readonly restoredAt: number;
}

export interface RestoreSettings {
  readonly logId: string;
  /** Of the segments; does not exist. */
  readonly directory: string;
  /** The store as a restore sees it. */
  readonly storeOf: (store: ObjectStore) => ObjectStore;
  /** How often it is interrupted, and repeated in the same directory. */
  readonly interruptions: number;
  readonly isUntilDrawn: boolean;
}

const attemptsMax = 200;

/** Restores the log into a directory as an operator does, who repeats what fails. */
export async function restoreInto(world: World, settings: RestoreSettings): Promise<Restored> {
  const { time, bucket, oracle, chance } = world;
  const { logId, directory } = settings;
  const operator = new SimulatedProcess('operator', time);
  const store = settings.storeOf(retryingStore(bucket.client(operator), operator));
  mkdirSync(directory, { recursive: true });
  const acknowledged = [...oracle.acknowledged.values()];
  const until = settings.isUntilDrawn ? drawUntil(world) : undefined;
  for (let attempt = 1; ; attempt++) {
    const restoredAt = oracle.effects;
    const isInterrupted = attempt <= settings.interruptions;
    const reading = isInterrupted ? interruptedStore(store, chance.below(12)) : store;
    try {
      const { content, end } = await time.until(
        restoreArchivedLog({
          ...{ store: reading, logId, directory, until, isUpToDamage: false },
          onProgress: () => undefined,
        }),
      );
      const records = readRecords(directory);
      checkOpens(world, directory, end, records.at(-1)?.end ?? content.begin);
      judge(world, records, { acknowledged, until });
      return { directory, records, content, end, restoredAt };
    } catch (error) {
      if (!(error instanceof RequestFailed)) throw asViolation(error);
      assert(attempt < attemptsMax, () => 'a restore never succeeds');
    }
    await time.pass(chance.below(10_000));
  }
}

/**
 * Checks that a restore fails which lacks an object, unless another object holds the same, and that one
 * up to the damage restores a prefix: all of it if only a claim is lacking. Takes no object before which
 * the archive may have ended: nothing shows that.
 */
export async function checkHole(
  world: World,
  { logId, directory, storeOf }: Pick<RestoreSettings, 'logId' | 'directory' | 'storeOf'>,
): Promise<void> {
  const { time, bucket, chance, oracle } = world;
  const store = bucket.client(new SimulatedProcess('operator', time));
  const { segments, pieces, end } = await time.until(readArchive(store, logId));
  const confirmed = pieces.at(-1)?.confirmed ?? 0;
  const numbers = new Set(pieces.map(({ number }) => number));
  const isMerged = (number: number) => number <= (segments.at(-1)?.lastNumber ?? -1);
  const listed = await time.until(Array.fromAsync(store.list(`${logId}/tail/`)));
  const others = listed
    .map(({ name }) => name)
    .filter((name) => {
      const number = numberIn('tail', name) ?? 0;
      return !numbers.has(number) && !isMerged(number);
    });
  const needed = [
    ...others,
    ...segments.slice(1, -1).map(({ name }) => name),
    ...pieces
      .filter(({ number }) => number < confirmed)
      .map(({ number }) => nameOf('tail', logId, number)),
  ];
  if (needed.length === 0) return;
  const lost = chance.pick(needed);
  const lacking = storeOf(storeWithout(store, lost));
  mkdirSync(directory, { recursive: true });
  const options = { store: lacking, logId, directory, until: undefined };
  const restoring = (isUpToDamage: boolean) =>
    time.until(
      restoreArchivedLog({ ...options, isUpToDamage, onProgress: () => undefined }).catch(
        (error: unknown) => {
          if (error instanceof ArchiveDamaged) return error;
          throw error;
        },
      ),
    );
  const outcome = await restoring(false);
  const isRight = outcome instanceof ArchiveDamaged || outcome.end === end;
  assert(isRight, () => 'a log with a hole was restored');
  const partial = await restoring(true);
  const isClaim = others.includes(lost);
  if (partial instanceof ArchiveDamaged) {
    assert(!isClaim, () => 'the loss of a claim costs a part of the log');
    return;
  }
  assert(!isClaim || partial.end === end, () => `without ${lost}, pieces are left out`);
  const records = readRecords(directory);
  checkOpens(world, directory, partial.end, records.at(-1)?.end ?? partial.content.begin);
  const before = [...oracle.acknowledged.values()].filter(({ position }) => position < partial.end);
  judge(world, records, { acknowledged: before, until: undefined });
}

function storeWithout(store: ObjectStore, name: string): ObjectStore {
  return {
    ...store,
    get: (one) => (one === name ? Promise.resolve(undefined) : store.get(one)),
    async *list(prefix) {
      for await (const object of store.list(prefix)) if (object.name !== name) yield object;
    },
  };
}

/** Removes what no restore reads, as an operator does. */
export async function prune({ time, bucket }: World, logId: string): Promise<number> {
  const operator = new SimulatedProcess('operator', time);
  const store = retryingStore(bucket.client(operator), operator);
  try {
    const unneeded = await time.until(unneededObjects(store, logId));
    for (const { name } of unneeded) await time.until(store.remove(name));
    return unneeded.length;
  } catch (error) {
    if (!(error instanceof RequestFailed)) throw asViolation(error);
    return 0;
  }
}

/** Whether the archive has anything. */
export async function isArchived({ time, bucket }: World): Promise<boolean> {
  const operator = new SimulatedProcess('operator', time);
  for (;;) {
    try {
      return (await time.until(listLogIds(bucket.client(operator)))).length > 0;
    } catch (error) {
      if (!(error instanceof RequestFailed)) throw error;
    }
  }
}

/** The log opens as that of a server whose counters include all of it. */
function checkOpens(world: World, directory: string, end: number, lastEnd: number): void {
  if (listSegments(nodeFileSystem, directory).length === 0) return;
  const log = openLog(world, directory, end);
  log.close();
  const isWhole = log.durableEnd === lastEnd && end === lastEnd;
  assert(isWhole, () => `a restored log ends at ${log.durableEnd} or ${end}, not at ${lastEnd}`);
}

function judge(
  { oracle }: World,
  records: readonly KnownRecord[],
  {
    acknowledged,
    until = Number.POSITIVE_INFINITY,
  }: {
    readonly acknowledged: readonly KnownRecord[];
    readonly until: number | undefined;
  },
): void {
  const isLate = ({ receivedAt }: KnownRecord) => receivedAt > until;
  assert(!records.some(isLate), () => 'a record was restored that came later');
  const firstLate = acknowledged
    .filter(isLate)
    .reduce((first, { position }) => Math.min(first, position), Number.POSITIVE_INFINITY);
  oracle.judgeRestored(
    records,
    acknowledged.filter(({ position }) => position < firstLate),
  );
}

/** A time at which a record came, or one between two. */
function drawUntil({ oracle, chance }: World): number {
  const records = [...oracle.acknowledged.values()];
  if (records.length === 0) return 0;
  return chance.pick(records).receivedAt - chance.below(2);
}

/** Repeats the requests of a restore. */
function retryingStore(store: ObjectStore, { sleep }: SimulatedProcess): ObjectStore {
  const repeat = async <T>(act: () => Promise<T>): Promise<T> => {
    for (let left = 20; ; left--) {
      try {
        return await act();
      } catch (error) {
        if (left === 0) throw error;
        await sleep(1_000);
      }
    }
  };
  return {
    ...store,
    get: (name) => repeat(() => store.get(name)),
    async *list(prefix) {
      yield* await repeat(() => Array.fromAsync(store.list(prefix)));
    },
  };
}

/** The process ends at one of its requests. */
function interruptedStore(store: ObjectStore, requests: number): ObjectStore {
  let left = requests;
  return {
    ...store,
    get(name) {
      if (left-- <= 0) return Promise.reject(new RequestFailed('interrupted'));
      return store.get(name);
    },
  };
}

function asViolation(error: unknown): unknown {
  const isDamage = error instanceof ArchiveDamaged || error instanceof LogDamaged;
  return isDamage ? new Violation(error.message, { cause: error }) : error;
}
