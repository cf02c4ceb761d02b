import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';

const commandLine = join(import.meta.dirname, '../../src/entry/cli.ts');
const pollMs = 2;
const patienceMs = 600_000;

/** `serve` on a data directory, as a separate process. */
export interface Served {
  readonly url: string;
  /** When the process was spawned, by `performance.now()`. */
  readonly spawnedAt: number;
  /** From then until it reported that it listens. */
  readonly listeningMs: number;
  /** The peak and the current resident memory. */
  peakMiB(): number;
  residentMiB(): number;
  /** The CPU time of its threads so far, in microseconds. */
  threadTimes(): ThreadTimes;
  /** Ends it with SIGTERM. @throws unless it exits with 0. */
  stop(): Promise<void>;
}

export interface ThreadTimes {
  readonly main: number;
  readonly writer: number;
  /** The threads of V8 and libuv, and those that serve queries. */
  readonly others: number;
}

export interface ServeSettings {
  readonly dataDir: string;
  readonly nodeOptions?: readonly string[];
}

export async function startServe({ dataDir, nodeOptions = [] }: ServeSettings): Promise<Served> {
  const spawnedAt = performance.now();
  const child = spawn(
    process.execPath,
    [...nodeOptions, commandLine, 'serve', '--port', '0', '--data-dir', dataDir],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const url = await listeningUrl(child);
  const listeningMs = performance.now() - spawnedAt;
  const { pid = 0 } = child;
  return {
    url,
    spawnedAt,
    listeningMs,
    peakMiB: () => memoryMiB(pid, 'VmHWM'),
    residentMiB: () => memoryMiB(pid, 'VmRSS'),
    threadTimes: () => threadTimes(pid),
    async stop() {
      if (child.exitCode === null) {
        child.kill('SIGTERM');
        await once(child, 'exit');
      }
      if (child.exitCode !== 0) throw new Error(`serve ended with ${child.exitCode}`);
    },
  };
}

/** Calls `use` with a running server and stops it, also after an error. */
export async function whileServing<T>(
  settings: ServeSettings,
  use: (served: Served) => Promise<T>,
): Promise<T> {
  const served = await startServe(settings);
  let result: T;
  try {
    result = await use(served);
  } catch (error) {
    // Report the first error.
    await served.stop().catch(() => undefined);
    throw error;
  }
  await served.stop();
  return result;
}

async function listeningUrl(child: ChildProcess): Promise<string> {
  if (child.stdout === null) throw new Error('serve has no output');
  for await (const line of createInterface({ input: child.stdout })) {
    if (line.startsWith('listening on ')) return line.slice('listening on '.length).trim();
  }
  throw new Error('serve ended before it listened');
}

/** Polls until everything stored is counted. */
export async function untilCounted(url: string): Promise<void> {
  await until(async () => {
    const response = await fetch(`${url}/readyz`);
    const { pending_bytes: pending } = (await response.json()) as { pending_bytes?: number };
    return pending === 0;
  });
}

/** Posts until a batch is accepted; a full backlog gives a refusal with `Retry-After`. */
export async function untilAccepted(url: string, body: string): Promise<void> {
  await until(async () => {
    const headers = { 'content-type': 'application/json' };
    const response = await fetch(`${url}/ingest`, { method: 'POST', headers, body });
    await response.arrayBuffer();
    if (response.status !== 200 && response.status !== 503) {
      throw new Error(`the response to a batch was ${response.status}`);
    }
    return response.status === 200;
  });
}

async function until(isSo: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + patienceMs;
  while (!(await isSo())) {
    if (performance.now() > deadline) throw new Error('timed out');
    await delay(pollMs);
  }
}

function memoryMiB(pid: number, what: 'VmHWM' | 'VmRSS'): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Math.round(Number(new RegExp(`${what}:\\s+(\\d+)`).exec(status)?.[1]) / 1024);
}

function threadTimes(pid: number): ThreadTimes {
  const times = { main: 0, writer: 0, others: 0 };
  const tasks = `/proc/${pid}/task`;
  let hasWriter = false;
  for (const id of readdirSync(tasks).sort((a, b) => Number(a) - Number(b))) {
    const [nanoseconds = ''] = readFileSync(`${tasks}/${id}/schedstat`, 'utf8').split(' ');
    // The writer is the worker that is started first.
    const isWorker = readFileSync(`${tasks}/${id}/comm`, 'utf8').startsWith('WorkerThread');
    const isWriter = isWorker && !hasWriter;
    hasWriter ||= isWorker;
    const other = isWriter ? 'writer' : 'others';
    times[id === String(pid) ? 'main' : other] += Number(nanoseconds) / 1_000;
  }
  return times;
}
