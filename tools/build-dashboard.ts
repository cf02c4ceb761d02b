import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';

import { build } from 'esbuild';

const source = fileURLToPath(new URL('../src/dashboard/', import.meta.url));
const dashboardDirectory = fileURLToPath(new URL('../dist/dashboard/', import.meta.url));

/** The list of the files beside it, which `src/entry/pages.ts` reads. */
interface Manifest {
  /** The files by the path of the request. */
  readonly pages: Record<string, { file: string; contentType: string; isForever: boolean }>;
}

const contentTypes: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
};

/**
 * Builds the dashboard: each file plain, gzipped and as Brotli. Another process may be reading or
 * building the same files, so each is replaced atomically, and their list last.
 */
export async function buildDashboard(directory = dashboardDirectory): Promise<void> {
  const files = await (built ??= buildFiles());
  await mkdir(directory, { recursive: true });
  for (const [file, content] of files) {
    const draft = join(directory, `.${file}-${process.pid}-${Date.now()}`);
    await writeFile(draft, content);
    await rename(draft, join(directory, file));
  }
  for (const file of await readdir(directory)) {
    if (!files.has(file) && !file.startsWith('.')) await rm(join(directory, file), { force: true });
  }
}

/** Computed once per process: Brotli at its highest level takes most of a second. */
let built: Promise<ReadonlyMap<string, Uint8Array>> | undefined;

/** The files by name, their list last. */
async function buildFiles(): Promise<ReadonlyMap<string, Uint8Array>> {
  const manifest: Manifest = { pages: {} };
  const names: Record<string, string> = {};
  const files = new Map<string, Uint8Array>();
  const add = (path: string, file: string, content: Uint8Array, isForever: boolean) => {
    const contentType = contentTypes[extname(file)] ?? 'application/octet-stream';
    manifest.pages[path] = { file, contentType, isForever };
    files.set(file, content);
    files.set(`${file}.gz`, gzipSync(content, { level: 9 }));
    const params = { [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY };
    files.set(`${file}.br`, brotliCompressSync(content, { params }));
  };
  for (const { role, extension, content } of await assetsOf()) {
    const digest = createHash('sha256').update(content).digest('hex').slice(0, 12);
    const file = `${role}-${digest}${extension}`;
    names[role] = file;
    add(`/assets/${file}`, file, content, true);
  }
  const template = await readFile(join(source, 'index.html'), 'utf8');
  const html = template.replaceAll(/\{\{(\w+)\}\}/g, (_, role: string) => names[role] ?? '');
  add('/', 'index.html', Buffer.from(html), false);
  return files.set('manifest.json', Buffer.from(JSON.stringify(manifest)));
}

interface Asset {
  readonly role: string;
  readonly extension: string;
  readonly content: Uint8Array;
}

async function assetsOf(): Promise<Asset[]> {
  const { outputFiles } = await build({
    entryPoints: { dashboard: join(source, 'main.tsx'), style: join(source, 'style.css') },
    bundle: true,
    write: false,
    minify: true,
    format: 'esm',
    target: ['es2022', 'chrome123', 'firefox120', 'safari17.5'],
    jsx: 'automatic',
    jsxImportSource: 'preact',
    legalComments: 'none',
    outdir: dashboardDirectory,
    logLevel: 'silent',
  });
  const bundled = outputFiles.map(({ path, contents }) => {
    const extension = extname(path);
    return { role: extension === '.css' ? 'style' : 'script', extension, content: contents };
  });
  const icon = await readFile(join(source, 'icon.svg'));
  return [...bundled, { role: 'icon', extension: '.svg', content: icon }];
}

if (import.meta.main) await buildDashboard();
