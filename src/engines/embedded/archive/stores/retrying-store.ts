import { realBackoff, withRetries } from '../../../../util/backoff.ts';
import { ArchiveUnusable, type ObjectStore, type StoredObject } from './object-store.ts';

const limits = { attemptsMax: 12, delayMsMax: 5_000 };
/**
 * After this time, an unreachable store is reported. One attempt at a store that hangs takes as
 * long.
 */
const repeatedMsMax = 30_000;

/** A store whose failed requests are repeated, for commands; the archiver has its `Repeater`. */
export function retryingStore(store: ObjectStore): ObjectStore {
  const mayPass = (error: unknown) => !(error instanceof ArchiveUnusable);
  const repeat = async <T>(act: () => Promise<T>): Promise<T> => {
    const backoff = realBackoff({ ...limits, deadline: Date.now() + repeatedMsMax });
    try {
      return await withRetries(backoff, mayPass, act);
    } catch (error) {
      if (!mayPass(error)) throw error;
      const reason = error instanceof Error ? error.message : String(error);
      throw new Error(`${store.url}: ${reason}`, { cause: error });
    }
  };
  return {
    url: store.url,
    create: (name, bytes) => repeat(() => store.create(name, bytes)),
    get: (name) => repeat(() => store.get(name)),
    async *list(prefix): AsyncGenerator<StoredObject> {
      yield* await repeat(() => Array.fromAsync(store.list(prefix)));
    },
    remove: (name) => repeat(() => store.remove(name)),
    close: () => store.close(),
  };
}
