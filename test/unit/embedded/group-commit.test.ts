import { describe, expect, it } from 'vitest';

import {
  ringMemory,
  RingConsumer,
  RingProducer,
  type OtherOutcomes,
} from '../../../src/engines/embedded/writer/submission-ring.ts';
import {
  GroupCommitter,
  type GroupCommitWriter,
} from '../../../src/engines/embedded/writer/group-commit.ts';
import type { IngestOutcome } from '../../../src/pipeline/ports.ts';

const refused: IngestOutcome = {
  accepted: false,
  problem: { code: 'invalid_json', detail: 'no JSON' },
};
/** So large that what is left in the ring after a turn of it is worth a sync in the background. */
const largeBytes = 200 * 1024;

/** Turns over a ring, with a writer whose syncs end when the test says so. */
function turnsOf() {
  const memory = ringMemory(8 * 1024 * 1024);
  const producer = new RingProducer(memory);
  const syncs: ((isDurable: boolean) => void)[] = [];
  const staged: string[] = [];
  const outcomes: { through: number; others: OtherOutcomes }[] = [];
  const state = { isCountDue: false, commits: 0, isDurable: true };
  const writer: GroupCommitWriter = {
    stagePlain: (bytes, at) => {
      const letter = String.fromCharCode(bytes[at] ?? 0);
      if (letter === 'x') return undefined;
      staged.push(letter);
      return { batchId: new Uint8Array(16), receivedAt: 0, enqueued: 1 };
    },
    ingest: () => Promise.resolve(refused),
    commit: () => {
      state.commits++;
      return state.isDurable;
    },
    startCommit: () => new Promise((resolve) => void syncs.push(resolve)),
    get isCountDue() {
      return state.isCountDue;
    },
  };
  const turns = new GroupCommitter(writer, new RingConsumer(memory), {
    onOutcomes: (through, others) => void outcomes.push({ through, others }),
    onUnexpectedError: () => refused,
  });
  const put = (letters: string, bytes = largeBytes) => {
    for (const letter of letters) {
      const body = Buffer.alloc(bytes, letter);
      const details = { strict: false, caller: '', idempotencyKey: undefined } as const;
      expect(producer.put({ body, encoding: 'identity', ...details })).toBe(true);
    }
    producer.publish();
  };
  return { turns, producer, put, syncs, staged, outcomes, state };
}

describe('a turn', () => {
  it('is answered when its sync has ended, while the next one is read', async () => {
    const { turns, put, syncs, staged, outcomes } = turnsOf();
    put('abcdef');
    await turns.commitNext();
    expect(staged.join('')).toBe('abc');
    expect(turns.isSyncing).toBe(true);
    const second = turns.commitNext();
    expect(staged.join('')).toBe('abcdef');
    expect(outcomes).toEqual([]);
    syncs[0]?.(true);
    await second;
    expect(outcomes).toEqual([
      { through: 3, others: [] },
      { through: 6, others: [] },
    ]);
  });

  it('does not begin a sync while another is under way', async () => {
    const { turns, put, syncs, state } = turnsOf();
    put('abcdefghi');
    await turns.commitNext();
    const second = turns.commitNext();
    await new Promise((resolve) => void setImmediate(resolve));
    expect([syncs.length, state.commits]).toEqual([1, 0]);
    syncs[0]?.(true);
    await second;
    expect([syncs.length, state.commits]).toEqual([2, 0]);
  });

  it('syncs at once where nothing waits, or counting is due', async () => {
    const { turns, put, syncs, outcomes, state } = turnsOf();
    put('a');
    await turns.commitNext();
    expect(outcomes).toEqual([{ through: 1, others: [] }]);
    put('bcdefg');
    state.isCountDue = true;
    await turns.commitNext();
    expect([syncs.length, state.commits]).toEqual([0, 2]);
  });

  it('reads what is not plain when no sync is under way, and tells it by its number', async () => {
    const { turns, put, syncs, outcomes, producer } = turnsOf();
    put('abcdxe');
    await turns.commitNext();
    const second = turns.commitNext();
    await new Promise((resolve) => void setImmediate(resolve));
    expect(outcomes).toEqual([]);
    syncs[0]?.(true);
    await second;
    expect(outcomes).toEqual([
      { through: 3, others: [] },
      { through: 6, others: [[4, refused]] },
    ]);
    expect([3, 4, 5].map((number) => producer.acceptance(number) !== undefined)).toEqual([
      true,
      false,
      true,
    ]);
  });

  it.each(['in the background', 'at once'])(
    'tells nobody accepted whose sync failed %s',
    async (how) => {
      const { turns, put, syncs, outcomes, producer, state } = turnsOf();
      put(how === 'at once' ? 'ax' : 'abcdef');
      state.isDurable = false;
      await turns.commitNext();
      syncs[0]?.(false);
      await turns.settled();
      const [{ through, others } = { through: 0, others: [] }] = outcomes;
      expect(others).toHaveLength(through);
      for (const [number, outcome] of others) {
        expect(outcome.accepted).toBe(false);
        expect(producer.acceptance(number)).toBeUndefined();
      }
      expect(others.some(([, outcome]) => outcome === refused)).toBe(how === 'at once');
    },
  );
});
