import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import type { Template } from './template.ts';

export interface Synthesized {
  readonly template: Template;
  /** Holds `<function>/index.mjs`. */
  readonly bundlesDirectory: string;
}

/**
 * Bundles the handlers and synthesises the stack like `cdk synth`, with the settings of this clone, but
 * without tokens, because there is no emulator for the secret, and without a function URL and tables for
 * Athena. Uses a separate process: the CDK takes 200 MB and writes to standard output.
 * @param settings settings by name; they override the settings file
 */
export async function synthesizedTemplate(
  settings: Readonly<Record<string, unknown>> = {},
  signal?: AbortSignal,
): Promise<Synthesized> {
  const directory = await mkdtemp(join(tmpdir(), 'device-pipeline-synth-'));
  try {
    const script = fileURLToPath(new URL('./synthesize.ts', import.meta.url));
    const run = promisify(execFile);
    await run(process.execPath, [script, directory, JSON.stringify(settings)], {
      env: { ...process.env, NODE_OPTIONS: '' },
      ...(signal !== undefined && { signal }),
    });
    const read = async (name: string) =>
      JSON.parse(await readFile(join(directory, name), 'utf8')) as unknown;
    const template = (await read('template.json')) as Template;
    const { bundlesDirectory } = (await read('bundles.json')) as { bundlesDirectory: string };
    return { template, bundlesDirectory };
  } catch (error) {
    const { stderr, message } = error as Error & { stderr?: string };
    throw new Error(`The stack cannot be synthesised: ${stderr?.trim() || message}`, {
      cause: error,
    });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
