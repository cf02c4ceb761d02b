import { execFile } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { afterAll, describe, expect, it } from 'vitest';

import { examplesOf, type Example } from '../../support/documents/commands.ts';
import { ruleOf } from '../../support/documents/rules.ts';
import { worldOf, type Place } from '../../support/documents/worlds.ts';
import { needs } from '../../support/run/needs.ts';
import { undoAll } from '../../support/processes/real-server.ts';
import type { RequirementName } from '../../support/run/requirements.ts';

const root = join(import.meta.dirname, '../../..');
const read = (name: string) => readFileSync(join(root, name), 'utf8');
const documents = ['README.md', ...globSync('docs/*.md', { cwd: root }).sort()].filter(
  (name) => examplesOf(name, read(name)).length > 0,
);
/** A command that more than one document has is run once. */
const seen = new Set<string>();

afterAll(undoAll);

for (const document of documents) {
  const examples = examplesOf(document, read(document)).filter(isFirstOfItsKind);
  if (examples.length === 0) continue;
  describe(document, () => {
    for (const example of examples) {
      const place = placeOf(example);
      const [firstLine = ''] = textOf(example).split('\n');
      const title = `${example.place} ${firstLine}`;
      needs(...requirementsOf(example, place)).it(title, () => runExample(example, place));
    }
  });
}

function isFirstOfItsKind(example: Example): boolean {
  const place = placeOf(example);
  const names = example.commands.map(({ text }) => `${place} ${comparableCommand(text)}`);
  // A document's variables are its own.
  const setsVariables = example.commands.every(({ text }) => /^[A-Z_]+=/.test(text));
  const isKnown = names.every((name) => seen.has(name)) && !setsVariables;
  for (const name of names) seen.add(name);
  return !isKnown;
}

/** Without what makes no other command of it: a remark, and the words of placeholders. */
function comparableCommand(text: string): string {
  return text
    .replace(/ +# .*$/, '')
    .replace('--stack NAME', '--stack device-pipeline')
    .replaceAll(/<[\w ]+>/g, '<>');
}

function placeOf(example: Example): Place {
  const text = textOf(example);
  if (/--(stack|bucket|table)\b|\bstack:|\baws (?!sts )|\$\(output |\bMADE=/.test(text))
    return 'stack';
  if (text.includes('s3://')) return 'archive';
  const isOfTokens = /\btoken (create|list|revoke|rotate)\b/.test(text);
  return isOfTokens && !/\b(docker|sudo)\b/.test(text) ? 'tokens' : 'clone';
}

function requirementsOf(example: Example, place: Place): RequirementName[] {
  const names: [RequirementName, boolean][] = [
    ['Java', place === 'stack'],
    ['Python', example.language === 'python'],
    ['curl', example.language === 'sh' && /\bcurl\b/.test(textOf(example))],
    ['sqlite3', example.language === 'sh' && /\bsqlite3\b/.test(textOf(example))],
  ];
  return names.filter(([, isNeeded]) => isNeeded).map(([name]) => name);
}

function textOf({ commands }: Example): string {
  return commands.map(({ text }) => text).join('\n');
}

async function runExample(example: Example, place: Place): Promise<void> {
  const { document, language, commands, answer } = example;
  const world = await worldOf(place);
  let printed = '';
  for (const { text: written, place: line } of commands) {
    const rule = ruleOf(language, written);
    const text = language === 'sh' ? await world.fill(written) : written;
    await rule.before?.(world, text);
    const command = language === 'sh' ? text : world.workspace.program(language, text);
    const { code, stdout, stderr } = await world.run(document, command);
    const told = `${line} ${command}\nprinted: ${stdout}\nand said: ${stderr}`;
    expect(code, told).toBe(0);
    expect(stdout, told).toMatch(rule.prints ?? /^$/);
    expect(stderr, told).toMatch(rule.says ?? /^$/);
    await rule.after?.(world, text, document);
    await world.settled();
    printed = stdout;
  }
  if (answer !== undefined) expect(comparable(printed)).toBe(comparable(answer));
}

/** A response without what is of the moment: the digits of its raw key. */
function comparable(json: string): string {
  const text = JSON.stringify(JSON.parse(json));
  return text.replaceAll(/"raw\/[^"]*"/g, (key) => key.replaceAll(/[0-9a-f]/g, '·'));
}

it('runs with the real npx in a clone', async () => {
  const { version } = JSON.parse(read('package.json')) as { version: string };
  const run = promisify(execFile)('npx', ['device-pipeline', '--version'], { cwd: root });
  expect((await run).stdout).toBe(`${version}\n`);
});

describe('what the README promises', () => {
  it('names the two commands', () => {
    expect(read('README.md')).toContain('npm ci && npm start');
    expect(read('README.md')).toContain('npm ci && npm test');
  });

  it('the sample is the payload of the contract', () => {
    const cases = JSON.parse(read('test/contract/cases/ingest.json')) as {
      name: string;
      request: { body: string };
    }[];
    const body = cases.find(({ name }) => name === 'the sample of five')?.request.body ?? '';
    expect(JSON.parse(read('docs/sample.json'))).toEqual(JSON.parse(body));
  });
});
