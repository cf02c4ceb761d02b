import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';

import { describe, expect, it, vi } from 'vitest';

import type { Token } from '../../../../src/auth/access-token.ts';
import { dataPaths } from '../../../../src/engines/embedded/data-directory.ts';
import {
  changeTokens,
  readTokenFile,
  TokenFileMissing,
} from '../../../../src/engines/embedded/tokens/token-file.ts';
import { watchTokens } from '../../../../src/engines/embedded/tokens/token-watch.ts';
import { afterTest, temporaryDirectory } from '../../../support/processes/server-process.ts';

const token = (name: string): Token => ({
  name,
  sha256: 'a'.repeat(64),
  for: ['ingest'],
  expiresAt: undefined,
});

const add = (paths: ReturnType<typeof dataPaths>, ...names: string[]) =>
  changeTokens(paths, (tokens) => [...tokens, ...names.map(token)]);

const namesOf = (tokens: readonly Token[] | undefined) => tokens?.map(({ name }) => name);

describe('the file of the tokens', () => {
  it('is made with its directory, for its owner alone, and read as it was written', () => {
    const paths = dataPaths(join(temporaryDirectory(), 'not', 'there'));
    expect(readTokenFile(paths)).toBeUndefined();
    const full: Token = {
      name: 'a b',
      sha256: '0123456789abcdef'.repeat(4),
      for: ['ingest', 'read'],
      expiresAt: Date.UTC(2030, 0),
      rate: { perSecond: 0.5, burst: 2 },
    };
    changeTokens(paths, () => [full, token('b')]);
    expect(readTokenFile(paths)).toEqual([full, token('b')]);
    expect(statSync(paths.tokens).mode & 0o777).toBe(0o600);
    expect(readdirSync(paths.root).sort()).toEqual(['log', 'tokens-lock.db', 'tokens.json']);
  });

  it('stays as it was where a change fails', () => {
    const paths = dataPaths(temporaryDirectory());
    add(paths, 'a');
    const before = readFileSync(paths.tokens);
    const fail = () => {
      throw new Error('no');
    };
    expect(() => changeTokens(paths, fail)).toThrow('no');
    const many = Array.from({ length: 1_000 }, (_, at) => `t${at}`);
    expect(() => add(paths, ...many)).toThrow(/at most 1000 tokens/);
    expect(readFileSync(paths.tokens)).toEqual(before);
    expect(readdirSync(paths.root).sort()).toEqual(['log', 'tokens-lock.db', 'tokens.json']);
  });

  it('loses nothing where many processes change it at once', async () => {
    const paths = dataPaths(temporaryDirectory());
    const file = join(import.meta.dirname, '../../../../src/engines/embedded/tokens/token-file.ts');
    const script = `const { changeTokens } = await import(${JSON.stringify(file)});
      for (let i = 0; i < 10; i++) changeTokens(${JSON.stringify(paths)}, (tokens) =>
        [...tokens, { name: process.argv[1] + i, sha256: 'a'.repeat(64), for: ['read'] }]);`;
    const exits = Array.from({ length: 4 }, async (_, at) => {
      const child = spawn(process.execPath, ['--input-type=module', '-e', script, `p${at}-`], {
        stdio: ['ignore', 'ignore', 'inherit'],
      });
      return (await once(child, 'exit')) as [number];
    });
    expect((await Promise.all(exits)).map(([code]) => code)).toEqual([0, 0, 0, 0]);
    expect(new Set(namesOf(readTokenFile(paths))).size).toBe(40);
  });

  it.each([
    ['', /is not JSON/],
    ['[]', /is not \{"tokens":\[…\]\}/],
    ['{"tokens":[{"name":"a","sha256":"dpl_secret","for":["read"]}]}', /token 0 is not/],
    [JSON.stringify({ tokens: Array(1_001).fill(token('a')) }), /more than 1000 tokens/],
    [' '.repeat(1024 * 1024 + 1), /larger than 1 MiB/],
  ])('of another form is refused, quotes nothing and says what to do', (text, why) => {
    const paths = dataPaths(temporaryDirectory());
    writeFileSync(paths.tokens, text);
    expect(() => readTokenFile(paths)).toThrow(why);
    expect(() => readTokenFile(paths)).toThrow(/Repair it, or move it away/);
    expect(() => readTokenFile(paths)).not.toThrow('dpl_secret');
    // Nor is it written over.
    expect(() => add(paths, 'a')).toThrow(why);
    expect(readFileSync(paths.tokens, 'utf8')).toBe(text);
  });
});

