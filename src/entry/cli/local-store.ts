import { dataPaths } from '../../engines/embedded/data-directory.ts';
import { describeFailure } from '../../engines/embedded/failure-text.ts';

/**
 * Runs an action on a data directory. An error of SQLite is replaced by one that names the file and
 * says what to do, with the same words as `serve`.
 */
export async function withLocalStore<T>(dataDir: string, act: () => T | Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    const isOfDatabase = error instanceof Error && 'errcode' in error;
    if (!isOfDatabase) throw error;
    throw new Error(describeFailure(error, dataPaths(dataDir)), { cause: error });
  }
}
