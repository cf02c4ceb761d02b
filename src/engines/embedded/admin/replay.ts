import { setTimeout as delay } from 'node:timers/promises';

import type { Submission } from '../../../pipeline/ports.ts';
import type { ReplayFacts, ReplayTarget } from '../../../pipeline/store-admin.ts';
import { dayMs, embeddedDefaults } from '../options.ts';
import { logEndOf, replayGaps } from '../store/raw-batches.ts';
import { Writer } from '../writer/writer.ts';

/** What a replay of a data directory must know beside its raw bodies. */
export function replayFacts(dataDir: string): ReplayFacts {
  const { removedBytes, deadLetters } = replayGaps(dataDir);
  const detail = `--keep-raw has deleted ${removedBytes} bytes of raw batches, which cannot be replayed.`;
  const missing = removedBytes > 0 ? detail : undefined;
  return { total: logEndOf(dataDir), deadLetters, missing, hasKeys: true };
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
