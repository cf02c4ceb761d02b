import { spawnSync } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';

import { dataPaths } from '../../../src/engines/embedded/data-directory.ts';
import { dayMs } from '../../../src/engines/embedded/options.ts';
import { openObjectStore } from '../../../src/engines/embedded/archive/stores/open-object-store.ts';
import { countersOf, removeRaw, storeArchived } from '../../support/archived-store.ts';
import { startArchiveBucket } from '../../support/aws/archive-bucket.ts';
import { auditOf, change, numberedBatches, store } from '../../support/embedded-store.ts';
import { directory, run } from '../../support/processes/command-line.ts';
import { commandPath } from '../../support/processes/command-path.ts';
import { afterTest } from '../../support/processes/server-process.ts';

let template: string;
let url: string;
let dataDir: string;

beforeAll(async () => {
  template = mkdtempSync(join(tmpdir(), 'device-pipeline-'));
  const [data, archive] = [join(template, 'data'), join(template, 'archive')];
  mkdirSync(archive);
  const batches = numberedBatches(90);
  await storeArchived(data, pathToFileURL(archive).href, batches.slice(0, 80));
  await storeArchived(data, pathToFileURL(archive).href, batches.slice(80));
});

afterAll(() => rmSync(template, { recursive: true, force: true }));

beforeEach(() => {
  cpSync(template, directory, { recursive: true });
  dataDir = join(directory, 'data');
  url = pathToFileURL(join(directory, 'archive')).href;
});

function archive(command: string, ...more: string[]) {
  return run(['archive', ...command.split(' '), '--from', url, ...more]);
}

async function json<T>(outcome: ReturnType<typeof run>, code = 0): Promise<T> {
  const { stdout, stderr, code: found } = await outcome;
  expect(found, stderr).toBe(code);
  return JSON.parse(stdout) as T;
}

/** The files of the archive whose names have this part. */
function objects(part: string): string[] {
  const root = fileURLToPath(url);
  const names = readdirSync(root, { recursive: true, encoding: 'utf8' });
  return names.filter((name) => name.includes(part) && name.endsWith('.zst')).sort();
}

function damage(name: string): void {
  writeFileSync(join(fileURLToPath(url), name), 'damaged');
}

const logId = () => objects('/log/')[0]?.slice(0, 32) ?? '';

describe('archive status', () => {
  it('says what the archive holds, and how far the data directory is ahead', async () => {
    const found = await json<{ logs: object[] }>(archive('status --json', '--data-dir', dataDir));
    expect(found.logs).toMatchObject([
      { log_id: logId(), from: 0, segments: objects('/log/').length, ahead_bytes: 0 },
    ]);
    await store(dataDir, numberedBatches(92).slice(91));
    const { stdout } = await archive('status', '--data-dir', dataDir);
    expect(stdout).toMatch(/^ahead {5}[1-9][\d,]+ bytes in the data directory$/m);
    expect(stdout).toContain(`server    `);
  });

  it.each([
    ['there is no archive', () => ['--from', pathToFileURL(directory).href], /There is no archive/],
    ['the log is another', () => ['--from', url, '--log-id', 'f'.repeat(32)], /has no log ffff/],
    ['no directory is there', () => ['--from', `${url}/none`], /There is no directory/],
    ['a file is there', () => ['--from', `${url}/../data/pipeline.db/x`], /a file is where/],
  ])('fails if %s', async (_what, args, message) => {
    const outcome = await run(['archive', 'status', ...args()]);
    expect(outcome.code).toBe(1);
    expect(outcome.stderr).toMatch(message);
  });

  it('fails for a data directory of another log', async () => {
    const other = join(directory, 'other');
    await store(other, numberedBatches(1));
    const { code, stderr } = await archive('status', '--data-dir', other);
    expect(code).toBe(1);
    expect(stderr).toContain('does not hold the log of');
  });
});

it('archive list prints a line for each object', async () => {
  expect(await archive('list')).toMatchObject({
    ...{ code: 0, stdout: expect.stringContaining('{"kind":"piece","name":') as string },
  });
  damage(objects('/tail/').at(-1) ?? '');
  const { stdout, code } = await archive('list');
  expect(code).toBe(1);
  const lines = stdout.trimEnd().split('\n');
  const found = lines.map((line) => JSON.parse(line) as { kind: string; name: string });
  expect(found.map(({ name }) => name)).toEqual(objects(''));
  expect(new Set(found.map(({ kind }) => kind))).toEqual(new Set(['segment', 'claim', 'damaged']));
});

