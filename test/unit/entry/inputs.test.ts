import { readdirSync, readlinkSync } from 'node:fs';
import { Readable } from 'node:stream';
import { setImmediate } from 'node:timers/promises';

import { expect, it } from 'vitest';

import { readInput, rereadable, type Input } from '../../../src/entry/ingest/inputs.ts';

const text = '{"n":1}\n';
const pipe: Input = {
  ...{ name: '-', isLive: true, bytes: undefined },
  open: () => Readable.from([Buffer.from(text)]),
  close: () => Promise.resolve(),
};

/** Reads to the end, with a signal that comes just behind the end of the input. */
async function readWithSignal(read: (stopping: AbortSignal) => Promise<unknown>): Promise<unknown> {
  const stopping = new AbortController();
  const reading = read(stopping.signal);
  await setImmediate();
  stopping.abort();
  return await reading;
}

it('the end of a pipe is not the end of the input where a signal comes with it', async () => {
  const isAborted = { name: 'AbortError' };
  await expect(
    readWithSignal((stopping) => Array.fromAsync(readInput(pipe, stopping))),
  ).rejects.toMatchObject(isAborted);
  await expect(readWithSignal((stopping) => rereadable(pipe, stopping))).rejects.toMatchObject(
    isAborted,
  );
});

/** Temporary copies of inputs that this process has open. Linux lists them. */
function openCopies(): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const path = readlinkSync(`/proc/self/fd/${fd}`);
      return /\/device-pipeline-[0-9a-f-]{36} \(deleted\)$/.test(path) ? [path] : [];
    } catch {
      // The directory itself, which is closed again.
      return [];
    }
  });
}

it.runIf(process.platform === 'linux')('an interrupted copy of a pipe is closed', async () => {
  const stopping = AbortSignal.abort();
  await expect(rereadable(pipe, stopping)).rejects.toMatchObject({ name: 'AbortError' });
  expect(openCopies()).toEqual([]);
});

it('else it is', async () => {
  const { signal } = new AbortController();
  const chunks = await Array.fromAsync(readInput(pipe, signal));
  expect(Buffer.concat(chunks).toString()).toBe(text);
  const copy = await rereadable(pipe, signal);
  expect(Buffer.concat(await copy.open().toArray()).toString()).toBe(text);
  await copy.close();
});

it('a pipe that is always full leaves room for signals', async () => {
  const full = { ...pipe, open: () => Readable.from(Array<Buffer>(100).fill(Buffer.from(text))) };
  const stopping = new AbortController();
  let chunks = 0;
  const reading = (async () => {
    for await (const chunk of readInput(full, stopping.signal)) chunks += chunk.length > 0 ? 1 : 0;
  })();
  await setImmediate();
  stopping.abort();
  await expect(reading).rejects.toMatchObject({ name: 'AbortError' });
  expect(chunks).toBeLessThan(100);
});

it('a file ends where it ends', async () => {
  const file = { ...pipe, isLive: false };
  const { length } = (await readWithSignal((stopping) =>
    Array.fromAsync(readInput(file, stopping)),
  )) as Buffer[];
  expect(length).toBe(1);
});
