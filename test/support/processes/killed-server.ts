import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import { auditDataDirectory } from '../../../src/engines/embedded/verify/audit.ts';
import { dropReplacedTables } from '../../../src/engines/embedded/verify/rebuild.ts';
import { commandPath } from './command-path.ts';
import {
  holdDatabase,
  judge,
  newBatch,
  newClient,
  readStats,
  seededRandom,
  ServerProcess,
  startServer,
  temporaryDirectory,
  waitCounted,
  type Client,
  type SpawnOptions,
  type TestBatch,
} from './real-server.ts';

/** Keeps no raw bodies, in small segments: kills hit rotation and retention. */
export const smallServer = fileURLToPath(new URL('small-server.ts', import.meta.url));

const clients = 8;
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
  /** The signal that ends it. After SIGTERM it stops by itself, and its exit code is checked. */
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

interface Sent {
  readonly batch: TestBatch;
  /** `/ingest/<batch id>`, once it is acknowledged. */
  location?: string;
}

/** What all clients share: the server's address, as a promise while the server is down. */
class Traffic {
  readonly sent: Sent[] = [];
  readonly #seed: number;
  #address = Promise.withResolvers<string>();
  #isOver = false;
  #onAnswered: ((client: number) => void) | undefined;

  constructor(seed: number) {
    this.#seed = seed;
  }

  up(url: string): void {
    this.#address.resolve(url);
  }

  down(): void {
    this.#address = Promise.withResolvers<string>();
  }

  /** Resolves when each of the clients with keys has got an answer from now on. */
  keyedAnswers(): Promise<void> {
    const missing = new Set(Array.from({ length: clients }, (_, id) => id).filter(hasKeys));
    return new Promise((resolve) => {
      this.#onAnswered = (client) => {
        missing.delete(client);
        if (missing.size === 0) resolve();
      };
    });
  }

  /** Lets every client end with its current batch. */
  end(): void {
    this.#isOver = true;
  }

  /** One client: batch after batch, each with a state of its own, 1 to 20 items. */
  async run(id: number, client: Client): Promise<void> {
    const random = seededRandom(this.#seed * 1000 + id);
    for (let number = 0; !this.#isOver; number++) {
      const name = `client ${id} batch ${number}`;
      const items = 1 + Math.floor(random() * 20);
      const key = hasKeys(id) ? name.replaceAll(' ', '-') : undefined;
      const sent: Sent = { batch: newBatch(name, items, random, key) };
      this.sent.push(sent);
      // Without a key nothing is sent twice.
      while (!(await this.#post(id, client, sent)) && hasKeys(id));
    }
  }

  async #post(id: number, client: Client, sent: Sent): Promise<boolean> {
    const answer = await client.post(await this.#address.promise, sent.batch);
    if (answer?.status !== 200) return false;
    sent.location = answer.headers.location ?? '';
    this.#onAnswered?.(id);
    return true;
  }
}

/** Every second client uses keys and retries until it gets an answer. */
function hasKeys(client: number): boolean {
  return client % 2 === 0;
}

/**
 * Kills or stops a server repeatedly, at every stage of its life, while clients send to it. Then
 * compares what it has counted with what they sent and were answered.
 */
export async function killServer(options: KillOptions): Promise<KillSummary> {
  const dataDir = temporaryDirectory();
  const traffic = new Traffic(options.seed);
  const client = newClient(clients);
  const running = Array.from({ length: clients }, (_, id) => traffic.run(id, client));
  const killer = new Killer(dataDir, traffic, options);
  const kills = await killer.run();
  const { server, url } = await startServer(dataDir, spawnOptions(options));
  traffic.up(url);
  await traffic.keyedAnswers();
  traffic.end();
  await Promise.all(running);
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

async function violationsOf(
  client: Client,
  url: string,
  sent: readonly Sent[],
  isRawRemoved: boolean,
): Promise<string[]> {
  const counted = await readStats(client, url);
  const verdictOn = judge(counted);
  const acknowledged = sent.filter(({ location }) => location !== undefined);
  const violations = sent.flatMap(({ batch, location }) => {
    const verdict = verdictOn(batch);
    const isRight = verdict === 'once' || (verdict === 'none' && location === undefined);
    return isRight ? [] : [`${batch.state}, answered ${location}: counted ${verdict}`];
  });
  if (sent.some((each) => each.location === undefined && each.batch.key !== undefined)) {
    violations.push('a client that tried again was not answered');
  }
  if (!isRawRemoved) {
    const receipts = await runConcurrently(acknowledged, (each) => receiptOf(client, url, each));
    violations.push(...receipts.flat());
  }
  const keyed = acknowledged.filter(({ batch }) => batch.key !== undefined).slice(-500);
  const again = await runConcurrently(keyed, ({ batch }) => client.post(url, batch));
  keyed.forEach(({ batch, location }, index) => {
    if (again[index]?.headers.location === location) return;
    violations.push(`a retry of ${batch.state} was answered as another batch`);
  });
  await waitCounted(client, url);
  const recounted = await readStats(client, url);
  if (JSON.stringify(recounted) !== JSON.stringify(counted)) {
    violations.push('retries changed the counters');
  }
  return violations;
}

async function auditOf(dataDir: string): Promise<string[]> {
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

  /** A rebuild beside the server: it is killed after the server, or runs to its end. */
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

async function receiptOf(client: Client, url: string, { batch, location }: Sent) {
  const answer = await client.get(`${url}${location ?? ''}`);
  if (answer?.status !== 200) return [`no receipt of ${batch.state}: ${answer?.text ?? ''}`];
  const { status, counted, enqueued } = JSON.parse(answer.text) as Record<string, unknown>;
  const isRight = status === 'counted' && counted === batch.items && enqueued === batch.items;
  return isRight ? [] : [`the receipt of ${batch.state} says ${answer.text}`];
}

/** Runs the work in order, `clients` at a time; returns the results. */
async function runConcurrently<In, Out>(all: readonly In[], act: (each: In) => Promise<Out>) {
  const results: Out[] = [];
  const queue = all.entries();
  const worker = async () => {
    for (const [index, each] of queue) results[index] = await act(each);
  };
  await Promise.all(Array.from({ length: clients }, worker));
  return results;
}
