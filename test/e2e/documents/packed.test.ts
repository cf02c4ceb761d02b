import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { promisify } from 'node:util';

import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { describeConstruct } from '../../support/documents/packed-construct.ts';
import { isNightly } from '../../support/run/tier.ts';

const run = promisify(execFile);
const root = join(import.meta.dirname, '../../..');
const dockerfile = await readFile(join(root, 'Dockerfile'), 'utf8');
const undoing: (() => unknown)[] = [];

interface Manifest {
  readonly version: string;
  readonly scripts: Readonly<Record<string, string>>;
}

/** With this Node, and nothing of the clone on the path. */
const env = {
  PATH: [dirname(process.execPath), ...(process.env['PATH'] ?? '').split(delimiter)]
    .filter((path) => !path.includes('node_modules/.bin'))
    .join(delimiter),
  HOME: '',
};

let directory = '';
/** A release uploads the tarball that passed these tests. */
let packDestination = process.env['PACK_DESTINATION'];
let tarball: { filename: string; size: number; unpackedSize: number; files: { path: string }[] };

/** In an empty folder, without the network and without scripts. */
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'device-pipeline-packed-'));
  undoing.push(() => rm(directory, { recursive: true, force: true }));
  // With npm's cache.
  env.HOME = directory;
  packDestination ??= directory;
  const packed = await run('npm', ['pack', '--json', '--pack-destination', packDestination], {
    cwd: root,
    maxBuffer: 16 * 1024 * 1024,
  });
  // What prepack prints may stand before it.
  const printed = JSON.parse(packed.stdout.slice(packed.stdout.search(/^[[{]/m))) as
    (typeof tarball)[] | Record<string, typeof tarball>;
  const [first] = Object.values(printed);
  if (first === undefined) throw new Error('npm pack named no file');
  tarball = first;
  await writeFile(join(directory, 'package.json'), '{"name":"consumer","private":true}');
  const flags = ['--offline', '--ignore-scripts', '--no-audit', '--no-fund'];
  await run('npm', ['install', ...flags, join(packDestination, tarball.filename)], {
    cwd: directory,
    env,
  });
});

afterAll(async () => {
  for (const undo of undoing.splice(0).reverse()) await undo();
});

/** By night also the compiler before the native one, which is much slower. */
const compilers = [
  'typescript/bin/tsc',
  ...(isNightly() ? ['@typescript/typescript6/bin/tsc6'] : []),
];

/** What compilers say, as strict as they can be, of the files of an application; nothing if all is well. */
async function compile(lib: string, args: readonly string[]): Promise<string> {
  const reports = compilers.map((compiler) => compileWith(compiler, lib, args));
  return (await Promise.all(reports)).join('');
}

async function compileWith(compiler: string, lib: string, args: readonly string[]) {
  const tsc = join(root, 'node_modules', compiler);
  const flags = ['--strict', '--module', 'nodenext', '--target', 'es2022', '--lib', lib];
  // Not the compiler's own declarations, which take longer than all else.
  const checked = ['--skipLibCheck', 'false', '--skipDefaultLibCheck'];
  const options = [...flags, '--exactOptionalPropertyTypes', ...checked, ...args];
  const compiled = run(process.execPath, [tsc, ...options], { cwd: directory, env });
  const { stdout } = await compiled.catch((error: unknown) => error as { stdout: string });
  return stdout;
}

/** What `npx device-pipeline` runs. */
function command(...args: string[]) {
  return run(join(directory, 'node_modules/.bin/device-pipeline'), args, { cwd: directory, env });
}

