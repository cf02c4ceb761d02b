import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

import { describe, expect, it, onTestFinished, vi } from 'vitest';

import { auditDataDirectory } from '../../../../src/engines/embedded/verify/audit.ts';
import { dataPaths } from '../../../../src/engines/embedded/data-directory.ts';
import { embeddedDefaults } from '../../../../src/engines/embedded/options.ts';
import { connectSqlite, thisMachine } from '../../../../src/engines/embedded/writer/platform.ts';
import { Writer } from '../../../../src/engines/embedded/writer/writer.ts';

/** A writer on this machine, the failures it reported, and its connection to the database. */
function openWriter(dataDir: string) {
  const failures: string[] = [];
  let database: DatabaseSync | undefined;
  const writer = Writer.open(
    { ...embeddedDefaults, dataDir },
    {
      onProgress: () => undefined,
      onFailure: (message) => failures.push(message),
      onUnexpectedError: (message) => expect.fail(message),
    },
    {
      ...thisMachine,
      connect: (path, timeoutMs) => (database = connectSqlite(path, timeoutMs)),
    },
  );
  return { writer, failures, database: database as unknown as DatabaseSync };
}

function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'device-pipeline-'));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  return directory;
}

/** Acknowledges a batch with `counters` counters of its own. */
function store(writer: Writer, counters: number, type: string): void {
  const items = Array.from({ length: counters }, (_, at) => ({
    type: `${type} ${at}`,
    state: 'erased',
    timestamp: '2023-06-16T13:00:00Z',
  }));
  const body = Buffer.from(JSON.stringify({ processed_devices: items }));
  expect(writer.stagePlain(body, 0, body.length, '')).toMatchObject({ enqueued: counters });
  expect(writer.commit()).toBe(true);
}

async function waitCounted(writer: Writer): Promise<void> {
  await vi.waitUntil(() => writer.progress().countedThrough === writer.progress().durableEnd, {
    timeout: 500_000,
  });
}

/** A start counts each of the counters once, and an audit finds nothing. */
async function expectCounted(dataDir: string, counters: number): Promise<void> {
  const { writer, failures, database } = openWriter(dataDir);
  await waitCounted(writer);
  const row = database.prepare('SELECT count(*) AS rows, sum(count) AS items FROM counters').get();
  expect(row).toEqual({ rows: counters, items: counters });
  await writer.close();
  expect(failures).toEqual([]);
  await auditDataDirectory({
    dataDir,
    threads: 1,
    dates: undefined,
    received: undefined,
    onDifference: ({ detail }) => expect.fail(detail),
    onProgress: () => undefined,
  });
}

describe('what SQLite itself refuses', () => {
  it.each([
    {
      what: 'a database that cannot grow, while the log can',
      refuse: (database: DatabaseSync) => {
        const pages = Number(database.prepare('PRAGMA page_count').get()?.['page_count']);
        database.exec(`PRAGMA max_page_count = ${pages}`);
      },
      message: /is full\. Free some space and start again/,
    },
    {
      what: 'a database that cannot be written any more',
      refuse: (database: DatabaseSync) => database.exec('PRAGMA query_only = 1'),
      message: /cannot be written .* Give this user permission to write there/,
    },
  ])('$what: reported once, and nothing acknowledged is lost', async ({ refuse, message }) => {
    const dataDir = temporaryDirectory();
    const { writer, failures, database } = openWriter(dataDir);
    store(writer, 100, 'before');
    await waitCounted(writer);
    refuse(database);
    store(writer, 5000, 'after');
    await vi.waitUntil(() => failures.length > 0, { timeout: 500_000 });
    expect(failures).toEqual([expect.stringMatching(message)]);
    await writer.close();
    await expectCounted(dataDir, 5100);
  });
});

describe('the write-ahead log of the database', () => {
  it('overwritten in the middle takes back what it held, and that is counted again', async () => {
    const dataDir = temporaryDirectory();
    const { writer } = openWriter(dataDir);
    for (let batch = 0; batch < 5; batch++) {
      store(writer, 200, `batch ${batch}`);
      await waitCounted(writer);
    }
    // As a power cut finds it: nothing is put in order.
    const found = join(temporaryDirectory(), 'found');
    cpSync(dataDir, found, { recursive: true });
    await writer.close();
    const path = `${dataPaths(found).database}-wal`;
    const bytes = readFileSync(path);
    bytes.fill('nonsense', bytes.length / 2, bytes.length / 2 + 4096);
    writeFileSync(path, bytes);
    rmSync(`${dataPaths(found).database}-shm`);
    const before = new DatabaseSync(dataPaths(found).database);
    const row = before.prepare('SELECT count(*) AS rows FROM counters').get();
    before.close();
    expect(Number(row?.['rows'])).toBeLessThan(1000);
    await expectCounted(found, 1000);
  });
});

describe('a database that another program holds for itself', () => {
  it('is named at the start', () => {
    const dataDir = temporaryDirectory();
    const holder = new DatabaseSync(dataPaths(dataDir).database);
    onTestFinished(() => holder.close());
    holder.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; CREATE TABLE t (a)');
    expect(() => openWriter(dataDir)).toThrow(/is locked by another program\. Stop that program/);
  });
});
