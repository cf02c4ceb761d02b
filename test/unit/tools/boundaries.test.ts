import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { ESLint } from 'eslint';
import tseslint from 'typescript-eslint';
import { describe, expect, it } from 'vitest';

/** The project's own rules, without those that need types: the files here do not exist. */
const eslint = new ESLint({
  flags: ['unstable_native_nodejs_ts_config'],
  overrideConfig: [tseslint.configs.disableTypeChecked],
});

const boundaryRules = new Set([
  'no-restricted-imports',
  'no-restricted-syntax',
  'no-restricted-properties',
]);

async function isRefused(filePath: string, code: string): Promise<boolean> {
  const [result] = await eslint.lintText(code, { filePath });
  const messages = result?.messages ?? [];
  expect(messages.filter(({ fatal }) => fatal)).toEqual([]);
  return messages.some(({ ruleId }) => ruleId !== null && boundaryRules.has(ruleId));
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

describe('dependencies point inward', () => {
  it.each(pairs)('$from importing from $to', async ({ from, to }) => {
    const up = from === 'engines' ? '../..' : '..';
    const target = `${up}/${to}/thing.ts`;
    const isAllowed = allowed[from].includes(to);
    for (const code of [
      `import { thing } from '${target}';\nthing();\n`,
      `import type { Thing } from '${target}';\nexport type A = Thing;\n`,
      `export { thing } from '${target}';\n`,
      `export const thing = await import('${target}');\n`,
    ]) {
      expect([code, await isRefused(rooms[from], code)]).toEqual([code, !isAllowed]);
    }
  });

  it('keeps I/O out of the domain, and lets it have pure helpers', async () => {
    const code = (name: string) => `import * as module from '${name}';\nexport default module;\n`;
    expect(await isRefused(rooms.domain, code('node:fs'))).toBe(true);
    expect(await isRefused(rooms.domain, code('node:sqlite'))).toBe(true);
    expect(await isRefused(rooms.domain, code('node:crypto'))).toBe(false);
    expect(await isRefused(rooms.engines, code('node:fs'))).toBe(false);
  });

  it('lets only src/entry read the environment', async () => {
    const code = 'export const home = process.env.HOME;\n';
    for (const room of [
      'util',
      'auth',
      'domain',
      'client',
      'pipeline',
      'engines',
      'http',
    ] as const) {
      expect([room, await isRefused(rooms[room], code)]).toEqual([room, true]);
    }
    expect(await isRefused(rooms.entry, code)).toBe(false);
  });

  it('has one place that chooses the engine of a command', () => {
    const root = join(import.meta.dirname, '../../..');
    const commands = globSync('src/entry/{*.ts,*/*.ts}', { cwd: root }).filter(
      (path) => !/^src\/entry\/(?:archive|lambda|metrics|serve|token)\//.test(path),
    );
    const users = commands.filter((path) =>
      readFileSync(join(root, path), 'utf8').includes('/engines/'),
    );
    // The others work on one kind of store only, or name it.
    expect(users.sort()).toEqual([
      'src/entry/check/check.ts',
      'src/entry/cli/common-options.ts',
      'src/entry/cli/directory-kinds.ts',
      'src/entry/cli/open-store.ts',
      'src/entry/verify/adopt.ts',
      'src/entry/verify/backup.ts',
    ]);
  });
});
