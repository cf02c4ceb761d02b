import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, openSync, readFileSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';

import { expect, it } from 'vitest';

import { directory } from '../../support/processes/command-line.ts';
import { commandPath } from '../../support/processes/command-path.ts';
import { readExposition } from '../../support/exposition.ts';
import { logLines, type LogLine } from '../../support/processes/server-log.ts';
import {
  afterTest,
  startServer,
  temporaryDirectory,
  waitUntil,
  ServerProcess,
} from '../../support/processes/server-process.ts';
import { exchange, postBatch } from '../../support/server.ts';

const good = { type: 'laptop', state: 'erased', timestamp: '2023-06-16T13:00:00Z' };

async function linesDropped(url: string): Promise<number | undefined> {
  const { text: scraped } = await exchange(url, { path: '/metrics' });
  return readExposition(scraped).samples.get('device_pipeline_log_lines_dropped_total');
}

/** A named pipe, and a reader that the test can let read, go away and come back. */
function namedPipe() {
  const path = join(temporaryDirectory(), 'stderr');
  execFileSync('mkfifo', [path]);
  const open = () => openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  let reader = open();
  let read = '';
  afterTest(() => closeSync(reader));
  return {
    path,
    /** Reads what is there now; returns all lines so far. */
    lines(): LogLine[] {
      const buffer = Buffer.alloc(1024 * 1024);
      try {
        for (let bytes = -1; bytes !== 0; read += buffer.toString('utf8', 0, bytes)) {
          bytes = readSync(reader, buffer);
        }
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      }
      return logLines(read);
    },
    leave: () => closeSync(reader),
    comeBack: () => void (reader = open()),
  };
}

it('a server continues without a reader of its log, and logs how many lines were dropped', async () => {
  const pipe = namedPipe();
  const { server, url } = await startServer(temporaryDirectory(), {
    shellBefore: `exec 2>${pipe.path}`,
    args: ['--log-level', 'debug', '--log-format', 'json'],
  });
  // More than a pipe takes. The reader is slow: nothing is lost.
  const batches = 400;
  for (let sent = 0; sent < batches; sent++) await postBatch(url, [good]);
  expect(await linesDropped(url)).toBe(0);
  const accepted = () => pipe.lines().filter(({ event }) => event === 'batch_accepted').length;
  await waitUntil('all lines', () => Promise.resolve(accepted() === batches));

  pipe.leave();
  for (let sent = 0; sent < 3; sent++) await postBatch(url, [good]);
  expect(await linesDropped(url)).toBe(3);
  pipe.comeBack();
  await waitUntil('the line that reports it', () =>
    Promise.resolve(pipe.lines().at(-1)?.event === 'log_lines_dropped'),
  );
  expect(pipe.lines().at(-1)).toMatchObject({ level: 'warn', lines: 3 });
  server.kill('SIGTERM');
  expect(await server.waitExit()).toEqual({ code: 0, signal: null });
  expect(pipe.lines().at(-1)).toMatchObject({ event: 'stopped' });
});

it('a server starts and stops where its log is on a full disk', async () => {
  const { server, url } = await startServer(temporaryDirectory(), {
    shellBefore: 'exec 2>/dev/full',
    args: ['--log-format', 'text'],
  });
  expect((await postBatch(url, [good])).status).toBe(200);
  expect(await linesDropped(url)).toBe(1);
  server.kill('SIGTERM');
  expect(await server.waitExit()).toEqual({ code: 0, signal: null });
});

it('a server continues if its address cannot be printed', async () => {
  const server = new ServerProcess(temporaryDirectory(), { shellBefore: 'exec >/dev/full' });
  await waitUntil('the line', () => Promise.resolve(server.stderr !== ''));
  expect(server.stderr).toBe(
    'device-pipeline: cannot write to standard output: no space left on device\n',
  );
  const url = String(logLines(server.log)[0]?.['url']);
  expect((await postBatch(url, [good])).status).toBe(200);
  server.kill('SIGTERM');
  expect(await server.waitExit()).toEqual({ code: 0, signal: null });
});

/** One writes as it is parsed, the other when its work is done. */
const commands = [['--help'], ['token', 'create', '--print-entry', '--name', 'a', '--for', 'read']];

async function ended(child: ChildProcess) {
  const exit = once(child, 'close');
  const stderr = child.stderr === null ? '' : await text(child.stderr);
  const [code] = (await exit) as [number | null];
  return { code, stderr };
}

it.each(commands)(
  '%s … fails with a sentence where its output is on a full disk',
  async (...args) => {
    const full = openSync('/dev/full', 'w');
    const child = spawn(process.execPath, [commandPath, ...args], {
      cwd: directory,
      stdio: ['ignore', full, 'pipe'],
    });
    closeSync(full);
    expect(await ended(child)).toEqual({
      code: 1,
      stderr: 'device-pipeline: cannot write to standard output: no space left on device\n',
    });
  },
);

it.each(commands)('%s … ends quietly where the reader of its output has gone', async (...args) => {
  const stdio: ['ignore', 'pipe', 'pipe'] = ['ignore', 'pipe', 'pipe'];
  const child = spawn(process.execPath, [commandPath, ...args], { cwd: directory, stdio });
  child.stdout.destroy();
  // As a shell reports SIGPIPE.
  expect(await ended(child)).toEqual({ code: 141, stderr: '' });
});

it('a command ends as usual if its stderr is closed', async () => {
  const full = openSync('/dev/full', 'w');
  const child = spawn(process.execPath, [commandPath, 'serve', '--port', 'none'], {
    cwd: directory,
    stdio: ['ignore', 'ignore', full],
  });
  closeSync(full);
  expect(await once(child, 'close')).toEqual([2, null]);
});

it('a token that could not be shown is not made, and leaves the server open', async () => {
  const dataDir = temporaryDirectory();
  const { url } = await startServer(dataDir);
  const run = (command: string) =>
    spawnSync('sh', ['-c', `exec ${process.execPath} ${commandPath} token ${command}`], {
      env: { ...process.env, DEVICE_PIPELINE_DATA_DIR: dataDir },
      encoding: 'utf8',
    });
  const make = (to: string) => run(`create --name a --for read ${to}`);
  const { status, stderr } = make('>/dev/full');
  expect(stderr).toMatch(/^device-pipeline: The token could not be written .*nothing was changed/);
  expect(status).toBe(1);
  expect((await postBatch(url, [good])).status).toBe(200);
  const made = make('');
  expect(made).toMatchObject({ status: 0, stdout: expect.stringMatching(/^dpl_\S+\n$/) as string });
  await waitUntil('the token', async () => (await postBatch(url, [good])).status === 401);
  expect(make('')).toMatchObject({ status: 1, stdout: '' });

  const tokens = () => readFileSync(join(dataDir, 'tokens.json'), 'utf8');
  const before = tokens();
  expect(run('rotate a >/dev/full').status).toBe(1);
  expect(tokens()).toBe(before);
});
