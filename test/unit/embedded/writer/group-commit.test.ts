import { describe, expect, it } from 'vitest';

import {
  ringMemory,
  RingConsumer,
  RingProducer,
  type OtherOutcomes,
} from '../../../../src/engines/embedded/writer/submission-ring.ts';
import {
  GroupCommitter,
  type GroupCommitWriter,
} from '../../../../src/engines/embedded/writer/group-commit.ts';
import type { IngestOutcome } from '../../../../src/pipeline/ports.ts';

const refused: IngestOutcome = {
  accepted: false,
  problem: { code: 'invalid_json', detail: 'no JSON' },
};
/** So large that the rest of the ring after a commit is worth a sync in the background. */
const largeBytes = 200 * 1024;

/** A committer over a ring, with a writer whose syncs end when the test says so. */
function committerOver() {
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
  const committer = new GroupCommitter(writer, new RingConsumer(memory), {
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
  return { committer, producer, put, syncs, staged, outcomes, state };
}

describe('a commit', () => {
  it('is answered after its sync, while the next one is read', async () => {
    const { committer, put, syncs, staged, outcomes } = committerOver();
    put('abcdef');
    await committer.commitNext();
    expect(staged.join('')).toBe('abc');
    expect(committer.isSyncing).toBe(true);
    const second = committer.commitNext();
    expect(staged.join('')).toBe('abcdef');
    expect(outcomes).toEqual([]);
    syncs[0]?.(true);
    await second;
    expect(outcomes).toEqual([
      { through: 3, others: [] },
      { through: 6, others: [] },
    ]);
  });

  it('does not start a sync during another one', async () => {
    const { committer, put, syncs, state } = committerOver();
    put('abcdefghi');
    await committer.commitNext();
    const second = committer.commitNext();
    await new Promise((resolve) => void setImmediate(resolve));
    expect([syncs.length, state.commits]).toEqual([1, 0]);
    syncs[0]?.(true);
    await second;
    expect([syncs.length, state.commits]).toEqual([2, 0]);
  });

  it('syncs at once if nothing waits, or counting is due', async () => {
    const { committer, put, syncs, outcomes, state } = committerOver();
    put('a');
    await committer.commitNext();
    expect(outcomes).toEqual([{ through: 1, others: [] }]);
    put('bcdefg');
    state.isCountDue = true;
    await committer.commitNext();
    expect([syncs.length, state.commits]).toEqual([0, 2]);
  });

  it('reads bodies for the slow path when no sync runs, and reports them by number', async () => {
    const { committer, put, syncs, outcomes, producer } = committerOver();
    put('abcdxe');
    await committer.commitNext();
    const second = committer.commitNext();
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
    'answers no submission whose sync failed as accepted: %s',
    async (how) => {
      const { committer, put, syncs, outcomes, producer, state } = committerOver();
      put(how === 'at once' ? 'ax' : 'abcdef');
      state.isDurable = false;
      await committer.commitNext();
      syncs[0]?.(false);
      await committer.settled();
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
