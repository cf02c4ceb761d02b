import { dataPaths } from '../../../src/engines/embedded/data-directory.ts';
import {
  dayMs,
  embeddedDefaults,
  type EmbeddedOptions,
} from '../../../src/engines/embedded/options.ts';
import { chanceOf, type Chance } from '../chance.ts';
import { PowerCut, SimulatedDisk } from '../log/simulated-disk.ts';
import { SimulatedMachine, type Ending, type FaultFor } from './simulated-machine.ts';
import { readDatabaseFiles, writeDatabaseFiles, type DatabaseFiles } from './simulated-sqlite.ts';
import { storeUncountable } from './uncountable-record.ts';
import type { Variant } from './writer-schedule.ts';
import { LifeOver, WriterLife } from './writer-life.ts';
import { Oracle, type SentBatch } from './writer-oracle.ts';

/**
 * The start of a life: everything stored, and the oracle's record of it. Many lives can start from it.
 */
export interface World {
  readonly disk: SimulatedDisk;
  readonly database: DatabaseFiles;
  readonly oracle: Oracle;
  readonly wallMs: number;
}

/** The actions of a process from its start on. */
export interface Stage {
  readonly name: string;
  readonly world: World;
  readonly act: Act;
}

export type Act = (context: Context) => Promise<void> | void;

export interface Context {
  readonly life: WriterLife;
  readonly machine: SimulatedMachine;
  readonly oracle: Oracle;
  /** A new batch whose body is about this long. */
  readonly plain: (bodyBytes: number) => SentBatch;
  readonly keyed: () => SentBatch;
  /** The batch with a key that was sent last. */
  readonly lastKeyed: () => SentBatch;
}

export interface LifeSummary {
  /** The names of its calls, in order. */
  readonly calls: readonly string[];
  /** Why it ended before all was done. */
  readonly end: string | undefined;
  /** The state that the next life finds. */
  readonly next: (how: Ending, seed: number) => World;
}

/** Runs lives in one directory, one after the other. */
export class Lives {
  readonly options: EmbeddedOptions;
  readonly #variant: Variant;

  constructor(dataDir: string, variant: Variant = (platform) => platform) {
    this.#variant = variant;
    this.options = {
      ...embeddedDefaults,
      dataDir,
      segmentBytes: 4096,
      allocateBytes: 600,
      keepKeysMs: 30 * dayMs,
      keepRawMs: dayMs,
    };
  }

  get emptyWorld(): World {
    const { dataDir, keepKeysMs } = this.options;
    return {
      disk: new SimulatedDisk({ seed: 1, sectorBytes: 512, root: dataPaths(dataDir).log }),
      database: { main: undefined, log: undefined },
      oracle: new Oracle(keepKeysMs),
      wallMs: Date.UTC(2026, 2, 1),
    };
  }

  /** @throws {Violation} */
  async live(world: World, act: Act, faultFor: FaultFor = () => undefined): Promise<LifeSummary> {
    const oracle = world.oracle.copy();
    const machine = this.#machineOf(world);
    const calls: string[] = [];
    machine.faultFor = (call) => {
      calls.push(call.name);
      return faultFor(call);
    };
    const { life, end } = await this.#run(machine, oracle, act);
    return {
      calls,
      end,
      next: (how, seed) => {
        life?.abandon();
        const found = machine.end(how, chanceOf(seed));
        const files = readDatabaseFiles(dataPaths(this.options.dataDir).database);
        return { disk: found, database: files, oracle, wallMs: machine.wallMs + 1000 };
      },
    };
  }

