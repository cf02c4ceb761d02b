import { DatabaseSync } from 'node:sqlite';
import { setTimeout as delay } from 'node:timers/promises';

import { seededRandom } from '../../infra/local/seeded-random.ts';
import { dataPaths } from '../../src/engines/embedded/data-directory.ts';
import { readAnswers, type WireAnswer } from './answers.ts';
import type { FuzzCase } from './case.ts';
import { caseOf } from './cases.ts';
import { play } from './connection.ts';
import { sendSteadily, type Manner } from './steady-client.ts';
import { openFiles, Watch, type Watched } from './watch.ts';

/** A server process for this run only. */
export interface Target {
  readonly port: number;
  readonly pid: number;
  readonly dataDir: string;
}

export interface FuzzOptions {
  readonly seed: number;
  /** Stops after this number of requests was started. */
  readonly requests: number;
  readonly onProgress?: (done: Progress) => void;
}

export interface Progress {
  readonly requests: number;
  readonly connections: number;
  readonly seconds: number;
}

export interface FuzzSummary extends Progress, Watched {
  readonly answersByStatus: ReadonlyMap<number, number>;
  readonly connectionsByShape: ReadonlyMap<string, number>;
  /** Items of sound batches on other connections. */
  readonly soundItems: number;
  /** Items of fuzzed requests that were answered 200. */
  readonly answeredItems: number;
}

/** A violation found by a case, with the command that repeats it. */
export class FuzzFailure extends Error {}

const connectionsAtOnce = 48;
const manners: readonly Manner[] = ['plain', 'node:http', 'chunked'];
const settleMsMax = 60_000;
/** Of the address of the client, so that the system does not run out of ports: 127.0.0.2 and on. */
const addresses = 40;

/**
 * Sends fuzzed requests of a seed to a server, and sound batches beside them, and compares what is
 * counted with what was answered.
 * @throws {FuzzFailure} where anything is not as it must be.
 */
export async function fuzz(target: Target, options: FuzzOptions): Promise<FuzzSummary> {
  // What starts with the first question and the first sum is there before.
  const stats = `http://127.0.0.1:${target.port}/stats?date=2023-06-16`;
  for (const question of [stats, `${stats}&group_by=type`]) await (await fetch(question)).text();
  const before = new Set(openFiles(target.pid));
  // The log may have gone on to other segments.
  const isKnown = (path: string) =>
    before.has(path) || path.startsWith(dataPaths(target.dataDir).log);
  const watch = new Watch(`http://127.0.0.1:${target.port}`, target.pid);
  const run = new Run(target, options, watch);
  const steady = manners.map(async (manner, index) => {
    const state = `sound ${manner}`;
    const random = seededRandom(options.seed + index);
    const items = await sendSteadily(target.port, state, manner, random, () => run.isOver);
    return [state, items] as const;
  });
  // A failure here ends the run; it is thrown when they are waited for.
  for (const client of steady) client.catch(() => run.stop());
  await run.finished();
  const sound = new Map(await Promise.all(steady));
  const watched = await watch.end();
  await waitFor('all to be counted', async () => (await pendingBytes(target.port)) === 0);
  checkCounters(target, sound, run);
  await waitFor('its files to be closed', () =>
    Promise.resolve(openFiles(target.pid).every((path) => isKnown(path))),
  );
  return {
    ...run.progress(),
    ...watched,
    answersByStatus: run.answersByStatus,
    connectionsByShape: run.connectionsByShape,
    soundItems: [...sound.values()].reduce((sum, items) => sum + items, 0),
    answeredItems: run.answeredItems,
  };
}

class Run {
  readonly answersByStatus = new Map<number, number>();
  readonly connectionsByShape = new Map<string, number>();
  answeredItems = 0;
  abandonedItems = 0;
  readonly #target: Target;
  readonly #options: FuzzOptions;
  readonly #watch: Watch;
  readonly #startedAt = performance.now();
  #requests = 0;
  #connections = 0;
  #next = 0;
  #isOver = false;

