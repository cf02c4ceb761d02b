import { isDeepStrictEqual } from 'node:util';

import { describe, expect, it, vi } from 'vitest';

import { seededRandom } from '../../../infra/local/seeded-random.ts';
import type { LogPosition, LogRecord } from '../../../src/engines/embedded/log/frame.ts';
import { LogReader } from '../../../src/engines/embedded/log/log-reader.ts';
import {
  SegmentedLog,
  type LogOptions,
  type RecordDraft,
} from '../../../src/engines/embedded/log/segmented-log.ts';
import {
  PowerCut,
  SimulatedDisk,
  type Fault,
  type Operation,
  type OperationKind,
} from './simulated-disk.ts';
import { isNightly, rounds } from '../../support/run/tier.ts';

/*
 * The log goes through several lives on a simulated disk. Each life is a workload of commits,
 * retention and reopenings. A fault at any operation ends it. The next life begins with the
 * recovery of what it left. What any life reported as durable must exist in all later ones.
 */

const lives = rounds({ what: 'logs through power cuts at any operation', quick: 2, nightly: 40 });
const seeds = Array.from({ length: lives }, (_, seed) => seed);
const powerCutsPerOperation = 3;
const secondFaultsPerFault = isNightly() ? 2 : 1;

const directory = '/log';
const segmentBytes = 4096;

/** Derives log ids and batch ids from the seed, too. */
const chance = vi.hoisted(() => ({ state: 0 }));
vi.mock('node:crypto', async (importOriginal) => ({
  ...(await importOriginal<object>()),
  randomFillSync(target: Uint8Array) {
    for (const index of target.keys()) {
      chance.state = (Math.imul(chance.state, 1_664_525) + 1_013_904_223) >>> 0;
      target[index] = chance.state >>> 24;
    }
    return target;
  },
}));

/*
 * Reuses the large buffers that each opening allocates, which would take most of the time. A buffer
 * is no longer in use when it is reused.
 */
const largeBuffers = new Map<number, { buffers: Buffer<ArrayBuffer>[]; next: number }>();
vi.spyOn(Buffer, 'allocUnsafe').mockImplementation((size) => {
  if (size < 1024 * 1024) return Buffer.alloc(size);
  const lent = largeBuffers.get(size) ?? {
    buffers: Array.from({ length: 8 }, () => Buffer.alloc(size)),
    next: 0,
  };
  largeBuffers.set(size, lent);
  return lent.buffers[lent.next++ % lent.buffers.length] ?? Buffer.alloc(size);
});

interface Random {
  /** A whole number from 0 to limit - 1. */
  below(limit: number): number;
  pick<Item>(items: readonly Item[]): Item;
}

type Step =
  | { readonly kind: 'commit'; readonly records: readonly Omit<RecordDraft, 'receivedAt'>[] }
  /** Commits in the background while more is staged; another commit covers that. */
  | {
      readonly kind: 'overlap';
      readonly records: readonly Omit<RecordDraft, 'receivedAt'>[];
      readonly meanwhile: readonly Omit<RecordDraft, 'receivedAt'>[];
    }
  /** Retention, after the counters durably hold a part of the durable records. */
  | { readonly kind: 'remove'; readonly share: number }
  | { readonly kind: 'reopen' };

/** What the log must contain, and what it may contain. */
interface History {
  /** All drafts that may be in the log, in order. `receivedAt` is the index in this list. */
  drafts: RecordDraft[];
  /** Where the drafts end; unknown for a draft whose staging failed. */
  ends: LogPosition[];
  /** The number of drafts that must exist, because their commit returned. */
  acknowledged: number;
  /** The position through which the log reported durability. */
  durableEnd: LogPosition;
  /**
   * The position up to which the counters are durable. Retention may remove whole segments before
   * it.
   */
  countedAtLeast: LogPosition;
  /**
   * The sync of a removal failed. A later sync may succeed without covering it, and further
   * removals could leave a gap. The log cannot repair a gap: it can only stop, and the next opening
   * may find it damaged.
   */
  hasRemovalFailed: boolean;
  /** The day rule with which the log is created, and which it must name from then on. */
  dayZone: string;
}

