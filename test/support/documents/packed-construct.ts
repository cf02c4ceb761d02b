import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { copyFile, cp, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { promisify } from 'node:util';

import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { outputsOfPipeline } from '../../../src/engines/aws/admin/stack-outputs.ts';
import { isNightly, itAtNight } from '../run/tier.ts';

const run = promisify(execFile);
const root = join(import.meta.dirname, '../../..');

interface Resource {
  readonly Type: string;
  readonly Properties: Readonly<Record<string, unknown>>;
  readonly DeletionPolicy?: string;
}

interface Template {
  readonly Resources: Readonly<Record<string, Resource>>;
  readonly Outputs: Readonly<Record<string, { readonly Value: unknown }>>;
}

/** The tests of examples/cdk with the construct of a packed tarball. */
export function describeConstruct(tarballPath: () => string): void {
  describe('has a construct for the CDK', () => {
    let directory = '';
    let runApp = '';

    beforeAll(async () => {
      directory = await mkdtemp(join(tmpdir(), 'device-pipeline-example-'));
      await installExample(directory, tarballPath());
      const { app } = JSON.parse(await readFile(join(directory, 'cdk.json'), 'utf8')) as {
        app: string;
      };
      // Compiled once, with the page's example; the compiler takes longer than all else.
      const [compiler = '', program = ''] = app.split(' && ');
      await addDocumented(directory);
      await run('/bin/sh', ['-c', compiler], { cwd: directory });
      runApp = program;
      // The example has no types of its own, so it is JavaScript, too.
      await copyFile(join(directory, 'app.ts'), join(directory, 'app.mjs'));
    });

    afterAll(() => rm(directory, { recursive: true, force: true }));

    test('with which the example synthesises, as a CommonJS module', async () => {
      await expectExample(directory, process.execPath, runApp);
    });

    test('and as an ES module, on the Node.js of this machine, which may be version 20', async () => {
      if (isNightly()) {
        await expectExample(directory, process.execPath, 'node app.mjs');
        await expectExample(directory, ownNode(), runApp);
      }
      await expectExample(directory, ownNode(), 'node app.mjs');
    });

    // The compiler of `beforeAll` has compiled the same program, and reads "exports".
    itAtNight('with exact types, also for a compiler that does not read "exports"', async () => {
      expect(await compileForNode10(directory)).toBe('');
    });
  });
}

/** The first Node.js on the PATH that is not of a clone; that of this test if there is none. */
function ownNode(): string {
  const directories = (process.env['PATH'] ?? '').split(delimiter);
  const paths = directories.filter((one) => !one.includes('node_modules'));
  return paths.map((path) => join(path, 'node')).find(existsSync) ?? process.execPath;
}

/**
 * What `npm install` makes of the example on this machine's own Node.js, which `engines` must allow. The
 * peers are those of the clone, as there is no network.
 */
async function installExample(directory: string, tarball: string): Promise<void> {
  await cp(join(root, 'examples/cdk'), directory, { recursive: true });
  await writeFile(join(directory, 'package.json'), '{"name":"fleet","private":true}');
  const flags = ['--offline', '--ignore-scripts', '--no-audit', '--no-fund', '--engine-strict'];
  const env = {
    ...process.env,
    PATH: `${dirname(ownNode())}${delimiter}${process.env['PATH'] ?? ''}`,
  };
  await run('npm', ['install', ...flags, tarball], { cwd: directory, env });
  const modules = join(directory, 'node_modules');
  for (const name of ['aws-cdk-lib', 'constructs', 'typescript']) {
    await symlink(join(root, 'node_modules', name), join(modules, name));
  }
  await symlink(join(modules, 'typescript/bin/tsc'), join(modules, '.bin/tsc'));
}

/** A program that compiles only with exact types. */
const typed = `
  import { DevicePipeline, type DevicePipelineProps } from 'device-pipeline/cdk';
  const props: DevicePipelineProps = { itemsPerMessage: 'packed', tokens: false };
  export const alarm = (pipeline: DevicePipeline) => pipeline.alarms.SweepLags.alarmArn;
  // @ts-expect-error: there is no such prop.
  export const wrong: DevicePipelineProps = { ...props, bundlesDirectory: '.' };
  // @ts-expect-error: there is no such value.
  export const other: DevicePipelineProps = { itemsPerMessage: 'full' };
`;

/** Adds `typed` and the code of docs/cdk.md to what the example's compiler compiles. */
async function addDocumented(directory: string): Promise<void> {
  const page = await readFile(join(root, 'docs/cdk.md'), 'utf8');
  const [, documented] = /```typescript\n(.*?)```/s.exec(page) ?? [];
  if (documented === undefined) throw new Error('docs/cdk.md has no example');
  await writeFile(join(directory, 'documented.ts'), documented);
  await writeFile(join(directory, 'typed.ts'), typed);
  const path = join(directory, 'tsconfig.json');
  const config = JSON.parse(await readFile(path, 'utf8')) as { include: string[] };
  await writeFile(
    path,
    JSON.stringify({ ...config, include: [...config.include, 'documented.ts', 'typed.ts'] }),
  );
}

/** Runs the app as `cdk` does, with this Node.js, and checks what it wrote. */
async function expectExample(directory: string, node: string, app: string): Promise<void> {
  const outdir = await mkdtemp(join(directory, 'cdk.out-'));
  const path = [dirname(node), '/usr/local/bin', '/usr/bin', '/bin'].join(':');
  const { NODE_COMPILE_CACHE } = process.env;
  const cdk = { CDK_OUTDIR: outdir, CDK_VALIDATION: 'false' };
  const env = { PATH: path, HOME: directory, NODE_COMPILE_CACHE, ...cdk };
  await run('/bin/sh', ['-c', app], { cwd: directory, env });
  const template = await readFile(join(outdir, 'Fleet.template.json'), 'utf8');
  expectPipelines(JSON.parse(template) as Template);
  const assets = (await readdir(outdir)).filter((name) => name.startsWith('asset.'));
  const codes = await Promise.all(
    assets.map((asset) => readFile(join(outdir, asset, 'index.mjs'), 'utf8').catch(() => '')),
  );
  const ours = codes.filter((code) => code !== '');
  expect(ours).toHaveLength(4);
  for (const code of ours) expect(code).toMatch(/export\{\w+ as handler\}/);
}

function expectPipelines(template: Template): void {
  const all = (type: string) =>
    Object.values(template.Resources).filter(({ Type }) => Type === type);
  const functions = all('AWS::Lambda::Function').filter(
    ({ Properties }) => 'TracingConfig' in Properties,
  );
  expect(functions).toHaveLength(8);
  const routes = all('AWS::ApiGatewayV2::Route').map(
    ({ Properties }) => Properties['AuthorizationType'],
  );
  expect(routes).toEqual(['AWS_IAM', 'AWS_IAM', 'NONE', 'NONE']);
  const stages = JSON.stringify(all('AWS::ApiGatewayV2::Stage'));
  expect(stages).toContain('"ThrottlingRateLimit":200');
  const tables = all('AWS::DynamoDB::Table').map(({ DeletionPolicy }) => DeletionPolicy);
  expect(tables).toEqual(['Retain', 'Retain', 'Delete', 'Delete']);
  const policies = JSON.stringify(all('AWS::IAM::Policy'));
  expect(policies).toContain('/*/POST/ingest');
  const outputs = new Map(
    Object.entries(template.Outputs).map(([key, { Value }]) => [key, String(Value)]),
  );
  expect(outputsOfPipeline('Fleet.Events', outputs)('DayZone')).toBe('UTC');
  expect(outputsOfPipeline('Fleet.Trial', outputs)('DayZone')).toBe('as-written');
}

/** Returns what the compiler reports that was the last with this way to resolve modules. */
async function compileForNode10(directory: string): Promise<string> {
  const config = {
    extends: './tsconfig.json',
    compilerOptions: {
      ...{ module: 'commonjs', moduleResolution: 'node10', ignoreDeprecations: '6.0' },
      noEmit: true,
    },
    include: ['typed.ts'],
  };
  await writeFile(join(directory, 'typed.json'), JSON.stringify(config));
  const tsc = join(root, 'node_modules/@typescript/typescript6/bin/tsc6');
  const compiled = run(process.execPath, [tsc, '-p', 'typed.json'], { cwd: directory });
  const { stdout } = await compiled.catch((error: unknown) => error as { stdout: string });
  return stdout;
}
