import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import { auditDataDirectory } from '../../../src/engines/embedded/verify/audit.ts';
import { dropReplacedTables } from '../../../src/engines/embedded/verify/rebuild.ts';
import { commandPath } from './command-path.ts';
import {
  holdDatabase,
  newClient,
  seededRandom,
  ServerProcess,
  startServer,
  temporaryDirectory,
  waitCounted,
  type SpawnOptions,
} from './real-server.ts';
import { clients, Traffic, violationsOf } from './traffic.ts';

/** Keeps no raw bodies, in small segments: kills hit rotation and retention. */
export const smallServer = fileURLToPath(new URL('small-server.ts', import.meta.url));

/** How many of the first kills hit a data directory while it is created. */
export function killsOfFirstStart(kills: number, signal: KillOptions['signal']): number {
  return Math.min(signal === 'SIGTERM' ? 2 : 5, Math.floor(kills / 4));
}

export interface KillOptions {
  readonly kills: number;
  /** Other seeds give other batches and other moments. */
  readonly seed: number;
  /** Instead of the command line. */
  readonly program?: string | undefined;
  /** The signal that ends it. After SIGTERM it stops normally, and its exit code is checked. */
  readonly signal?: 'SIGKILL' | 'SIGTERM';
  /** Called at each kill. */
  readonly onKill?: (stage: string) => void;
  /** Returns, before each kill, whether to stop. */
  readonly isOver?: () => boolean;
}

export interface KillSummary {
  readonly kills: ReadonlyMap<string, number>;
  readonly acknowledged: number;
  readonly unanswered: number;
  readonly items: number;
  /** The violations of guarantees, in words. */
  readonly violations: readonly string[];
}

/**
 * Kills or stops a server repeatedly, at every stage of its life, while clients send to it. Then
 * compares what it has counted with what they sent and were answered.
 */
export async function killServer(options: KillOptions): Promise<KillSummary> {
  const dataDir = temporaryDirectory();
  const traffic = new Traffic(options.seed);
  const client = newClient(clients);
  const running = traffic.runAll(client);
  const killer = new Killer(dataDir, traffic, options);
  const kills = await killer.run();
  const { server, url } = await startServer(dataDir, spawnOptions(options));
  traffic.up(url);
  await traffic.keyedAnswers();
  traffic.end();
  await running;
  await waitCounted(client, url);
  const { sent } = traffic;
  const violations = [
    ...killer.violations,
    ...(await violationsOf(client, url, sent, options.program === smallServer)),
    ...(await auditOf(dataDir)),
  ];
  server.kill('SIGTERM');
  const { code } = await server.waitExit();
  if (code !== 0) violations.push(`a stop ended with ${String(code)}: ${server.stderr}`);
  const acknowledged = sent.filter(({ location }) => location !== undefined);
  return {
    kills,
    acknowledged: acknowledged.length,
    unanswered: sent.length - acknowledged.length,
    items: acknowledged.reduce((sum, { batch }) => sum + batch.items, 0),
    violations,
  };
}

function spawnOptions({ program }: KillOptions): SpawnOptions {
  return program === undefined ? {} : { program };
}

/** The findings of an audit, in words. */
export async function auditOf(dataDir: string): Promise<string[]> {
  const differences: string[] = [];
  await auditDataDirectory({
    dataDir,
    threads: undefined,
    dates: undefined,
    received: undefined,
    onDifference: ({ code, detail }) => differences.push(`audit: ${code}, ${detail}`),
    onProgress: () => undefined,
  });
  return differences;
}

type Stage = 'start' | 'load' | 'load, nothing being counted' | 'stop' | 'rebuild';
const stages: readonly Stage[] = [
  'start',
  'load',
  'load, nothing being counted',
  'start',
  'stop',
  'rebuild',
  'load',
];

