import { accessSync, constants, globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';

import { changelogSection } from '../../../tools/changelog-section.ts';

const root = join(import.meta.dirname, '../../..');
const read = (path: string) => readFileSync(join(root, path), 'utf8');
const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };

interface Job {
  readonly uses?: string;
  readonly needs?: string;
  readonly permissions?: Record<string, string>;
  readonly 'timeout-minutes'?: number;
  readonly steps?: readonly { readonly uses?: string; readonly run?: string }[];
}

interface Workflow {
  readonly on: Record<string, unknown>;
  readonly permissions: Record<string, string>;
  readonly jobs: Record<string, Job>;
}

const paths = globSync('.github/workflows/*.yml', { cwd: root }).sort();
const workflows = paths.map((path) => [path, parse(read(path)) as Workflow] as const);
const allJobs = workflows.flatMap(([path, workflow]) =>
  Object.values(workflow.jobs).map((job) => [path, job] as const),
);
const jobs = allJobs.filter(([, { uses }]) => uses === undefined);
const commands = jobs.flatMap(([, { steps = [] }]) =>
  steps.flatMap(({ run = '' }) => run.split('\n')),
);

describe('the workflows', () => {
  it('run on changes, on a schedule, and on tags', () => {
    const events = Object.fromEntries(workflows.map(([path, { on }]) => [path, Object.keys(on)]));
    expect(events).toEqual({
      '.github/workflows/check.yml': ['push', 'pull_request', 'workflow_call'],
      '.github/workflows/nightly.yml': ['schedule', 'workflow_dispatch'],
      '.github/workflows/release.yml': ['push'],
    });
  });

  it('may read the repository; only a release may write, to make its draft', () => {
    for (const [, { permissions }] of workflows) expect(permissions).toEqual({ contents: 'read' });
    for (const [path, { permissions }] of jobs) {
      const expected = path.endsWith('release.yml') ? { contents: 'write' } : undefined;
      expect([path, permissions]).toEqual([path, expected]);
    }
  });

  it('name each action by its commit, and end within six hours', () => {
    for (const [path, job] of jobs) {
      expect([path, job['timeout-minutes'] ?? Infinity]).toSatisfy(([, max]) => Number(max) < 360);
      for (const { uses } of job.steps?.filter((step) => step.uses !== undefined) ?? [])
        expect(uses).toMatch(/^[\w-]+\/[\w-]+@[0-9a-f]{40}$/);
    }
  });

  it('draft a release only of what passed the check', () => {
    const reused = allJobs.filter(([, { uses }]) => uses !== undefined);
    expect(reused).toEqual([
      ['.github/workflows/release.yml', { uses: './.github/workflows/check.yml' }],
    ]);
    const release = workflows.find(([path]) => path.endsWith('release.yml'))?.[1];
    expect(release?.jobs['draft']?.needs).toBe('check');
  });

  it('run tests as root, without which they end at once with CI=true', () => {
    const tests = commands.filter((command) => /\.ci\/run|test:|vitest/.test(command));
    expect(tests).toHaveLength(3);
    for (const command of tests) expect(command).toMatch(/^sudo env "PATH=\$PATH" /);
  });

  it('run scripts and files that there are, and publish nothing', () => {
    const text = commands.join('\n');
    for (const [, name = ''] of text.matchAll(/npm run ([\w:]+)/g))
      expect(scripts).toHaveProperty([name]);
    const files = [...text.matchAll(/(?<=^|\s)(?:\.ci|tools|test)\/[\w./-]+/gm)].map(
      ([path]) => path,
    );
    expect(files).toEqual([
      '.ci/run',
      'tools/changelog-section.ts',
      // Before root creates files that the next step may not replace.
      'tools/build-template.ts',
      'test/e2e/documents/packed.test.ts',
    ]);
    for (const path of files) accessSync(join(root, path));
    accessSync(join(root, '.ci/run'), constants.X_OK);
    expect(text).toContain('npm run test:nightly');
    expect(text).toMatch(/gh release create .*--draft/);
    expect(text).not.toMatch(/npm publish|npm dist-tag|docker push|cdk deploy/);
  });
});

it('every form for an issue is YAML, with a name and fields', () => {
  const forms = globSync('.github/ISSUE_TEMPLATE/*.yml', { cwd: root }).sort();
  const form = (path: string) => parse(read(path)) as { name?: string; body?: object[] };
  const fields = forms.map((path) => [path.split('/').at(-1), form(path).body?.length]);
  expect(Object.fromEntries(fields)).toEqual({
    'bug.yml': 5,
    'feature.yml': 2,
    'config.yml': undefined,
  });
});

it('the notes of a release are its section of the changelog', () => {
  const changelog =
    '# Changelog\n\n## [Unreleased]\n\n## [0.2.0] - 2027-01-01\n\n### Added\n\n- A.\n\n## [0.1.0]\n\n- B.\n';
  expect(changelogSection(changelog, '0.2.0')).toBe('### Added\n\n- A.');
  expect(changelogSection(changelog, '0.1.0')).toBe('- B.');
  expect(changelogSection(changelog, '0.1')).toBeUndefined();
  expect(changelogSection(read('CHANGELOG.md'), 'Unreleased')).toContain('### Added');
});
