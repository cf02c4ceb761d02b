import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, symlinkSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { describe, expect, it, onTestFinished } from 'vitest';

import { startEmulators } from '../../../infra/local/emulators/emulators.ts';
import { needs } from '../../support/run/needs.ts';
import { eventually, temporaryDirectory } from './stand-ins.ts';

const local = (name: string) => new URL(`../../../infra/local/${name}`, import.meta.url).href;

/** Whether a Java process of this id runs; a zombie does not count. */
async function runs(pid: number): Promise<boolean> {
  try {
    const status = await readFile(`/proc/${pid}/status`, 'utf8');
    return /^Name:\s+java$/m.test(status) && !/^State:\s+Z/m.test(status);
  } catch {
    return false;
  }
}

needs('Java').describe('the emulators', () => {
  it('answer when they have started, and Java is gone when they have stopped', async () => {
    const emulators = await startEmulators();
    const stop = () => emulators.stop();
    onTestFinished(stop);
    expect(await runs(emulators.javaPid)).toBe(true);
    expect((await fetch(emulators.dynamoDbUrl)).status).toBe(400);
    expect((await fetch(emulators.fauxqsUrl)).status).toBe(200);
    await stop();
    expect(await runs(emulators.javaPid)).toBe(false);
  });

  it('report that Java ended unexpectedly', async () => {
    const emulators = await startEmulators();
    onTestFinished(() => emulators.stop());
    process.kill(emulators.javaPid, 'SIGKILL');
    expect((await emulators.failed).message).toContain('DynamoDB Local has ended');
  });

  it.each(['SIGKILL', 'SIGTERM'] as const)('Java ends with its parent by %s', async (signal) => {
    const directory = temporaryDirectory();
    const source = `
      const { startEmulators } = await import(${JSON.stringify(local('emulators/emulators.ts'))});
      console.log((await startEmulators()).javaPid);`;
    const child = spawn(process.execPath, ['--input-type=module', '--eval', source], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, TMPDIR: directory },
    });
    onTestFinished(() => void child.kill('SIGKILL'));
    const [text] = (await once(child.stdout, 'data')) as [Buffer];
    const javaPid = Number(text.toString());
    expect(await runs(javaPid)).toBe(true);
    expect(readdirSync(directory)).toHaveLength(1);
    child.kill(signal);
    await eventually(async () => !(await runs(javaPid)));
    // Nor is anything left of what it unpacked.
    await eventually(() => readdirSync(directory).length === 0);
  });
});

describe('the emulators', () => {
  it('without Java there is one line that says how to get it, and exit code 1', async () => {
    const directory = temporaryDirectory();
    symlinkSync(process.execPath, join(directory, 'node'));
    const child = spawn(process.execPath, [fileURLToPath(local('main.ts')), '--port', '0'], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { PATH: directory },
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (text: Buffer) => (output += text.toString()));
    }
    const [code] = (await once(child, 'close')) as [number];
    expect(code).toBe(1);
    expect(output).toMatch(/^aws:local: DynamoDB Local needs Java 17.*default-jre-headless.*\n$/);
  });
});
