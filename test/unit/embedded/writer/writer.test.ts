import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setImmediate, setTimeout } from 'node:timers/promises';

import { expect, it, onTestFinished, vi } from 'vitest';

import { dataPaths } from '../../../../src/engines/embedded/data-directory.ts';
import { embeddedDefaults } from '../../../../src/engines/embedded/options.ts';
import { Writer } from '../../../../src/engines/embedded/writer/writer.ts';

/** More new counters than the memory holds: later items are read from the log. */
const overfilling = 21_000;

/** Nothing is due in it. */
async function openWriter() {
  const dataDir = mkdtempSync(join(tmpdir(), 'device-pipeline-'));
  const writer = Writer.open(
    { ...embeddedDefaults, dataDir },
    {
      onProgress: () => undefined,
      onFailure: (message) => expect.fail(message),
      onUnexpectedError: (message) => expect.fail(message),
    },
  );
  onTestFinished(async () => {
    await writer.close();
    rmSync(dataDir, { recursive: true });
  });
  await setImmediate();
  await setImmediate();
  return { writer, database: dataPaths(dataDir).database };
}

function take(writer: Writer, counters: number, type: string): void {
  const items = Array.from({ length: counters }, (_, at) => ({
    type: `${type} ${at}`,
    state: 'erased',
    timestamp: '2023-06-16T13:00:00Z',
  }));
  const body = Buffer.from(JSON.stringify({ processed_devices: items }));
  expect(writer.stagePlain(body, 0, body.length, '')).toMatchObject({ enqueued: counters });
}

async function expectToBeCounted(writer: Writer): Promise<void> {
  await vi.waitUntil(() => writer.progress().countedThrough === writer.progress().durableEnd, {
    timeout: 500_000,
  });
}

it('reports how many items wait, since when, and when the last batch came, also after a restart', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'device-pipeline-'));
  const options = { ...embeddedDefaults, dataDir };
  const events = {
    onProgress: () => undefined,
    onFailure: (message: string) => expect.fail(message),
    onUnexpectedError: (message: string) => expect.fail(message),
  };
  onTestFinished(() => rmSync(dataDir, { recursive: true }));
  const before = Date.now();
  const writer = Writer.open(options, events);
  expect(writer.progress()).toMatchObject({ pendingItems: 0, lastReceivedAt: undefined });
  const other = new DatabaseSync(dataPaths(dataDir).database);
  other.exec('BEGIN IMMEDIATE');
  take(writer, 3, 'a');
  writer.commit();
  take(writer, 4, 'b');
  writer.commit();
  const { pendingItems, pendingSince, lastReceivedAt } = writer.progress();
  expect(pendingItems).toBe(7);
  expect(pendingSince).toBeGreaterThanOrEqual(before);
  expect(lastReceivedAt).toBeGreaterThanOrEqual(pendingSince ?? 0);
  const snapshot = join(dataDir, 'snapshot');
  cpSync(join(dataDir, 'log'), join(snapshot, 'log'), { recursive: true });
  other.exec('ROLLBACK');
  other.close();
  await expectToBeCounted(writer);
  expect(writer.progress()).toMatchObject({ pendingItems: 0, pendingSince: undefined });
  await writer.close();

  // Another start finds all of it uncounted,
  const again = Writer.open({ ...options, dataDir: snapshot }, events);
  expect(again.progress()).toMatchObject({ pendingItems: 7, pendingSince, lastReceivedAt });
  await expectToBeCounted(again);
  expect(again.progress()).toMatchObject({ pendingItems: 0, pendingSince: undefined });
  await again.close();
  // and one more nothing but the last batch.
  const once = Writer.open({ ...options, dataDir: snapshot }, events);
  expect(once.progress()).toMatchObject({ pendingItems: 0, lastReceivedAt });
  await once.close();
});

it('counts what came after more than it holds, though nothing comes any more', async () => {
  const { writer } = await openWriter();
  take(writer, overfilling, 'a');
  take(writer, 10, 'b');
  writer.commit();
  await expectToBeCounted(writer);
});

it('counts what it holds once the database is free, though nothing comes any more', async () => {
  const { writer, database } = await openWriter();
  const other = new DatabaseSync(database);
  onTestFinished(() => other.close());
  other.exec('BEGIN IMMEDIATE');
  take(writer, overfilling, 'a');
  writer.commit();
  await setTimeout(300);
  expect(writer.progress().countedThrough).toBe(0);
  other.exec('COMMIT');
  await expectToBeCounted(writer);
});
