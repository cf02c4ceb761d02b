import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';

import { build } from 'esbuild';

import { commandBuilds } from '../../../tools/build-package.ts';

/**
 * Bundles the command as the package has it. A run starts hundreds of servers and commands, and a
 * bundle takes a quarter less CPU time to start than the source.
 * @returns the path of the program
 */
export async function bundleCommand(): Promise<string> {
  const directory = join(import.meta.dirname, '../../../dist/test-cli');
  const builds = commandBuilds(directory).map((options) => build({ ...options, write: false }));
  const outputFiles = (await Promise.all(builds)).flatMap((result) => result.outputFiles);
  mkdirSync(directory, { recursive: true });
  const names = new Set(outputFiles.map(({ path }) => basename(path)));
  for (const name of readdirSync(directory)) {
    if (!names.has(name)) rmSync(join(directory, name));
  }
  for (const { path, contents } of outputFiles) {
    // Another run may be reading it.
    if (existsSync(path) && readFileSync(path).equals(contents)) continue;
    const draft = `${path}.${process.pid}`;
    writeFileSync(draft, contents);
    renameSync(draft, path);
  }
  return join(directory, 'cli.js');
}
