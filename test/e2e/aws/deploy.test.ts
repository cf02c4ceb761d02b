import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { expect, test } from 'vitest';

const root = join(import.meta.dirname, '../../..');
const cli = join(root, 'src/entry/cli.ts');
const read = (name: string) => readFileSync(join(root, name), 'utf8');
const help = execFileSync(process.execPath, [cli, 'serve', '--help'], { encoding: 'utf8' });

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
