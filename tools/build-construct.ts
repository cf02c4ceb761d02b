import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { build, type Metafile } from 'esbuild';
import ts from '@typescript/typescript6';

import { bundleHandlers } from '../infra/bundle.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const directory = join(root, 'dist/cdk');

/**
 * Builds the CDK construct with its types, and the functions that it deploys. It is CommonJS, as the CDK
 * is: programs in either module system load it, on every Node.js that the CDK runs on. Returns esbuild's
 * metafile, which names the bundled packages.
 */
export async function buildConstruct(): Promise<Metafile[]> {
  await rm(directory, { recursive: true, force: true });
  const [construct, functions] = await Promise.all([
    build({
      absWorkingDir: root,
      bundle: true,
      platform: 'node',
      target: 'node20',
      format: 'cjs',
      outdir: directory,
      entryPoints: { index: 'infra/construct/index.ts' },
      external: ['aws-cdk-lib', 'constructs'],
      define: { 'import.meta.dirname': '__dirname' },
      metafile: true,
      logLevel: 'warning',
    }),
    bundleHandlers(join(directory, 'lambda')),
    buildTypes(),
  ]);
  return [construct, ...functions].map(({ metafile }) => metafile);
}

/**
 * Only for the modules of the construct's interface, each by itself: a program of them would also read
 * the CDK's types, which takes 20 times as long.
 * @throws an Error if an exported declaration has no explicit type
 */
async function buildTypes(): Promise<void> {
  const readText = (path: string) => ts.sys.readFile(path);
  const { config } = ts.readConfigFile(join(root, 'tsconfig.json'), readText) as { config: object };
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root, {
    ...{ declaration: true, isolatedDeclarations: true, stripInternal: true },
  });
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, 'package.json'), '{ "type": "commonjs" }\n');
  for (const name of ['index', 'device-pipeline', 'props']) {
    const source = await readFile(join(root, `infra/construct/${name}.ts`), 'utf8');
    const { outputText, diagnostics = [] } = ts.transpileDeclaration(source, {
      ...{ fileName: `${name}.ts`, compilerOptions: options, reportDiagnostics: true },
    });
    const [problem] = diagnostics;
    if (problem !== undefined) {
      const text = ts.flattenDiagnosticMessageText(problem.messageText, ' ');
      throw new Error(`infra/construct/${name}.ts: ${text}`);
    }
    // Compilers of users may not resolve the names of sources.
    await writeFile(join(directory, `${name}.d.ts`), outputText.replaceAll(".ts';", ".js';"));
  }
}
