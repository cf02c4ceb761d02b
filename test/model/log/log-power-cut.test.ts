import { isDeepStrictEqual } from 'node:util';

import { describe, expect, it, vi } from 'vitest';

import type { LogPosition, LogRecord } from '../../../src/engines/embedded/log/frame.ts';
import { LogReader } from '../../../src/engines/embedded/log/log-reader.ts';
import { SegmentedLog, type RecordDraft } from '../../../src/engines/embedded/log/segmented-log.ts';
import {
  PowerCut,
  SimulatedDisk,
  type Fault,
  type Operation,
  type OperationKind,
} from './simulated-disk.ts';
import { isNightly, rounds } from '../../support/run/tier.ts';

/*
 * The log lives several lives on a simulated disk. Each is a workload of commits, retention and
 * reopenings, is ended by a fault at any operation, and begins with the recovery of what the one
 * before left. What was reported durable in any of them must be there in all that follow.
 */

const lives = rounds({ what: 'logs through power cuts at any operation', quick: 2, nightly: 40 });
const seeds = Array.from({ length: lives }, (_, seed) => seed);
const powerCutsPerOperation = 3;
const secondFaultsPerFault = isNightly() ? 2 : 1;

const directory = '/log';
const segmentBytes = 4096;

/** Makes log ids and batch ids a function of the seed too. */
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
 * Most of the time would go into the large buffers that each opening takes: they are lent from
 * here. None is in use any more when its turn comes again.
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
  /** A whole number of 0 to limit - 1. */
  below(limit: number): number;
  pick<Item>(items: readonly Item[]): Item;
}

type Step =
  | { readonly kind: 'commit'; readonly records: readonly Omit<RecordDraft, 'receivedAt'>[] }
  /** A commit in the background, while more is staged, which another commit then covers. */
  | {
      readonly kind: 'overlap';
      readonly records: readonly Omit<RecordDraft, 'receivedAt'>[];
      readonly meanwhile: readonly Omit<RecordDraft, 'receivedAt'>[];
    }
  /** Retention, where the counters durably hold a share of what is durable. */
  | { readonly kind: 'remove'; readonly share: number }
  | { readonly kind: 'reopen' };