const nothing: History = {
  drafts: [],
  ends: [],
  acknowledged: 0,
  durableEnd: 0,
  countedAtLeast: 0,
  hasRemovalFailed: false,
  dayZone: 'as-written',
};

function copyOf(history: History): History {
  return { ...history, drafts: [...history.drafts], ends: [...history.ends] };
}

/** One life: opens the log, checks it, and works until done or until a fault ends the life. */
function live(
  disk: SimulatedDisk,
  history: History,
  { steps, settings }: Life,
  random: Random,
): void {
  let log = openAndCheck(disk, history, random, settings);
  try {
    for (const step of steps) {
      if (step.kind === 'commit') commit(log, history, step.records);
      else if (step.kind === 'overlap') overlap(disk, log, history, step);
      else if (step.kind === 'remove') remove(log, history, step.share);
      else {
        log.close();
        log = openAndCheck(disk, history, random, settings);
      }
    }
    log.close();
  } catch (error) {
    history.durableEnd = Math.max(history.durableEnd, log.durableEnd);
    if (log.failure !== undefined && !(error instanceof PowerCut)) checkRefusal(disk, log, error);
    throw error;
  }
}

function commit(
  log: SegmentedLog,
  history: History,
  records: readonly Omit<RecordDraft, 'receivedAt'>[],
): void {
  for (const record of records) stage(log, history, record);
  log.commit();
  history.acknowledged = history.drafts.length;
  history.durableEnd = log.durableEnd;
}

function stage(log: SegmentedLog, history: History, record: Omit<RecordDraft, 'receivedAt'>): void {
  const draft = { ...record, receivedAt: history.drafts.length };
  history.drafts.push(draft);
  history.ends.push(log.stage(draft).end);
}

function overlap(
  disk: SimulatedDisk,
  log: SegmentedLog,
  history: History,
  { records, meanwhile }: Extract<Step, { kind: 'overlap' }>,
): void {
  for (const record of records) stage(log, history, record);
  const covered = history.drafts.length;
  let failure: unknown;
  log.startCommit((error) => {
    if (error === null) history.acknowledged = covered;
    else failure = error;
  });
  for (const record of meanwhile) {
    if (log.hasRoomFor(record.body.length)) stage(log, history, record);
  }
  disk.finishStarted();
  if (failure !== undefined) throw failure as Error;
  history.durableEnd = log.durableEnd;
  commit(log, history, []);
}

function remove(log: SegmentedLog, history: History, share: number): void {
  const index = Math.floor(share * history.ends.length);
  history.countedAtLeast = Math.max(history.countedAtLeast, history.ends[index] ?? 0);
  if (history.hasRemovalFailed) return;
  try {
    log.removeSegments(history.countedAtLeast);
  } catch (error) {
    history.hasRemovalFailed = !(error instanceof PowerCut);
    throw error;
  }
}

/** After a failure the log accepts nothing more and, above all, does not sync again. */
function checkRefusal(disk: SimulatedDisk, log: SegmentedLog, failure: unknown): void {
  const operations = disk.operations;
  expect(log.failure).toBe(failure);
  expect(() => log.stage(draftOf(0, 0))).toThrow(failure);
  expect(() => log.commit()).toThrow(failure);
  expect(disk.operations).toBe(operations);
}

