import { execFile } from 'node:child_process';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { build, type BuildOptions, type Metafile, type Plugin } from 'esbuild';

import { buildConstruct } from './build-construct.ts';
import { buildDashboard } from './build-dashboard.ts';
import { buildKernel } from './build-kernel.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
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
 * the dashboard, the kernel of the scanner and the licences of bundled packages. All files of the command are in one directory, two
 * below package.json, because they find it, the dashboard and the worker threads by relative paths.
 */
async function buildPackage(): Promise<void> {
  await Promise.all(
    [cliDirectory, clientDirectory].map((path) => rm(path, { recursive: true, force: true })),
  );
  const [command, client, dashboard, construct] = await Promise.all([
    Promise.all(commandBuilds(cliDirectory).map((each) => build(each))),
    build({ ...options, outdir: clientDirectory, entryPoints: { index: 'src/client/index.ts' } }),
    surveyDashboard(),
    buildConstruct(),
    buildTypes(),
    buildDashboard(),
    buildKernel(),
  ]);
  await writeFile(
    licensesFile,
    await licensesOf([
      ...[...command, client, dashboard].map(({ metafile }) => metafile),
      ...construct,
    ]),
  );
}

/**
 * Loads `node:http` by require(). An import of it reads everything that it exports, also `WebSocket`, for
 * which Node.js then loads its fetch client: a sixth of the CPU time of a command that queries a server.
 */
const requiredHttp: Plugin = {
  name: 'required-http',
  setup(esbuild) {
    esbuild.onResolve({ filter: /^(node:)?http$/ }, ({ kind }) =>
      kind !== 'require-call' ? { path: 'node:http', namespace: 'required' } : undefined,
    );
    esbuild.onLoad({ filter: /./, namespace: 'required' }, ({ path }) => ({
      contents: `module.exports = require(${JSON.stringify(path)});`,
    }));
  },
};

/**
 * The builds with esbuild that put the command into a directory below `dist`. The threads that each
 * server starts get a file each, although they share modules: loading 30 chunks takes three times as
 * long as one file. The archive's thread remains split, as it seldom needs the AWS SDK.
 */
export function commandBuilds(
  directory: string,
): readonly (BuildOptions & { readonly metafile: true })[] {
  const common = {
    ...options,
    outdir: directory,
    plugins: [requiredHttp],
    // Dependencies in CommonJS call require() for Node's own modules, which an ES module lacks.
    banner: {
      js: "import { createRequire as createRequireHere } from 'node:module';\nconst require = createRequireHere(import.meta.url);",
    },
  };
  const entryPoints = {
    cli: 'src/entry/cli.ts',
    'archive-thread': 'src/engines/embedded/archive/ship/archive-thread.ts',
  };
  const threads = {
    'writer-worker': 'src/engines/embedded/writer/writer-worker.ts',
    'reader-worker': 'src/engines/embedded/reader/reader-worker.ts',
    'audit-thread': 'src/engines/embedded/verify/audit-thread.ts',
  };
  return [
    { ...common, entryPoints },
    { ...common, entryPoints: threads, splitting: false },
  ];
}

async function buildTypes(): Promise<void> {
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
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