/** Starts and kills the server at moments that the seed chooses. */
class Killer {
  readonly violations: string[] = [];
  readonly #dataDir: string;
  readonly #traffic: Traffic;
  readonly #options: KillOptions;
  readonly #random: () => number;
  readonly #signal: 'SIGKILL' | 'SIGTERM';
  readonly #counts = new Map<string, number>();
  #startMs = 0;
  #held: ReturnType<typeof holdDatabase> | undefined;

  constructor(dataDir: string, traffic: Traffic, options: KillOptions) {
    this.#dataDir = dataDir;
    this.#traffic = traffic;
    this.#options = options;
    this.#random = seededRandom(options.seed);
    this.#signal = options.signal ?? 'SIGKILL';
  }

  async run(): Promise<ReadonlyMap<string, number>> {
    this.#startMs = await this.#measureStart();
    const { kills } = this.#options;
    const firstStarts = killsOfFirstStart(kills, this.#signal);
    for (let kill = 0; kill < kills; kill++) {
      if (this.#options.isOver?.() === true) break;
      const stage = kill < firstStarts ? 'start' : (stages[kill % stages.length] ?? 'load');
      this.#options.onKill?.(stage);
      if (stage === 'start') await this.#killStart();
      else await this.#killRunning(stage);
      this.#counts.set(stage, (this.#counts.get(stage) ?? 0) + 1);
    }
    this.#held?.release();
    return this.#counts;
  }

  /** How long a start takes on this machine now: the kills within it are spread over that time. */
  async #measureStart(): Promise<number> {
    const startedAt = performance.now();
    const { server } = await startServer(temporaryDirectory(), spawnOptions(this.#options));
    server.kill('SIGKILL');
    await server.waitExit();
    return performance.now() - startedAt;
  }

  async #killStart(): Promise<void> {
    const server = new ServerProcess(this.#dataDir, spawnOptions(this.#options));
    await delay(this.#random() * this.#startMs);
    await this.#end(server, 'start');
  }

  async #end(server: ServerProcess, stage: Stage): Promise<void> {
    server.kill(this.#signal);
    const { code, signal } = await server.waitExit();
    if (this.#signal === 'SIGKILL') return;
    // Before the server handles signals, one ends it as SIGKILL does; so does a second one, at
    // once.
    const isAtOnce = stage === 'start' || stage === 'stop';
    const isRight = code === 0 || (isAtOnce && (code === 130 || signal === 'SIGTERM'));
    if (!isRight || /(?<!cut off the log)\n/.test(server.stderr)) {
      this.violations.push(
        `a stop (${stage}) ended with ${String(code ?? signal)}: ${server.stderr}`,
      );
    }
  }

  async #killRunning(stage: Stage): Promise<void> {
    const { server, url } = await startServer(this.#dataDir, spawnOptions(this.#options));
    const keyedAnswers = this.#traffic.keyedAnswers();
    this.#traffic.up(url);
    if (this.#held !== undefined) {
      // What could not be counted before is counted after the start.
      await keyedAnswers;
      this.#held.release();
      this.#held = undefined;
    }
    const runMs = 50 + this.#random() * 350;
    const holdMs = stage === 'load, nothing being counted' ? this.#random() * runMs : runMs;
    await delay(holdMs);
    if (holdMs < runMs) this.#held = holdDatabase(this.#dataDir);
    await delay(runMs - holdMs);
    const endRebuild = stage === 'rebuild' ? await this.#rebuild() : undefined;
    if (stage === 'stop') {
      server.kill('SIGTERM');
      await delay(this.#random() * 100);
    }
    this.#traffic.down();
    await this.#end(server, stage);
    await endRebuild?.();
  }

  /** A rebuild during the server's run: it is killed after the server, or completes. */
  async #rebuild(): Promise<() => Promise<void>> {
    dropReplacedTables(this.#dataDir);
    const child = spawn(process.execPath, [commandPath, 'rebuild', '--data-dir', this.#dataDir], {
      stdio: 'ignore',
    });
    const ended = once(child, 'exit');
    await delay(this.#random() * this.#startMs);
    return async () => {
      await delay(this.#random() * this.#startMs);
      child.kill(this.#signal);
      await ended;
    };
  }
}