describe('that tokens were made', () => {
  const unexpected = (problem: string) => expect.fail(problem);

  it('is known where the log alone was restored, until new tokens are made', () => {
    const before = dataPaths(temporaryDirectory());
    add(before, 'a');
    changeTokens(before, () => []);
    const restored = dataPaths(temporaryDirectory());
    cpSync(before.log, restored.log, { recursive: true });
    const start = () => watchTokens(restored, () => undefined, unexpected);
    expect(start).toThrow(TokenFileMissing);
    expect(start).toThrow(/tokens\.json is missing.*Restore it.*token create.*remove .*required/);
    add(restored, 'b');
    expect(namesOf(readTokenFile(restored))).toEqual(['b']);
  });

  it('is not noted where making the first failed', () => {
    const paths = dataPaths(temporaryDirectory());
    const fail = () => {
      throw new Error('no');
    };
    expect(() => changeTokens(paths, fail)).toThrow('no');
    expect(readTokenFile(paths)).toBeUndefined();
  });

  it('is noted by the start of a server that finds a file without it, and while it runs', () => {
    const paths = dataPaths(temporaryDirectory());
    add(paths, 'a');
    rmSync(paths.log, { recursive: true });
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    const watch = watchTokens(paths, () => undefined, unexpected);
    afterTest(() => {
      watch.close();
      vi.useRealTimers();
    });
    expect(existsSync(paths.tokensRequired)).toBe(true);
    rmSync(paths.log, { recursive: true });
    writeFileSync(paths.tokens, readFileSync(paths.tokens));
    vi.advanceTimersByTime(1_000);
    expect(existsSync(paths.tokensRequired)).toBe(true);
  });
});

describe('a watcher of the token file', () => {
  function watched(root = temporaryDirectory()) {
    const paths = dataPaths(root);
    const seen: (string[] | undefined)[] = [];
    const problems: string[] = [];
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    const watch = watchTokens(
      paths,
      (tokens) => void seen.push(namesOf(tokens)),
      (problem) => void problems.push(problem),
    );
    afterTest(() => {
      watch.close();
      vi.useRealTimers();
    });
    return { paths, seen, problems, wait: () => vi.advanceTimersByTime(1_000) };
  }

  it('reports each change, and nothing else', () => {
    const { paths, seen, problems, wait } = watched();
    wait();
    add(paths, 'a');
    wait();
    wait();
    add(paths, 'b');
    wait();
    changeTokens(paths, () => []);
    wait();
    expect(seen).toEqual([undefined, ['a'], ['a', 'b'], []]);
    expect(problems).toEqual([]);
  });

  it('keeps the known tokens while the file is broken or missing, and reports that once', () => {
    const { paths, seen, problems, wait } = watched();
    add(paths, 'a');
    wait();
    const sound = readFileSync(paths.tokens);
    writeFileSync(paths.tokens, sound.subarray(0, 20));
    wait();
    wait();
    expect(problems).toEqual([expect.stringMatching(/is not JSON.*stay valid/)]);
    writeFileSync(paths.tokens, sound);
    wait();
    renameSync(paths.tokens, `${paths.tokens}.away`);
    wait();
    wait();
    expect(problems).toHaveLength(2);
    expect(problems[1]).toMatch(/is missing.*stay valid/);
    expect(seen).toEqual([undefined, ['a'], ['a']]);
  });

  it('does not begin with a broken file', () => {
    const root = temporaryDirectory();
    writeFileSync(dataPaths(root).tokens, '{');
    expect(() => watched(root)).toThrow(/is not JSON/);
    vi.useRealTimers();
  });
});
