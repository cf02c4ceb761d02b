import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { Agent, request, type IncomingHttpHeaders } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as delay } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';

import { compareCounters, mergeIncrements, rowsOfIncrements } from '../../../src/domain/counter.ts';
import type { CounterRow, Increments } from '../../../src/domain/counter.ts';
import { dateOfTimestamp } from '../../../src/domain/timestamp.ts';
import { dataPaths } from '../../../src/engines/embedded/data-directory.ts';
import { nodeFileSystem } from '../../../src/engines/embedded/log/file-system.ts';
import { LogReader } from '../../../src/engines/embedded/log/log-reader.ts';
import { recount } from '../../../src/pipeline/recount.ts';
import { commandPath } from './command-path.ts';
import { sentences } from './server-log.ts';

export { seededRandom } from '../../../infra/local/seeded-random.ts';

/** A test fails if what it waits for takes longer, also on a slow, shared machine. */
const waitMsMax = 500_000;

const undoing: (() => void | Promise<void>)[] = [];

/** Runs `undo` after each test, in the reverse order of the registrations. */
export function afterTest(undo: () => void | Promise<void>): void {
  undoing.push(undo);
}

export async function undoAll(): Promise<void> {
  for (const undo of undoing.splice(0).reverse()) await undo();
}

export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'device-pipeline-e2e-'));
  afterTest(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

export interface SpawnOptions {
  /** Further arguments of `serve`. */
  readonly args?: readonly string[];
  /** Runs without root's power over permission bits, if the tests have it. */
  readonly isUnprivileged?: boolean;
  /** Runs under `sh` after this command, such as a `ulimit`. */
  readonly shellBefore?: string;
  /** Runs instead of the command line, with the same options. */
  readonly program?: string;
  /** Further variables of its environment. */
  readonly env?: Readonly<Record<string, string>>;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A real server process. It is killed at the end of the test if it still runs. */
export class ServerProcess {
  /** Its address, once it listens. Rejects if it ends before. */
  readonly listening: Promise<string>;
  readonly exited: Promise<Exit>;
  readonly #child: ChildProcess;
  #stderr = '';

  constructor(
    dataDir: string,
    {
      args = [],
      isUnprivileged = false,
      shellBefore,
      program = commandPath,
      env,
    }: SpawnOptions = {},
  ) {
    const serve = [program, 'serve', '--port', '0', '--data-dir', dataDir, ...args];
    // The same user, because another one may be unable to read this clone, which may be in /root.
    const drop = ['setpriv', '--bounding-set=-dac_override,-dac_read_search'];
    const isDropped = isUnprivileged && process.getuid?.() === 0;
    const [command = '', ...rest] =
      shellBefore === undefined
        ? [...(isDropped ? drop : []), process.execPath, ...serve]
        : ['sh', '-c', `${shellBefore} && exec "$0" "$@"`, process.execPath, ...serve];
    const child = spawn(command, rest, {
      stdio: ['ignore', 'pipe', 'pipe'],
      cwd: tmpdir(),
      env: { ...environment(), ...env },
    });
    this.#child = child;
    const { promise: listening, resolve: onListening, reject } = Promise.withResolvers<string>();
    this.listening = listening;
    // A test that does not wait for it checks the exit.
    listening.catch(() => undefined);
    const { promise: exited, resolve: onExit } = Promise.withResolvers<Exit>();
    this.exited = exited;
    let stdout = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
      const url = /^listening on (http:\/\/\S+)\n/m.exec(stdout)?.[1];
      if (url !== undefined) onListening(url);
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => (this.#stderr += text));
    child.on('error', (error) => reject(error));
    // After its output has been read to the end.
    child.on('close', (code, signal) => {
      const how = `exit code ${String(code)}, signal ${String(signal)}`;
      reject(new Error(`the server ended before it listened: ${how}\n${this.#stderr}`));
      onExit({ code, signal });
    });
    afterTest(async () => {
      this.kill('SIGKILL');
      await this.waitExit();
    });
  }

  get pid(): number {
    const { pid } = this.#child;
    if (pid === undefined) throw new Error('the server could not be spawned');
    return pid;
  }

  /** What it writes that is not routine, as sentences. */
  get stderr(): string {
    return sentences(this.#stderr);
  }

  /** All that it has written to stderr. */
  get log(): string {
    return this.#stderr;
  }

  /** Has no effect on a process that has ended. */
  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  waitExit(): Promise<Exit> {
    return within(this.exited, () => `the server to end\n${this.#stderr}`);
  }

  /** The peak of its resident memory in MiB, as Linux reports it. */
  memoryPeakMiB(): number {
    const status = readFileSync(`/proc/${this.pid}/status`, 'utf8');
    return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) / 1024;
  }
}

/** The environment without the settings that the user has for a server of their own. */
function environment(): NodeJS.ProcessEnv {
  const isOurs = ([name]: [string, unknown]) => name.startsWith('DEVICE_PIPELINE_');
  return Object.fromEntries(Object.entries(process.env).filter((each) => !isOurs(each)));
}

/** Starts a server and waits until it listens. */
export async function startServer(
  dataDir: string,
  options: SpawnOptions = {},
): Promise<{ server: ServerProcess; url: string }> {
  const server = new ServerProcess(dataDir, options);
  const url = await within(server.listening, () => `the server to listen\n${server.stderr}`);
  return { server, url };
}

/** Takes SQLite's write lock on the counters: batches are stored, but cannot be counted. */
export function holdDatabase(dataDir: string): { release(): void } {
  const database = new DatabaseSync(dataPaths(dataDir).database, { timeout: waitMsMax });
  database.exec('BEGIN IMMEDIATE');
  const release = () => {
    if (database.isOpen) database.close();
  };
  afterTest(release);
  return { release };
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

export interface Client {
  /** Undefined if there was no response. A client never repeats a request on its own. */
  get(url: string): Promise<Answer | undefined>;
  post(url: string, batch: Pick<TestBatch, 'body' | 'key'>): Promise<Answer | undefined>;
}

/** A client with `connections` connections, which it keeps open. */
export function newClient(connections: number): Client {
  const agent = new Agent({ keepAlive: true, maxSockets: connections, timeout: waitMsMax });
  afterTest(() => agent.destroy());
  return {
    get: (url) => exchange(agent, 'GET', url),
    post(url, { body, key }) {
      const headers = {
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(body),
        ...(key !== undefined && { 'idempotency-key': key }),
      };
      return exchange(agent, 'POST', `${url}/ingest`, headers, body);
    },
  };
}

function exchange(
  agent: Agent,
  method: string,
  url: string,
  headers: Record<string, string | number> = {},
  body = '',
): Promise<Answer | undefined> {
  return new Promise((resolve) => {
    const sent = request(url, { agent, method, headers }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (piece: string) => (text += piece));
      // A response that is cut off counts, too: its status has been read.
      response.on('error', () => undefined);
      response.on('close', () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text }),
      );
    });
    sent.on('timeout', () => sent.destroy());
    sent.on('error', () => resolve(undefined));
    sent.end(body);
  });
}

