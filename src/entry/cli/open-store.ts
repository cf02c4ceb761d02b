import type { StoreAdmin } from '../../pipeline/store-admin.ts';
import type { StorePlace } from './common-options.ts';

/**
 * Opens the store that the options of a command name. This is the one place that chooses the engine; it
 * imports an engine only when it is chosen, so that no other command loads the AWS SDK.
 * @throws an Error that says what is wrong and what to do.
 */
export async function openStore({ dataDir, stack }: StorePlace): Promise<StoreAdmin> {
  if (stack !== undefined) {
    const { openAwsStoreAdmin } = await import('../../engines/aws/admin/store-admin.ts');
    return await openAwsStoreAdmin(stack, process.env);
  }
  const { openDataDirectory } = await import('../../engines/embedded/store-admin.ts');
  return openDataDirectory(dataDir);
}

/** Opens a store, calls `use` and closes the store. Errors say what is wrong and what to do. */
export async function withStore<T>(
  place: StorePlace,
  use: (store: StoreAdmin) => T | Promise<T>,
): Promise<T> {
  const store = await openStore(place);
  try {
    return await use(store);
  } catch (error) {
    throw store.explain(error);
  } finally {
    store.close();
  }
}
