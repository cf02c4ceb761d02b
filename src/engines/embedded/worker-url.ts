import { basename } from 'node:path';

/**
 * The module of a worker: in a clone, the TypeScript file `path` below this directory; once built, the
 * bundle beside the others.
 */
export function workerUrl(path: string): URL {
  const isBuilt = import.meta.url.endsWith('.js');
  return new URL(isBuilt ? `./${basename(path)}.js` : `./${path}.ts`, import.meta.url);
}
