import { execFileSync } from 'node:child_process';
import { globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, normalize } from 'node:path';

import { afterAll, describe, expect, it } from 'vitest';

const root = join(import.meta.dirname, '../../..');
const directory = mkdtempSync(join(tmpdir(), 'device-pipeline-boundaries-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** Paths of the given files that the project's rules of imports and of the environment refuse. */
function refusedOf(sources: Readonly<Record<string, string>>): string[] {
  rmSync(join(directory, 'src'), { recursive: true, force: true });
  // Not those that need types: what the files here import does not exist.
  const config = JSON.parse(readFileSync(join(root, '.oxlintrc.json'), 'utf8')) as object;
  write('.oxlintrc.json', JSON.stringify({ ...config, options: {} }));
  for (const [path, text] of Object.entries(sources)) write(path, text);
  const oxlint = join(root, 'node_modules/oxlint/bin/oxlint');
  const args = [oxlint, '--config', '.oxlintrc.json', '--format', 'json'];
  const { diagnostics } = JSON.parse(runAnyway(process.execPath, args)) as {
    diagnostics: { code: string; filename: string }[];
  };
  return diagnostics
    .filter(({ code }) => /no-restricted-(imports|properties)/.test(code))
    .map(({ filename }) => normalize(filename));
}

function write(path: string, text: string): void {
  mkdirSync(dirname(join(directory, path)), { recursive: true });
  writeFileSync(join(directory, path), text);
}

/** The output, whatever the exit code. */
function runAnyway(program: string, args: readonly string[]): string {
  try {
    return execFileSync(program, args, { cwd: directory, encoding: 'utf8' });
  } catch (error) {
    return (error as { stdout: string }).stdout;
  }
}

const rooms = {
  util: 'src/util/example.ts',
  auth: 'src/auth/example.ts',
  domain: 'src/domain/example.ts',
  client: 'src/client/example.ts',
  pipeline: 'src/pipeline/example.ts',
  engines: 'src/engines/embedded/example.ts',
  http: 'src/http/example.ts',
  entry: 'src/entry/example.ts',
};
type Room = keyof typeof rooms;

function roomOf(path: string): Room {
  return path.split('/')[1] as Room;
}

const allowed: Record<Room, readonly Room[]> = {
  util: [],
  auth: ['util', 'domain'],
  domain: ['util'],
  client: [],
  pipeline: ['util', 'auth', 'domain'],
  engines: ['util', 'auth', 'domain', 'pipeline'],
  http: ['util', 'auth', 'domain', 'pipeline'],
  entry: ['util', 'auth', 'domain', 'client', 'pipeline', 'engines', 'http'],
};

const pairs = (Object.keys(rooms) as Room[]).flatMap((from) =>
  (Object.keys(rooms) as Room[]).filter((to) => to !== from).map((to) => ({ from, to })),
);

/** A file in the given room, and what it contains. */
function fileIn(room: Room, name: string, text: string): [path: string, text: string] {
  return [rooms[room].replace('example', name), text];
}

describe('dependencies point inward', () => {
  it('in every kind of static import', () => {
    const files = pairs.flatMap(({ from, to }) => {
      const target = `${from === 'engines' ? '../..' : '..'}/${to}/thing.ts`;
      return [
        fileIn(from, `${to}-value`, `import { thing } from '${target}';\nthing();\n`),
        fileIn(from, `${to}-type`, `import type { A } from '${target}';\nexport type B = A;\n`),
        fileIn(from, `${to}-again`, `export { thing } from '${target}';\n`),
      ].map(([path, text]) => ({ path, text, isAllowed: allowed[from].includes(to) }));
    });
    const refused = refusedOf(Object.fromEntries(files.map(({ path, text }) => [path, text])));
    const expected = files.filter(({ isAllowed }) => !isAllowed).map(({ path }) => path);
    expect(refused.sort()).toEqual(expected.sort());
  });

  it('in dynamic imports, which the rules do not see', () => {
    const found = globSync('src/{' + Object.keys(rooms).join() + '}/**/*.ts', {
      cwd: root,
    }).flatMap((path) =>
      [...readFileSync(join(root, path), 'utf8').matchAll(/\bimport\(\s*'(\.[^']+)'/g)].map(
        ([, target = '']) => ({ path, to: roomOf(join(dirname(path), target)) }),
      ),
    );
    expect(found.length).toBeGreaterThan(20);
    const isRefused = ({ path, to }: { path: string; to: Room }) =>
      to !== roomOf(path) && !allowed[roomOf(path)].includes(to);
    expect(found.filter(isRefused)).toEqual([]);
  });

  it('keeps I/O out of the domain, and lets it have pure helpers', () => {
    const code = (name: string) => `import * as module from '${name}';\nexport default module;\n`;
    const refused = refusedOf({
      'src/domain/fs.ts': code('node:fs'),
      'src/domain/promises.ts': code('node:fs/promises'),
      'src/domain/sqlite.ts': code('node:sqlite'),
      'src/domain/crypto.ts': code('node:crypto'),
      'src/engines/embedded/fs.ts': code('node:fs'),
    });
    expect(refused.sort()).toEqual([
      ...['src/domain/fs.ts', 'src/domain/promises.ts', 'src/domain/sqlite.ts'],
    ]);
  });

  it('lets only src/entry read the environment', () => {
    const code = 'export const home = process.env.HOME;\n';
    const files = (Object.keys(rooms) as Room[]).map((room) => fileIn(room, 'home', code));
    const expected = files.map(([path]) => path).filter((path) => !path.startsWith('src/entry/'));
    expect(refusedOf(Object.fromEntries(files)).sort()).toEqual(expected.sort());
  });

  it('has one place that chooses the engine of a command', () => {
    const commands = globSync('src/entry/{*.ts,*/*.ts}', { cwd: root }).filter(
      (path) => !/^src\/entry\/(?:archive|lambda|metrics|serve|token)\//.test(path),
    );
    const users = commands.filter((path) =>
      readFileSync(join(root, path), 'utf8').includes('/engines/'),
    );
    // The others work on one kind of store only, or name it.
    expect(users.sort()).toEqual([
      'src/entry/check/check.ts',
      'src/entry/cli/check-directories.ts',
      'src/entry/cli/common-options.ts',
      'src/entry/cli/open-store.ts',
      'src/entry/verify/adopt.ts',
      'src/entry/verify/backup.ts',
    ]);
  });
});
