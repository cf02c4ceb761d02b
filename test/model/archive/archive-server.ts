import { closeSync, openSync, ftruncateSync, statSync, writeSync } from 'node:fs';

import { seededRandom } from '../../../infra/local/seeded-random.ts';
import type { ArchiverLimits } from '../../../src/engines/embedded/archive/ship/archiver-limits.ts';
import { Archiver } from '../../../src/engines/embedded/archive/ship/archiver.ts';
import { removeUnneeded } from '../../../src/engines/embedded/archive/manage/unneeded-objects.ts';
import { ArchivePositions } from '../../../src/engines/embedded/archive/archive-positions.ts';
import type { ObjectStore } from '../../../src/engines/embedded/archive/stores/object-store.ts';
import { nodeFileSystem } from '../../../src/engines/embedded/log/file-system.ts';
import { listSegments } from '../../../src/engines/embedded/log/segment.ts';
import { SegmentedLog, type Staged } from '../../../src/engines/embedded/log/segmented-log.ts';
import type { Chance } from '../chance.ts';
import { assert, type ArchiveOracle, type KnownDirectory } from './archive-oracle.ts';
import { readRecords, type KnownRecord } from './archived-log.ts';
import type { SimulatedBucket } from './simulated-bucket.ts';
import { SimulatedProcess, type SimulatedTime } from './simulated-time.ts';

export interface World {
  readonly time: SimulatedTime;
  readonly bucket: SimulatedBucket;
  readonly oracle: ArchiveOracle;
  readonly chance: Chance;
  readonly settings: ServerSettings;
}

export interface ServerSettings {
  readonly isSync: boolean;
  readonly intervalMs: number;
  readonly bytesPerSecondMax: number;
  readonly segmentBytes: number;
  readonly allocateBytes: number;
  readonly bodyBytesMax: number;
  readonly limits: ArchiverLimits;
  /** The store as a server's archiver sees it. */
  readonly storeOf: (store: ObjectStore, server: ArchiveServer) => ObjectStore;
}

/** Positions whose waits take simulated time. */
class SimulatedPositions extends ArchivePositions {
  readonly #process: SimulatedProcess;
  #grown = Promise.withResolvers<undefined>();

  constructor(process: SimulatedProcess) {
    super();
    this.#process = process;
  }

  /** The log is durable up to a position. */
  grow(position: number): void {
    this.durableEnd = position;
    this.#grown.resolve(undefined);
    this.#grown = Promise.withResolvers();
  }

  override async durableAbove(position: number, waitMs: number): Promise<void> {
    if (this.durableEnd > position) return;
    await Promise.race([this.#grown.promise, this.#process.sleep(waitMs)]);
  }
}

/** The time without faults after which everything older than the interval must be archived. */
const calmMs = 90_000;
const slackMs = 5_000;

/** A data directory, and the server that runs in it, if one does. */
export class ArchiveServer {
  readonly known: KnownDirectory;
  readonly directory: string;
  readonly #world: World;
  /** What `archive.json` says. */
  #claims: readonly string[] | undefined;
  /** The log is counted up to here. */
  #countedThrough: number;
  #life: Life | undefined;
  #lives = 0;
  isSucceeded = false;

  constructor(
    world: World,
    directory: string,
    known: KnownDirectory,
    { claims, end }: { claims: readonly string[] | undefined; end: number },
  ) {
    this.#world = world;
    this.directory = directory;
    this.known = known;
    this.#claims = claims;
    this.#countedThrough = end;
  }

  get life(): Life | undefined {
    return this.#life;
  }

  get claims(): readonly string[] | undefined {
    return this.#claims;
  }

  set claims(claims: readonly string[] | undefined) {
    this.#claims = claims;
  }

  start(): void {
    const name = `${this.known.name} life ${++this.#lives}`;
    this.#life = new Life(this.#world, this, name, this.#countedThrough);
  }

  /** Kills the process. Unsynced data may be lost in part. */
  kill(): void {
    this.#life?.kill();
    this.#end();
  }

  async stop(graceMs: number): Promise<void> {
    const { time } = this.#world;
    const life = this.#life;
    if (life === undefined) return;
    await time.until(Promise.race([life.stop(graceMs), life.process.sleep(graceMs + 500)]));
    life.close();
    this.#end();
  }

  #end(): void {
    this.#countedThrough = this.#life?.durableEnd ?? this.#countedThrough;
    this.#life = undefined;
  }
}

/** A process of a server. */
export class Life {
  readonly process: SimulatedProcess;
  readonly positions: SimulatedPositions;
  readonly #world: World;
  readonly #server: ArchiveServer;
  readonly #log: SegmentedLog;
  readonly #archiver: Archiver;
  readonly #ended: Promise<void>;
  readonly #committedAt: { readonly end: number; readonly at: number }[] = [];
  /** Why the archive cannot be reached now. */
  problem: string | undefined;
  #hasClaimed = false;
  #isStopping = false;
  /** Why the archiver has ended without being stopped. */
  #end: { readonly error: unknown } | undefined;