const expectedFiles = [
  'ARCHITECTURE.md',
  'CHANGELOG.md',
  'LICENSE',
  'README.md',
  'SECURITY.md',
  'bin/device-pipeline.cjs',
  'bin/start.cjs',
  'deploy/device-pipeline.service',
  'dist/THIRD-PARTY-LICENSES',
  'dist/cdk/device-pipeline.d.ts',
  'dist/cdk/index.d.ts',
  'dist/cdk/index.js',
  ...['ingest', 'process', 'query', 'sweep'].map((name) => `dist/cdk/lambda/${name}/index.mjs`),
  'dist/cdk/lambda/query/dashboard/icon-*.svg',
  'dist/cdk/lambda/query/dashboard/index.html',
  'dist/cdk/lambda/query/dashboard/manifest.json',
  'dist/cdk/lambda/query/dashboard/script-*.js',
  'dist/cdk/lambda/query/dashboard/style-*.css',
  'dist/cdk/package.json',
  'dist/cdk/props.d.ts',
  'dist/cli/archive-thread.js',
  'dist/cli/audit-thread.js',
  'dist/cli/chunk-*.js',
  'dist/cli/cli.js',
  'dist/cli/<module>-*.js',
  'dist/cli/reader-worker.js',
  'dist/cli/writer-worker.js',
  'dist/client/checks.d.ts',
  'dist/client/client.d.ts',
  'dist/client/event-buffer.d.ts',
  'dist/client/failure-text.d.ts',
  'dist/client/flush-on-exit.d.ts',
  'dist/client/http-request.d.ts',
  'dist/client/index.d.ts',
  'dist/client/index.js',
  'dist/client/losses.d.ts',
  'dist/client/post-batch.d.ts',
  'dist/client/retry-reporter.d.ts',
  'dist/client/slots.d.ts',
  'dist/client/uncompressed.d.ts',
  'dist/dashboard/icon-*.svg',
  'dist/dashboard/index.html',
  'dist/dashboard/manifest.json',
  'dist/dashboard/script-*.js',
  'dist/dashboard/style-*.css',
  'dist/kernel/item-kernel.wasm',
  'docs/README.md',
  'docs/access.md',
  'docs/archive.md',
  'docs/benchmarks.md',
  'docs/cdk.md',
  'docs/command-line.md',
  'docs/deploying.md',
  'docs/extending.md',
  'docs/glossary.md',
  'docs/grafana/device-pipeline.json',
  'docs/guarantees.md',
  'docs/images/dashboard-dark.png',
  'docs/images/dashboard-light.png',
  'docs/installing.md',
  'docs/limits.md',
  'docs/moving.md',
  'docs/operations.md',
  'docs/plots/<plot>.svg',
  'docs/prometheus/alerts.yml',
  'docs/proving.md',
  'docs/querying.md',
  'docs/quotas.md',
  'docs/removing.md',
  'docs/restoring.md',
  'docs/sample.json',
  'docs/scaling.md',
  'docs/sending.md',
  'docs/upgrading.md',
  ...['app.ts', 'cdk.json', 'package.json', 'tsconfig.json'].map((name) => `examples/cdk/${name}`),
  'package.json',
];

/** Who changes the code has a clone. */
const onlyInClones =
  /^(docs\/adr(\/[\w-]+\.md)?|CONTRIBUTING\.md|Dockerfile|(infra|bench)\/[\w./-]+)$/;

