import { globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

import ts from '@typescript/typescript6';
import { describe, expect, it } from 'vitest';

/*
 * A sentence with one of these hides who does what: the reader has to guess whether the client, the
 * server, a thread or an operator is meant. Name the actor, in the active voice, in the present
 * (docs/glossary.md has the nouns); give quantities with a number and a unit.
 */
const riddles = [
  ...['whoever', 'whomever', 'nobody', 'somebody', 'anybody', 'one who'],
  ...['is told', 'are told', 'be told', 'was told', 'were told', 'tells of', 'so many', 'so much'],
  ...['as such', 'let be', 'make good', 'of its own accord', 'gone on with', 'come to its end'],
  ...['newcomer', 'newcomers', 'glance', 'fate', 'suspects'],
  ...['that there (?:is|are) not', 'takes? [^.;]{1,40} for the whole', 'taken for', 'is none of'],
  ...['knows nothing', 'remembers', 'met an error', 'meets an error', 'says no', 'says of'],
  ...['what is said of', 'speaks of', 'comes to its', 'goes? on', 'now and then', 'for ever'],
  ...['of which there (?:is|are)', 'judged are', 'anew'],
] as const;
const riddle = new RegExp(`\\b(?:${riddles.join('|')})\\b`, 'i');

const root = join(import.meta.dirname, '../../..');
const files = globSync('src/**/*.{ts,tsx}', { cwd: root }).sort();
const sources = files.map(read);
/** Everything besides src, except this file, which contains the expressions. */
const others = globSync('{test,bench,infra,tools,examples}/**/*.{ts,tsx}', { cwd: root })
  .filter((path) => !path.endsWith('/language.test.ts'))
  .sort();
/** A Unix user, whose name has no other word. */
const unixUser = 'nobody';

function read(path: string): ts.SourceFile {
  return parse(path, readFileSync(join(root, path), 'utf8'));
}

function parse(path: string, text: string): ts.SourceFile {
  return ts.createSourceFile(path, text, ts.ScriptTarget.Latest);
}

function forEachNode(node: ts.Node, visit: (node: ts.Node) => void): void {
  visit(node);
  ts.forEachChild(node, (child) => forEachNode(child, visit));
}

/** Comments, string literals, the texts of templates and of JSX, each on a single line. */
function proseOf(source: ts.SourceFile): { line: number; text: string }[] {
  const { text } = source;
  const found: [at: number, prose: string][] = [];
  let code = '';
  forEachNode(source, (node) => {
    if (isProse(node)) found.push([node.getStart(source), node.text]);
    else if (!ts.isRegularExpressionLiteral(node)) return;
    // Spaces in place of the literal, as it may contain what looks like a comment.
    const start = ts.isJsxText(node) ? node.pos : node.getStart(source);
    code += text.slice(code.length, start) + ' '.repeat(node.end - start);
  });
  code += text.slice(code.length);
  for (const { 0: comment, index } of code.matchAll(/\/\/.*|\/\*[^]*?\*\//g)) {
    found.push([index, comment]);
  }
  return found.map(([at, prose]) => ({
    line: source.getLineAndCharacterOfPosition(at).line + 1,
    text: onOneLine(prose),
  }));
}

function onOneLine(prose: string): string {
  return prose.replaceAll(/\s*\n\s*(?:\*|\/\/)?\s*/g, ' ');
}

function isProse(node: ts.Node): node is ts.LiteralLikeNode {
  return (
    ts.isStringLiteral(node) ||
    ts.isNoSubstitutionTemplateLiteral(node) ||
    ts.isTemplateHead(node) ||
    ts.isTemplateMiddleOrTemplateTail(node) ||
    ts.isJsxText(node)
  );
}

/** Whether to look closer, which takes longer: the riddle may be in code. */
function mayHaveRiddle({ text }: { readonly text: string }): boolean {
  return riddle.test(onOneLine(text));
}

/** `path:line: word` for each riddle of a file. */
function riddlesOf(source: ts.SourceFile): string[] {
  return proseOf(source).flatMap(({ line, text }) => {
    if (text === unixUser) return [];
    const [word] = riddle.exec(text) ?? [];
    return word === undefined ? [] : [`${source.fileName}:${line}: ${word}`];
  });
}

describe('the language of src', () => {
  it('names who does what', () => {
    expect(sources.filter(mayHaveRiddle).flatMap(riddlesOf)).toEqual([]);
  });

  it('is also that of tests, benchmarks, infrastructure and tools', () => {
    expect(others.length).toBeGreaterThan(400);
    const texts = others.map((path) => ({ path, text: readFileSync(join(root, path), 'utf8') }));
    const parsed = texts.filter(mayHaveRiddle).map(({ path, text }) => parse(path, text));
    expect(parsed.flatMap(riddlesOf)).toEqual([]);
  });

  it('is read in comments, strings, templates and JSX, and not in names', () => {
    const text = `
      /** Whoever
       * reads. */
      const nobody = 'Somebody' + \`is \${1} told, so
        many\`; // one who
      const page = <p title="anybody">Nobody {/* as such */}</p>;
      const sowhoever = 'untold';`;
    const found = riddlesOf(parse('a.tsx', text));
    expect(found.map((line) => line.replace(/^\S+ /, '')).sort()).toEqual(
      ['Nobody', 'Somebody', 'Whoever', 'anybody', 'as such', 'one who', 'so many'].sort(),
    );
  });
});

/** Lines from the first to the last of each function with a body in braces. */
function functionLengths(source: ts.SourceFile): number[] {
  const lengths: number[] = [];
  const lineOf = (at: number) => source.getLineAndCharacterOfPosition(at).line;
  forEachNode(source, (node) => {
    if (!ts.isFunctionLike(node) || !('body' in node)) return;
    if (node.body === undefined || !ts.isBlock(node.body)) return;
    lengths.push(lineOf(node.end) - lineOf(node.getStart(source)) + 1);
  });
  return lengths;
}

describe('the size of src', () => {
  it('is at most 400 lines a file', () => {
    const styles = globSync('src/**/*.css', { cwd: root });
    expect(styles.length).toBeGreaterThan(5);
    const lines = (path: string) => readFileSync(join(root, path), 'utf8').split('\n').length - 1;
    expect([...files, ...styles].filter((path) => lines(path) > 400)).toEqual([]);
  });

  it('is at most 16 files a folder, as is that of infrastructure, tools, benchmarks and tests', () => {
    const outside = globSync('{infra,tools,bench,test}/**/*.{ts,tsx}', { cwd: root });
    const folders = Map.groupBy([...files, ...outside], (path) => dirname(path));
    expect(folders.size).toBeGreaterThan(100);
    const tooFull = [...folders].filter(([, names]) => names.length > 16);
    expect(tooFull.map(([folder]) => folder)).toEqual([]);
  });

  it('is at most 9 lines a function, in the median', () => {
    const lengths = sources.flatMap(functionLengths).sort((a, b) => a - b);
    expect(lengths.length).toBeGreaterThan(1000);
    expect(lengths[Math.floor(lengths.length / 2)]).toBeLessThanOrEqual(9);
  });
});