describe('archive verify', () => {
  it('checks and counts all batches, and names what is damaged', async () => {
    const { stdout, code } = await archive('verify --count');
    expect(stdout).toContain('180 items of 90 batches recounted\nnothing is missing or damaged');
    expect(code).toBe(0);
    const [name = ''] = objects('/log/');
    damage(name);
    const bad = await json<{ logs: { sound: boolean; differences: object[] }[] }>(
      archive('verify --json'),
      1,
    );
    expect(bad.logs).toMatchObject([{ sound: false, differences: [{ code: 'raw_damaged' }] }]);
    expect(JSON.stringify(bad)).toContain(name);
  });
});

describe('archive prune', () => {
  it('removes old segments, which a restore and its audit know', async () => {
    await removeRaw(dataDir);
    change(dataDir, `UPDATE progress SET run_ms = run_ms + ${31 * dayMs}`);
    const old = ['--keep', '30', '--data-dir', dataDir];
    const before = objects('');
    const planned = await json<{ removed: { name: string }[] }>(
      archive('prune --dry-run --json', ...old),
    );
    expect(objects('')).toEqual(before);
    expect(planned.removed.length).toBeGreaterThan(2);
    const { stdout, code } = await archive('prune', ...old);
    expect(code).toBe(0);
    expect(stdout).toContain(`${planned.removed.length} objects of`);
    const gone = before.filter((name) => !objects('').includes(name));
    expect(gone).toEqual(planned.removed.map(({ name }) => name).sort());
    const restored = join(directory, 'restored');
    expect(await run(['restore', '--from', url, '--data-dir', restored])).toMatchObject({
      code: 0,
    });
    expect(countersOf(restored)).toEqual(countersOf(dataDir));
    expect(await auditOf(restored)).toEqual([]);
    expect(await archive('verify')).toMatchObject({ code: 0 });
  });

  it('refuses a copy that does not ship, and --keep alone', async () => {
    rmSync(join(dataDir, 'archive.json'));
    const refused = await archive('prune', '--keep', '30', '--data-dir', dataDir);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain('does not ship to');
    expect(await archive('prune', '--keep', '30')).toMatchObject({ code: 2 });
  });
});

describe('restore', () => {
  it('blames its own disk, and not the archive, if there is no room', async () => {
    const restored = join(directory, 'restored');
    const command = [process.execPath, commandPath, 'restore', '--from', url];
    const limited = spawnSync(
      'sh',
      ['-c', 'ulimit -f 4 && exec "$0" "$@"', ...command, '--data-dir', restored],
      { encoding: 'utf8' },
    );
    expect(limited.status).toBe(1);
    expect(limited.stderr).toMatch(/EFBIG.*ulimit -f/);
    expect(limited.stderr).not.toContain('damaged');
    expect(await run(['restore', '--from', url, '--data-dir', restored])).toMatchObject({
      code: 0,
    });
  });

  it('of a damaged archive says how to get what is before the damage', async () => {
    const [, second = ''] = objects('/log/');
    rmSync(join(fileURLToPath(url), second));
    const restored = join(directory, 'restored');
    const refused = await run(['restore', '--from', url, '--data-dir', restored]);
    expect(refused).toMatchObject({ code: 1, stdout: '' });
    expect(refused.stderr).toMatch(/has no object with bytes \d+ to \d+.*--up-to-damage/);
    const { code, stdout, stderr } = await run([
      ...['restore', '--from', url, '--data-dir', restored, '--up-to-damage'],
    ]);
    expect(code).toBe(0);
    expect(stdout).toContain('1 MiB in');
    expect(stderr).toMatch(
      /warning: .* has no object .* only what is before it, up to the batch .* another prefix/,
    );
    expect(await auditOf(restored)).toEqual([]);
  });
});

