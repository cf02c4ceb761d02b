import { mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

import { build } from 'esbuild';
import { describe, expect, test } from 'vitest';

import { bundleHandlers } from '../../infra/bundle.ts';
import { handlerNames } from '../../infra/stack/function-specs.ts';
import { readPages } from '../../src/entry/pages.ts';
import { temporaryDirectory } from './support.ts';

/** The names that a module exports, found without running it. */
async function exportsOf(file: string): Promise<string[]> {
  const { metafile } = await build({
    entryPoints: [file],
    format: 'esm',
    bundle: true,
    platform: 'node',
    metafile: true,
    write: false,
    outdir: '/',
  });
  return Object.values(metafile.outputs).flatMap((output) => output.exports);
}

function entriesWith(code: string): string {
  const directory = temporaryDirectory();
  for (const name of handlerNames) writeFileSync(join(directory, `${name}.ts`), code);
  return directory;
}

describe('the bundles', async () => {
  const directory = temporaryDirectory();
  const bundles = await bundleHandlers(directory);

  test('exist, one for each handler', () => {
    expect(bundles.map(({ name }) => name)).toEqual(['ingest', 'process', 'query', 'sweep']);
  });

  test.each(bundles)('$name is below 1 MB', ({ name, bytes }) => {
    expect(statSync(join(directory, name, 'index.mjs')).size).toBe(bytes);
    expect(bytes).toBeGreaterThan(1000);
    expect(bytes).toBeLessThan(1_000_000);
  });

  test.each(bundles)('$name exports its handler and nothing else', async ({ name }) => {
    expect(await exportsOf(join(directory, name, 'index.mjs'))).toEqual(['handler']);
  });

  test('that of query finds the dashboard beside it', () => {
    const pages = readPages(join(directory, 'query/dashboard'));
    expect([...pages.keys()].filter((path) => path.endsWith('.js'))).toHaveLength(1);
    const html = String(Buffer.from(pages.get('/')?.(new Headers()).body ?? ''));
    for (const path of pages.keys()) if (path !== '/') expect(html).toContain(`"${path.slice(1)}"`);
  });
});

describe('bundling', () => {
  test('leaves nothing in the directory that the handler does not need', async () => {
    const directory = temporaryDirectory();
    mkdirSync(join(directory, 'query/old'), { recursive: true });
    writeFileSync(join(directory, 'query/index.js'), 'old');
    await bundleHandlers(directory, entriesWith('export const handler = () => 1;'));
    expect(readdirSync(directory).sort()).toEqual([...handlerNames].sort());
    expect(readdirSync(join(directory, 'query')).sort()).toEqual(['dashboard', 'index.mjs']);
    expect(readdirSync(join(directory, 'sweep'))).toEqual(['index.mjs']);
  });

  test('lets CommonJS code require modules of Node', async () => {
    const entries = entriesWith(
      "import { separator } from './old.cjs';\nexport const handler = () => separator;",
    );
    writeFileSync(join(entries, 'old.cjs'), "exports.separator = require('node:path').posix.sep;");
    const directory = temporaryDirectory();
    await bundleHandlers(directory, entries);
    const module = (await import(pathToFileURL(join(directory, 'sweep/index.mjs')).href)) as {
      handler: () => string;
    };
    expect(module.handler()).toBe('/');
  });

  test('gives the same bytes for the same code', async () => {
    const entries = entriesWith('export const handler = () => 1;');
    const [one, two] = [temporaryDirectory(), temporaryDirectory()];
    expect((await bundleHandlers(one, entries)).map(({ bytes }) => bytes)).toEqual(
      (await bundleHandlers(two, entries)).map(({ bytes }) => bytes),
    );
  });

  test('reports errors in the code', async () => {
    const entries = entriesWith("export { nothing as handler } from './missing.ts';");
    await expect(bundleHandlers(temporaryDirectory(), entries)).rejects.toThrow('missing.ts');
  });
});