  constructor(world: World, server: ArchiveServer, name: string, countedThrough: number) {
    const { time, oracle, bucket, settings } = world;
    this.#world = world;
    this.#server = server;
    this.process = new SimulatedProcess(name, time);
    oracle.own(this.process, server.known);
    this.#log = openLog(world, server.directory, countedThrough);
    this.#learnHistory();
    this.positions = new SimulatedPositions(this.process);
    this.positions.durableEnd = this.#log.durableEnd;
    const random = seededRandom(world.chance.below(2 ** 31));
    const { logId, dayZone } = this.#log;
    this.#archiver = new Archiver({
      ...settings,
      store: settings.storeOf(bucket.client(this.process), server),
      log: {
        fileSystem: nodeFileSystem,
        directory: server.directory,
        identity: { logId, dayZone },
      },
      positions: this.positions,
      claims: {
        read: () => server.claims,
        write: (claims) => void (server.claims = claims),
      },
      shipState: () => Promise.resolve(),
      tokens: { areChanged: () => false, ship: () => Promise.resolve() },
      removeUnneeded,
      ...{ host: 'here', directory: server.known.name },
      clock: {
        now: () => Math.floor(time.now),
        elapsedMs: () => time.now,
        sleep: this.process.sleep,
        random,
      },
      onArchived: () => (this.#hasClaimed = true),
      onProblem: (problem) => (this.problem = problem),
    });
    this.#ended = this.#archiver.run().catch((error: unknown) => {
      this.#end = { error };
    });
  }

  get durableEnd(): number {
    return this.positions.durableEnd;
  }

  get isFenced(): boolean {
    return this.#end !== undefined;
  }

  /** Whether the archive is complete, and no merge is pending. */
  get isShipped(): boolean {
    return this.#hasClaimed && this.positions.archivedEnd >= this.durableEnd;
  }

  append(records: number): void {
    if (this.process.state !== 'running' || this.isFenced) return;
    const staged = this.#stage(records);
    this.#log.commit();
    this.#remember(staged);
    this.positions.grow(this.#log.durableEnd);
    this.#committedAt.push({ end: this.#log.durableEnd, at: this.#world.time.now });
  }

  /** Removes segments that the archive has released. */
  retain(): void {
    if (this.process.state !== 'running' || this.isFenced) return;
    this.#log.removeSegments(Math.min(this.positions.releasedEnd, this.durableEnd));
  }

  /** Records the acknowledgements of the server, and checks its behaviour. */
  observe(): void {
    const { oracle, bucket, settings, time } = this.#world;
    const { known } = this.#server;
    if (this.process.state !== 'running') return;
    if (this.#hasClaimed) oracle.noteArchived(known, this.positions.archivedEnd);
    if (this.#end !== undefined) {
      oracle.judgeEnd(known, this.#end.error);
      this.#server.isSucceeded = true;
      return;
    }
    const { uploadsMax } = settings.limits;
    const underWay = bucket.creationsUnderWay(this.process);
    // A merged object, too, and the racers of the check of the store.
    assert(underWay.length <= uploadsMax + 1, () => `${underWay.length} uploads are under way`);
    if (!this.#hasClaimed || this.#isStopping) return;
    const calmSince = Math.max(this.process.runsSince, bucket.troubleUntil(this.process));
    if (time.now - calmSince > calmMs + settings.intervalMs) this.#judgeLag();
  }

  async stop(graceMs: number): Promise<void> {
    this.#isStopping = true;
    this.#archiver.stop(graceMs);
    await this.#ended;
  }

  close(): void {
    this.process.kill();
    this.#log.close();
  }

  kill(): void {
    const { chance } = this.#world;
    this.process.kill();
    const { durableEnd } = this.#log;
    if (this.#end === undefined && chance.oneIn(2)) {
      this.#stage(1 + chance.below(3));
      this.#log.commit();
    }
    this.#log.close();
    this.#tear(durableEnd);
  }

  /** Removes a part of what was not known to be durable, or adds what is no record. */
  #tear(durableEnd: number): void {
    const { chance } = this.#world;
    const last = listSegments(nodeFileSystem, this.#server.directory).at(-1);
    if (last === undefined) return;
    const size = statSync(last.path).size;
    const kept = Math.max(durableEnd - last.base, 64);
    const file = openSync(last.path, 'r+');
    try {
      if (size > kept && chance.oneIn(2)) ftruncateSync(file, kept + chance.below(size - kept + 1));
      else if (chance.oneIn(2)) writeSync(file, Buffer.alloc(1 + chance.below(200)), 0, null, size);
    } finally {
      closeSync(file);
    }
  }

  #stage(records: number): KnownRecord[] {
    const { chance, settings, time } = this.#world;
    return Array.from({ length: records }, () => {
      const length = 20 + chance.below(settings.bodyBytesMax);
      const body = `${this.process.name} `.padEnd(length, 'x');
      const draft = {
        ...{
          receivedAt: Math.floor(time.now),
          accepted: 1,
          rejected: 0,
          encoding: 'identity' as const,
        },
        ...{ caller: '', idempotency: undefined, body: Buffer.from(body) },
      };
      const staged: Staged = this.#log.stage(draft);
      const { position, end, batchId } = staged;
      const id = Buffer.from(batchId).toString('hex');
      return { id, position, end, body, receivedAt: Math.floor(time.now) };
    });
  }

  #remember(records: readonly KnownRecord[]): void {
    this.#server.known.history.push(...records);
  }

  /** After a kill, records may be durable that were not known to be; but none is lost that was. */
  #learnHistory(): void {
    const { known, directory } = this.#server;
    const found = readRecords(directory);
    const begin = found[0]?.position ?? Number.POSITIVE_INFINITY;
    const removed = known.history.filter(({ position }) => position < begin);
    const kept = known.history.slice(removed.length);
    const isKept = kept.every(({ id }, index) => found[index]?.id === id);
    assert(found.length === 0 || isKept, () => `${known.name} has lost durable records`);
    if (found.length > 0) known.history = [...removed, ...found];
  }

  #judgeLag(): void {
    const { time, settings } = this.#world;
    const oldest = this.#committedAt.find(({ end }) => end > this.positions.archivedEnd);
    const ageMs = time.now - (oldest?.at ?? time.now);
    assert(
      ageMs <= settings.intervalMs + slackMs,
      () => `${this.process.name} has not shipped what is ${ageMs} ms old`,
    );
  }
}

export function openLog({ time, settings }: World, directory: string, countedThrough: number) {
  return SegmentedLog.open({
    ...{ directory, fileSystem: nodeFileSystem, countedThrough, removedThrough: countedThrough },
    ...{ segmentBytes: settings.segmentBytes, allocateBytes: settings.allocateBytes },
    now: () => Math.floor(time.now),
  });
}
