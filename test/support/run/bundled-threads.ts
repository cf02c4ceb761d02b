import { existsSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import workerThreads, { type WorkerOptions } from 'node:worker_threads';

/**
 * Starts the threads of pipelines in this process from the bundle of the command (bundled-command.ts),
 * if the run has one: a store opens with a quarter less CPU time than from the source.
 */
export function useBundledThreads(): void {
  const { TEST_COMMAND: command } = process.env;
  const { Worker } = workerThreads;
  // Once in a process that runs many files.
  if (command === undefined || Worker.name === 'BundledWorker') return;
  const directory = dirname(command);
  workerThreads.Worker = class BundledWorker extends Worker {
    constructor(module: string | URL, options?: WorkerOptions) {
      super(bundleOf(module, directory), options);
    }
  };
  syncBuiltinESMExports();
}

const source = fileURLToPath(new URL('../../../src/', import.meta.url));

function bundleOf(module: string | URL, directory: string): string | URL {
  if (!(module instanceof URL) || !fileURLToPath(module).startsWith(source)) return module;
  const bundle = join(directory, `${basename(module.pathname, '.ts')}.js`);
  return existsSync(bundle) ? pathToFileURL(bundle) : module;
}