function openAndCheck(
  disk: SimulatedDisk,
  history: History,
  random: Random,
  settings: LogSettings,
): SegmentedLog {
  const countedThrough = countersMayHold(history, random);
  const uncounted: number[] = [];
  const log = SegmentedLog.open({
    directory,
    fileSystem: disk,
    segmentBytes,
    ...settings,
    countedThrough,
    // The log stores its rule.
    ...(history.acknowledged === 0 && { dayZone: history.dayZone }),
    onUncounted: ({ record }) => uncounted.push(record.receivedAt),
    now: () => 0,
  });
  assert(log.dayZone === history.dayZone, `the day rule has become ${log.dayZone}`);
  const found = readAll(disk);
  const first = checkFound(history, found);
  const known = first + found.length;
  // From now on these records count as durable, because the log recovered them.
  history.drafts.length = known;
  history.ends.length = Math.min(history.ends.length, first);
  history.ends.push(...found.map(({ end }) => end));
  history.acknowledged = known;
  history.durableEnd = log.durableEnd;
  assert(
    log.durableEnd === (history.ends.at(-1) ?? 0),
    `durable through ${log.durableEnd}, but the last record ends at ${history.ends.at(-1)}`,
  );
  const behind = found.filter(({ end }) => end > countedThrough);
  assert(
    isDeepStrictEqual(
      uncounted,
      behind.map(({ draft }) => draft.receivedAt),
    ),
    `shown as uncounted behind ${countedThrough}: ${uncounted.join()}`,
  );
  return log;
}

/** Any end of a durable record behind the position that retention relies on. */
function countersMayHold(history: History, random: Random): LogPosition {
  const { ends, durableEnd, countedAtLeast } = history;
  const possible = ends.filter((end) => end >= countedAtLeast && end <= durableEnd);
  const least = countedAtLeast;
  const most = possible.at(-1) ?? least;
  return random.pick([least, most, random.pick([least, ...possible])]);
}

interface Found {
  readonly draft: RecordDraft;
  readonly end: LogPosition;
}

function readAll(disk: SimulatedDisk): Found[] {
  const reader = new LogReader(disk, directory);
  const found = Array.from(reader.records(), ({ record, end }) => ({
    draft: draftOfRecord(record),
    end,
  }));
  reader.close();
  return found;
}

/** Returns the index of the first draft that exists. */
function checkFound({ drafts, ends, ...history }: History, found: readonly Found[]): number {
  const durable = ends.filter((end) => end <= history.durableEnd).length;
  const needed = Math.max(history.acknowledged, durable);
  const first = found[0]?.draft.receivedAt ?? needed;
  const removedThrough = ends[first - 1] ?? 0;
  assert(
    removedThrough <= history.countedAtLeast,
    `records before ${first} are gone, of which the last ended at ${removedThrough}; the counters held ${history.countedAtLeast}`,
  );
  found.forEach(({ draft, end }, index) => {
    const expected = drafts[first + index];
    assert(isDeepStrictEqual(draft, expected), `record ${first + index} is not what was staged`);
    const expectedEnd = ends[first + index] ?? end;
    assert(end === expectedEnd, `record ${first + index} ends at ${end}, not ${expectedEnd}`);
  });
  assert(
    first + found.length >= needed,
    `${needed} records were durable, but only those before ${first + found.length} are there`,
  );
  return first;
}

function assert(condition: boolean, otherwise: string): void {
  if (!condition) throw new Error(otherwise);
}

function draftOfRecord(record: LogRecord): RecordDraft {
  const { receivedAt, accepted, rejected, encoding, caller, idempotency, body } = record;
  return {
    receivedAt,
    accepted,
    rejected,
    encoding,
    caller,
    idempotency: idempotency && {
      key: idempotency.key,
      bodySha256: Uint8Array.from(idempotency.bodySha256),
    },
    body: Uint8Array.from(body),
  };
}

function draftOf(bodyBytes: number, fill: number): RecordDraft {
  const idempotency = { key: `key-${fill}`, bodySha256: new Uint8Array(32).fill(fill) };
  return {
    receivedAt: 0,
    accepted: fill,
    rejected: 255 - fill,
    encoding: fill % 2 === 0 ? 'identity' : 'gzip',
    caller: 'x'.repeat(fill % 3),
    idempotency: fill % 5 === 0 ? idempotency : undefined,
    // Different bytes, so that a sector in the wrong place is noticed.
    body: Uint8Array.from({ length: bodyBytes }, (_, index) => (fill + (index >> 6) * 31) & 0xff),
  };
}

// --- Workloads

