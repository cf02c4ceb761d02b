import { openArchivedBatches } from '../../engines/embedded/archive/manage/archived-batches.ts';
import { onlyLogId } from '../../engines/embedded/archive/read-archive.ts';
import { openObjectStore } from '../../engines/embedded/archive/stores/open-object-store.ts';
import { retryingStore } from '../../engines/embedded/archive/stores/retrying-store.ts';
import { isWithin, type ReceivedRange } from '../../pipeline/store-admin.ts';
import type { ArchivedLog } from '../replay/replay-options.ts';
import { sourceBatch, type ReplaySource } from '../replay/replay-source.ts';

/** The batches of a log in an archive. @throws an Error that says what is wrong with the archive. */
export async function archiveSource(
  { archive, logId }: ArchivedLog,
  received: ReceivedRange | undefined,
): Promise<ReplaySource> {
  const store = retryingStore(await openObjectStore(archive));
  try {
    const archived = await openArchivedBatches(store, logId ?? (await onlyLogId(store)));
    return {
      ...{ dayZone: archived.dayZone, total: archived.end },
      async *batches() {
        for await (const found of archived.read()) {
          if (found.damage !== undefined) {
            const isOfInterest = !found.isRemoved || received === undefined;
            if (isOfInterest) yield { kind: 'missing', detail: found.damage };
            continue;
          }
          const { batch, isDeadLetter } = found;
          const { rawKey, receivedAt, position: at, body } = batch;
          if (!isWithin(receivedAt, received)) continue;
          if (isDeadLetter) yield { kind: 'dead_letter', rawKey };
          else {
            const load = () => Promise.resolve(sourceBatch(rawKey, body, batch));
            yield { kind: 'batch', rawKey, at, load };
          }
        }
      },
      // As for a data directory, the listing has the keys of batches that were sent with one.
      hasKeys: () => true,
      close: () => store.close(),
    };
  } catch (error) {
    store.close();
    throw error;
  }
}
