import { startOf, type S3RawStore } from '../../src/engines/aws/intake/raw-store.ts';
import type { RawBatch } from '../../src/pipeline/ports.ts';
import { LogRawStore } from './log-raw-store.ts';

/** The raw bodies of an engine, for the suites that run on every engine. */
export type RawBodies = Pick<S3RawStore, 'get' | 'keys'> | LogRawStore;

/** In the order of storage. Times are milliseconds since 1970; `to` is exclusive. */
export async function listBodies(
  store: RawBodies,
  range: { from?: number; to?: number } = {},
): Promise<RawBatch[]> {
  if (store instanceof LogRawStore) return store.list(range);
  const { from, to } = range;
  const after = from === undefined ? 'raw/' : startOf(from);
  const found: RawBatch[] = [];
  for await (const page of store.keys({
    after,
    ...(to !== undefined && { before: startOf(to) }),
  })) {
    for (const key of page) {
      const raw = await store.get(key);
      if (raw !== undefined) found.push(raw);
    }
  }
  return found;
}
