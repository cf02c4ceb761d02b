import { readFileSync } from 'node:fs';

/** What asks a process to end. SIGHUP comes when its terminal closes, more than once by some shells. */
const stopSignals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
export type StopSignal = (typeof stopSignals)[number];

const parentCheckMs = 500;

/**
 * Calls back at each signal that asks this process to end; returns how to stop that. npx runs a program
 * below a shell, which does not pass on the SIGTERM that npx passes to it; of SIGHUP npx itself ends. So
 * below npx, the end of the shell or of npx is taken for SIGTERM.
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
  // What stands above npx may end without it.
  const npx = isShellOfCommand(parent) ? parentOf(parent) : undefined;
  const timer = setInterval(() => {
    if (process.ppid === parent && (npx === undefined || parentOf(parent) === npx)) return;
    clearInterval(timer);
    callback('SIGTERM');
  }, parentCheckMs);
  return timer.unref();
}

/** Whether a process is `sh -c …`; false where the system does not tell. */
function isShellOfCommand(pid: number): boolean {
  return readProcess(pid, 'cmdline').split('\0')[1] === '-c';
}

function parentOf(pid: number): number {
  // Behind the name, which stands in parentheses and may hold any character: state, parent.
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
