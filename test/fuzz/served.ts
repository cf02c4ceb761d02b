import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { sentences } from '../support/processes/server-log.ts';

const cliPath = fileURLToPath(new URL('../../src/entry/cli.ts', import.meta.url));

/** `serve` as a process of its own, outside of a test. */
export interface Served {
  readonly port: number;
  readonly pid: number;
  readonly stderr: () => string;
  /** Ends it by SIGTERM. @throws unless it ends well. */
  readonly stop: () => Promise<void>;
}

export async function startServer(dataDir: string): Promise<Served> {
  const serve = [cliPath, 'serve', '--port', '0', '--allowed-host', 'fuzz,other'];
  const child = spawn(process.execPath, [...serve, '--data-dir', dataDir], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const exited = once(child, 'exit');
  const [first] = (await Promise.race([
    once(child.stdout.setEncoding('utf8'), 'data'),
    exited,
  ])) as [unknown];
  const port = Number(
    /^listening on http:\/\/127\.0\.0\.1:(\d+)\n/.exec(String(first))?.[1] ?? NaN,
  );
  if (Number.isNaN(port)) throw new Error(`the server does not listen: ${stderr}`);
  return {
    port,
    pid: child.pid ?? 0,
    stderr: () => sentences(stderr),
    async stop() {
      child.kill('SIGTERM');
      await exited;
      if (child.exitCode !== 0) {
        throw new Error(
          `the server ended with ${child.exitCode ?? child.signalCode ?? ''}: ${stderr}`,
        );
      }
    },
  };
}

/** The report of `audit` on a data directory. @throws if there are findings. */
export function audit(dataDir: string): string {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [cliPath, 'audit', '--data-dir', dataDir],
    {
      encoding: 'utf8',
    },
  );
  if (status !== 0) throw new Error(`the audit finds differences: ${stdout}${stderr}`);
  return stdout.trim();
}