function workload(random: Random, commits: number): Step[] {
  const steps: Step[] = [];
  for (let index = 0; index < commits; index++) {
    const records = Array.from({ length: 1 + random.below(5) }, () =>
      draftOf(bodyBytes(random), random.below(256)),
    );
    if (random.below(3) === 0) {
      const meanwhile = Array.from({ length: random.below(4) }, () => ({
        ...draftOf(bodyBytes(random), random.below(128) * 2),
        caller: '',
        idempotency: undefined,
      }));
      steps.push({ kind: 'overlap', records, meanwhile });
    } else {
      steps.push({ kind: 'commit', records });
    }
    const chance = random.below(6);
    if (chance === 0) steps.push({ kind: 'remove', share: random.below(100) / 100 });
    if (chance === 1) steps.push({ kind: 'reopen' });
  }
  return steps;
}

/** From nothing to several sectors, sometimes more than a segment. */
function bodyBytes(random: Random): number {
  return random.pick([
    () => 0,
    () => random.below(100),
    () => random.below(100),
    () => 300 + random.below(400),
    () => random.below(2500),
    () => (random.below(4) === 0 ? segmentBytes + random.below(segmentBytes) : 10),
  ])();
}

function randomOf(seed: number): Random {
  const random = seededRandom(seed * 2_654_435_761);
  const below = (limit: number) => Math.floor(random() * limit);
  const pick = <Item>(items: readonly Item[]) => items[below(items.length)] as Item;
  return { below, pick };
}

// --- Faults

/** Operations that change nothing: a fault before them equals a fault before the next one. */
const changing: ReadonlySet<OperationKind> = new Set([
  'write',
  'sync',
  'truncate',
  'create',
  'remove',
  'rename',
  'syncDirectory',
]);

/** How a life ends, and which disk the next one finds. */
interface End {
  readonly name: string;
  readonly fault: Fault;
  readonly kinds: ReadonlySet<OperationKind>;
  find(disk: SimulatedDisk): SimulatedDisk;
}

function endings(random: Random, powerCuts: number): End[] {
  const writes: ReadonlySet<OperationKind> = new Set(['write', 'create']);
  const crash = (disk: SimulatedDisk) => disk.crash();
  const failing = { fault: { error: 'EIO' }, kinds: changing } as const;
  const outcome = random.below(2 ** 32);
  return [
    ...Array.from({ length: powerCuts }, (): End => {
      const seed = random.below(2 ** 32);
      const find = (disk: SimulatedDisk) => disk.powerCut(seed);
      return { name: `power cut ${seed}`, fault: 'powerCutBefore', kinds: changing, find };
    }),
    { name: 'process crash', fault: 'powerCutBefore', kinds: changing, find: crash },
    { name: 'EIO, then a restart', ...failing, find: crash },
    {
      name: `EIO, then power cut ${outcome}`,
      ...failing,
      find: (disk) => disk.powerCut(outcome),
    },
    { name: 'ENOSPC, then a restart', fault: { error: 'ENOSPC' }, kinds: writes, find: crash },
  ];
}

/** Shortens some writes, always the same ones of a seed, and then injects the fault. */
function arm(disk: SimulatedDisk, seed: number, fault?: Fault, at?: number): Operation[] {
  const operations: Operation[] = [];
  disk.onOperation((operation) => {
    if (changing.has(operation.kind)) operations.push(operation);
    if (operation.index === at) return fault;
    const roll = randomOf(seed ^ (operation.index + 1)).below(2000);
    return operation.kind === 'write' && roll < 500 ? { shortWriteBytes: 1 + roll } : undefined;
  });
  return operations;
}

/** Runs a life until a fault. With `at` undefined, the life completes and the fault follows. */
function liveUntil(
  disk: SimulatedDisk,
  history: History,
  life: Life,
  end?: End,
  at?: number,
): Operation[] {
  const operations = arm(disk, life.seed, end?.fault, at);
  try {
    live(disk, history, life, randomOf(life.seed));
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    const isTheFault =
      at !== undefined && (error instanceof PowerCut || code === 'EIO' || code === 'ENOSPC');
    if (!isTheFault) throw error;
  }
  disk.onOperation(undefined);
  return operations;
}

