import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import type { TestProject } from 'vitest/node';

import { startDynamoDbLocal } from '../../../infra/local/emulators/dynamodb-local.ts';
import { buildKernel } from '../../../tools/build-kernel.ts';
import { bundleCommand } from './bundled-command.ts';
import { meetRequirements, type RequirementName } from './requirements.ts';

declare module 'vitest' {
  interface ProvidedContext {
    readonly missing: readonly RequirementName[];
    readonly tier: 'quick' | 'nightly';
    /** One DynamoDB Local for all files; undefined if each starts its own. */
    readonly dynamoDbUrl: string | undefined;
    /** A directory that the test files of a run share. It is removed after the run. */
    readonly runDirectory: string;
  }
  interface TaskMeta {
    /** See `rounds`. */
    rounds?: Readonly<Record<string, number>>;
  }
}

/** Runs once, before all test files; the returned function runs after them. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  // The tests start the program some thousand times; with the cache it is not compiled each time.
  process.env['NODE_COMPILE_CACHE'] = join(
    import.meta.dirname,
    '../../../node_modules/.cache/compile',
  );
  const say = (line: string) => void process.stdout.write(`${line}\n`);
  const missing = meetRequirements(say);
  for (const { name, tests, remedy } of missing) {
    say(`${name} is missing, so these tests do not run: ${tests}. To get it: ${remedy}`);
  }
  // A gate that omits tests proves nothing.
  if (missing.length > 0 && process.env['CI'] === 'true') {
    say('With CI=true nothing may be missing.');
    process.exit(1);
  }
  const names = missing.map(({ name }) => name);
  project.provide('missing', names);
  project.provide('tier', project.vite.config.mode === 'nightly' ? 'nightly' : 'quick');

  await buildKernel();
  const isWholeRun = !process.argv.slice(2).some((argument) => argument.startsWith('test'));
  // In watch mode the source changes while the tests run.
  const isBundled = isWholeRun && !project.vitest.config.watch;
  // A dozen files need it, and each start takes seconds. A run of single files may need none.
  const isShared = isWholeRun && !names.includes('Java');
  const [command, dynamoDb] = await Promise.all([
    isBundled ? bundleCommand() : undefined,
    isShared ? startDynamoDbLocal() : undefined,
  ]);
  if (command !== undefined) process.env['TEST_COMMAND'] = command;
  project.provide('dynamoDbUrl', dynamoDb?.url);
  const runDirectory = mkdtempSync(join(tmpdir(), 'device-pipeline-run-'));
  project.provide('runDirectory', runDirectory);
  return async () => {
    rmSync(runDirectory, { recursive: true, force: true });
    await dynamoDb?.stop();
  };
}
