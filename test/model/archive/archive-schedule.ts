import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import {
  archiverLimits,
  type ArchiverLimits,
} from '../../../src/engines/embedded/archive/ship/archiver-limits.ts';
import type { ObjectStore } from '../../../src/engines/embedded/archive/stores/object-store.ts';
import { nodeFileSystem } from '../../../src/engines/embedded/log/file-system.ts';
import { readLogIdentity } from '../../../src/engines/embedded/log/segment.ts';
import { chanceOf, type Chance } from '../chance.ts';
import { ArchiveOracle, assert, Violation } from './archive-oracle.ts';
import { checkHole, isArchived, prune, restoreInto, type Restored } from './archive-restore.ts';
import { ArchiveServer, type World } from './archive-server.ts';
import { fineWeather, SimulatedBucket } from './simulated-bucket.ts';
import { SimulatedTime } from './simulated-time.ts';

/** Changes the store as servers or restores see it, or the limits of servers, as a bug would. */
export interface Variant {
  readonly serverStore?: (store: ObjectStore, server: ArchiveServer) => ObjectStore;
  readonly restoreStore?: (store: ObjectStore) => ObjectStore;
  readonly limits?: Partial<ArchiverLimits>;
}

export interface ScheduleOptions {
  readonly variant?: Variant;
  /** Receives a line for each event. */
  readonly trace?: (line: string) => void;
}

export interface ScheduleSummary {
  starts: number;
  successors: number;
  fenced: number;
  restores: number;
  requests: number;
  faults: number;
  acknowledged: number;
  merged: number;
  /** Objects that were removed because no restore reads them. */
  pruned: number;
}

const startMs = Date.UTC(2026, 2, 1);
const minuteMs = 60_000;

/**
 * One archive through several servers, some of them at the same time, on a store that fails. The seed
 * determines everything.
 * @throws {Violation}
 */
export async function runArchiveSchedule(
  seed: number,
  options: ScheduleOptions = {},
): Promise<ScheduleSummary> {
  const root = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'archive-'));
  const schedule = new Schedule(seed, root, options);
  try {
    await schedule.run();
    return schedule.summary;
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    const kind = error instanceof Violation ? Violation : Error;
    throw new kind(`seed ${seed}: ${error.message}`, { cause: error });
  } finally {
    schedule.end();
    rmSync(root, { recursive: true, force: true });
  }
}

class Schedule {
  readonly summary: ScheduleSummary = {
    ...{ starts: 0, successors: 0, fenced: 0, restores: 0 },
    ...{ requests: 0, faults: 0, acknowledged: 0, merged: 0, pruned: 0 },
  };
  readonly #chance: Chance;
  readonly #root: string;
  readonly #world: World;
  readonly #variant: Variant;
  readonly #trace: (line: string) => void;
  readonly #servers: ArchiveServer[] = [];
  readonly #trafficOneIn: number;
  #logId = '';

