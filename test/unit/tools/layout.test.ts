import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

import { describe, expect, it } from 'vitest';

const root = join(import.meta.dirname, '../../..');
const read = (name: string) => readFileSync(join(root, name), 'utf8');
const pages = ['README.md', 'ARCHITECTURE.md', ...globSync('docs/*.md', { cwd: root }).sort()];

describe('the tree in ARCHITECTURE.md', () => {
  it('has every directory of src, and no other', () => {
    const found = globSync('src/**/', { cwd: root }).map((name) => name.replace(/\/$/, ''));
    expect(treeOf(read('ARCHITECTURE.md'))).toEqual(found.sort());
  });

  it('says what each directory is for', () => {
    const lines = treeLines(read('ARCHITECTURE.md')).slice(1);
    expect(lines.filter((line) => !/^ +[\w-]+\/ +\S/.test(line))).toEqual([]);
  });
});

describe('the documents', () => {
  it('are more than a few', () => {
    expect(pages.length).toBeGreaterThan(15);
  });

  it.each(pages)('%s has no line of a table wider than 120 characters', (page) => {
    const lines = read(page).split('\n');
    expect(lines.filter((line) => line.startsWith('|') && line.length > 120)).toEqual([]);
  });

  it.each(pages)('%s has no link to a heading that is missing', (page) => {
    const links = [...read(page).matchAll(/\]\((?!\w+:)([^)\s#]*)#([^)\s]+)\)/g)];
    const missing = links.filter(([, file = '', anchor = '']) => {
      const target = file === '' ? page : join(dirname(page), file);
      return !anchorsOf(read(target)).includes(anchor);
    });
    expect(missing.map(([link]) => link)).toEqual([]);
  });

  it('name only tests that there are', () => {
    const named = pages.flatMap((page) => read(page).match(/\btest\/[\w./-]+\.ts\b/g) ?? []);
    expect(named.length).toBeGreaterThan(30);
    expect(named.filter((name) => !existsSync(join(root, name)))).toEqual([]);
  });

  it('begin with a README of at most 200 lines', () => {
    expect(read('README.md').split('\n').length).toBeLessThanOrEqual(200);
  });

  it('are all in the index', () => {
    const index = read('docs/README.md');
    const others = pages.filter((page) => page !== 'docs/README.md');
    const links = others.map((page) =>
      page.replace(/^(docs\/)?/, page.startsWith('docs/') ? '' : '../'),
    );
    expect(links.filter((link) => !index.includes(`](${link})`))).toEqual([]);
  });
});

describe('the decisions', () => {
  const names = globSync('docs/adr/0*.md', { cwd: root }).sort();

  it.each(names)('%s has its number, a title, a status and a date', (name) => {
    const number = Number(/\d{4}/.exec(name)?.[0]);
    expect(read(name)).toMatch(
      new RegExp(`^# ${number}\\. .+\n\nStatus: accepted, 20\\d\\d-\\d\\d-\\d\\d\\.`),
    );
  });

  it('are numbered without a gap', () => {
    const numbers = names.map((name) => Number(/\d{4}/.exec(name)?.[0]));
    expect(numbers).toEqual(numbers.map((_, index) => index + 1));
  });
});

function treeLines(markdown: string): string[] {
  const [, tree = ''] = /^```\n(src\/\n[^`]*)```$/m.exec(markdown) ?? [];
  return tree.trimEnd().split('\n');
}

/** The paths of a tree in which each level is indented by two spaces. */
function treeOf(markdown: string): string[] {
  const path: string[] = [];
  const paths = treeLines(markdown).map((line) => {
    const [, indent = '', name = ''] = /^( *)([\w-]+)\//.exec(line) ?? [];
    path.splice(indent.length / 2, Infinity, name);
    return path.join('/');
  });
  return paths.sort();
}

/** As GitHub makes them of headings. */
function anchorsOf(markdown: string): string[] {
  return [...markdown.matchAll(/^#+ (.+)$/gm)].map(([, title = '']) =>
    title
      .toLowerCase()
      .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );
}
