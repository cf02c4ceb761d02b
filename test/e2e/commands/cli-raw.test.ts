import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';

import { beforeEach, expect, it } from 'vitest';

import { dataPaths } from '../../../src/engines/embedded/data-directory.ts';
import { directory, run } from '../../support/processes/command-line.ts';
import { openWriter } from '../../support/embedded-store.ts';

/** Not as JSON.stringify would write it, so that nothing but the very bytes is equal. */
const plain = Buffer.from(
  '{ "processed_devices" : [ {"type":"läptop","state":"own 0","timestamp":"2026-03-01T12:00:00Z","x":[1]} ]}\n',
);
const packed = gzipSync(plain, { level: 9 });

interface Listed {
  readonly raw_key: string;
  readonly received_at: string;
  readonly bytes: number;
  readonly encoding: string;
}

let dataDir: string;

beforeEach(async () => {
  dataDir = join(directory, 'data');
  const writer = openWriter(dataDir);
  for (const [body, encoding] of [
    [plain, 'identity'],
    [packed, 'gzip'],
    [plain, 'identity'],
  ] as const) {
    const submission = { strict: false, caller: '', idempotencyKey: undefined };
    expect(await writer.ingest({ body, encoding, ...submission })).toMatchObject({
      accepted: true,
    });
  }
  await writer.close();
});

async function list(...args: string[]): Promise<Listed[]> {
  const { code, stdout } = await run(['raw', 'list', '--data-dir', dataDir, ...args]);
  expect(code).toBe(0);
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Listed);
}

it('gives back each body byte for byte', async () => {
  const batches = await list();
  expect(batches).toMatchObject([
    { bytes: plain.length, encoding: 'identity', accepted: 1, rejected: 0 },
    { bytes: packed.length, encoding: 'gzip', accepted: 1, rejected: 0 },
    { bytes: plain.length, encoding: 'identity', accepted: 1, rejected: 0 },
  ]);
  const exported = join(directory, 'copy');
  for (let times = 0; times < 2; times++) {
    const outcome = await run(['raw', 'export', exported, '--data-dir', dataDir]);
    expect(outcome).toMatchObject({ code: 0, stdout: `3 batches in ${exported}\n` });
    // The second export mends what the disk lost of the first.
    if (times === 0)
      writeFileSync(join(exported, batches[0]?.raw_key ?? ''), Buffer.alloc(plain.length));
  }
  expect(readdirSync(join(exported, 'raw'))).toHaveLength(3);
  const lines = readFileSync(join(exported, 'batches.ndjson'), 'utf8').trimEnd().split('\n');
  expect(lines.map((line) => JSON.parse(line) as Listed)).toEqual(batches);
  for (const [index, { raw_key: rawKey }] of batches.entries()) {
    const body = index === 1 ? packed : plain;
    expect(readFileSync(join(exported, rawKey))).toEqual(body);
  }
  const [{ raw_key: rawKey } = { raw_key: '' }] = batches;
  const got = await run(['raw', 'get', rawKey, '--data-dir', dataDir]);
  expect(got).toEqual({ code: 0, stdout: plain.toString(), stderr: '' });
});

it('creates nothing where the data directory cannot be read', async () => {
  writeFileSync(dataPaths(dataDir).database, 'no database');
  const exported = join(directory, 'copy');
  const outcome = await run(['raw', 'export', exported, '--data-dir', dataDir]);
  expect(outcome).toMatchObject({ code: 1, stdout: '' });
  expect(existsSync(exported)).toBe(false);
});

it('exports into no data directory', async () => {
  const exported = await run(['raw', 'export', dataDir, '--data-dir', dataDir]);
  expect(exported).toMatchObject({ code: 2, stdout: '' });
  expect(exported.stderr).toMatch(/^device-pipeline: .* is a data directory\. .*\n$/);
  expect(readdirSync(dataDir)).not.toContain('raw');
});

it('lists those of a time', async () => {
  const [first] = await list();
  const moment = first?.received_at ?? '';
  expect(await list('--until', moment)).toEqual([]);
  expect(await list('--since', moment)).toHaveLength(3);
  expect(await list('--since', '2999-01-01')).toEqual([]);
});

it('passes over what is damaged, and says so', async () => {
  const [name = ''] = readdirSync(dataPaths(dataDir).log);
  const path = join(dataPaths(dataDir).log, name);
  const bytes = readFileSync(path);
  const at = bytes.indexOf('own 0');
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  writeFileSync(path, bytes);
  const listed = await run(['raw', 'list', '--data-dir', dataDir]);
  expect(listed.code).toBe(1);
  expect(listed.stdout.trimEnd().split('\n')).toHaveLength(2);
  expect(listed.stderr).toMatch(/^\d+ bytes at byte 64 of .*\.log are damaged/);
  const exported = await run(['raw', 'export', join(directory, 'copy'), '--data-dir', dataDir]);
  expect(exported.code).toBe(1);
  expect(exported.stdout).toMatch(/^2 batches/);
});

it('says in one line what it does not have', async () => {
  const unknown = '00000000-0000-8000-8000-000000000000';
  const absent = await run(['raw', 'get', unknown, '--data-dir', dataDir]);
  expect(absent.code).toBe(1);
  expect(absent.stderr).toMatch(/^device-pipeline: 0{8}.* is not in the raw store of .*\.\n$/);
  expect((await run(['raw', 'get', 'nonsense', '--data-dir', dataDir])).code).toBe(2);
  const nowhere = await run(['raw', 'list', '--data-dir', join(directory, 'nowhere')]);
  expect(nowhere.code).toBe(1);
  expect(nowhere.stderr).toMatch(/^device-pipeline: There is no log in .*\n$/);
});
