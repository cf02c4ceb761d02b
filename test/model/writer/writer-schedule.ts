import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { dataPaths } from '../../../src/engines/embedded/data-directory.ts';
import {
  dayMs,
  embeddedDefaults,
  type EmbeddedOptions,
} from '../../../src/engines/embedded/options.ts';
import type { Platform } from '../../../src/engines/embedded/writer/platform.ts';
import { chanceOf, type Chance } from '../chance.ts';
import { PowerCut, SimulatedDisk } from '../log/simulated-disk.ts';
import { SimulatedMachine, type FaultFor, type MachineFault } from './simulated-machine.ts';
import { storeUncountable } from './uncountable-record.ts';
import { LifeOver, WriterLife } from './writer-life.ts';
import { Oracle, Violation, type SentBatch } from './writer-oracle.ts';

/** Changes the platform of the writer, as a bug would. */
export type Variant = (platform: Platform) => Platform;

export interface ScheduleOptions {
  readonly variant?: Variant;
  /** Receives a line for each event. */
  readonly trace?: (line: string) => void;
}

export interface ScheduleSummary {
  lives: number;
  powerCuts: number;
  crashes: number;
  /** Errors of the log's disk or of SQLite. */
  faults: number;
  /** Answers that acknowledged a batch, and items in them. */
  acknowledged: number;
  items: number;
  calls: number;
}

export const noSummary: ScheduleSummary = {
  lives: 0,
  powerCuts: 0,
  crashes: 0,
  faults: 0,
  acknowledged: 0,
  items: 0,
  calls: 0,
};

const keepKeysMs = 30 * dayMs;
const keepRawMs = dayMs;
const startMs = Date.UTC(2026, 2, 1);

/**
 * One store through several lives. Each is on a machine that fails, loses its power or is killed at
 * some call. The seed determines everything.
 * @throws {Violation} if anything acknowledged is lost, doubled or counted in part.
 */
export async function runSchedule(
  seed: number,
  options: ScheduleOptions = {},
): Promise<ScheduleSummary> {
  const dataDir = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'schedule-'));
  const schedule = new Schedule(seed, dataDir, options);
  try {
    await schedule.run();
    return schedule.summary;
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    const kind = error instanceof Violation ? Violation : Error;
    throw new kind(`seed ${seed}, life ${schedule.summary.lives}: ${error.message}`, {
      cause: error,
    });
  } finally {
    schedule.end();
    rmSync(dataDir, { recursive: true, force: true });
  }
}

class Schedule {
  readonly summary = { ...noSummary };
  readonly #chance: Chance;
  readonly #oracle = new Oracle(keepKeysMs);
  readonly #options: EmbeddedOptions;
  readonly #variant: Variant;
  readonly #trace: (line: string) => void;
  #machine: SimulatedMachine;
  #life: WriterLife | undefined;

  constructor(seed: number, dataDir: string, { variant, trace }: ScheduleOptions) {
    const chance = (this.#chance = chanceOf(seed));
    this.#variant = variant ?? ((platform) => platform);
    this.#trace = trace ?? (() => undefined);
    this.#options = {
      ...embeddedDefaults,
      dataDir,
      segmentBytes: chance.pick([2048, 4096, 8192]),
      allocateBytes: chance.pick([0, 600, 2000]),
      keepKeysMs,
      keepRawMs: chance.pick([undefined, 0, 0, keepRawMs]),
    };
    const disk = new SimulatedDisk({
      seed,
      sectorBytes: chance.pick([128, 512]),
      root: dataPaths(dataDir).log,
    });
    this.#machine = this.#newMachine(disk, startMs);
  }