/** What must and what may be in the log. */
interface History {
  /** All that was ever staged and may be there, in order; `receivedAt` is the place in this list. */
  drafts: RecordDraft[];
  /** Where they end; one whose staging failed has no known end. */
  ends: LogPosition[];
  /** So many of the drafts must be there: their commit returned. */
  acknowledged: number;
  /** Through here the log has said that it is durable. */
  durableEnd: LogPosition;
  /** The counters durably hold this much, and retention may remove whole segments before it. */
  countedAtLeast: LogPosition;
  /**
   * The sync of a removal failed. A later one may succeed and not cover it, and more removals
   * could leave a hole; the log cannot mend that, it can only stop, and be found damaged.
   */
  hasRemovalFailed: boolean;
  /** The rule with which the log is made, and which it must name from then on. */
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

/** One life: opens what is there, checks it, and works until done or until a fault ends it. */
function live(
  disk: SimulatedDisk,
  history: History,
  { steps, allocateBytes }: Life,
  random: Random,
): void {
  let log = openAndCheck(disk, history, random, allocateBytes);
  try {
    for (const step of steps) {
      if (step.kind === 'commit') commit(log, history, step.records);
      else if (step.kind === 'overlap') overlap(disk, log, history, step);
      else if (step.kind === 'remove') remove(log, history, step.share);
      else {
        log.close();
        log = openAndCheck(disk, history, random, allocateBytes);
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

/** After a failure the log takes nothing more, and above all does not sync again. */
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
  allocateBytes: number,
): SegmentedLog {
  const countedThrough = countersMayHold(history, random);
  const uncounted: number[] = [];
  const log = SegmentedLog.open({
    directory,
    fileSystem: disk,
    segmentBytes,
    allocateBytes,
    countedThrough,
    // Which rule the log has, it knows itself.
    ...(history.acknowledged === 0 && { dayZone: history.dayZone }),
    onUncounted: ({ record }) => uncounted.push(record.receivedAt),
    now: () => 0,
  });
  assert(log.dayZone === history.dayZone, `the day rule has become ${log.dayZone}`);
  const found = readAll(disk);
  const first = checkFound(history, found);
  const known = first + found.length;
  // What is there from now on counts as durable: it was recovered.
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

/** Any end of a durable record that retention has not relied on being passed. */
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

/** Returns which of the drafts is the first that was found. */
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
    // Not all the same, so that a sector in the wrong place shows.
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

/** From nothing to several sectors, now and then more than a segment. */
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

/** Mulberry32. */
function seededRandom(seed: number): Random {
  let state = (seed * 2_654_435_761) >>> 0;
  const below = (limit: number) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * limit);
  };
  const pick = <Item>(items: readonly Item[]) => items[below(items.length)] as Item;
  return { below, pick };
}

// --- Faults

/** Operations before which the disk is as it was before the next one need no fault of their own. */
const changing: ReadonlySet<OperationKind> = new Set([
  'write',
  'sync',
  'truncate',
  'create',
  'remove',
  'rename',
  'syncDirectory',
]);

/** How a life ends, and the disk that the next one finds. */
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

/** Some writes are short, always the same ones of a seed; then the fault. */
function arm(disk: SimulatedDisk, seed: number, fault?: Fault, at?: number): Operation[] {
  const operations: Operation[] = [];
  disk.onOperation((operation) => {
    if (changing.has(operation.kind)) operations.push(operation);
    if (operation.index === at) return fault;
    const roll = seededRandom(seed ^ (operation.index + 1)).below(2000);
    return operation.kind === 'write' && roll < 500 ? { shortWriteBytes: 1 + roll } : undefined;
  });
  return operations;
}

/** Runs a life that a fault ends; `at` undefined: it is not ended, but the fault comes then. */
function liveUntil(
  disk: SimulatedDisk,
  history: History,
  life: Life,
  end?: End,
  at?: number,
): Operation[] {
  const operations = arm(disk, life.seed, end?.fault, at);
  try {
    live(disk, history, life, seededRandom(life.seed));
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
 * Lives a first life that ends at any operation, and then, as it was left each time, a second:
 * unharmed and ended at some operations of it, `secondFaults` for each end of the first.
 */
function checkLives(seed: number, newDisk: () => SimulatedDisk, lives: Lives): void {
  const random = seededRandom(seed);
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

interface Life {
  readonly steps: readonly Step[];
  readonly seed: number;
  readonly allocateBytes: number;
}

/** The lives of a test: their workloads, and how much each allocates ahead, are of the seed. */
function lifeOf(random: Random, seed: number, steps: readonly Step[]): Life {
  return { steps, seed, allocateBytes: random.pick([0, 600, 2000]) };
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
    // And what the third life has done is there for a fourth.
    liveUntil(found.powerCut(), history, { steps: [], seed: 0, allocateBytes: 0 });
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

/** Before each operation that changes something, and behind the last. */
function pointsOf(operations: readonly Operation[]): Point[] {
  return [...operations.map(({ index, kind }) => ({ at: index, kind })), {}];
}

describe('what the log has acknowledged is there byte for byte, in order', () => {
  it.each(seeds)('wherever its life ends, and the next one too (seed %i)', (seed) => {
    const random = seededRandom(seed);
    const sectorBytes = random.pick([32, 128, 512]);
    checkLives(seed, () => new SimulatedDisk({ seed, sectorBytes, root: directory }), {
      first: lifeOf(random, seed, workload(random, 10)),
      second: lifeOf(random, seed + 1, workload(random, 3)),
      third: lifeOf(random, seed + 2, workload(random, 1)),
      secondFaults: secondFaultsPerFault,
    });
  });
});
