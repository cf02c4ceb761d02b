import { afterEach, beforeEach, expect, it, vi } from 'vitest';

import { LogOutput } from '../../../src/entry/serve/log-output.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** An output that takes `room` bytes and then fails with `code`. */
function limitedOutput(code: string) {
  const file = { text: '', room: 0 };
  const reports: [number, string][] = [];
  const output: LogOutput = new LogOutput({
    write: (bytes) => {
      if (file.room === 0) throw Object.assign(new Error(`${code}: the reason`), { code });
      const taken = bytes.subarray(0, file.room);
      file.room -= taken.length;
      file.text += Buffer.from(taken).toString();
      return taken.length;
    },
    onRecovered: (lines, reason) => {
      reports.push([lines, reason]);
      output.write(`${lines} dropped\n`);
    },
  });
  return { file, reports, output };
}

it('keeps lines for a reader that is slow, and writes them in order', () => {
  const { file, output, reports } = limitedOutput('EAGAIN');
  file.room = 6;
  for (const line of ['one\n', 'two\n', 'three\n']) output.write(line);
  expect(file.text).toBe('one\ntw');
  file.room = 1_000;
  vi.advanceTimersByTime(100);
  output.write('four\n');
  expect(file.text).toBe('one\ntwo\nthree\nfour\n');
  expect([output.dropped, reports]).toEqual([0, []]);
});

it('keeps a bounded number of bytes, then drops lines and reports how many', () => {
  const { file, output, reports } = limitedOutput('EAGAIN');
  const line = `${'x'.repeat(1023)}\n`;
  for (let written = 0; written < 1_030; written++) output.write(line);
  expect(output.dropped).toBe(6);
  file.room = Infinity;
  vi.advanceTimersByTime(100);
  output.write('after\n');
  expect(file.text).toBe(`${line.repeat(1_024)}6 dropped\nafter\n`);
  expect(reports).toEqual([[6, 'the reader of the pipe is too slow']]);
  expect(output.dropped).toBe(6);
});

it('drops lines while the output fails, and reports how many once it works', () => {
  const { file, output, reports } = limitedOutput('ENOSPC');
  for (const line of ['one\n', 'two\n', 'three\n']) output.write(line);
  vi.advanceTimersByTime(3_500);
  output.write('four\n');
  expect(output.dropped).toBe(4);
  file.room = Infinity;
  vi.advanceTimersByTime(1_000);
  output.write('five\n');
  expect(file.text).toBe('4 dropped\nfive\n');
  expect(reports.at(-1)).toEqual([4, 'ENOSPC: the reason']);
  expect(output.dropped).toBe(4);
});

it('completes a line of which a part was written', () => {
  const { file, output } = limitedOutput('ENOSPC');
  file.room = 2;
  output.write('one\n');
  output.write('two\n');
  file.room = Infinity;
  vi.advanceTimersByTime(1_000);
  expect(file.text).toBe('one\n1 dropped\n');
});

it('waits at the end for a slow reader, for a bounded time', async () => {
  const { file, output } = limitedOutput('EAGAIN');
  output.write('last\n');
  const closed = output.close(1_000);
  file.room = 5;
  await vi.advanceTimersByTimeAsync(100);
  await closed;
  expect(file.text).toBe('last\n');

  output.write('never\n');
  const given = output.close(1_000);
  await vi.advanceTimersByTimeAsync(1_100);
  await given;
});
