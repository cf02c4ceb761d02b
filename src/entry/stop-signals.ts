/** What asks a process to end. SIGHUP comes when its terminal closes, more than once by some shells. */
const stopSignals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
export type StopSignal = (typeof stopSignals)[number];

const parentCheckMs = 500;

/**
 * Calls back at each signal that asks this process to end; returns how to stop that. npx runs a program
 * below a shell, to which it passes SIGTERM and which does not pass it on: below npx, the end of the
 * shell is taken for SIGTERM.
 */
export function onStopSignal(callback: (signal: StopSignal) => void): () => void {
  for (const signal of stopSignals) process.on(signal, callback);
  const timer = process.env['npm_command'] === 'exec' ? watchParent(callback) : undefined;
  return () => {
    for (const signal of stopSignals) process.off(signal, callback);
    clearInterval(timer);
  };
}

function watchParent(callback: (signal: StopSignal) => void): NodeJS.Timeout {
  const parent = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(timer);
    callback('SIGTERM');
  }, parentCheckMs);
  return timer.unref();
}