  async #run(machine: SimulatedMachine, oracle: Oracle, act: Act) {
    const chance = chanceOf(oracle.batches.length);
    let life: WriterLife | undefined;
    try {
      const platform = this.#variant(machine.platform());
      life = new WriterLife(machine, oracle, this.options, platform);
      await act({ life, machine, oracle, ...batchesOf(oracle, chance) });
      return { life, end: undefined };
    } catch (error) {
      if (!(error instanceof LifeOver || error instanceof PowerCut)) throw error;
      return { life, end: error.message };
    }
  }

  /** The stages, each with the state that it begins with. */
  async stages(): Promise<Stage[]> {
    const after = async (world: World, act: Act, how: Ending, seed = 1, faultFor?: FaultFor) =>
      (await this.live(world, act, faultFor)).next(how, seed);
    const { emptyWorld } = this;
    const started = await after(emptyWorld, firstStart, 'crash');
    const filled = await after(started, work, 'crash');
    const cleared = await after(filled, retention, 'crash');
    const unfinishedStart = await after(emptyWorld, idle, 'power cut', 8, nthSyncCut(0));
    const nothingStored = await after(emptyWorld, idle, 'crash');
    const backlog = this.#withUncountable(await after(filled, loadAndNoMore, 'crash'));
    const unproven = await after(filled, loadCutAtSync, 'crash');
    const torn = await after(filled, loadCutAtSync, 'power cut', 5);
    const copyLeft = await after(unproven, idle, 'crash', 1, nthSyncCut(1));
    return [
      { name: 'a first start', world: emptyWorld, act: firstStart },
      { name: 'a start after an interrupted one', world: unfinishedStart, act: firstStart },
      { name: 'a start on a segment without records', world: nothingStored, act: firstStart },
      { name: 'batches of every kind, in several segments', world: started, act: work },
      { name: 'retention', world: filled, act: retention },
      { name: 'expiry of keys', world: cleared, act: expiry },
      { name: 'a start with a backlog and a dead letter', world: backlog, act: startAgain },
      { name: 'a start on a tail that nothing proves durable', world: unproven, act: startAgain },
      { name: 'a start on a torn tail', world: torn, act: startAgain },
      { name: 'a start on a recovery that was cut short', world: copyLeft, act: startAgain },
    ];
  }

  #withUncountable(world: World): World {
    const machine = this.#machineOf(world);
    const oracle = world.oracle.copy();
    storeUncountable(this.options, machine, oracle);
    return { ...world, oracle, disk: machine.end('crash', chanceOf(1)) };
  }

  #machineOf({ disk, database, wallMs }: World): SimulatedMachine {
    const { dataDir } = this.options;
    writeDatabaseFiles(dataPaths(dataDir).database, database);
    return new SimulatedMachine({ dataDir, disk: disk.crash(1), wallMs, checkpointPages: 4 });
  }
}

function batchesOf(oracle: Oracle, chance: Chance): Pick<Context, 'plain' | 'keyed' | 'lastKeyed'> {
  return {
    plain: (bodyBytes) => oracle.newBatch(chance, bodyBytes, false),
    keyed: () => oracle.newBatch(chance, 50, true),
    lastKeyed: () => {
      const last = oracle.batches.findLast(
        ({ submission, sends }) => submission.idempotencyKey !== undefined && sends > 0,
      );
      if (last === undefined) throw new Error('no batch with a key was sent');
      return last;
    },
  };
}

/** Cuts the power before the sync of the file with that number, from 0. */
function nthSyncCut(number: number): FaultFor {
  let left = number;
  return ({ name }) => (name === 'sync' && left-- === 0 ? 'powerCutBefore' : undefined);
}

const idle: Act = () => undefined;

const firstStart: Act = async ({ life, plain, keyed }) => {
  await life.commit([plain(10), keyed()]);
  await life.pass(60);
  await life.close();
};

const work: Act = async ({ life, plain, keyed, lastKeyed }) => {
  await life.commit([plain(10), keyed(), keyed()]);
  await life.overlap([plain(300), plain(10)], [plain(10)]);
  await life.pass(60);
  await life.commit([lastKeyed(), plain(1500)]);
  await life.commit([plain(2000)]);
  await life.pass(60);
  await life.commit([keyed(), plain(5000)]);
  await life.close();
};

/** The first pass records the counts of the oldest segments, and then removes them. */
const retention: Act = async ({ life, plain, keyed }) => {
  // The age of the log is recorded, and then the log has that age.
  for (const days of [1, 2]) {
    life.skip(days * dayMs);
    await life.pass(61_000);
  }
  await life.commit([keyed(), plain(10)]);
  await life.close();
};

const expiry: Act = async ({ life, keyed, lastKeyed }) => {
  for (const days of [1, 40]) {
    life.skip(days * dayMs);
    await life.pass(61_000);
  }
  await life.commit([lastKeyed(), keyed()]);
  await life.close();
};

const startAgain: Act = async ({ life, plain, keyed, lastKeyed }) => {
  await life.commit([lastKeyed()]);
  await life.pass(60);
  await life.commit([plain(10), keyed()]);
  await life.close();
};

const loadAndNoMore: Act = async ({ life, plain, keyed }) => {
  await life.commit([plain(10), keyed()]);
  await life.commit([plain(100)]);
};

const loadCutAtSync: Act = async ({ life, machine, plain, keyed }) => {
  await life.pass(60);
  machine.faultFor = nthSyncCut(0);
  await life.commit([plain(10), keyed(), plain(700), plain(10)]);
};
