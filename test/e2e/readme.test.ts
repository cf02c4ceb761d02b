import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { afterEach, describe, expect, it } from 'vitest';

import { needs } from '../support/needs.ts';
import { startServer } from '../support/server.ts';
import { temporaryDirectory, undoAll } from '../support/real-server.ts';

const root = join(import.meta.dirname, '../..');
const readme = readFileSync(join(root, 'README.md'), 'utf8');
const sample = readFileSync(join(root, 'docs/sample.json'), 'utf8');

afterEach(undoAll);

/** The block of a language in the section that begins with a heading. */
function snippet(heading: string, language: string): string {
  const section = readme.slice(readme.indexOf(heading)).split(/\n## /)[0] ?? '';
  const [, code] = new RegExp(`\`\`\`${language}\\n(.*?)\`\`\``, 's').exec(section) ?? [];
  if (code === undefined) throw new Error(`no ${language} below ${heading}`);
  return code;
}

/** The block of JSON that follows a line of the README. */
function jsonAfter(line: string): unknown {
  const after = readme.slice(readme.indexOf(line));
  const [, json] = /```json\n(.*?)```/s.exec(after) ?? [];
  return JSON.parse(json ?? 'null');
}

describe('what the README promises', () => {
  it('names the two commands, and the scripts that it names are there', () => {
    expect(readme).toContain('npm ci && npm start');
    expect(readme).toContain('npm ci && npm test');
    const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
      scripts: Record<string, string>;
    };
    const named = [...readme.matchAll(/npm run ([\w:-]+)/g)].map(([, name]) => name);
    expect(named.length).toBeGreaterThan(0);
    expect(named.filter((name) => scripts[name ?? ''] === undefined)).toEqual([]);
  });

  it('the sample is the payload of the contract', () => {
    const cases = JSON.parse(
      readFileSync(join(root, 'test/contract/cases/ingest.json'), 'utf8'),
    ) as { name: string; request: { body: string } }[];
    const body = cases.find(({ name }) => name === 'the sample of five')?.request.body ?? '';
    expect(JSON.parse(sample)).toEqual(JSON.parse(body));
  });

  it('the first batch is answered, and counted, as shown', async () => {
    await using server = await startServer();
    const answer = await fetch(`${server.url}/ingest`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: sample,
    });
    const promised = jsonAfter('## The first batch') as Record<string, unknown>;
    const digitsAside = (value: unknown) => JSON.stringify(value).replaceAll(/[0-9a-f]/g, '·');
    const answered = (await answer.json()) as Record<string, unknown>;
    expect({ ...answered, raw_key: null }).toEqual({ ...promised, raw_key: null });
    expect(digitsAside(answered)).toBe(digitsAside(promised));

    for (;;) {
      const ready = await (await fetch(`${server.url}/readyz`)).json();
      if ((ready as { pending_bytes: number }).pending_bytes === 0) break;
    }
    const stats = await (await fetch(`${server.url}/stats?date=2023-06-16`)).json();
    expect(stats).toEqual(jsonAfter("curl -s 'http://127.0.0.1:8080/stats?date=2023-06-16'"));
  });

  const programs = [
    ['ts', process.execPath, 'send.ts', { accepted: 1, refused: 0, givenUp: 0 }, it],
    ['python', 'python3', 'send.py', { enqueued: 1 }, needs('Python').it],
    ['sh', 'sh', 'send.sh', { enqueued: 5 }, needs('curl').it],
  ] as const;
  for (const [language, program, name, answer, test] of programs) {
    test(`what sends from a program works: ${language}`, async () => {
      await using server = await startServer();
      const code = snippet('## From a program', language)
        .replaceAll('http://127.0.0.1:8080', server.url)
        .replace("'device-pipeline/client'", `'${join(root, 'src/client/index.ts')}'`);
      const file = join(temporaryDirectory(), name);
      writeFileSync(file, code);
      const { stdout } = await promisify(execFile)(program, [file], { cwd: root });
      const printed = stdout
        .trim()
        .replaceAll("'", '"')
        .replace(/(\w+):(?= )/g, '"$1":')
        .replaceAll('""', '"');
      expect(JSON.parse(printed)).toMatchObject(answer);
    });
  }
});
