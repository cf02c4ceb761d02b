import { openObjectStore } from '../../engines/embedded/archive/stores/open-object-store.ts';
import { retryingStore } from '../../engines/embedded/archive/stores/retrying-store.ts';
import { restore } from '../../engines/embedded/archive/restore/restore.ts';
import { withThousands } from '../../util/thousands.ts';
import { StoreProgress } from '../cli/progress.ts';
import { visible } from '../cli/terminal-text.ts';
import type { RestoreCommandOptions } from './archive-options.ts';

/** Creates a data directory from an archive. Returns the exit code. */
export async function restoreDirectory(options: RestoreCommandOptions): Promise<number> {
  const { dataDir } = options;
  const store = retryingStore(await openObjectStore(options.from));
  let progress = new StoreProgress('restored');
  let step = 'reading';
  try {
    const { bytes, hasTokens, archivedAt, warnings } = await restore({
      ...options,
      store,
      onProgress(now, done, total) {
        if (now !== step) {
          progress.stop();
          progress = new StoreProgress('counted');
          step = now;
        }
        progress.update(done, total, 'bytes');
      },
    });
    progress.stop();
    for (const warning of warnings) process.stderr.write(`warning: ${visible(warning)}\n`);
    const tokens = hasTokens ? ', with the tokens' : '';
    const at =
      archivedAt === undefined ? '' : `, archived until ${new Date(archivedAt).toISOString()}`;
    process.stdout.write(
      `${withThousands(Math.ceil(bytes / 1024 ** 2))} MiB in ${dataDir}${tokens}${at}. Check it with audit --data-dir ${dataDir}\n`,
    );
    return 0;
  } finally {
    progress.stop();
    store.close();
  }
}
