import { SendMessageBatchCommand } from '@aws-sdk/client-sqs';
import { describe, expect, it } from 'vitest';

import type { Client, Variant } from './aws-functions.ts';
import {
  byMessageId,
  withLedgerApart,
  withoutConditionWhenRepeated,
  withoutIndexes,
  withoutLedger,
} from './aws-planted-stores.ts';
import { runSchedule } from './aws-schedule.ts';
import { Violation } from './aws-world.ts';

/** Each is a mistake that one could make, and that a few happy runs would not show. */
const bugs: Record<string, Variant> = {
  'adds without a ledger': { counterStore: withoutLedger },
  'writes the ledger before the counters': { counterStore: withLedgerApart('before') },
  'writes the ledger after the counters': { counterStore: withLedgerApart('after') },
  'knows a message by its id': { counterStore: byMessageId },
  'repeats a transaction of unknown outcome without its condition': {
    counterStore: withoutConditionWhenRepeated,
  },
  'drops all of a transaction of which one was counted': { counterStore: withoutIndexes },
  'takes messages for sent that SQS names as failed': { sqsClient: withoutFailed },
  'takes dead letters for sent before they are, and is killed': {
    parking: (inner) => ({
      add(letters) {
        void inner.add(letters);
        return Promise.resolve(new Set(letters.map(({ messageId }) => messageId)));
      },
    }),
  },
  'answers 200 before all is sent, and nobody sweeps': {
    chunkQueue: (inner) => ({
      send(chunks) {
        inner.send(chunks).catch(() => undefined);
        return Promise.resolve();
      },
    }),
    hasNoSweeper: true,
  },
  'excludes by what is known now what an earlier attempt did not': {
    batchRecords: (inner) => ({
      findKey: (...key) => inner.findKey(...key),
      isComplete: (batchId) => inner.isComplete(batchId),
      complete: (record) => inner.complete(record),
      async claimKey(...claim) {
        const holder = await inner.claimKey(...claim);
        const [, , { excluded }] = claim;
        return holder && { ...holder, excluded: excluded ?? [] };
      },
    }),
  },
  'cuts a swept batch by what is set now': {
    rawOfSweep: (raw, itemsPerMessage) => ({ ...raw, itemsPerMessage }),
  },
  'counts what is too old': { ageMsMaxOfProcess: Number.POSITIVE_INFINITY },
};

/** The sweeper makes good what that does to chunks; nobody does to dead letters. */
function withoutFailed(inner: Client): Client {
  return {
    async send(command) {
      const answer = await inner.send(command);
      if (!(command instanceof SendMessageBatchCommand)) return answer;
      return { Successful: command.input.Entries } as never;
    },
  };
}

/** Any of the bugs shows long before the last. Those that show the rarest come first. */
const seeds = [680, 177, 54, ...Array(5_000).keys()];

/** The first seed whose schedule shows the bug, and how. */
async function findViolation(variant: Variant): Promise<{ seed: number; error: Violation }> {
  for (const seed of seeds) {
    try {
      await runSchedule(seed, { variant });
    } catch (error) {
      if (error instanceof Violation) return { seed, error };
      throw error;
    }
  }
  throw new Error(`none of ${seeds.length} schedules shows it`);
}

describe('an engine that', () => {
  it.each(Object.entries(bugs))('%s is caught', async (_, variant) => {
    const { seed } = await findViolation(variant);
    // The same engine without the bug passes the same schedule.
    await expect(runSchedule(seed)).resolves.toBeUndefined();
  });
});
