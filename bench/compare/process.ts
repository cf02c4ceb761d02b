import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';

const patienceMs = 30_000;
/** Linux counts CPU time so for all programs, whatever its own clock. */
const ticksPerSecond = 100;

export interface Started {
  readonly pid: number;
  /** Ends it by SIGTERM, and waits for that. */
  stop(): Promise<void>;
}

/** A Node process of this repository, and the address that it prints once it listens. */
export async function startNode(...args: string[]): Promise<Started & { readonly url: string }> {
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  for await (const line of createInterface({ input: child.stdout })) {
    if (!line.startsWith('listening on ')) continue;
    return { ...startedOf(child), url: line.slice('listening on '.length).trim() };
  }
  throw new Error(`${args.join(' ')} ended before it listened`);
}

/** A server that is not ours; its output is shown only if it ends before it `isReady`. */
export async function startServer(
  command: string,
  args: readonly string[],
  isReady: () => Promise<boolean>,
  env: Readonly<Record<string, string>> = {},
): Promise<Started> {
  const stdio = ['ignore', 'pipe', 'pipe'] as const satisfies StdioOptions;
  const child = spawn(command, args, { stdio: [...stdio], env: { ...process.env, ...env } });
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

/** A port of the loopback address that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  return typeof address === 'object' ? (address?.port ?? 0) : 0;
}

/**
 * What these processes and their children have resident, together, in MiB. What they share among
 * them is taken once.
 */
export function residentMiB(pids: readonly number[], when: 'now' | 'at most so far'): number {
  const processes = pids.flatMap(withChildren).map((pid) => {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const of = (what: string) => Number(new RegExp(`${what}:\\s+(\\d+)`).exec(status)?.[1] ?? 0);
    const shared = of('RssShmem');
    return { own: of(when === 'now' ? 'VmRSS' : 'VmHWM') - shared, shared };
  });
  const own = processes.reduce((sum, each) => sum + each.own, 0);
  return Math.round((own + Math.max(...processes.map(({ shared }) => shared))) / 1024);
}

/** Seconds of CPU time, user and system, that these processes and their children have taken. */
export function cpuSeconds(pids: readonly number[]): number {
  const ticks = pids.flatMap(withChildren).map((pid) => {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // After the name, which may contain blanks: state, then 10 fields, then user, system, and both
    // of the children that ended.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
  });
  return ticks.reduce((sum, each) => sum + each, 0) / ticksPerSecond;
}

function withChildren(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8');
  return [pid, ...children.split(' ').filter(Boolean).map(Number).flatMap(withChildren)];
}