function inContext<Result>(context: string, act: () => Result): Result {
  try {
    return act();
  } catch (error) {
    throw new Error(`${context}: ${String(error)}`, { cause: error });
  }
}

/**
 * Runs a first life that ends at any operation. From each state that it leaves it runs second
 * lives: one without faults, and `secondFaults` with a fault at some operation.
 */
function checkLives(seed: number, newDisk: () => SimulatedDisk, lives: Lives): void {
  const random = randomOf(seed);
  const { first, second, third, secondFaults } = lives;
  const replay = (end?: End, at?: number) => {
    chance.state = seed;
    const disk = newDisk();
    const dayZone = seed % 2 === 0 ? 'as-written' : 'Europe/Berlin';
    const history = { ...copyOf(nothing), dayZone };
    const operations = liveUntil(disk, history, first, end, at);
    return { disk, history, operations };
  };
  for (const { at, kind } of pointsOf(replay().operations)) {
    for (const end of endings(random, powerCutsPerOperation)) {
      if (kind !== undefined && !end.kinds.has(kind)) continue;
      inContext(`seed ${seed}, ${end.name} at ${nameOf(kind, at)}`, () => {
        const { disk, history } = replay(end, at);
        const find = () => end.find(disk);
        const points = pointsOf(liveUntil(find(), copyOf(history), second));
        const chosen = Array.from({ length: secondFaults }, () => random.pick(points));
        for (const point of [{}, ...chosen]) {
          checkSecondLife(find(), copyOf(history), { second, third, ...point }, random);
        }
      });
    }
  }
}

type LogSettings = Pick<LogOptions, 'allocateBytes' | 'stagedBodyBytesMax'>;

interface Life {
  readonly steps: readonly Step[];
  readonly seed: number;
  readonly settings: LogSettings;
}

/** The lives of a test. The seed determines their workloads and the settings of their logs. */
function lifeOf(random: Random, seed: number, steps: readonly Step[]): Life {
  const allocateBytes = random.pick([0, 600, 2000]);
  return { steps, seed, settings: { allocateBytes, stagedBodyBytesMax: random.pick([400, 5000]) } };
}

interface Lives {
  readonly first: Life;
  readonly second: Life;
  readonly third: Life;
  readonly secondFaults: number;
}

function checkSecondLife(
  disk: SimulatedDisk,
  history: History,
  { second, third, at, kind }: Point & { readonly second: Life; readonly third: Life },
  random: Random,
): void {
  const end = random.pick(endings(random, 3).filter(({ kinds }) => !kind || kinds.has(kind)));
  inContext(`then ${end.name} at ${nameOf(kind, at)}`, () => {
    liveUntil(disk, history, second, end, at);
    const found = end.find(disk);
    liveUntil(found, history, third);
    // A fourth life starts from the result of the third.
    liveUntil(found.powerCut(), history, { steps: [], seed: 0, settings: {} });
  });
}

function nameOf(kind: OperationKind | undefined, at: number | undefined): string {
  return at === undefined ? 'the end' : `operation ${at}, ${kind}`;
}

interface Point {
  /** Undefined: at the end. */
  readonly at?: number | undefined;
  readonly kind?: OperationKind | undefined;
}

/** Before each operation that changes something, and after the last one. */
function pointsOf(operations: readonly Operation[]): Point[] {
  return [...operations.map(({ index, kind }) => ({ at: index, kind })), {}];
}

describe('the log', () => {
  it.each(seeds)(
    'keeps what it acknowledged, byte for byte and in order, wherever this life and the next one end (seed %i)',
    (seed) => {
      const random = randomOf(seed);
      const sectorBytes = random.pick([32, 128, 512]);
      checkLives(seed, () => new SimulatedDisk({ seed, sectorBytes, root: directory }), {
        first: lifeOf(random, seed, workload(random, 10)),
        second: lifeOf(random, seed + 1, workload(random, 3)),
        third: lifeOf(random, seed + 2, workload(random, 1)),
        secondFaults: secondFaultsPerFault,
      });
    },
  );
});
