import { globSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, expect, it } from 'vitest';

import { makeDirectories } from '../../../src/util/directories.ts';

const directory = mkdtempSync(join(tmpdir(), 'device-pipeline-directories-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

it('makes a directory with its parents, once, and names the parent of each', () => {
  const made: string[] = [];
  const path = join(directory, 'a/b');
  makeDirectories(path, 0o750, (parent) => made.push(parent));
  makeDirectories(path, 0o750, (parent) => made.push(parent));
  expect(made).toEqual([directory, join(directory, 'a')]);
  expect(statSync(path).mode & 0o777).toBe(0o750);
});

it('fails where no directory can be made', () => {
  // The recursive mkdir of Node.js never returns here.
  expect(() => makeDirectories('/proc/x/y', 0o750)).toThrow(
    'cannot create /proc/x: /proc does not allow new directories',
  );
  const file = join(directory, 'file');
  writeFileSync(file, '');
  expect(() => makeDirectories(join(file, 'x'), 0o750)).toThrow(/EEXIST/);
});

it('is what the program uses for paths of users', () => {
  const root = join(import.meta.dirname, '../../..');
  const users = globSync('src/**/*.ts', { cwd: root }).filter((path) =>
    /\bmkdir(?:Sync)?\([^;]*recursive/.test(readFileSync(join(root, path), 'utf8')),
  );
  expect(users).toEqual([]);
});
