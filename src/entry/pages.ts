import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { pageOf, type Page, type Pages } from '../http/app/pages.ts';

/** Written by `tools/build-dashboard.ts` into the same directory. */
interface Manifest {
  readonly pages: Readonly<
    Record<string, { file: string; contentType: string; isForever: boolean }>
  >;
}

/** The built dashboard: the same path in the repository and in the package. */
const builtDirectory = fileURLToPath(new URL('../../dist/dashboard/', import.meta.url));

/** Reads the dashboard's files into memory, about half a megabyte. Empty if it was not built. */
export function readPages(directory: string = builtDirectory): Pages {
  const pages = new Map<string, Page>();
  const list = join(directory, 'manifest.json');
  if (!existsSync(list)) return pages;
  const manifest = JSON.parse(readFileSync(list, 'utf8')) as Manifest;
  for (const [path, { file, contentType, isForever }] of Object.entries(manifest.pages)) {
    const read = (ending: string) => new Uint8Array(readFileSync(join(directory, file + ending)));
    const bodies = { identity: read(''), gzip: read('.gz'), br: read('.br') };
    pages.set(path, pageOf({ contentType, isForever, bodies }));
  }
  return pages;
}
