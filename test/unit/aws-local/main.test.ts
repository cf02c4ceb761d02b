import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { describe, expect, it, onTestFinished } from 'vitest';

import { needs } from '../../support/run/needs.ts';
import { eventually } from './stand-ins.ts';

const path = (name: string) => fileURLToPath(new URL(`../../../${name}`, import.meta.url));

function start(...args: string[]) {
  const child = spawn(process.execPath, [path('infra/local/main.ts'), ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  const output = { stdout: '', stderr: '' };
  child.stdout.on('data', (text: Buffer) => (output.stdout += text.toString()));
  child.stderr.on('data', (text: Buffer) => (output.stderr += text.toString()));
  return { child, output };
}

/** Ids of all processes below this one that are Java. */
function javasBelow(pid: number): number[] {
  const rows = execFileSync('ps', ['-e', '-o', 'pid=,ppid=,comm='], { encoding: 'utf8' })
    .trim()
    .split('\n')
    .map((row) => row.trim().split(/\s+/));
  const below = (parent: number): number[] =>
    rows
      .filter(([, ppid]) => Number(ppid) === parent)
      .flatMap(([id, , name]) => [...(name === 'java' ? [Number(id)] : []), ...below(Number(id))]);
  return below(pid);
}

describe('npm run aws:local', () => {
  needs('Java', 'ps').it(
    'says where it listens, counts the sample, and stops with all that it started',
    async () => {
      // By default an invocation that a busy machine cuts off is repeated after six minutes.
      const { child, output } = start('--port', '0', '--visibility-timeout', '60');
      const exited = once(child, 'exit');
      await eventually(() => output.stdout.endsWith('\n') || child.exitCode !== null);
      const url = /^listening on (http:\/\/127\.0\.0\.1:\d+)\n$/.exec(output.stdout)?.[1];
      if (url === undefined) throw new Error(output.stderr);
      const headers = { 'content-type': 'application/json' };
      const body = readFileSync(path('docs/sample.json'));
      const answer = await fetch(`${url}/ingest`, { method: 'POST', headers, body });
      expect(await answer.json()).toMatchObject({ status: 'accepted', enqueued: 5 });
      const rows = async () =>
        (await (await fetch(`${url}/stats?from=2023-06-15&to=2023-06-16`)).json()) as {
          count: number;
        }[];
      await eventually(async () => (await rows()).reduce((sum, { count }) => sum + count, 0) === 5);
      expect(await rows()).toContainEqual({
        ...{ date: '2023-06-16', type: 'laptop', state: 'erased', count: 1 },
      });

      const javas = javasBelow(child.pid ?? 0);
      expect(javas).toHaveLength(1);
      child.kill('SIGTERM');
      expect(await exited).toEqual([0, null]);
      for (const java of javas) expect(() => process.kill(java, 0)).toThrow('ESRCH');
      expect(output.stdout).toBe(`listening on ${url}\n`);
    },
  );

  it.each([
    [['--host', '0.0.0.0'], '0.0.0.0 can be reached from other machines'],
    [['--kill', '2'], "--kill must be a probability from 0 to 1 such as 0.1, got '2'"],
    [['--port', 'x'], "--port must be a whole number from 0 to 65535, got 'x'"],
    [['--color'], "unknown option '--color'"],
  ])('%j is wrong usage', async (args, message) => {
    const { child, output } = start(...args);
    const [code] = (await once(child, 'close')) as [number];
    expect(code).toBe(2);
    expect(output.stderr).toContain(`aws:local: ${message}`);
  });
});
