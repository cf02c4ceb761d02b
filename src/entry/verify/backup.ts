import { explainSqliteError } from '../../engines/embedded/store-admin.ts';
import { backUp } from '../../engines/embedded/verify/backup.ts';
import { withThousands } from '../../util/thousands.ts';
import { checkBackupDirectory } from '../cli/check-directories.ts';
import { StoreProgress } from '../cli/progress.ts';

/** Copies a data directory. Returns the exit code. */
export async function backupDirectory(dataDir: string, directory: string): Promise<number> {
  checkBackupDirectory(dataDir, directory);
  const progress = new StoreProgress('copied');
  try {
    const { bytes, hasTokens } = await backUp({
      dataDir,
      directory,
      onProgress: (done, total) => progress.update(done, total, 'bytes'),
    });
    progress.stop();
    const tokens = hasTokens ? ', with the tokens' : '';
    process.stdout.write(
      `${withThousands(Math.ceil(bytes / 1024 ** 2))} MiB in ${directory}${tokens}. Check it with audit --data-dir ${directory}\n`,
    );
  } catch (error) {
    throw explainSqliteError(error, dataDir);
  } finally {
    progress.stop();
  }
  return 0;
}