/** A batch that counts under a state of its own, so that it can be judged separately. */
export interface TestBatch {
  readonly state: string;
  readonly body: string;
  readonly key: string | undefined;
  readonly items: number;
  /** What it adds, by date and type. */
  readonly counts: Counts;
}

type Counts = Map<string, number>;

const types = ['laptop', 'phone', 'SSD', 'desktop', 'tablet'];
export const firstDate = '2026-03-01';
export const lastDate = '2026-03-09';

/** `items` items with the state `state`; `random` spreads them over types and dates. */
export function newBatch(
  state: string,
  items: number,
  random: () => number,
  key?: string,
): TestBatch {
  const counts: Counts = new Map();
  const lines: string[] = [];
  for (let item = 0; item < items; item++) {
    const type = types[Math.floor(random() * types.length)] ?? '';
    const date = `2026-03-0${1 + Math.floor(random() * 9)}`;
    const name = `${date} ${type}`;
    counts.set(name, (counts.get(name) ?? 0) + 1);
    lines.push(JSON.stringify({ type, state, timestamp: `${date}T12:00:00Z` }));
  }
  return { state, body: `{"processed_devices":[${lines.join(',')}]}`, key, items, counts };
}

/** All rows of `/stats`, in its order. */
export async function readStats(client: Client, url: string): Promise<CounterRow[]> {
  const answer = await client.get(`${url}/stats?from=${firstDate}&to=${lastDate}`);
  if (answer?.status !== 200) throw new Error(`no counters: ${answer?.text ?? 'no answer'}`);
  return JSON.parse(answer.text) as CounterRow[];
}

/** How each batch was counted: `none`, `once`, or otherwise, in words. */
export function judge(rows: readonly CounterRow[]): (batch: TestBatch) => string {
  const countsOf = new Map<string, Counts>();
  for (const { date, type, state, count } of rows) {
    const counts = countsOf.get(state) ?? new Map<string, number>();
    countsOf.set(state, counts.set(`${date} ${type}`, count));
  }
  return ({ state, counts, items }) => {
    const counted = countsOf.get(state);
    if (counted === undefined) return 'none';
    if (isDeepStrictEqual(counted, counts)) return 'once';
    const sum = [...counted.values()].reduce((total, count) => total + count, 0);
    return `${state}: ${sum} counted of ${items}, in ${counted.size} counters of ${counts.size}`;
  };
}

/** The rows of `/stats` as the raw store alone determines them. */
export function recountLog(dataDir: string): CounterRow[] {
  const reader = new LogReader(nodeFileSystem, dataPaths(dataDir).log);
  const increments: Increments = new Map();
  for (const { record } of reader.records()) {
    const counted = recount(record, dateOfTimestamp);
    if (counted.reason !== undefined) throw new Error(counted.reason);
    mergeIncrements(increments, counted.increments);
  }
  reader.close();
  return [...rowsOfIncrements(increments)].sort(compareCounters);
}

/** Waits until everything stored is counted. */
export async function waitCounted(client: Client, url: string): Promise<void> {
  await waitUntil('all to be counted', async () => {
    const answer = await client.get(`${url}/readyz`);
    if (answer?.status !== 200) return false;
    return (JSON.parse(answer.text) as { pending_bytes: number }).pending_bytes === 0;
  });
}

/** Checks repeatedly until it holds. */
export async function waitUntil(what: string, holds: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + waitMsMax;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`waited in vain for ${what}`);
    await delay(10);
  }
}

async function within<T>(promise: Promise<T>, what: () => string): Promise<T> {
  const timer = new AbortController();
  const late = delay(waitMsMax, undefined, { signal: timer.signal }).then(() => {
    throw new Error(`waited in vain for ${what()}`);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    late.catch(() => undefined);
    timer.abort();
  }
}
