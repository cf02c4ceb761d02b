import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';

const patienceMs = 30_000;

export interface Started {
  readonly pid: number;
  /** Ends it by SIGTERM, and waits for that. */
  stop(): Promise<void>;
}

/** A Node process of this repository, and where it says that it is listening. */
export async function startNode(...args: string[]): Promise<Started & { readonly url: string }> {
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  for await (const line of createInterface({ input: child.stdout })) {
    if (!line.startsWith('listening on ')) continue;
    return { ...startedOf(child), url: line.slice('listening on '.length).trim() };
  }
  throw new Error(`${args.join(' ')} ended before it listened`);
}

/** A server that is not ours; what it prints is shown only if it ends before it `isReady`. */
export async function startServer(
  command: string,
  args: readonly string[],
  isReady: () => Promise<boolean>,
): Promise<Started> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let printed = '';
  child.on('error', (error) => void (printed += error.message));
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (data: Buffer) => void (printed = (printed + data.toString()).slice(-4000)));
  }
  const deadline = performance.now() + patienceMs;
  while (!(await isReady().catch(() => false))) {
    if (child.exitCode !== null || performance.now() > deadline) {
      child.kill('SIGKILL');
      throw new Error(`${command} did not start: ${printed}`);
    }
    await delay(20);
  }
  return startedOf(child);
}

function startedOf(child: ChildProcess): Started {
  return {
    pid: child.pid ?? 0,
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill('SIGTERM');
      await once(child, 'exit');
    },
  };
}

/**
 * The most that was resident so far, of all these processes and their children together; what
 * they share among them is taken once.
 */
export function peakMiB(pids: readonly number[]): number {
  const processes = pids.flatMap(withChildren).map((pid) => {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const of = (what: string) => Number(new RegExp(`${what}:\\s+(\\d+)`).exec(status)?.[1] ?? 0);
    return { own: of('VmHWM') - of('RssShmem'), shared: of('RssShmem') };
  });
  const own = processes.reduce((sum, each) => sum + each.own, 0);
  return Math.round((own + Math.max(...processes.map(({ shared }) => shared))) / 1024);
}

function withChildren(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8');
  return [pid, ...children.split(' ').filter(Boolean).map(Number).flatMap(withChildren)];
}
