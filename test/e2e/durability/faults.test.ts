import { spawnSync } from 'node:child_process';
import { hash } from 'node:crypto';
import { once } from 'node:events';
import {
  chmodSync,
  closeSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { request, type IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

import { describe, expect, it } from 'vitest';

import type { CounterRow } from '../../../src/domain/counter.ts';
import { dataPaths } from '../../../src/engines/embedded/data-directory.ts';
import { EmbeddedPipeline } from '../../../src/engines/embedded/embedded-pipeline.ts';
import { nodeFileSystem } from '../../../src/engines/embedded/log/file-system.ts';
import { LogReader } from '../../../src/engines/embedded/log/log-reader.ts';
import { embeddedDefaults } from '../../../src/engines/embedded/options.ts';
import { openStatsReader } from '../../../src/engines/embedded/reader/stats-reader.ts';
import { changeTokens } from '../../../src/engines/embedded/tokens/token-file.ts';
import {
  afterTest,
  firstDate,
  holdDatabase,
  judge,
  lastDate,
  newBatch,
  newClient,
  recountLog,
  seededRandom,
  ServerProcess,
  startServer,
  temporaryDirectory,
  waitCounted,
  waitUntil,
  type Client,
  type SpawnOptions,
  type TestBatch,
} from '../../support/processes/server-process.ts';
import { needs } from '../../support/run/needs.ts';
import { logLines } from '../../support/processes/server-log.ts';
import { itAtNight } from '../../support/run/tier.ts';

const { it: itWithDisk } = needs('root');

describe('a full disk', () => {
  itWithDisk('ends the server; what was acknowledged is counted once there is space', async () => {
    const dataDir = smallDisk(4);
    const { server, url } = await startServer(dataDir);
    // So that the log reaches the end of the disk.
    const lock = holdDatabase(dataDir);
    const sent = await postUntilRefused(newClient(4), url);
    expect(sent.refusals).toContain('503 storage_failed, retry after 5');
    await expectFailure(server, 'is full', 'Free some space and start again');
    lock.release();
    // The message is as clear without space.
    fillDisk(dataDir);
    await expectRefusal(dataDir, {}, 'disk is full');
    resizeDisk(dataDir, 64);
    await expectCounted(dataDir, sent);
  });

  itWithDisk(
    'ends the server while it counts; everything is counted once there is space',
    async () => {
      const dataDir = smallDisk(4);
      const { server, url } = await startServer(dataDir);
      const lock = holdDatabase(dataDir);
      const acknowledged = await postSome(newClient(1), url, 50);
      const filler = fillDisk(dataDir);
      lock.release();
      await expectFailure(server, 'is full', 'Free some space and start again');
      rmSync(filler);
      await expectCounted(dataDir, { acknowledged });
    },
  );

  it('is distinguished from a limit on file sizes that the log reaches', async () => {
    const dataDir = temporaryDirectory();
    // 8 MiB, or 16 if the shell counts in other blocks.
    const { server, url } = await startServer(dataDir, { shellBefore: 'ulimit -f 16384' });
    const sent = await postUntilRefused(newClient(4), url, { items: 4000 });
    expect(sent.refusals).toContain('503 storage_failed, retry after 5');
    await expectFailure(server, 'may not grow further', 'ulimit -f', 'start again');
    await expectCounted(dataDir, sent);
  });

  itAtNight('is distinguished from a limit on file sizes that the database reaches', async () => {
    const dataDir = temporaryDirectory();
    const { server, url } = await startServer(dataDir, { shellBefore: 'ulimit -f 256' });
    const client = newClient(1);
    const sent: Sent = { acknowledged: [], unanswered: [], refusals: [] };
    // Few batches in a transaction: the database's log grows faster than ours.
    while (sent.unanswered.length === 0) {
      const batch = newBatch(`batch ${sent.acknowledged.length}`, 20, seededRandom(1));
      const answer = await client.post(url, batch);
      (answer?.status === 200 ? sent.acknowledged : sent.unanswered).push(batch);
      await waitUntil('it to be counted', async () => {
        const ready = await client.get(`${url}/readyz`);
        return ready?.status !== 200 || ready.text.includes('"pending_bytes":0,');
      });
    }
    await expectFailure(server, 'failed', 'ulimit -f', 'start again');
    await expectCounted(dataDir, sent);
  });
});

describe('a data directory that cannot be used', () => {
  it('is named if this user may not write to it', async () => {
    const dataDir = temporaryDirectory();
    chmodSync(dataDir, 0o555);
    const options = { isUnprivileged: true };
    await expectRefusal(dataDir, options, dataDir, 'may not write there', '--data-dir');
    await expectRefusal(join(dataDir, 'new'), options, 'may not write there', '--data-dir');
  });

  itAtNight('is named if one of its files belongs to another user', async () => {
    const dataDir = temporaryDirectory();
    const { server, url } = await startServer(dataDir);
    const acknowledged = await postSome(newClient(1), url, 3);
    await stop(server);
    const { database, log } = dataPaths(dataDir);
    for (const path of [dataDir, log, ...filesIn(log)]) chmodSync(path, 0o777);
    chmodSync(join(dataDir, 'lock.db'), 0o666);
    chmodSync(database, 0o444);
    const parts = [database, '-wal or -shm', 'cannot be written', '--data-dir'];
    await expectRefusal(dataDir, { isUnprivileged: true }, ...parts);
    for (const path of filesIn(dataDir)) chmodSync(path, 0o777);
    await expectCounted(dataDir, { acknowledged });
  });

  it('is named if a file has its place', async () => {
    const root = temporaryDirectory();
    const file = join(root, 'file');
    writeFileSync(file, 'mine');
    await expectRefusal(file, {}, file, 'is a file', '--data-dir');
    await expectRefusal(join(file, 'data'), {}, file, 'is a file', '--data-dir');
    expect(readFileSync(file, 'utf8')).toBe('mine');

    const taken = join(root, 'taken');
    mkdirSync(taken);
    writeFileSync(join(taken, 'log'), 'mine');
    await expectRefusal(taken, {}, taken, 'is a file', '--data-dir');

    const { database } = dataPaths(join(root, 'directory'));
    mkdirSync(database, { recursive: true });
    await expectRefusal(join(root, 'directory'), {}, database, 'must be plain files');
  });

  it('is refused to a second server, and the first one continues', async () => {
    const dataDir = temporaryDirectory();
    const { server, url } = await startServer(dataDir);
    const client = newClient(1);
    const before = await postSome(client, url, 3);
    await expectRefusal(dataDir, {}, dataDir, `process ${server.pid} `, 'Stop that process');
    const after = await postSome(client, url, 5);
    await waitCounted(client, url);
    const verdict = judge(readRows(dataDir));
    expect([...before, ...after].map(verdict)).toEqual(Array(8).fill('once'));
    await stop(server);
    await expectCounted(dataDir, { acknowledged: [...before, ...after] });
  });
});

describe('an address that cannot be used', () => {
  it('is named if the port is taken, and the data directory is released', async () => {
    const first = await startServer(temporaryDirectory());
    const { port } = new URL(first.url);
    const dataDir = temporaryDirectory();
    await expectRefusal(dataDir, { args: ['--port', port] }, `Port ${port}`, 'in use', '--port');
    await expectCounted(dataDir, { acknowledged: [] });
  });

  it('is refused if other machines can reach it, unless that is allowed', async () => {
    const dataDir = join(temporaryDirectory(), 'data');
    const args = ['--host', '0.0.0.0'];
    await expectEnd(new ServerProcess(dataDir, { args }), 2, ['0.0.0.0', '--insecure']);
    expect(existsSync(dataDir)).toBe(false);
    const { server } = await startServer(dataDir, { args: [...args, '--insecure'] });
    await stop(server);
  });

  it('is refused if the log of a directory with tokens was restored without them', async () => {
    const dataDir = temporaryDirectory();
    changeTokens(dataPaths(dataDir), () => []);
    rmSync(dataPaths(dataDir).tokens);
    const parts = ['tokens.json is missing', 'token create', dataPaths(dataDir).tokensRequired];
    await expectRefusal(dataDir, {}, ...parts);
    await expectRefusal(dataDir, { args: ['--insecure'] }, ...parts);
    rmSync(dataPaths(dataDir).tokensRequired);
    const { server } = await startServer(dataDir);
    await stop(server);
  });
});

describe('damage to the log', () => {
  it('stops the start if the record is counted, changes nothing, and can be repaired', async () => {
    const dataDir = temporaryDirectory();
    const { server, url } = await startServer(dataDir);
    const acknowledged = await postSome(newClient(1), url, 20);
    await stop(server);
    const mend = damageMiddleRecord(dataDir);
    const { log, database } = dataPaths(dataDir);
    const before = fingerprints([...filesIn(log), database]);
    await expectRefusal(dataDir, {}, log, 'damaged', 'Nothing was changed', 'Restore');
    await expectRefusal(dataDir, {}, log, 'damaged', 'Nothing was changed', 'Restore');
    expect(fingerprints([...filesIn(log), database])).toEqual(before);
    mend();
    await expectCounted(dataDir, { acknowledged });
  });

  itAtNight(
    'stops the start if the record is not counted yet, changes nothing, and can be repaired',
    async () => {
      const dataDir = temporaryDirectory();
      const { server, url } = await startServer(dataDir);
      const lock = holdDatabase(dataDir);
      const acknowledged = await postSome(newClient(1), url, 20);
      server.kill('SIGKILL');
      await server.waitExit();
      lock.release();
      const mend = damageMiddleRecord(dataDir);
      const { log } = dataPaths(dataDir);
      const before = fingerprints(filesIn(log));
      await expectRefusal(dataDir, {}, log, 'damaged', 'Nothing was changed', 'Restore');
      expect(fingerprints(filesIn(log))).toEqual(before);
      mend();
      await expectCounted(dataDir, { acknowledged });
    },
  );
});

describe('a missing log', () => {
  it('stops the start while the counters need it', async () => {
    const dataDir = temporaryDirectory();
    const { server, url } = await startServer(dataDir);
    const acknowledged = await postSome(newClient(1), url, 5);
    await stop(server);
    const { log } = dataPaths(dataDir);
    const elsewhere = join(temporaryDirectory(), 'log');
    cpSync(log, elsewhere, { recursive: true });
    rmSync(log, { recursive: true });
    await expectRefusal(dataDir, {}, log, 'holds no log', 'Nothing was changed', 'Restore');
    cpSync(elsewhere, log, { recursive: true });
    await expectCounted(dataDir, { acknowledged });
  });
});

describe('the database of the counters', () => {
  it('is made again from the log, as the message about damage says', async () => {
    const dataDir = temporaryDirectory();
    const { server, url } = await startServer(dataDir);
    const acknowledged = await postSome(newClient(1), url, 20);
    await stop(server);
    const { database } = dataPaths(dataDir);
    const garbage = Buffer.alloc(50_000, 'garbage ');
    writeFileSync(database, garbage);
    await expectRefusal(dataDir, {}, database, 'damaged', 'Move it', 'start again');
    expect(readFileSync(database).equals(garbage)).toBe(true);
    for (const end of ['', '-wal', '-shm']) rmSync(database + end, { force: true });
    await expectCounted(dataDir, { acknowledged });
  });

  itAtNight('is refused at the start if its counters are damaged', async () => {
    const dataDir = temporaryDirectory();
    const first = await startServer(dataDir);
    const acknowledged = await postSome(newClient(1), first.url, 20);
    await stop(first.server);
    const { database } = dataPaths(dataDir);
    damageTable(database, 'counters');
    await expectRefusal(dataDir, {}, database, 'damaged', 'Move it', 'start again');
    for (const end of ['', '-wal', '-shm']) rmSync(database + end, { force: true });
    await expectCounted(dataDir, { acknowledged });
  });

  itAtNight('ends the server if its idempotency keys are damaged', async () => {
    const dataDir = temporaryDirectory();
    const client = newClient(1);
    const first = await startServer(dataDir);
    const acknowledged = await postSome(client, first.url, 20);
    await stop(first.server);
    const { database } = dataPaths(dataDir);
    damageTable(database, 'idempotency_keys');
    const { server, url } = await startServer(dataDir);
    const batch = newBatch('after the damage', 5, seededRandom(1), 'its-key');
    const answer = await client.post(url, batch);
    await expectFailure(server, database, 'damaged', 'Move it', 'start again');
    for (const end of ['', '-wal', '-shm']) rmSync(database + end, { force: true });
    if (answer?.status === 200)
      await expectCounted(dataDir, { acknowledged: [...acknowledged, batch] });
    else await expectCounted(dataDir, { acknowledged, unanswered: [batch] });
  });

  it('ends the server if a query finds it damaged', async () => {
    const dataDir = temporaryDirectory();
    const client = newClient(1);
    const first = await startServer(dataDir);
    const acknowledged = await postSome(client, first.url, 20);
    await stop(first.server);
    const { database } = dataPaths(dataDir);
    const { server, url } = await startServer(dataDir);
    // The start would refuse it.
    damageTable(database, 'counters');
    const answer = await fetch(`${url}/stats?from=2023-01-01&to=2023-12-31`);
    expect(answer.status).toBe(503);
    expect(await answer.json()).toMatchObject({ code: 'storage_failed' });
    await expectFailure(server, database, 'damaged', 'Move it', 'start again');
    for (const end of ['', '-wal', '-shm']) rmSync(database + end, { force: true });
    await expectCounted(dataDir, { acknowledged });
  });

  it('is made again from the log if it is missing', async () => {
    const dataDir = temporaryDirectory();
    const { server, url } = await startServer(dataDir);
    const client = newClient(1);
    const acknowledged = await postSome(client, url, 20);
    await waitCounted(client, url);
    server.kill('SIGKILL');
    await server.waitExit();
    // SQLite's other files remain; they belong to no database.
    rmSync(dataPaths(dataDir).database);
    await expectCounted(dataDir, { acknowledged });
  });

  it('catches up if it is older than the log', async () => {
    const dataDir = temporaryDirectory();
    const { database } = dataPaths(dataDir);
    const backup = join(temporaryDirectory(), 'backup.db');
    const client = newClient(1);
    const first = await startServer(dataDir);
    const before = await postSome(client, first.url, 10);
    await stop(first.server);
    copyFileSync(database, backup);
    const second = await startServer(dataDir);
    const after = await postSome(client, second.url, 12);
    await stop(second.server);
    copyFileSync(backup, database);
    await expectCounted(dataDir, { acknowledged: [...before, ...after] });
  });

  it('is refused if it is of another data directory, whichever has more', async () => {
    const client = newClient(1);
    const stopped = async (count: number) => {
      const dataDir = temporaryDirectory();
      const { server, url } = await startServer(dataDir);
      const acknowledged = await postSome(client, url, count);
      await stop(server);
      return { dataDir, acknowledged, ...dataPaths(dataDir) };
    };
    const small = await stopped(5);
    const large = await stopped(20);
    const [ofSmall, ofLarge] = [readFileSync(small.database), readFileSync(large.database)];
    writeFileSync(small.database, ofLarge);
    writeFileSync(large.database, ofSmall);
    await expectRefusal(small.dataDir, {}, 'counters of another log', 'together again');
    await expectRefusal(large.dataDir, {}, 'counters of another log', 'together again');
    writeFileSync(small.database, ofSmall);
    writeFileSync(large.database, ofLarge);
    await expectCounted(small.dataDir, small);
    await expectCounted(large.dataDir, large);
  });
});

describe('SIGTERM', () => {
  it('under load ends the server once everything acknowledged is counted', async () => {
    const dataDir = temporaryDirectory();
    const { server, url } = await startServer(dataDir);
    const sent: Sent = { acknowledged: [], unanswered: [], refusals: [] };
    const posting = postUntilRefused(newClient(8), url, { connections: 8, items: 50 }, sent);
    await waitUntil('the load', () => Promise.resolve(sent.acknowledged.length >= 200));
    await stop(server);
    await posting;
    expect(server.stderr).toBe('');
    expectEachCounted(judge(readRows(dataDir)), sent);
  });

  it('lets a request in flight be answered and refuses new ones; so does SIGHUP', async () => {
    const dataDir = temporaryDirectory();
    const { server, url } = await startServer(dataDir);
    const batch = newBatch('under way', 50, seededRandom(1));
    const underWay = await beginRequest(url, batch);
    server.kill('SIGHUP');
    await waitUntil('the port to be closed', () => isClosed(url));
    // A terminal that closes may send it twice.
    server.kill('SIGHUP');
    const answer = await underWay.finish();
    expect(answer.statusCode).toBe(200);
    expect(answer.headers.connection).toBe('close');
    expect(await server.waitExit()).toEqual({ code: 0, signal: null });
    await expectCounted(dataDir, { acknowledged: [batch] });
  });

  it.each([
    ['SIGTERM', 'the shell that npx runs it below', '"$0" "$@"; false'],
    ['SIGHUP', 'npx, above that shell', `sh -c '"$0" "$@"; false' "$0" "$@"; false`],
  ] as const)('stops the server, too, when %s is sent to %s', async (signal, _, command) => {
    const dataDir = temporaryDirectory();
    // These processes are above the server and forward no signal.
    const shellBefore = `export npm_command=exec; ${command}`;
    const { server, url } = await startServer(dataDir, { shellBefore });
    const acknowledged = await postSome(newClient(1), url, 5);
    server.kill(signal);
    // Also after the server has closed its output.
    expect(await server.waitExit()).toEqual({ code: null, signal });
    expect(logLines(server.log).at(-1)).toMatchObject({ event: 'stopped' });
    await expectCounted(dataDir, { acknowledged });
  });

  it('ends the server at once when it is repeated', async () => {
    const dataDir = temporaryDirectory();
    const { server, url } = await startServer(dataDir);
    const acknowledged = await postSome(newClient(1), url, 5);
    const batch = newBatch('under way', 50, seededRandom(1));
    await beginRequest(url, batch);
    server.kill('SIGTERM');
    await waitUntil('the port to be closed', () => isClosed(url));
    server.kill('SIGTERM');
    expect(await server.waitExit()).toEqual({ code: 130, signal: null });
    await expectCounted(dataDir, { acknowledged, unanswered: [batch] });
  });

  it('ends the server also while nothing can be counted; the next start counts', async () => {
    const dataDir = temporaryDirectory();
    const { server, url } = await startServer(dataDir);
    const lock = holdDatabase(dataDir);
    const acknowledged = await postSome(newClient(1), url, 20);
    await stop(server);
    const reader = openStatsReader(dataDir);
    expect(reader.sizes()).toEqual({ rows: 0, dates: 0 });
    expect(reader.pendingBytes()).toBeGreaterThan(0);
    reader.close();
    lock.release();
    await expectCounted(dataDir, { acknowledged });
  });

  it('ends the server with the failure that stopped it from counting', async () => {
    const dataDir = temporaryDirectory();
    const { server, url } = await startServer(dataDir);
    const { database } = dataPaths(dataDir);
    const other = new DatabaseSync(database);
    afterTest(() => other.close());
    other.exec('BEGIN IMMEDIATE');
    const acknowledged = await postSome(newClient(1), url, 20);
    server.kill('SIGTERM');
    await waitUntil('the port to be closed', () => isClosed(url));
    other.exec('DROP TABLE counters; COMMIT');
    await expectFailure(server, database, 'damaged', 'Move it');
    for (const end of ['', '-wal', '-shm']) rmSync(database + end, { force: true });
    await expectCounted(dataDir, { acknowledged });
  });
});

interface Sent {
  readonly acknowledged: TestBatch[];
  readonly unanswered: TestBatch[];
  /** The responses with a status other than 200. */
  readonly refusals: string[];
}

/** Posts batches over `connections` connections until each of them gets another status than 200. */
async function postUntilRefused(
  client: Client,
  url: string,
  { connections = 4, items = 200 } = {},
  sent: Sent = { acknowledged: [], unanswered: [], refusals: [] },
): Promise<Sent> {
  const run = async (connection: number) => {
    const random = seededRandom(connection);
    for (let number = 0; ; number++) {
      const batch = newBatch(`state ${connection}-${number}`, items, random);
      const answer = await client.post(url, batch);
      if (answer?.status === 200) {
        sent.acknowledged.push(batch);
        continue;
      }
      sent.unanswered.push(batch);
      if (answer !== undefined) {
        const { code } = JSON.parse(answer.text) as { code: string };
        const retryAfter = answer.headers['retry-after'] ?? 'never';
        sent.refusals.push(`${answer.status} ${code}, retry after ${retryAfter}`);
      }
      return;
    }
  };
  await Promise.all(Array.from({ length: connections }, (_, index) => run(index)));
  return sent;
}

/** Posts `count` batches, one after the other; all are acknowledged. */
async function postSome(client: Client, url: string, count: number): Promise<TestBatch[]> {
  const random = seededRandom(count);
  const batches: TestBatch[] = [];
  for (let number = 0; number < count; number++) {
    const batch = newBatch(`batch ${number} of ${count}`, 50, random);
    expect(await client.post(url, batch)).toMatchObject({ status: 200 });
    batches.push(batch);
  }
  return batches;
}

/**
 * Opens the directory again, in this process, which takes less CPU time than a server; what was
 * acknowledged must count once, the rest whole or not at all.
 */
async function expectCounted(
  dataDir: string,
  sent: Pick<Sent, 'acknowledged'> & Partial<Sent>,
): Promise<void> {
  const pipeline = await EmbeddedPipeline.open({ ...embeddedDefaults, dataDir }, (error) => {
    expect.fail(error);
  });
  await waitUntil('all to be counted', async () => (await pipeline.status()).pending.bytes === 0);
  await pipeline.close();
  const rows = readRows(dataDir);
  expectEachCounted(judge(rows), sent);
  expect(recountLog(dataDir)).toEqual(rows);
}

/** All counters of a directory in which everything is counted. */
function readRows(dataDir: string): CounterRow[] {
  const reader = openStatsReader(dataDir);
  try {
    expect(reader.pendingBytes()).toBe(0);
    return [...reader.query({ from: firstDate, to: lastDate, types: [], states: [] })].flat();
  } finally {
    reader.close();
  }
}

function expectEachCounted(
  verdict: ReturnType<typeof judge>,
  { acknowledged, unanswered = [] }: Pick<Sent, 'acknowledged'> & Partial<Sent>,
): void {
  expect(acknowledged.map(verdict).filter((each) => each !== 'once')).toEqual([]);
  expect(unanswered.map(verdict).filter((each) => !/^once$|^none$/.test(each))).toEqual([]);
}

/** Expects the server to exit on its own, with exit code 1 and one line that has all of `parts`. */
async function expectFailure(server: ServerProcess, ...parts: readonly string[]): Promise<void> {
  await expectEnd(server, 1, parts);
}

async function expectEnd(server: ServerProcess, code: number, parts: readonly string[]) {
  const exit = await server.waitExit();
  const { stderr } = server;
  expect({ ...exit, stderr }).toMatchObject({
    code,
    signal: null,
    stderr: expect.stringMatching(/^device-pipeline: [^\n]+\.\n$/) as string,
  });
  for (const part of parts) expect(stderr).toContain(part);
  // No stack trace, and no error in the format of Node.
  expect(stderr).not.toMatch(/\bat \S+ \(|node:internal|\.[jt]s:\d/);
}

/** Expects a start to be refused, as `expectFailure` says. */
async function expectRefusal(dataDir: string, options: SpawnOptions, ...parts: readonly string[]) {
  await expectFailure(new ServerProcess(dataDir, options), ...parts);
}

async function stop(server: ServerProcess): Promise<void> {
  server.kill('SIGTERM');
  expect(await server.waitExit()).toEqual({ code: 0, signal: null });
}

/** A file system of its own, of this number of MiB. */
function smallDisk(mebibytes: number): string {
  const directory = temporaryDirectory();
  if (!mount(`size=${mebibytes}m`, directory)) throw new Error(`cannot mount at ${directory}`);
  afterTest(() => unmount(directory));
  return directory;
}

function resizeDisk(directory: string, mebibytes: number): void {
  const isResized = mount(`remount,size=${mebibytes}m`, directory);
  if (!isResized) throw new Error(`cannot resize ${directory}`);
}

function mount(options: string, directory: string): boolean {
  return spawnSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', directory]).status === 0;
}

function unmount(directory: string): void {
  const { status, stderr } = spawnSync('umount', [directory]);
  if (status !== 0) throw new Error(stderr.toString());
}

/** Fills a disk; returns the file that takes the space. */
function fillDisk(directory: string): string {
  const path = join(directory, 'filler');
  const file = openSync(path, 'w');
  try {
    for (;;) writeSync(file, Buffer.alloc(4096));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  } finally {
    closeSync(file);
  }
  return path;
}

/** Changes one byte of a body in the middle of the log; returns how to change it back. */
function damageMiddleRecord(dataDir: string): () => void {
  const { log } = dataPaths(dataDir);
  const reader = new LogReader(nodeFileSystem, log);
  const positions = [...reader.records()].map(({ record }) => record.position);
  reader.close();
  // The log is one file, so its positions are those of the file.
  const [path = ''] = filesIn(log);
  const offset = (positions[Math.floor(positions.length / 2)] ?? 0) + 100;
  const flip = () => {
    const bytes = readFileSync(path);
    bytes.writeUInt8(bytes.readUInt8(offset) ^ 1, offset);
    writeFileSync(path, bytes);
  };
  flip();
  return flip;
}

/** Overwrites the first page of a table with garbage. */
function damageTable(path: string, table: string): void {
  const database = new DatabaseSync(path, { readOnly: true });
  const found = database.prepare('SELECT rootpage FROM sqlite_schema WHERE name = ?').get(table);
  const size = database.prepare('PRAGMA page_size').get();
  database.close();
  const pageBytes = Number(size?.['page_size']);
  const bytes = readFileSync(path);
  bytes.fill(
    'nonsense',
    (Number(found?.['rootpage']) - 1) * pageBytes,
    Number(found?.['rootpage']) * pageBytes,
  );
  writeFileSync(path, bytes);
}

function filesIn(directory: string): string[] {
  return readdirSync(directory)
    .sort()
    .map((name) => join(directory, name));
}

function fingerprints(paths: readonly string[]): string[] {
  return paths.map((path) => `${path} ${hash('sha256', readFileSync(path))}`);
}

/** Sends a batch without its body; the server has begun to handle it. */
async function beginRequest(
  url: string,
  { body }: TestBatch,
): Promise<{ finish(): Promise<IncomingMessage> }> {
  const headers = {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
    expect: '100-continue',
  };
  const sent = request(`${url}/ingest`, { method: 'POST', agent: false, headers });
  // The test may cut it off later.
  sent.on('error', () => undefined);
  const begun = once(sent, 'continue');
  sent.flushHeaders();
  await begun;
  const answered = once(sent, 'response');
  answered.catch(() => undefined);
  return {
    async finish() {
      sent.end(body);
      const [answer] = (await answered) as [IncomingMessage];
      answer.resume();
      return answer;
    },
  };
}

/** Whether no process listens there any more. */
function isClosed(url: string): Promise<boolean> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve) => {
    const socket = connect(Number(port), hostname);
    socket.on('connect', () => {
      socket.destroy();
      resolve(false);
    });
    socket.on('error', () => resolve(true));
  });
}
