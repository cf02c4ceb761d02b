import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, globSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, describe, expect, it } from 'vitest';

import { examplesOf } from '../../support/documents/commands.ts';
import { isNightly } from '../../support/run/tier.ts';

const root = join(import.meta.dirname, '../../..');
const read = (path: string) => readFileSync(join(root, path), 'utf8');
const page = read('CONTRIBUTING.md');
const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };

const directory = mkdtempSync(join(tmpdir(), 'device-pipeline-recipes-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** The commands of the page, each once, without remarks; `a && b` are two. */
const commands = new Set(
  examplesOf('CONTRIBUTING.md', page)
    .flatMap((example) => example.commands)
    .flatMap(({ text }) => text.replace(/ +#.*$/, '').split(' && ')),
);

interface Trial {
  /** Appended to the command, so that it disturbs no other process. */
  readonly more: readonly string[];
  /** The output after which the command is stopped, unless it has ended. */
  readonly prints: RegExp;
  readonly signal?: NodeJS.Signals;
  readonly after?: () => void;
}

const ends = { more: ['--reporter=default'], prints: /Tests .*\d+ passed/ };
const server = ['--port', '0', '--data-dir', join(directory, 'data')];
const profiles = join(directory, 'profiles');

/** How commands are tried; npm scripts need not be. */
const trials: readonly (readonly [string, Trial | 'not tried'])[] = [
  ['npx vitest run test/unit/domain/day.test.ts', ends],
  ['npx vitest run test/unit/domain/day.test.ts -t zone', ends],
  ['npx vitest related --run src/entry/feed/random-events.ts', ends],
  // It runs what is not committed, which may be everything.
  ['npx vitest run --changed', 'not tried'],
  [
    'npx node --inspect-brk src/entry/cli.ts serve',
    { more: [], prints: /Debugger listening/, signal: 'SIGKILL' },
  ],
  [
    'npx vitest run test/unit/domain/day.test.ts --inspect-brk --no-file-parallelism',
    { more: [], prints: /Debugger listening/, signal: 'SIGKILL' },
  ],
  [
    'npx node --cpu-prof --cpu-prof-dir=profiles src/entry/cli.ts serve',
    {
      ...{ more: server, prints: /listening on http/, signal: 'SIGTERM' },
      after: () => expect(readdirSync(profiles).length).toBeGreaterThan(1),
    },
  ],
  [
    'npm run start:watch',
    { more: ['--', ...server], prints: /listening on http/, signal: 'SIGKILL' },
  ],
  ['npm pack --dry-run --loglevel notice', 'not tried'],
  ['npm ci', 'not tried'],
];

function isScript(command: string): boolean {
  const [, name = command.split(' ')[1] ?? ''] = /^npm run ([\w:]+)/.exec(command) ?? [];
  return /^npm (run|test|start)\b/.test(command) && name in scripts;
}

async function tryOut(command: string, { more, prints, signal, after }: Trial): Promise<void> {
  const words = command
    .replace('--inspect-brk', '--inspect-brk=127.0.0.1:0')
    .replace('=profiles', `=${profiles}`)
    .split(' ');
  // The program itself in place of npx: a signal reaches it then.
  const isNpx = words[0] === 'npx';
  const program = isNpx ? join(root, 'node_modules/.bin', words[1] ?? '') : 'npm';
  const args = [...words.slice(isNpx ? 2 : 1), ...more];
  const child = spawn(program, args, { cwd: root, detached: true });
  let printed = '';
  const printing = new Promise<void>((resolve) => {
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk: Buffer) => {
        printed += chunk.toString();
        if (prints.test(plain(printed))) resolve();
      });
    }
  });
  const ended = once(child, 'exit') as Promise<[number | null]>;
  await Promise.race([printing, ended]);
  if (signal !== undefined && child.pid !== undefined) process.kill(-child.pid, signal);
  const [code] = await ended;
  expect(plain(printed)).toMatch(prints);
  if (signal !== 'SIGKILL') expect(code, printed).toBe(0);
  after?.();
}

/** Without colours. */
function plain(text: string): string {
  // oxlint-disable-next-line no-control-regex -- the escapes of a terminal
  return text.replaceAll(/\u001b\[[\d;]*m/g, '');
}

describe('the commands of CONTRIBUTING.md', () => {
  it('are scripts of package.json, or are tried here', () => {
    const tried = new Map(trials);
    const isKnown = (text: string) => isScript(text) || tried.has(text) || text === '.ci/run';
    expect([...commands].filter((text) => !isKnown(text))).toEqual([]);
    expect([...tried.keys()].filter((text) => !commands.has(text))).toEqual([]);
  });

  // Each starts vitest or a server: all of them take ten seconds of processor time.
  for (const [command, trial] of isNightly() ? trials : trials.slice(0, 1)) {
    if (trial !== 'not tried') it(command, () => tryOut(command, trial));
  }

  it('are there for every script', () => {
    const texts = [page, ...['README.md', ...globSync('docs/**/*.md', { cwd: root })].map(read)];
    const all = texts.join('\n');
    const isNamed = (name: string) =>
      new RegExp(`(npm (run )?|\`)${name}(?![\\w:-])`).test(all) || /^prepare$/.test(name);
    expect(Object.keys(scripts).filter((name) => !isNamed(name))).toEqual([]);
  });
});

it('CONTRIBUTING.md and docs/extending.md name files that there are', () => {
  for (const document of ['CONTRIBUTING.md', 'docs/extending.md']) {
    const paths = [...read(document).matchAll(/`((?:src|test|infra|tools|\.github)\/[\w./-]+)`/g)];
    expect(paths.length).toBeGreaterThan(10);
    const missing = paths
      .map(([, path]) => path ?? '')
      .filter((path) => !existsSync(join(root, path)));
    expect([document, missing]).toEqual([document, []]);
  }
});
