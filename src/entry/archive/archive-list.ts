import { once } from 'node:events';

import {
  listObjects,
  type ArchivedObject,
} from '../../engines/embedded/archive/manage/list-objects.ts';
import { jsonText } from '../cli/terminal-text.ts';
import type { ArchivePlace } from './archive-options.ts';
import { withArchive } from './with-archive.ts';

/** Prints a line of JSON for each object. Returns the exit code: 1 if some cannot be read. */
export function archiveList(place: ArchivePlace): Promise<number> {
  return withArchive(place, async (store) => {
    let exitCode = 0;
    for await (const page of listObjects(store, place.logId)) {
      if (page.some(({ kind }) => kind === 'damaged')) exitCode = 1;
      const text = page.map((object) => `${jsonText(documentOf(object))}\n`).join('');
      if (!process.stdout.write(text)) await once(process.stdout, 'drain');
    }
    return exitCode;
  });
}

function documentOf({ kind, name, from, to, bytes, at }: ArchivedObject): object {
  const time = at === undefined ? undefined : new Date(at).toISOString();
  return { kind, name, from, to, bytes, time };
}