  constructor(seed: number, root: string, { variant = {}, trace }: ScheduleOptions) {
    const chance = (this.#chance = chanceOf(seed));
    this.#root = root;
    this.#variant = variant;
    const time = new SimulatedTime(startMs);
    this.#trace = (line) => trace?.(`${time.now - startMs} ${line}`);
    const bucket = new SimulatedBucket(time, chance);
    const oracle = new ArchiveOracle(bucket);
    const limits: ArchiverLimits = {
      ...archiverLimits,
      pieceBytesMax: chance.pick([512, 2048, 8192]),
      unmergedPiecesMax: chance.pick([3, 8, 1000]),
      ...variant.limits,
    };
    this.#world = {
      ...{ time, bucket, oracle, chance },
      settings: {
        isSync: chance.oneIn(2),
        intervalMs: chance.pick([200, 1_000, 10_000]),
        bytesPerSecondMax: 1e6,
        segmentBytes: chance.pick([1024, 4096, 16_384]),
        allocateBytes: chance.pick([0, 0, 600]),
        bodyBytesMax: chance.pick([1, 100, 700]),
        limits,
        storeOf: variant.serverStore ?? ((store) => store),
      },
    };
    this.#trafficOneIn = chance.pick([1, 2, 5]);
    oracle.onEffect = ({ process, kind, name }) => {
      if (name.startsWith(this.#logId)) this.#trace(`${process.name}: ${kind} ${name.slice(33)}`);
    };
    time.onSettled = () => {
      bucket.serve();
      for (const { life } of this.#servers) life?.observe();
    };
  }

  get #lives() {
    return this.#servers.flatMap(({ life }) => life ?? []);
  }

  async run(): Promise<void> {
    this.#addFirst();
    for (let steps = 10 + this.#chance.below(30); steps > 0; steps--) {
      await this.#step();
      await this.#pass(this.#chance.pick([10, 300, 3_000, 30_000]));
    }
    await this.#settle();
    this.#count();
  }

  end(): void {
    for (const server of this.#servers) {
      try {
        server.kill();
      } catch {
        // Its directory may be in any state.
      }
    }
  }

  #addFirst(): void {
    const { oracle } = this.#world;
    const directory = join(this.#root, 'first');
    mkdirSync(directory, { recursive: true });
    const known = oracle.addDirectory([], 0);
    const server = new ArchiveServer(this.#world, directory, known, { claims: undefined, end: 0 });
    this.#servers.push(server);
    this.#start(server);
    const identity = readLogIdentity(nodeFileSystem, directory);
    this.#logId = identity?.logId.toString('hex') ?? '';
  }

  async #step(): Promise<void> {
    const chance = this.#chance;
    const { weather } = this.#world.bucket;
    const servers = this.#servers;
    const running = servers.filter(({ life }) => life?.process.state === 'running');
    const [server] = running.length > 0 ? [chance.pick(running)] : [];
    switch (chance.below(13)) {
      case 0:
        weather.faultsOneIn = chance.pick([0, 2, 4, 20]);
        weather.troubled = undefined;
        weather.latencyMsMax = chance.pick([10, 200, 2_000]);
        weather.listingLateMsMax = chance.pick([0, 0, 5_000]);
        this.#trace(
          `weather ${JSON.stringify({ ...weather, troubled: undefined, cutOff: undefined })}`,
        );
        return;
      case 1:
        weather.outageUntil = this.#world.time.now + chance.below(5 * minuteMs);
        weather.cutOff = chance.oneIn(2) ? server?.life?.process : undefined;
        this.#trace(`outage of ${weather.cutOff?.name ?? 'all'}`);
        return;
      case 2:
      case 3:
        server?.kill();
        this.#trace(`killed ${server?.known.name ?? 'none'}`);
        return;
      case 4:
        this.#trace(`stops ${server?.known.name ?? 'none'}`);
        await server?.stop(chance.pick([0, 5_000]));
        return;
      case 5:
        server?.life?.process.pause();
        this.#trace(`paused ${server?.known.name ?? 'none'}`);
        return;
      case 6:
        for (const life of this.#lives) life.process.resume();
        this.#trace('all resumed');
        return;
      case 7:
      case 8:
        this.#restart();
        return;
      case 9:
        if (chance.oneIn(2)) server?.kill();
        await this.#succeed();
        return;
      case 10:
        await this.#check(chance.oneIn(3), chance.below(3));
        return;
      case 11:
        server?.life?.retain();
        return;
      case 12:
        this.summary.pruned += await prune(this.#world, this.#logId);
    }
  }

  #restart(): void {
    const stopped = this.#servers.filter(({ life }) => life === undefined);
    const fenced = this.#servers.filter(({ life }) => life?.isFenced === true);
    const candidates = [...stopped, ...fenced];
    if (candidates.length === 0) return;
    const server = this.#chance.pick(candidates);
    server.kill();
    this.#start(server);
  }

  #start(server: ArchiveServer): void {
    this.#trace(`starts ${server.known.name}`);
    this.summary.starts++;
    server.start();
  }

  /** Another server continues from the archive; the others may continue, or be restarted. */
  async #succeed(): Promise<ArchiveServer | undefined> {
    const restored = await this.#restore(false, this.#chance.below(2));
    // An archive without records restores no log.
    if (restored === undefined || restored.records.length === 0) return undefined;
    const { content, end, directory, records, restoredAt } = restored;
    const { oracle } = this.#world;
    const known = oracle.addDirectory(records, restoredAt);
    const isWhole = end === content.end && content.claim !== undefined;
    const claims = isWhole ? [content.claim.id] : undefined;
    const server = new ArchiveServer(this.#world, directory, known, { claims, end });
    this.#servers.push(server);
    this.summary.successors++;
    this.#start(server);
    if (this.#chance.oneIn(2)) this.#trouble(server);
    return server;
  }

  /** Only this server's requests fail, so that others may be faster than its claim. */
  #trouble({ life }: ArchiveServer): void {
    const { weather } = this.#world.bucket;
    weather.faultsOneIn = 2;
    weather.troubled = life?.process;
  }

  /** Restores only to look. */
  async #check(isUntilDrawn: boolean, interruptions: number): Promise<void> {
    const restored = await this.#restore(isUntilDrawn, interruptions);
    if (restored !== undefined) rmSync(restored.directory, { recursive: true });
  }

