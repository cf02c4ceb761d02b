import { readRawKey } from '../../../domain/batch-id.ts';
import type { RawBodies, RawEntry, ReceivedRange } from '../../../pipeline/store-admin.ts';
import { findStoredBody, keptKeys, rawBatches } from '../store/raw-batches.ts';
import type { Damage } from '../log/scan-log.ts';

/** The raw bodies in the log. A page has one batch, because the next one overwrites its body. */
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

/** Says which bytes are damaged, as the beginning of a sentence. */
export function damageText({ from, to, offset, path }: Damage): string {
  return `${to - from} bytes at byte ${offset} of ${path} are damaged`;
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
        yield [{ damage: damageText(damage) }];
        continue;
      }
      const { rawKey, receivedAt, body } = batch;
      const isKept = kept === undefined || kept.includes(batch);
      const details = isKept ? batch : { ...batch, idempotencyKey: undefined };
      const entry = { rawKey, receivedAt, bytes: body.length };
      yield [{ ...entry, details: () => details, load: () => ({ body, details }) }];
    }
  } finally {
    kept?.close();
  }
}
