import { extname } from 'node:path';

/** The module of a worker beside this one: TypeScript in a clone, JavaScript once built. */
export function workerUrl(name: string): URL {
  return new URL(`./${name}${extname(import.meta.url)}`, import.meta.url);
}
