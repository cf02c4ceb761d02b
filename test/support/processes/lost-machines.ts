import { execFile } from 'node:child_process';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';

import { dataPaths } from '../../../src/engines/embedded/data-directory.ts';
import { commandPath } from './command-path.ts';
import { auditOf } from './killed-server.ts';
import {
  judge,
  newClient,
  recountLog,
  seededRandom,
  startServer,
  temporaryDirectory,
  waitCounted,
  type Client,
} from './real-server.ts';
import { clients, Traffic, violationsOf, type Sent } from './traffic.ts';

export interface LossOptions {
  readonly machines: number;
  readonly seed: number;
  readonly mode: 'sync' | 'async';
  /** The archive, and what the processes need in their environment to reach it. */
  readonly url: string;
  readonly env: Readonly<Record<string, string>>;
  /** Instead of the command line: a version that removes archived objects. */
  readonly program?: string;
  /** Each machine lives at least until it has acknowledged this number of batches. */
  readonly batches?: number;
}

export interface LossSummary {
  readonly acknowledged: number;
  /** Acknowledged, and gone with a machine. */
  readonly lost: number;
  /** The violations of guarantees, in words. */
  readonly violations: readonly string[];
}

/**
 * Kills a server under load, deletes its data directory, and restores it from the archive for the next
 * server, repeatedly. Then compares what is counted with what the clients were answered.
 */
export async function loseMachines(options: LossOptions): Promise<LossSummary> {
  const client = newClient(clients);
  const traffic = new Traffic(options.seed);
  const random = seededRandom(options.seed);
  const machines = new Machines(options, client);
  const running = traffic.runAll(client);
  for (let machine = 0; machine < options.machines; machine++) {
    await machines.start();
    const answered = traffic.keyedAnswers();
    traffic.up(machines.url);
    await answered;
    await traffic.acknowledgedMore(options.batches ?? 0);
    await delay(random() * (options.mode === 'sync' ? 300 : 2_500));
    const archivedUntil = await machines.archivedUntil();
    traffic.down();
    await machines.lose(traffic.sent, archivedUntil);
  }
  await machines.start();
  traffic.up(machines.url);
  await traffic.keyedAnswers();
  traffic.end();
  await running;
  await waitCounted(client, machines.url);
  const kept = traffic.sent.filter((sent) => !machines.lost.has(sent));
  const violations = [
    ...machines.violations,
    ...(await violationsOf(client, machines.url, kept, options.program !== undefined)),
    ...(await auditOf(machines.dataDir)),
  ];
  await machines.stop();
  const acknowledged = kept.filter(({ location }) => location !== undefined).length;
  return { acknowledged, lost: machines.lost.size, violations };
}

class Machines {
  readonly lost = new Set<Sent>();
  readonly violations: string[] = [];
  readonly #options: LossOptions;
  readonly #client: Client;
  readonly #root = temporaryDirectory();
  #number = 0;
  #running: Awaited<ReturnType<typeof startServer>> | undefined;

  constructor(options: LossOptions, client: Client) {
    this.#options = options;
    this.#client = client;
  }

  get dataDir(): string {
    return join(this.#root, String(this.#number));
  }

  get url(): string {
    return this.#running?.url ?? '';
  }

  async start(): Promise<void> {
    const { url, mode, env, program } = this.#options;
    const args = ['--archive', url, '--archive-mode', mode, '--archive-interval', '1'];
    const options = { args, env, ...(program !== undefined && { program }) };
    this.#running = await startServer(this.dataDir, options);
  }

  async stop(): Promise<void> {
    this.#running?.server.kill('SIGTERM');
    const exit = await this.#running?.server.waitExit();
    if (exit?.code !== 0) this.violations.push(`a stop ended with ${String(exit?.code)}`);
  }

  /** The time before which, as the server says, everything is archived; milliseconds since 1970. */
  async archivedUntil(): Promise<number> {
    const now = Date.now();
    const answer = await this.#client.get(`${this.url}/readyz`);
    const { archive } = JSON.parse(answer?.text ?? '') as { archive: { lag_seconds: number } };
    // The lag is rounded to tenths.
    return now - archive.lag_seconds * 1000 - 50;
  }

  /** Kills the server, deletes its directory, restores another one, and compares the two. */
  async lose(all: readonly Sent[], archivedUntil: number): Promise<void> {
    this.#running?.server.kill('SIGKILL');
    await this.#running?.server.waitExit();
    const log = logFiles(this.dataDir);
    rmSync(this.dataDir, { recursive: true });
    this.#number++;
    await this.#restore();
    for (const [name, restored] of logFiles(this.dataDir)) {
      const known = log.get(name);
      // Retention may have removed it.
      if (known === undefined || known.subarray(0, restored.length).equals(restored)) continue;
      this.violations.push(`${name}, restored as ${this.#number}, is no beginning of what it was`);
    }
    const verdictOn = judge(recountLog(this.dataDir));
    for (const sent of all) {
      const isAcknowledged = sent.location !== undefined && !this.lost.has(sent);
      if (!isAcknowledged || verdictOn(sent.batch) !== 'none') continue;
      this.lost.add(sent);
      const isArchived = (sent.answeredAt ?? 0) < archivedUntil;
      if (this.#options.mode === 'async' && !isArchived) continue;
      this.violations.push(`${sent.batch.state} was acknowledged and is not restored`);
    }
  }

  async #restore(): Promise<void> {
    const { url, env } = this.#options;
    const args = [commandPath, 'restore', '--from', url, '--data-dir', this.dataDir];
    await promisify(execFile)(process.execPath, args, { env: { ...process.env, ...env } });
  }
}

/** The files of a log, by name. */
function logFiles(dataDir: string): Map<string, Buffer> {
  const { log } = dataPaths(dataDir);
  const names = readdirSync(log).filter((name) => /^\d+\.log$/.test(name));
  return new Map(names.map((name) => [name, readFileSync(join(log, name))]));
}
