import { readFileSync } from 'node:fs';

/** Signals that ask a process to end. Some shells send SIGHUP more than once when a terminal closes. */
const stopSignals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
export type StopSignal = (typeof stopSignals)[number];

const parentCheckMs = 500;

/**
 * Calls `callback` at each signal to stop; returns a function that ends this. npx runs a program in a
 * shell that does not forward SIGTERM, and npx itself ends at SIGHUP. So if npx started this process,
 * the end of that shell or of npx counts as SIGTERM.
 */
export function onStopSignal(callback: (signal: StopSignal) => void): () => void {
  for (const signal of stopSignals) process.on(signal, callback);
  const timer = process.env['npm_command'] === 'exec' ? watchParents(callback) : undefined;
  return () => {
    for (const signal of stopSignals) process.off(signal, callback);
    clearInterval(timer);
  };
}

function watchParents(callback: (signal: StopSignal) => void): NodeJS.Timeout {
  const parent = process.ppid;
  // The parent of npx may end earlier, so only these two are watched.
  const npx = isShellOfCommand(parent) ? parentOf(parent) : undefined;
  const timer = setInterval(() => {
    if (process.ppid === parent && (npx === undefined || parentOf(parent) === npx)) return;
    clearInterval(timer);
    callback('SIGTERM');
  }, parentCheckMs);
  return timer.unref();
}

/** Whether a process is `sh -c …`; false on systems without /proc. */
function isShellOfCommand(pid: number): boolean {
  return readProcess(pid, 'cmdline').split('\0')[1] === '-c';
}

function parentOf(pid: number): number {
  // The fields after the name, which is in parentheses and may hold any character: state, parent.
  const stat = readProcess(pid, 'stat');
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
}

function readProcess(pid: number, what: 'cmdline' | 'stat'): string {
  try {
    return readFileSync(`/proc/${pid}/${what}`, 'utf8');
  } catch {
    return '';
  }
}
