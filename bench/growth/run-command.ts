import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const commandLine = join(import.meta.dirname, '../../src/entry/cli.ts');

export interface Ran {
  readonly seconds: number;
  readonly peakMiB: number;
  readonly exitCode: number;
  readonly stdout: string;
}

/** Runs a command of ours to its end and samples its memory. */
export async function run(...args: readonly string[]): Promise<Ran> {
  const startedAt = performance.now();
  const stdio = ['ignore', 'pipe', 'ignore'] as const;
  const child = spawn(process.execPath, [commandLine, ...args], { stdio: [...stdio] });
  let stdout = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  let peakMiB = 0;
  const watch = setInterval(() => (peakMiB = Math.max(peakMiB, peakOf(child.pid ?? 0))), 20);
  const [exitCode] = (await once(child, 'close')) as [number];
  clearInterval(watch);
  return { seconds: (performance.now() - startedAt) / 1000, peakMiB, exitCode, stdout };
}

/** The peak resident memory of a process so far, in MiB; 0 if it has ended. */
export function peakOf(pid: number): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    return Math.round(Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024);
  } catch {
    return 0;
  }
}
