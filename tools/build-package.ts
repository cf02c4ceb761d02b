import { execFile } from 'node:child_process';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { build, type BuildOptions, type Metafile } from 'esbuild';
import ts from 'typescript';

import { bundleHandlers } from '../infra/bundle.ts';
import { buildDashboard } from './build-dashboard.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const cdkDirectory = join(root, 'dist/cdk');
const cliDirectory = join(root, 'dist/cli');
const clientDirectory = join(root, 'dist/client');
const licensesFile = join(root, 'dist/THIRD-PARTY-LICENSES');

/** Not minified, so that stack traces contain the names of the source. */
const options = {
  absWorkingDir: root,
  bundle: true,
  splitting: true,
  platform: 'node',
  target: 'node24',
  format: 'esm',
  mainFields: ['module', 'main'],
  legalComments: 'none',
  chunkNames: 'chunk-[hash]',
  metafile: true,
  logLevel: 'warning',
} as const satisfies BuildOptions;

/**
 * Builds the content of the npm package: the command, the client and the CDK construct with their types,
 * the functions that the construct deploys, the dashboard and the licences of bundled packages. All files of the command are in one directory, two below package.json,
 * because they find it, the dashboard and the worker threads by relative paths.
 */
async function buildPackage(): Promise<void> {
  await Promise.all(
    [cdkDirectory, cliDirectory, clientDirectory].map((path) =>
      rm(path, { recursive: true, force: true }),
    ),
  );
  const [cli, client, dashboard, cdk, functions] = await Promise.all([
    build(commandOptions(cliDirectory)),
    build({ ...options, outdir: clientDirectory, entryPoints: { index: 'src/client/index.ts' } }),
    surveyDashboard(),
    build(constructOptions),
    bundleHandlers(join(cdkDirectory, 'lambda')),
    buildTypes(),
    buildConstructTypes(),
    buildDashboard(),
  ]);
  const metafiles = [cli, client, dashboard, cdk, ...functions].map(({ metafile }) => metafile);
  await writeFile(licensesFile, await licensesOf(metafiles));
}

/**
 * CommonJS, as the CDK is: programs in either module system load it, on every Node.js that the CDK runs
 * on. package.json beside it says so.
 */
const constructOptions = {
  ...options,
  splitting: false,
  target: 'node20',
  format: 'cjs',
  outdir: cdkDirectory,
  entryPoints: { index: 'infra/construct/index.ts' },
  external: ['aws-cdk-lib', 'constructs'],
  define: { 'import.meta.dirname': '__dirname' },
} as const satisfies BuildOptions;

/** Only of the modules that the construct's interface consists of. */
async function buildConstructTypes(): Promise<void> {
  const readText = (path: string) => ts.sys.readFile(path);
  const { config } = ts.readConfigFile(join(root, 'tsconfig.json'), readText) as { config: object };
  const { options: usual } = ts.parseJsonConfigFileContent(config, ts.sys, root, {
    ...{ noEmit: false, declaration: true, emitDeclarationOnly: true, stripInternal: true },
  });
  const sources = ['index', 'device-pipeline', 'props'].map((name) =>
    join(root, `infra/construct/${name}.ts`),
  );
  const program = ts.createProgram(sources, usual);
  const emitted = new Map<string, string>();
  for (const source of sources) {
    program.emit(program.getSourceFile(source), (path, text) => emitted.set(basename(path), text));
  }
  await mkdir(cdkDirectory, { recursive: true });
  await writeFile(join(cdkDirectory, 'package.json'), '{ "type": "commonjs" }\n');
  for (const [name, text] of emitted) {
    // Compilers of users may not resolve the names of sources.
    await writeFile(join(cdkDirectory, name), text.replaceAll(".ts';", ".js';"));
  }
}

/** What esbuild needs to build the command into a directory below `dist`. */
export function commandOptions(directory: string): BuildOptions & { readonly metafile: true } {
  return {
    ...options,
    outdir: directory,
    entryPoints: {
      cli: 'src/entry/cli.ts',
      'writer-worker': 'src/engines/embedded/writer/writer-worker.ts',
      'archive-thread': 'src/engines/embedded/archive/ship/archive-thread.ts',
      'reader-worker': 'src/engines/embedded/reader/reader-worker.ts',
      'audit-thread': 'src/engines/embedded/verify/audit-thread.ts',
    },
    // Dependencies in CommonJS call require() for Node's own modules, which an ES module lacks.
    banner: {
      js: "import { createRequire as createRequireHere } from 'node:module';\nconst require = createRequireHere(import.meta.url);",
    },
  };
}

async function buildTypes(): Promise<void> {
  const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc');
  const args = [tsc, '-p', join(root, 'tsconfig.client.json')];
  await promisify(execFile)(process.execPath, args, { cwd: root });
}

/** Returns the bundled packages only; the dashboard builds its own files. */
function surveyDashboard() {
  return build({
    absWorkingDir: root,
    bundle: true,
    write: false,
    metafile: true,
    jsx: 'automatic',
    jsxImportSource: 'preact',
    outdir: 'dist/dashboard',
    entryPoints: ['src/dashboard/main.tsx'],
  });
}

async function licensesOf(metafiles: readonly (Metafile | undefined)[]): Promise<string> {
  const directories = new Set<string>();
  for (const metafile of metafiles) {
    for (const input of Object.keys(metafile?.inputs ?? {})) {
      const directory = /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+/.exec(input)?.[0];
      if (directory !== undefined) directories.add(directory);
    }
  }
  const entries = await Promise.all([...directories].sort().map(licenseOf));
  const intro = 'The files of device-pipeline in dist/ contain parts of the following packages.\n';
  return `${intro}\n${[...new Set(entries)].join('\n')}`;
}

async function licenseOf(directory: string): Promise<string> {
  const manifest = JSON.parse(await readFile(join(root, directory, 'package.json'), 'utf8')) as {
    name: string;
    version: string;
    license?: string;
  };
  const names = await readdir(join(root, directory));
  const files = names.filter((name) => /^(licen[cs]e|notice|copying)(\.\w+)?$/i.test(name)).sort();
  const texts = await Promise.all(
    files.map((name) => readFile(join(root, directory, name), 'utf8')),
  );
  const license = manifest.license ?? 'see below';
  const line = '-'.repeat(80);
  const heading = `${line}\n${manifest.name} ${manifest.version} (${license})\n${line}\n`;
  return `${heading}\n${texts.map((text) => `${text.trim()}\n`).join('\n')}`;
}

if (import.meta.main) await buildPackage();