  async #restore(isUntilDrawn: boolean, interruptions: number): Promise<Restored | undefined> {
    if (!(await isArchived(this.#world))) return undefined;
    const number = this.summary.restores++;
    this.#trace(`restore ${number}`);
    return restoreInto(this.#world, {
      logId: this.#logId,
      directory: join(this.#root, `restored-${number}`),
      storeOf: this.#variant.restoreStore ?? ((store) => store),
      ...{ interruptions, isUntilDrawn },
    });
  }

  /** Lets time pass in which clients send batches. */
  async #pass(milliseconds: number): Promise<void> {
    const rounds = milliseconds < 1_000 ? 2 : 8;
    for (let round = 0; round < rounds; round++) {
      for (const life of this.#lives) {
        if (this.#chance.oneIn(this.#trafficOneIn)) life.append(1 + this.#chance.below(3));
      }
      await this.#world.time.pass(Math.ceil(milliseconds / rounds));
    }
  }

  /** Without faults, one server continues, and the archive has the whole log in few objects. */
  async #settle(): Promise<void> {
    const { bucket, time } = this.#world;
    this.#trace('fine weather');
    bucket.weather = { ...fineWeather };
    for (const life of this.#lives) {
      life.process.resume();
      // A server without traffic does not notice its successor.
      life.append(1);
    }
    // Requests in flight may take effect until now.
    await this.#pass(10 * minuteMs);
    const going = this.#lives.filter(({ isFenced }) => !isFenced);
    for (const life of going)
      this.#trace(`${life.process.name} continues: ${life.problem ?? 'well'}`);
    assert(going.length <= 1, () => `${going.length} servers continue`);
    if (going.length === 0) await this.#startOne();
    for (const life of this.#lives) life.append(2);
    await time.pass(5 * minuteMs);
    await this.#check(false, 0);
    await checkHole(this.#world, {
      logId: this.#logId,
      directory: join(this.#root, 'hole'),
      storeOf: this.#variant.restoreStore ?? ((store) => store),
    });
    const owners = this.#lives.filter(({ isFenced }) => !isFenced);
    assert(owners.length === 1, () => `${owners.length} servers continue in the end`);
    assert(owners[0]?.isShipped === true, () => 'the archive lacks records');
  }

  async #startOne(): Promise<void> {
    this.#trace('no server continues');
    if ((await this.#succeed()) === undefined) {
      // The archive is empty, so no server has a successor.
      const [first] = this.#servers;
      if (first !== undefined) this.#start(first);
    }
    this.#world.bucket.weather = { ...fineWeather };
    await this.#pass(10 * minuteMs);
  }

  #count(): void {
    const { bucket, oracle } = this.#world;
    Object.assign(this.summary, {
      requests: bucket.requests,
      faults: bucket.faults,
      acknowledged: oracle.acknowledged.size,
      fenced: this.#servers.filter((one) => one.isSucceeded).length,
      merged: [...bucket.objects.keys()].filter((name) => name.includes('/log/')).length,
    });
  }
}
