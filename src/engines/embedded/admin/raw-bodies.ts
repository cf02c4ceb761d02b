import { readRawKey } from '../../../domain/batch-id.ts';
import type { RawBodies, RawEntry, ReceivedRange } from '../../../pipeline/store-admin.ts';
import { findStoredBody, keptKeys, rawBatches } from '../store/raw-batches.ts';

/** The raw bodies in the log, a page for each. */
export function embeddedRawBodies(dataDir: string): RawBodies {
  return {
    list: (range, options) => listEntries(dataDir, range, options?.keys === 'kept'),
    get(name) {
      const body = findStoredBody(dataDir, readRawKey(name)?.batchId ?? name);
      if (body === undefined) throw new Error(`${name} is not in the raw store of ${dataDir}.`);
      return body;
    },
  };
}

// eslint-disable-next-line @typescript-eslint/require-await -- reads synchronously
async function* listEntries(
  dataDir: string,
  range: ReceivedRange | undefined,
  hasKeptKeysOnly: boolean,
): AsyncGenerator<readonly RawEntry[]> {
  const kept = hasKeptKeysOnly ? keptKeys(dataDir) : undefined;
  try {
    for (const { batch, damage } of rawBatches(dataDir, range)) {
      if (damage !== undefined) {
        const { from, to, offset, path } = damage;
        yield [{ damage: `${to - from} bytes at byte ${offset} of ${path} are damaged` }];
        continue;
      }
      const { rawKey, receivedAt, position: at } = batch;
      // The next batch overwrites the buffer.
      const body = Uint8Array.from(batch.body);
      const isKept = kept === undefined || kept.includes(batch);
      const details = isKept ? batch : { ...batch, idempotencyKey: undefined };
      const entry = { rawKey, receivedAt, at, bytes: body.length };
      yield [{ ...entry, details: () => details, load: () => ({ body, details }) }];
    }
  } finally {
    kept?.close();
  }
}
