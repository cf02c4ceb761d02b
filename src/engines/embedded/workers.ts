import { basename } from 'node:path';
import { Worker, type WorkerOptions } from 'node:worker_threads';

/**
 * The module of a worker: in a clone, the TypeScript file `path` below this directory; once built, the
 * bundle beside the others.
 */
function workerUrl(path: string): URL {
  const isBuilt = import.meta.url.endsWith('.js');
  return new URL(isBuilt ? `./${basename(path)}.js` : `./${path}.ts`, import.meta.url);
}

/** Starts the worker of a module, named as for `workerUrl`. */
export function newWorker(path: string, options: WorkerOptions): Worker {
  return new Worker(workerUrl(path), options);
}

/** Starts the worker, and waits for its first message. */
export async function startWorker(
  path: string,
  options: WorkerOptions,
): Promise<{ readonly worker: Worker; readonly first: unknown }> {
  const worker = newWorker(path, options);
  const first = await new Promise<unknown>((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
  worker.removeAllListeners('error');
  return { worker, first };
}

/** Calls `onEnd` with the reason if a worker fails or ends; `name`: the name of its thread. */
export function followWorker(worker: Worker, name: string, onEnd: (why: string) => void): void {
  worker.on('error', (error) => onEnd(error instanceof Error ? error.message : String(error)));
  worker.on('exit', () => onEnd(`the ${name} thread ended`));
}