  constructor(target: Target, options: FuzzOptions, watch: Watch) {
    this.#target = target;
    this.#options = options;
    this.#watch = watch;
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  stop(): void {
    this.#isOver = true;
  }

  progress(): Progress {
    const seconds = (performance.now() - this.#startedAt) / 1000;
    return { requests: this.#requests, connections: this.#connections, seconds };
  }

  /** @throws {FuzzFailure} */
  async finished(): Promise<void> {
    try {
      await Promise.all(Array.from({ length: connectionsAtOnce }, () => this.#playOn()));
    } finally {
      this.#isOver = true;
    }
  }

  async #playOn(): Promise<void> {
    while (!this.#isOver && this.#watch.failure === undefined) {
      if (this.#requests >= this.#options.requests) return;
      const number = this.#next++;
      const each = caseOf(this.#options.seed, number);
      this.#requests += each.requests;
      await this.#play(each, number);
      this.#connections++;
      add(this.connectionsByShape, each.shape);
      if (this.#connections % 1000 === 0) this.#options.onProgress?.(this.progress());
    }
  }

  async #play(each: FuzzCase, number: number): Promise<void> {
    let received: Buffer = Buffer.alloc(0);
    try {
      const address = `127.0.0.${2 + (number % addresses)}`;
      received = await play(this.#target.port, address, each);
      this.abandonedItems += each.abandonedItems;
      if (each.ending === 'reset') return;
      const answers = readAnswers(received);
      for (const { status } of answers) add(this.answersByStatus, status);
      checkExpected(each, answers);
      this.answeredItems += itemsOf(each, answers);
    } catch (error) {
      this.#isOver = true;
      throw new FuzzFailure(describe(each, number, this.#options.seed, received, error), {
        cause: error,
      });
    }
  }
}

function checkExpected({ expected }: FuzzCase, answers: readonly WireAnswer[]): void {
  if (expected === undefined) return;
  if (answers.length !== expected.length) {
    throw new Error(`${answers.length} answers to ${expected.length} requests`);
  }
  expected.forEach(({ status }, index) => {
    const actual = answers[index]?.status;
    if (status !== undefined && actual !== status) {
      throw new Error(`request ${index} is answered ${actual ?? 'not'}, not ${status}`);
    }
  });
}

/** How many items the responses promise to count. */
function itemsOf({ expected }: FuzzCase, answers: readonly WireAnswer[]): number {
  return answers.reduce((sum, { status, body }, index) => {
    if (status !== 200 || expected?.[index]?.isRepeat === true) return sum;
    return sum + Number(acceptance.exec(body)?.[1] ?? 0);
  }, 0);
}

const acceptance = /^\{"status":"accepted","raw_key":"[^"]*","enqueued":(\d+)/;

function describe(
  { shape, pieces, ending }: FuzzCase,
  number: number,
  seed: number,
  received: Buffer,
  error: unknown,
): string {
  const bytes = Buffer.concat(pieces);
  return [
    `${shape}: ${error instanceof Error ? error.message : String(error)}`,
    `sent      ${JSON.stringify(bytes.toString('latin1').slice(0, 700))}${bytes.length > 700 ? ` … ${bytes.length} bytes` : ''}`,
    `received  ${JSON.stringify(received.toString('latin1').slice(0, 700))}`,
    `again     npm run test:fuzz -- --seed ${seed} --case ${number}`,
    ...(bytes.length > 1_500
      ? []
      : [`or        npm run test:fuzz -- --replay ${writePieces(pieces, ending)}`]),
  ].join('\n');
}

/** The pieces of a case, in one word. */
export function writePieces(pieces: readonly Buffer[], ending: FuzzCase['ending']): string {
  return [ending, ...pieces.map((piece) => piece.toString('base64'))].join('.');
}

/** @throws if the word is not one of `writePieces`. */
export function readPieces(word: string): Pick<FuzzCase, 'pieces' | 'ending'> {
  const [ending, ...pieces] = word.split('.');
  if (ending !== 'half-close' && ending !== 'wait' && ending !== 'reset') {
    throw new Error('what is replayed begins with half-close., wait. or reset.');
  }
  return { ending, pieces: pieces.map((piece) => Buffer.from(piece, 'base64')) };
}

/** @throws {FuzzFailure} */
function checkCounters(target: Target, sound: ReadonlyMap<string, number>, run: Run): void {
  const database = new DatabaseSync(dataPaths(target.dataDir).database, { readOnly: true });
  const counted = new Map<string, number>();
  for (const row of database
    .prepare('SELECT state, sum(count) AS items FROM counters GROUP BY state')
    .iterate()) {
    const { state, items } = row as { state: string; items: number };
    counted.set(state, items);
  }
  database.close();
  const take = (state: string) => {
    const items = counted.get(state) ?? 0;
    counted.delete(state);
    return items;
  };
  const troubles: string[] = [];
  const smuggled = take('smuggled');
  if (smuggled !== 0) troubles.push(`${smuggled} items were smuggled in`);
  for (const [state, items] of sound) {
    const actual = take(state);
    if (actual !== items) troubles.push(`${actual} items are counted of ${items} of ${state}`);
  }
  const abandoned = take('abandoned');
  if (abandoned > run.abandonedItems) {
    troubles.push(`${abandoned} items are counted of ${run.abandonedItems} that were abandoned`);
  }
  const answered = [...counted.values()].reduce((sum, items) => sum + items, 0);
  if (answered !== run.answeredItems) {
    troubles.push(`${answered} items are counted of ${run.answeredItems} that were answered 200`);
  }
  if (troubles.length > 0) throw new FuzzFailure(troubles.join('\n'));
}

async function pendingBytes(port: number): Promise<number> {
  const response = await fetch(`http://127.0.0.1:${port}/readyz`, {
    headers: { connection: 'close' },
  });
  return ((await response.json()) as { pending_bytes: number }).pending_bytes;
}

async function waitFor(what: string, holds: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + settleMsMax;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new FuzzFailure(`waited in vain for ${what}`);
    await delay(50);
  }
}

function add<K>(counts: Map<K, number>, key: K): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
