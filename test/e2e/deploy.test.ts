import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { expect, test } from 'vitest';

import { afterTest, temporaryDirectory } from '../support/server-process.ts';

const root = join(import.meta.dirname, '../..');
const cli = join(root, 'src/entry/cli.ts');
const read = (name: string) => readFileSync(join(root, name), 'utf8');
const help = execFileSync(process.execPath, [cli, 'serve', '--help'], { encoding: 'utf8' });

/** The argument lists of the Dockerfile's last stage: Docker was not there to build it. */
function listOf(instruction: string): string[] {
  const stage =
    read('Dockerfile')
      .split(/^FROM /m)
      .at(-1) ?? '';
  const [, list] = new RegExp(`^${instruction} .*?(\\[.*\\])$`, 'm').exec(stage) ?? [];
  return JSON.parse(list ?? '[]') as string[];
}

test('the unit names options and settings that there are, and gives a stop its time', () => {
  const lines = read('deploy/device-pipeline.service').split('\n');
  const unit = new Map(
    lines
      .filter((line) => /^[A-Z]\w+=/.test(line))
      .map((line): [string, string] => {
        const at = line.indexOf('=');
        return [line.slice(0, at), line.slice(at + 1)];
      }),
  );
  const start = unit.get('ExecStart') ?? '';
  const options = start.match(/--[\w-]+/g) ?? [];
  expect(options.length).toBeGreaterThan(0);
  expect(options.filter((option) => !help.includes(`${option} <`))).toEqual([]);
  expect(start).toContain('/bin/device-pipeline.cjs serve ');
  expect(unit.get('StateDirectory')).toBe('device-pipeline');
  expect(Number(unit.get('TimeoutStopSec'))).toBeGreaterThan(10 + 5);
  expect(Number(unit.get('LimitNOFILE'))).toBeGreaterThan(4096);
  expect(unit.has('MemoryDenyWriteExecute')).toBe(false);
});

test('the image starts with a token, is healthy, and stops at SIGTERM', async () => {
  const dataDir = temporaryDirectory();
  const [node, bin, ...rest] = listOf('ENTRYPOINT');
  expect([node, bin?.endsWith('/bin/device-pipeline.cjs'), rest]).toEqual(['node', true, []]);
  const settings = [...read('Dockerfile').matchAll(/(DEVICE_PIPELINE_\w+)=/g)].map(
    ([, name]) => name,
  );
  expect(settings).toEqual(['DEVICE_PIPELINE_HOST', 'DEVICE_PIPELINE_DATA_DIR']);
  const env = {
    ...process.env,
    DEVICE_PIPELINE_HOST: '0.0.0.0',
    DEVICE_PIPELINE_DATA_DIR: dataDir,
  };

  const token = ['token', 'create', '--name', 'first', '--for', 'ingest,read'];
  execFileSync(process.execPath, [cli, ...token], { env, stdio: 'ignore' });
  const server = spawn(process.execPath, [cli, ...listOf('CMD')], {
    env: { ...env, DEVICE_PIPELINE_PORT: '0' },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  afterTest(() => void server.kill('SIGKILL'));
  const [line] = (await once(server.stdout, 'data')) as [Buffer];
  const [, port] = /:(\d+)\n/.exec(line.toString()) ?? [];

  const [program, ...check] = listOf('HEALTHCHECK');
  expect(program).toBe('node');
  const checked = async (at: string | undefined) => {
    const child = spawn(process.execPath, check, { env: { ...env, DEVICE_PIPELINE_PORT: at } });
    return ((await once(child, 'exit')) as [number])[0];
  };
  expect(await checked(port)).toBe(0);
  const [, signal] = /^STOPSIGNAL (\w+)$/m.exec(read('Dockerfile')) ?? [];
  server.kill(signal as NodeJS.Signals);
  expect(await once(server, 'exit')).toEqual([0, null]);
  expect(await checked(port)).toBe(1);
});
