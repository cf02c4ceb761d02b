import { openSync, closeSync, fstatSync, writeSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { request, type IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

import { expect, it, onTestFinished, vi } from 'vitest';

import { EmbeddedPipeline } from '../../../src/engines/embedded/embedded-pipeline.ts';
import { embeddedDefaults } from '../../../src/engines/embedded/options.ts';
import { dataPaths } from '../../../src/engines/embedded/data-directory.ts';
import { openDatabase } from '../../../src/engines/embedded/store/schema.ts';
import { countersOf } from '../../support/counters.ts';
import { startServer, type TestServer } from '../../support/server.ts';

const day = '2023-06-16';
const rows = 60_000;
/** A time limit for something that happens soon, on a busy machine. */
const waitOptions = { timeout: 500_000, interval: 50 };
const query = { from: day, to: day, types: [], states: [] };
const ofDay = { query, groupBy: undefined, format: 'ndjson' } as const;

/** Rows of such a size that their response is several times what may be in flight. */
function fill(dataDir: string, first = 0): void {
  const database = openDatabase(dataPaths(dataDir).database);
  const insert = database.prepare('INSERT INTO counters VALUES (?, ?, ?, ?, 1)');
  const state = 'x'.repeat(100);
  database.exec('BEGIN');
  for (let index = first; index < first + rows; index++) {
    const type = `type ${String(index).padStart(6, '0')}`;
    insert.run(day, `${type}#${state}`, type, state);
  }
  database.exec('COMMIT; PRAGMA wal_checkpoint(TRUNCATE)');
  database.close();
}

async function openPipeline() {
  const dataDir = await mkdtemp(join(tmpdir(), 'device-pipeline-'));
  fill(dataDir);
  const pipeline = await EmbeddedPipeline.open({ ...embeddedDefaults, dataDir }, (defect) => {
    throw new Error(defect);
  });
  let isClosed = false;
  const close = async () => {
    if (!isClosed) await pipeline.close();
    isClosed = true;
  };
  onTestFinished(async () => {
    await close();
    await rm(dataDir, { recursive: true });
  });
  return { pipeline, dataDir, close };
}

async function streamOf(pipeline: EmbeddedPipeline) {
  const answer = await pipeline.stats(ofDay, []);
  if (answer.kind !== 'stream') expect.fail(answer.kind);
  return answer;
}

const linesIn = (piece: Uint8Array) =>
  piece.reduce((lines, byte) => lines + Number(byte === 10), 0);

/** Whether the whole WAL can be checkpointed: no reader holds an earlier snapshot. */
function canCheckpoint(database: DatabaseSync): boolean {
  return database.prepare('PRAGMA wal_checkpoint(RESTART)').get()?.['busy'] === 0;
}

it('a large answer shows one state, whatever is counted while it is sent', async () => {
  const { pipeline, dataDir } = await openPipeline();
  const { pieces } = await streamOf(pipeline);
  const { value: first = new Uint8Array() } = (await pieces.next()) as { value?: Uint8Array };
  fill(dataDir, rows);
  let lines = linesIn(first);
  for await (const piece of pieces) lines += linesIn(piece);
  expect(lines).toBe(rows);
  expect(await countersOf(pipeline)).toHaveLength(2 * rows);
});

it('an abandoned answer no longer holds a snapshot', async () => {
  const { pipeline, dataDir } = await openPipeline();
  const writer = new DatabaseSync(dataPaths(dataDir).database);
  onTestFinished(() => writer.close());
  const { pieces } = await streamOf(pipeline);
  await pieces.next();
  writer.exec("UPDATE counters SET count = 2 WHERE type = 'type 000001'");
  expect(canCheckpoint(writer)).toBe(false);
  expect(await pieces.return?.()).toMatchObject({ done: true });
  await vi.waitFor(() => expect(canCheckpoint(writer)).toBe(true), waitOptions);
});

it('a version identifies a state: it is the same while nothing changes and differs after a change', async () => {
  const { pipeline, dataDir } = await openPipeline();
  const { version = '', pieces } = await streamOf(pipeline);
  await pieces.return?.();
  expect(await pipeline.stats(ofDay, [version])).toMatchObject({ kind: 'unchanged', version });
  const csv = { ...ofDay, format: 'csv' } as const;
  const marked = await pipeline.stats({ ...csv, hasByteOrderMark: true }, [version]);
  if (marked.kind !== 'stream') throw new Error(`it is ${marked.kind}`);
  const { value: first } = (await marked.pieces.next()) as { value?: Uint8Array };
  await marked.pieces.return?.();
  expect(Buffer.from(first ?? '').toString()).toMatch(/^\ufeffdate,/);
  // Both are of the same rows.
  expect((await pipeline.stats(csv, [marked.version ?? ''])).kind).toBe('stream');
  const writer = new DatabaseSync(dataPaths(dataDir).database);
  writer.exec("UPDATE counters SET count = 2 WHERE type = 'type 000001'");
  writer.close();
  const changed = await pipeline.stats(ofDay, [version]);
  expect(changed.kind).toBe('stream');
  expect('version' in changed && changed.version).not.toBe(version);
});

it('too many answers at once get 503 with Retry-After', async () => {
  const { pipeline } = await openPipeline();
  const streams = [];
  for (let count = 0; count < 8; count++) streams.push(await streamOf(pipeline));
  await expect(pipeline.stats(ofDay, [])).rejects.toMatchObject({ code: 'overloaded' });
  // A small answer is sent nevertheless.
  const few = { ...ofDay, query: { ...query, types: ['type 000001'] } };
  expect((await pipeline.stats(few, [])).kind).toBe('whole');
  expect((await pipeline.stats({ ...ofDay, groupBy: ['date'] }, [])).kind).toBe('whole');
  await streams[0]?.pieces.return?.();
  await vi.waitFor(
    async () => expect((await pipeline.stats(ofDay, [])).kind).toBe('stream'),
    waitOptions,
  );
});

it('unread pieces are not produced, and the end of the pipeline fails open streams', async () => {
  const { pipeline, close } = await openPipeline();
  const { pieces } = await streamOf(pipeline);
  // Everything that would be produced by now is produced.
  await Promise.all(Array.from({ length: 100 }, () => pipeline.receipt('x')));
  await close();
  let bytes = 0;
  const taken = (async () => {
    for await (const piece of pieces) bytes += piece.length;
  })();
  await expect(taken).rejects.toThrow('The server is stopping.');
  expect(bytes).toBeGreaterThan(2 * 1024 * 1024);
  expect(bytes).toBeLessThan(4 * 1024 * 1024);
});

async function startFilled(): Promise<TestServer> {
  const server = await startServer();
  onTestFinished(() => server.stop());
  fill(server.dataDir);
  return server;
}

function get({ url }: TestServer, headers: Record<string, string> = {}): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  request(`${url}/stats?date=${day}`, { headers, agent: false }, resolve).on('error', reject).end();
  return promise;
}

it.each([{}, { 'accept-encoding': 'gzip' }])(
  'damage in the middle cuts off the connection, so that no short answer looks complete (%j)',
  async (headers) => {
    const server = await startFilled();
    const file = openSync(dataPaths(server.dataDir).database, 'r+');
    const { size } = fstatSync(file);
    // The beginning is valid.
    const garbage = Buffer.alloc(Math.floor(size / 5), 0xa5);
    writeSync(file, garbage, 0, garbage.length, size - 2 * garbage.length);
    closeSync(file);
    const response = await get(server, headers);
    expect(response.statusCode).toBe(200);
    const pieces: Buffer[] = [];
    response.on('data', (piece: Buffer) => pieces.push(piece));
    const { promise, resolve } = Promise.withResolvers<unknown>();
    response.on('error', resolve).on('end', () => resolve(undefined));
    expect(await promise).toMatchObject({ code: 'ECONNRESET' });
    expect(response.complete).toBe(false);
    expect(pieces.length).toBeGreaterThan(0);
  },
);

it('a client that disconnects ends its read, and other reads continue', async () => {
  const server = await startFilled();
  for (let count = 0; count < 40; count++) {
    const response = await get(server);
    const closed = new Promise((resolve) => response.once('close', resolve));
    response.destroy();
    await closed;
  }
  // As many as may be read at once.
  await vi.waitFor(async () => {
    const responses = await Promise.all(Array.from({ length: 8 }, () => get(server)));
    for (const response of responses) response.destroy();
    expect(responses.map(({ statusCode }) => statusCode)).toEqual(responses.map(() => 200));
  }, waitOptions);
});