describe('the packed tarball', () => {
  test('holds just what is needed', () => {
    const names = tarball.files.map(({ path }) =>
      path
        .replace(/^(dist\/cli\/)(?!chunk)[\w-]+-[A-Z0-9]{8}\.js$/, '$1<module>-*.js')
        .replace(/(?<=-)([A-Z0-9]{8}|[0-9a-f]{12})(?=\.(js|css|svg))/, '*')
        .replace(/^(dist\/(?:cdk\/lambda\/query\/)?dashboard\/.*)\.(br|gz)$/, '$1')
        .replace(/^(docs\/plots\/)[\w-]+\.svg$/, '$1<plot>.svg'),
    );
    const expected = expectedFiles.filter((name) => !name.includes('<module>'));
    expect([...new Set(names)].filter((name) => !name.includes('<module>')).sort()).toEqual(
      expected.sort(),
    );
    expect(tarball.size).toBeLessThan(2.5 * 1024 * 1024);
    expect(tarball.unpackedSize).toBeLessThan(9 * 1024 * 1024);
  });

  test('has the files that its documents lead to', async () => {
    const installed = join(directory, 'node_modules/device-pipeline');
    const documents = tarball.files.map(({ path }) => path).filter((path) => path.endsWith('.md'));
    const links = new Map<string, string>();
    for (const document of documents) {
      for (const link of linksOf(document, await readFile(join(installed, document), 'utf8'))) {
        links.set(link, document);
      }
    }
    const known = [
      'docs/sample.json',
      'docs/plots/ingest.svg',
      'docs/adr',
      'infra/local/local-stack.ts',
    ];
    expect([...links.keys()]).toEqual(expect.arrayContaining(known));
    const missing = [...links].filter(([link]) => !existsSync(join(installed, link)));
    expect(missing.filter(([link]) => !onlyInClones.test(link))).toEqual([]);
    // A clone has them.
    expect([...links].filter(([link]) => !existsSync(join(root, link)))).toEqual([]);
  });

  test('may be published, by a CI job of its tag alone', async () => {
    const manifest = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as Manifest;
    expect(manifest).not.toHaveProperty('private');
    for (const name of ['name', 'version', 'description', 'keywords', 'license', 'engines'])
      expect(manifest).toHaveProperty([name]);
    const check = (more: Record<string, string>) =>
      run(process.execPath, ['tools/refuse-publish.ts'], { cwd: root, env: { ...env, ...more } });
    const job = { CI: 'true', GITHUB_REF_TYPE: 'tag', GITHUB_REF_NAME: `v${manifest.version}` };
    expect(manifest.scripts['prepublishOnly']).toBe('node tools/refuse-publish.ts');
    await expect(check({})).rejects.toMatchObject({ code: 1 });
    await expect(check({ ...job, GITHUB_REF_NAME: 'v0' })).rejects.toMatchObject({ code: 1 });
    await expect(check(job)).resolves.toMatchObject({ stderr: '' });
  });

  test('brings no dependency along, and names the licences of what is in it', async () => {
    const { stdout } = await run('npm', ['ls', '--all', '--parseable'], { cwd: directory, env });
    expect(stdout.trim().split('\n')).toHaveLength(2);
    const installed = join(directory, 'node_modules/device-pipeline');
    const licenses = await readFile(join(installed, 'dist/THIRD-PARTY-LICENSES'), 'utf8');
    for (const name of [
      'commander',
      'hono',
      'pino',
      'preact',
      '@aws-sdk/core',
      '@aws-lambda-powertools/logger',
    ]) {
      expect(licenses).toMatch(new RegExp(`^${name} \\d.* \\(.+\\)$`, 'm'));
    }
  });

  test('serves, feeds, counts, shows its pages and audits itself', async () => {
    const data = join(directory, 'data');
    const bin = join(directory, 'node_modules/.bin/device-pipeline');
    const server = spawn(bin, ['serve', '--port', '0', '--data-dir', data], {
      cwd: directory,
      env,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    undoing.push(() => server.kill('SIGKILL'));
    const [line] = (await once(server.stdout, 'data')) as [Buffer];
    const url = /^listening on (http:\S+)/.exec(line.toString())?.[1] ?? '';

    const batches = ['--batches', '20', '--items', '10', '--until', '2026-03-08T00:00:00Z'];
    const fed = await run('npx', ['device-pipeline', 'feed', url, ...batches, '--json'], {
      cwd: directory,
      env,
    });
    expect(JSON.parse(fed.stdout)).toMatchObject({ items: { accepted: 200, refused: 0 } });
    const { status } = await settled(url);
    expect(status).toBe('ready');
    const range = ['--from', '2026-01-01', '--to', '2026-04-01'];
    const stats = await command('stats', '--url', url, ...range, '--json');
    const rows = JSON.parse(stats.stdout) as { count: number }[];
    expect(rows.reduce((sum, { count }) => sum + count, 0)).toBe(200);

    const page = await (await fetch(`${url}/`)).text();
    const assets = [...page.matchAll(/(?:src|href)="(\/?assets\/[^"]+)"/g)].map(([, path]) => path);
    expect(assets.length).toBeGreaterThan(1);
    for (const path of assets) {
      expect((await fetch(new URL(path ?? '', url))).status).toBe(200);
    }
    expect((await fetch(`${url}/stats-html?date=2026-01-01`)).status).toBe(200);
    expect((await fetch(`${url}/metrics`)).status).toBe(200);

    server.kill('SIGTERM');
    expect(await once(server, 'exit')).toEqual([0, null]);
    const audit = await command('audit', '--data-dir', data);
    expect(audit.stdout + audit.stderr).toContain('200 items of 20 batches recounted');
  });

  test.each([
    ['WebAssembly', 'webassembly'],
    ['TypeScript, where the file of the kernel is missing', 'typescript'],
  ])('scans with %s', async (_, scanner) => {
    const copy = join(directory, `scans-with-${scanner}`);
    await cp(join(directory, 'node_modules/device-pipeline'), copy, { recursive: true });
    if (scanner === 'typescript') await rm(join(copy, 'dist/kernel'), { recursive: true });
    const options = ['--port', '0', '--data-dir', join(copy, 'data'), '--log-format', 'json'];
    const server = spawn(process.execPath, [join(copy, 'dist/cli/cli.js'), 'serve', ...options], {
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    undoing.push(() => server.kill('SIGKILL'));
    const [[line], [log]] = (await Promise.all([
      once(server.stdout, 'data'),
      once(server.stderr, 'data'),
    ])) as [[Buffer], [Buffer]];
    expect(JSON.parse(log.toString())).toMatchObject({ event: 'started', scanner });
    const url = /^listening on (http:\S+)/.exec(line.toString())?.[1] ?? '';
    const batches = ['--batches', '20', '--items', '10', '--until', '2026-03-08T00:00:00Z'];
    const fed = await command('feed', url, ...batches, '--json');
    expect(JSON.parse(fed.stdout)).toMatchObject({ items: { accepted: 200, refused: 0 } });
    server.kill('SIGTERM');
    expect(await once(server, 'exit')).toEqual([0, null]);
    // By the installed package, so with WebAssembly.
    const audit = await command('audit', '--data-dir', join(copy, 'data'));
    expect(audit.stdout + audit.stderr).toContain('200 items of 20 batches recounted');
  });

  test('has a client that an ES module imports, with exact types', async () => {
    const source = `
      import { createClient, type Totals } from 'device-pipeline/client';
      const client = createClient({ url: 'http://127.0.0.1:1', onRefused: (event, { code }) => void [event.type, code] });
      const totals: Totals = await client.flush();
      // @ts-expect-error: an event has a state.
      void (() => client.send({ type: 'phone', timestamp: new Date() }));
      // @ts-expect-error: there is no such option.
      createClient({ url: 'http://127.0.0.1:1', retries: 3 });
      console.log(JSON.stringify(totals));
    `;
    await writeFile(join(directory, 'consumer.mts'), source);
    // With the types of a browser, with those of Node.js, and with neither: there is no signal then.
    const signal = `
      import { createClient } from 'device-pipeline/client';
      createClient({ url: 'http://127.0.0.1:1', signal: AbortSignal.abort() });
      // @ts-expect-error: a signal is an AbortSignal.
      createClient({ url: 'http://127.0.0.1:1', signal: 'abort' });
    `;
    await writeFile(join(directory, 'signal.mts'), signal);
    const typeRoots = join(root, 'node_modules/@types');
    const ofNode = ['--types', 'node', '--typeRoots', typeRoots];
    await writeFile(
      join(directory, 'console.d.ts'),
      'declare const console: { log(text: string): void };',
    );
    expect(await compile('es2024', ['consumer.mts', 'console.d.ts'])).toBe('');
    if (isNightly()) {
      expect(await compile('es2024,dom', ['consumer.mts', 'signal.mts'])).toBe('');
      expect(await compile('es2024', ['consumer.mts', 'signal.mts', ...ofNode])).toBe('');
    }
    const ran = await run(process.execPath, ['consumer.mjs'], { cwd: directory, env });
    expect(JSON.parse(ran.stdout)).toEqual({ accepted: 0, refused: 0, givenUp: 0 });
  });

  describeConstruct(() => join(packDestination ?? '', tarball.filename));

  test('says what is wrong on an older Node, in syntax that it reads', async () => {
    const installed = join(directory, 'node_modules/device-pipeline/bin/device-pipeline.cjs');
    const launcher = await readFile(installed, 'utf8');
    expect(launcher).not.toMatch(/=>|\bconst\b|\blet\b|`[^`]*\$\{|import\(/);
    const old = `
      Object.defineProperty(process.versions, 'node', { value: '20.1.0' });
      require(${JSON.stringify(installed)});`;
    const failed = run(process.execPath, ['-e', old]);
    await expect(failed).rejects.toMatchObject({
      code: 1,
      stderr: expect.stringContaining('needs Node.js 24 or later, and this is 20.1.0') as string,
    });
  });
});

/** The files that a document leads to: by links and images from where it is, for curl from the root. */
function linksOf(document: string, text: string): string[] {
  const relative = text.matchAll(/(?:\]\(<?|(?:src|href)=")(?!\w+:|#)([^#\s)>"]+)/g);
  const fromRoot = text.matchAll(/@(docs\/[\w.]+)/g);
  return [
    ...[...relative].map(([, link]) => join(dirname(document), link ?? '')),
    ...[...fromRoot].map(([, path]) => path ?? ''),
  ];
}

async function settled(url: string): Promise<{ status: string }> {
  for (;;) {
    const ready = (await (await fetch(`${url}/readyz`)).json()) as {
      status: string;
      pending_items: number;
    };
    if (ready.pending_items === 0) return ready;
  }
}

/** The argument lists of the Dockerfile's last stage: Docker was not there to build it. */
function listOf(instruction: string): string[] {
  const stage = dockerfile.split(/^FROM /m).at(-1) ?? '';
  const [, list] = new RegExp(`^${instruction} .*?(\\[.*\\])$`, 'm').exec(stage) ?? [];
  return JSON.parse(list ?? '[]') as string[];
}

test('the image starts with a token, is healthy, and stops at SIGTERM', async () => {
  const dataDir = join(directory, 'image-data');
  const cli = join(directory, 'node_modules/device-pipeline/bin/device-pipeline.cjs');
  const [node, bin, ...rest] = listOf('ENTRYPOINT');
  expect([node, bin?.endsWith('/bin/device-pipeline.cjs'), rest]).toEqual(['node', true, []]);
  const settings = [...dockerfile.matchAll(/(DEVICE_PIPELINE_\w+)=/g)].map(([, name]) => name);
  expect(settings).toEqual(['DEVICE_PIPELINE_HOST', 'DEVICE_PIPELINE_DATA_DIR']);
  const imageEnv = {
    ...env,
    DEVICE_PIPELINE_HOST: '0.0.0.0',
    DEVICE_PIPELINE_DATA_DIR: dataDir,
  };

  const token = ['token', 'create', '--name', 'first', '--for', 'ingest,read'];
  await run(process.execPath, [cli, ...token], { env: imageEnv });
  const server = spawn(process.execPath, [cli, ...listOf('CMD')], {
    env: { ...imageEnv, DEVICE_PIPELINE_PORT: '0' },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  undoing.push(() => server.kill('SIGKILL'));
  const [line] = (await once(server.stdout, 'data')) as [Buffer];
  const [, port] = /:(\d+)\n/.exec(line.toString()) ?? [];

  const [program, ...check] = listOf('HEALTHCHECK');
  expect(program).toBe('node');
  const checked = async (at: string | undefined) => {
    const child = spawn(process.execPath, check, {
      env: { ...imageEnv, DEVICE_PIPELINE_PORT: at },
    });
    return ((await once(child, 'exit')) as [number])[0];
  };
  expect(await checked(port)).toBe(0);
  const [, signal] = /^STOPSIGNAL (\w+)$/m.exec(dockerfile) ?? [];
  server.kill(signal as NodeJS.Signals);
  expect(await once(server, 'exit')).toEqual([0, null]);
  expect(await checked(port)).toBe(1);
});