  async run(): Promise<void> {
    for (let lives = 3 + this.#chance.below(4); lives > 0; lives--) {
      await this.#live();
      this.#next();
      if (this.#chance.oneIn(5)) storeUncountable(this.#options, this.#machine, this.#oracle);
    }
    // The last life has no faults and must recover everything.
    this.#trace('the last life');
    this.summary.lives++;
    const life = (this.#life = this.#open());
    for (const batch of this.#oracle.batches) {
      if (batch.submission.idempotencyKey !== undefined) await life.commit([batch]);
    }
    await life.judge();
    await life.close();
    this.#count();
  }

  end(): void {
    this.#life?.abandon();
    this.#machine.end('crash', this.#chance);
  }

  #newMachine(disk: SimulatedDisk, wallMs: number): SimulatedMachine {
    const { dataDir } = this.#options;
    const checkpointPages = this.#chance.pick([4, 16, 1000]);
    return new SimulatedMachine({ dataDir, disk, wallMs, checkpointPages });
  }

  #open(): WriterLife {
    const platform = this.#variant(this.#machine.platform());
    return new WriterLife(this.#machine, this.#oracle, this.#options, platform);
  }

  async #live(): Promise<void> {
    this.summary.lives++;
    this.#machine.faultFor = this.#fault();
    try {
      this.#life = this.#open();
      if (this.#chance.oneIn(3)) await this.#life.judge();
      for (let steps = 3 + this.#chance.below(15); steps > 0; steps--) await this.#step(this.#life);
      if (this.#chance.oneIn(4)) await this.#life.close();
    } catch (error) {
      if (!(error instanceof LifeOver || error instanceof PowerCut)) throw error;
      this.#trace(`over: ${error.message}`);
    }
    this.#count();
  }

  #count(): void {
    this.summary.calls += this.#machine.calls;
    this.summary.faults += this.#machine.faults;
    this.summary.acknowledged = this.#oracle.acknowledgements;
    this.summary.items = this.#oracle.acknowledgedItems;
  }

  /** The machine that the next life finds. */
  #next(): void {
    const ending = this.#machine.isDead || !this.#chance.oneIn(3) ? 'power cut' : 'crash';
    this.#trace(`${ending} after ${this.#machine.calls} calls`);
    if (ending === 'power cut') this.summary.powerCuts++;
    else this.summary.crashes++;
    this.#life?.abandon();
    const disk = this.#machine.end(ending, this.#chance);
    this.#machine = this.#newMachine(disk, this.#machine.wallMs + this.#chance.below(dayMs));
  }

  /** What happens to a life, and at which of its calls. */
  #fault(): FaultFor {
    const shortWrites = this.#chance.oneIn(3) ? this.#chance.below(2 ** 31) : undefined;
    const isOfSyncs = this.#chance.oneIn(3);
    const limit = this.#chance.pick(isOfSyncs ? [4, 30] : [60, 400]);
    let left = this.#chance.oneIn(8) ? Infinity : this.#chance.below(limit);
    const fault = this.#chance.pick<MachineFault>([
      'powerCutBefore',
      'powerCutBefore',
      'powerCutAfter',
      { error: 'EIO' },
      { error: 'ENOSPC' },
      { errorAfter: 'EIO' },
    ]);
    return ({ index, name }) => {
      if ((!isOfSyncs || /sync|COMMIT|checkpoint/.test(name)) && left-- === 0) {
        this.#trace(`at ${name.slice(0, 60)}: ${JSON.stringify(fault)}`);
        return typeof fault === 'object' && 'errorAfter' in fault && name !== 'exec COMMIT'
          ? { error: fault.errorAfter }
          : fault;
      }
      if (name !== 'write' || shortWrites === undefined) return undefined;
      const roll = chanceOf(shortWrites + index).below(2000);
      return roll < 500 ? { shortWriteBytes: 1 + roll } : undefined;
    };
  }

  async #step(life: WriterLife): Promise<void> {
    const [kind, act] = this.#chance.pick(steps);
    this.#trace(`step ${kind}, ${this.#machine.calls} calls before it`);
    life.goOn();
    await act(life, this);
  }

  newBatch(isKeyed: boolean): SentBatch {
    const bodyBytes = this.#chance.pick([
      () => 0,
      () => this.#chance.below(100),
      () => 300 + this.#chance.below(400),
      () => this.#chance.below(2500),
      () => (this.#chance.oneIn(4) ? 4096 + this.#chance.below(8192) : 10),
    ])();
    return this.#oracle.newBatch(this.#chance, bodyBytes, isKeyed);
  }

  newBatches(isKeyed: (chance: Chance) => boolean): SentBatch[] {
    const count = 1 + this.#chance.below(4);
    return Array.from({ length: count }, () => this.newBatch(isKeyed(this.#chance)));
  }

  /** Some batches with keys that were sent before, acknowledged or not. */
  keyedBatches(): SentBatch[] {
    const keyed = this.#oracle.batches.filter(
      ({ submission }) => submission.idempotencyKey !== undefined,
    );
    const count = Math.min(keyed.length, 1 + this.#chance.below(3));
    return Array.from({ length: count }, () => this.#chance.pick(keyed.slice(-12)));
  }

  below(limit: number): number {
    return this.#chance.below(limit);
  }

  /** The timers of days would take long. */
  nextDay(life: WriterLife): Promise<void> {
    life.skip(this.#chance.below(this.#chance.oneIn(4) ? 40 * dayMs : 2 * dayMs));
    return life.pass(61_000);
  }

  /** Back, forward by hours or months, or stopped. */
  moveClock(life: WriterLife): void {
    const jump = this.#chance.pick([-400, -40, -2, -0.1, 0, 0, 0.1, 2, 40, 400]) * dayMs;
    life.setClock(this.#machine.wallMs + jump, this.#chance.oneIn(3));
  }
}

type StepAct = (life: WriterLife, schedule: Schedule) => Promise<void> | void;

const steps: readonly (readonly [kind: string, act: StepAct])[] = [
  ...Array.from(
    { length: 4 },
    () =>
      [
        'commit',
        (life: WriterLife, schedule: Schedule) =>
          life.commit(schedule.newBatches((chance) => chance.oneIn(2))),
      ] as const,
  ),
  [
    'overlap',
    (life, schedule) =>
      life.overlap(
        schedule.newBatches(() => false),
        schedule.newBatches(() => false),
      ),
  ],
  [
    'overlap',
    (life, schedule) =>
      life.overlap(
        schedule.newBatches(() => false),
        schedule.newBatches(() => false),
      ),
  ],
  ['retry', (life, schedule) => life.commit(schedule.keyedBatches())],
  ['retry', (life, schedule) => life.commit(schedule.keyedBatches())],
  [
    'misuse of a key',
    async (life, schedule) => {
      const [batch] = schedule.keyedBatches();
      if (batch !== undefined) await life.misuseKey(batch);
    },
  ],
  ['time', (life, schedule) => life.pass(schedule.below(200))],
  ['time', (life, schedule) => life.pass(schedule.below(200))],
  ['time for maintenance', (life, schedule) => schedule.nextDay(life)],
  ['time for maintenance', (life) => life.pass(61_000)],
  ['clock', (life, schedule) => schedule.moveClock(life)],
  ['database held or released', (life) => life.holdDatabase()],
  ['rebuild', (life, schedule) => life.rebuild(schedule.below(3) === 0)],
  ['restart', (life) => life.restart()],
  ['judgement', (life) => life.judge()],
];
