import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { build, type BuildOptions, type Metafile } from 'esbuild';

import { buildDashboard } from '../tools/build-dashboard.ts';
import { handlerNames, type HandlerName } from './stack/function-specs.ts';

export interface Bundle {
  name: HandlerName;
  /** The directory that is deployed; it holds index.mjs, and for `query` the dashboard's files. */
  directory: string;
  /** The size of index.mjs, minified. */
  bytes: number;
  /** The metafile, which names the bundled packages. */
  metafile: Metafile;
}

const root = fileURLToPath(new URL('..', import.meta.url));
const entryDirectory = join(root, 'src/entry/lambda');
export const bundlesDirectory = join(root, 'dist/lambda');

const options = {
  bundle: true,
  metafile: true,
  write: false,
  minify: true,
  keepNames: false,
  platform: 'node',
  target: 'node24',
  format: 'esm',
  mainFields: ['module', 'main'],
  legalComments: 'none',
  sourcemap: false,
  logLevel: 'silent',
  // Dependencies in CommonJS call require() for Node's own modules, which an ES module lacks.
  banner: {
    js: "import{createRequire as __createRequire}from'node:module';const require=__createRequire(import.meta.url);",
  },
} as const satisfies BuildOptions;

/** Bundles all handlers into `<outDir>/<name>/index.mjs`; rejects with esbuild's own messages. */
export async function bundleHandlers(
  outDir: string = bundlesDirectory,
  entryDir: string = entryDirectory,
): Promise<Bundle[]> {
  return await Promise.all(handlerNames.map((name) => bundleHandler(name, outDir, entryDir)));
}

async function bundleHandler(name: HandlerName, outDir: string, entryDir: string): Promise<Bundle> {
  const entryPoints = [join(entryDir, `${name}.ts`)];
  const { outputFiles, metafile } = await build({ ...options, entryPoints });
  const code = outputFiles[0]?.contents ?? new Uint8Array();
  const directory = join(outDir, name);
  await mkdir(directory, { recursive: true });
  // Replace the bundle atomically: another process may be reading or writing it.
  const draft = join(outDir, `.${name}-${process.pid}-${Date.now()}.mjs`);
  await writeFile(draft, code);
  await rename(draft, join(directory, 'index.mjs'));
  const pages = name === 'query' ? ['dashboard'] : [];
  for (const page of pages) await buildDashboard(join(directory, page));
  await removeAllBut(['index.mjs', ...pages], directory);
  return { name, directory, bytes: code.length, metafile };
}

/** Removes files of other builds, because everything in the directory is deployed. */
async function removeAllBut(kept: readonly string[], directory: string): Promise<void> {
  for (const file of await readdir(directory)) {
    if (!kept.includes(file)) await rm(join(directory, file), { recursive: true, force: true });
  }
}

if (import.meta.main) {
  for (const { name, bytes } of await bundleHandlers()) {
    process.stdout.write(`dist/lambda/${name}/index.mjs  ${(bytes / 1000).toFixed(0)} kB\n`);
  }
}
