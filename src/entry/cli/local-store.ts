import { dataPaths } from '../../engines/embedded/data-directory.ts';
import { describeFailure } from '../../engines/embedded/failure-text.ts';

/**
 * Does something with a data directory. What SQLite throws is told as `serve` tells it: which file
 * it is about, and what to do.
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
