import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { readBatch, countEvents } from '../../src/domain/batch.ts';
import { BatchScanner } from '../../src/domain/fast/batch-scanner.ts';
import { CounterTable } from '../../src/domain/fast/counter-table.ts';
import { scanMemory } from '../../src/domain/fast/scan-memory.ts';
import { scanKernel } from '../../src/engines/embedded/store/scan-kernel.ts';
import { mergeIncrements, type Increments } from '../../src/domain/counter.ts';
import { bodyOf } from './traffic.ts';

/*
 * Upper bounds for a server with one thread, measured without HTTP: reading and counting, and making
 * bytes durable. Each function returns a rate per second.
 */

/** JSON.parse, validation of every item, and counting; items per second. */
export function parseBound(items: number, milliseconds: number): number {
  const body = Buffer.from(bodyOf(items));
  const counters: Increments = new Map();
  return (
    items *
    rate(milliseconds, () => {
      const reading = readBatch(body);
      if (!reading.readable || reading.rejected > 0) throw new Error('the body was refused');
      mergeIncrements(counters, countEvents(reading.events));
    })
  );
}

/** Only the scanner and the table of counters, from shared memory; items per second. */
export function scanBound(items: number, milliseconds: number): number {
  const body = Buffer.from(bodyOf(items));
  const limits = { countersMax: 65_536, keyBytesMax: 16 * 1024 * 1024 };
  const memory = scanMemory(limits, body.length);
  const { bodiesAt } = memory;
  const bytes = new Uint8Array(memory.memory.buffer);
  bytes.set(body, bodiesAt);
  const table = new CounterTable(memory, 42, scanKernel());
  const scanner = new BatchScanner(table);
  return (
    items *
    rate(milliseconds, () => {
      const scanned = scanner.scan(bytes, bodiesAt, bodiesAt + body.length);
      if (scanned?.items !== items) throw new Error('the body was refused');
      scanned.count();
    })
  );
}

/** Writes of this many bytes, each made durable; over existing blocks of the file, or appended. */
export function syncBound(bytes: number, isAllocated: boolean, milliseconds: number): number {
  const directory = mkdtempSync(join(tmpdir(), 'device-pipeline-sync-'));
  const file = openSync(join(directory, 'file'), 'w');
  const block = Buffer.alloc(bytes, 'x');
  const allocatedBlocks = Math.max(1, Math.floor((64 * 1024 * 1024) / bytes));
  let blocks = 0;
  try {
    if (isAllocated) {
      for (let index = 0; index < allocatedBlocks; index++) writeSync(file, block);
      fdatasyncSync(file);
    }
    return rate(milliseconds, () => {
      const at = isAllocated ? blocks++ % allocatedBlocks : blocks++;
      writeSync(file, block, 0, bytes, at * bytes);
      fdatasyncSync(file);
    });
  } finally {
    closeSync(file);
    rmSync(directory, { recursive: true });
  }
}

function rate(milliseconds: number, act: () => void): number {
  for (const end = performance.now() + milliseconds / 4; performance.now() < end;) act();
  const start = performance.now();
  let times = 0;
  while (performance.now() < start + milliseconds) {
    for (let index = 0; index < 16; index++) act();
    times += 16;
  }
  return (times * 1000) / (performance.now() - start);
}
