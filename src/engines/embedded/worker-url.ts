import { basename } from 'node:path';

/**
 * The module of a worker: `path` below this directory, as TypeScript, in a clone; beside the other
 * bundles once built.
 */
export function workerUrl(path: string): URL {
  const isBuilt = import.meta.url.endsWith('.js');
  return new URL(isBuilt ? `./${basename(path)}.js` : `./${path}.ts`, import.meta.url);
}