describe('audit --archive', () => {
  it('agrees, and says how far the archive is behind', async () => {
    await store(dataDir, numberedBatches(92).slice(91));
    const { stdout, code } = await run(['audit', '--data-dir', dataDir, '--archive', url]);
    expect(stdout).toMatch(/the archive is [\d,]+ bytes behind/);
    expect(stdout).toMatch(/archive: [\d,]+ bytes of the log compared, all equal/);
    expect(code).toBe(0);
  });

  it('finds a byte of the log that differs', async () => {
    const [segment = ''] = readdirSync(dataPaths(dataDir).log).sort();
    const path = join(dataPaths(dataDir).log, segment);
    const bytes = readFileSync(path);
    bytes.writeUInt8(bytes.readUInt8(1000) ^ 1, 1000);
    writeFileSync(path, bytes);
    const found = await json<{ archive: object; differences: { detail: string }[] }>(
      run(['audit', '--json', '--data-dir', dataDir, '--archive', url]),
      1,
    );
    expect(found.archive).toMatchObject({ difference_count: 1 });
    // The audit of the directory finds the record that is damaged, too.
    expect(found.differences.map(({ detail }) => detail).join()).toContain(
      'differ from byte 1000 of the log on',
    );
  });

  it('finds that the data directory is an old copy', async () => {
    const segments = readdirSync(dataPaths(dataDir).log).sort();
    rmSync(join(dataPaths(dataDir).log, segments.at(-1) ?? ''));
    const { stdout, code } = await run(['audit', '--data-dir', dataDir, '--archive', url]);
    expect(stdout).toContain('the data directory has lost batches');
    expect(code).toBe(1);
  });
});

describe('replay --from an archive', () => {
  const replay = (...more: string[]) =>
    run(['replay', '--json', '--from', url, '--to', join(directory, 'target'), ...more]);

  it('fills another store, once', async () => {
    expect(await json(replay())).toMatchObject({ sent: { batches: 90, items: 180 }, missing: 0 });
    expect(await json(replay())).toMatchObject({
      ...{ sent: { batches: 0 }, already_there: { batches: 90 }, keys: 'known' },
    });
    const target = join(directory, 'target');
    expect(countersOf(target)).toEqual(countersOf(dataDir));
    expect(await auditOf(target)).toEqual([]);
    const keys = async (dir: string) => (await run(['raw', 'list', '--data-dir', dir])).stdout;
    const keyOf = (text: string) => text.match(/"(?:raw_key|idempotency_key)":"[^"]+"/g);
    expect(keyOf(await keys(target))).toEqual(keyOf(await keys(dataDir)));
  });

  it('skips what was received at another time', async () => {
    expect(await json(replay('--until', '2020-01-01'))).toMatchObject({ sent: { batches: 0 } });
  });

  it('brings the rest if a segment is damaged, and names the gap', async () => {
    const [name = ''] = objects('/log/');
    damage(name);
    const found = await json<{ sent: { batches: number }; troubles: object[] }>(replay(), 1);
    expect(found).toMatchObject({
      missing: 1,
      troubles: [{ detail: expect.stringContaining(name) as string }],
    });
    expect(found.sent.batches).toBeGreaterThan(50);
  });

  it('is wrong usage as --to', async () => {
    const { code, stderr } = await run(['replay', '--from', dataDir, '--to', url]);
    expect(code).toBe(2);
    expect(stderr).toContain('--to must not be an archive');
  });
});

it('all of it works on S3', async () => {
  const bucket = await startArchiveBucket();
  afterTest(() => bucket.stop());
  for (const [name, value] of Object.entries(bucket.env)) vi.stubEnv(name, value);
  const [local, remote] = await Promise.all([url, bucket.url].map((one) => openObjectStore(one)));
  for (const name of objects('')) {
    await remote?.create(name, (await local?.get(name)) ?? new Uint8Array());
  }
  remote?.close();
  vi.unstubAllEnvs();
  const onS3 = async (...args: string[]) => {
    const { stdout, stderr, code } = await run(args, undefined, bucket.env);
    expect(code, stderr).toBe(0);
    return stdout;
  };
  const from = ['--from', bucket.url];
  expect(await onS3('archive', 'status', ...from)).toContain(logId());
  expect((await onS3('archive', 'list', ...from)).split('\n')).toHaveLength(objects('').length + 1);
  expect(await onS3('archive', 'verify', ...from)).toContain('nothing is missing or damaged');
  expect(await onS3('archive', 'prune', ...from)).toContain('0 objects');
  const audit = await onS3('audit', '--data-dir', dataDir, '--archive', bucket.url);
  expect(audit).toContain('everything agrees');
  const target = join(directory, 'target');
  await onS3('replay', ...from, '--to', target);
  expect(countersOf(target)).toEqual(countersOf(dataDir));
});
