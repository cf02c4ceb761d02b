import { setTimeout as delay } from 'node:timers/promises';

import type { Submission } from '../../../pipeline/ports.ts';
import { originOf } from '../../../pipeline/replay.ts';
import type {
  ReceivedRange,
  ReplayEntry,
  ReplaySource,
  ReplayTarget,
} from '../../../pipeline/store-admin.ts';
import { dayMs, embeddedDefaults } from '../options.ts';
import {
  dayZoneOf,
  logEndOf,
  rawBatches,
  replayGaps,
  type KeptKeys,
} from '../store/raw-batches.ts';
import { Writer } from '../writer/writer.ts';
import { damageText } from './raw-bodies.ts';

/** The batches of the log. @param keys those that the target may take over. */
export function replaySource(
  dataDir: string,
  range: ReceivedRange | undefined,
  keys: KeptKeys,
): ReplaySource {
  const { removedBytes, deadLetters } = replayGaps(dataDir);
  return {
    dayZone: dayZoneOf(dataDir),
    total: logEndOf(dataDir),
    // eslint-disable-next-line @typescript-eslint/require-await -- reads synchronously
    async *batches(): AsyncGenerator<ReplayEntry, void> {
      if (removedBytes > 0 && range === undefined) {
        const detail = `--keep-raw has deleted ${removedBytes} bytes of raw batches, which cannot be replayed.`;
        yield { kind: 'missing', detail };
      }
      for (const { batch, damage } of rawBatches(dataDir, range)) {
        if (damage !== undefined) {
          yield { kind: 'missing', detail: `${damageText(damage)}.` };
          continue;
        }
        const { rawKey, encoding, caller, position: at } = batch;
        if (deadLetters.has(at)) {
          yield { kind: 'dead_letter', rawKey };
          continue;
        }
        const idempotencyKey = keys.includes(batch) ? batch.idempotencyKey : undefined;
        // The next batch overwrites the buffer.
        const body = Uint8Array.from(batch.body);
        const replayOf = originOf(batch);
        const loaded = { rawKey, body, encoding, caller, idempotencyKey, replayOf };
        yield { kind: 'batch', rawKey, at, load: () => loaded };
      }
    },
    hasKeys: () => true,
  };
}

/** Larger than any stored body. */
const bodyBytesMax = 1024 * 1024 * 1024;
/** Expires no keys here: the server does that by its own settings. */
const keepKeysMs = 36_500 * dayMs;

/** A data directory without a running server; a new one adopts the day rule `newDayZone`. */
export function replayTarget(
  dataDir: string,
  newDayZone: string | undefined,
  warn: (message: string) => void,
): ReplayTarget {
  let failure: string | undefined;
  const writer = Writer.open(
    { ...embeddedDefaults, bodyBytesMax, keepKeysMs, dataDir, newDayZone },
    {
      onProgress: () => undefined,
      onFailure: (message) => (failure = message),
      onUnexpectedError: warn,
    },
  );
  const throwFailure = () => {
    if (failure !== undefined) throw new Error(failure);
  };
  const isBehind = () => {
    const { countedThrough, durableEnd } = writer.progress();
    return failure === undefined && countedThrough < durableEnd;
  };
  return {
    ...{ name: dataDir, dayZone: writer.dayZone, check: `audit --data-dir ${dataDir}` },
    async ingest(submission: Submission) {
      const outcome = await writer.ingest(submission);
      throwFailure();
      return outcome;
    },
    async close() {
      while (isBehind()) await delay(20);
      await writer.close();
      throwFailure();
    },
  };
}
