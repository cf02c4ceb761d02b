import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { HeldOutcomes } from '../../../../src/engines/embedded/archive/held-outcomes.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function held() {
  let archivedEnd = 0;
  const answered: [through: number, isArchived: boolean][] = [];
  const outcomes = new HeldOutcomes({
    archivedEnd: () => archivedEnd,
    waitMs: 10_000,
    answer: ({ through }, isArchived) => answered.push([through, isArchived]),
  });
  const archive = (end: number) => {
    archivedEnd = end;
    outcomes.release();
  };
  return { outcomes, answered, archive };
}

describe('held outcomes', () => {
  it('are answered in order, each once the archive holds what it acknowledges', () => {
    const { outcomes, answered, archive } = held();
    outcomes.add(1, [], 100);
    outcomes.add(3, [], 250);
    outcomes.add(4, [], 250);
    expect(answered).toEqual([]);
    archive(99);
    expect(answered).toEqual([]);
    archive(100);
    expect(answered).toEqual([[1, true]]);
    archive(249);
    expect(answered).toEqual([[1, true]]);
    archive(1_000);
    expect(answered).toEqual([1, 3, 4].map((through) => [through, true]));
    outcomes.add(5, [], 900);
    expect(answered.at(-1)).toEqual([5, true]);
  });

  it('are given up after a time, which later ones may still reach', () => {
    const { outcomes, answered, archive } = held();
    outcomes.add(1, [], 100);
    vi.advanceTimersByTime(6_000);
    outcomes.add(2, [], 200);
    vi.advanceTimersByTime(4_500);
    expect(answered).toEqual([[1, false]]);
    expect(outcomes.isStuck).toBe(true);
    archive(200);
    expect(outcomes.isStuck).toBe(false);
    expect(answered).toEqual([
      [1, false],
      [2, true],
    ]);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('are all answered when the archive cannot be continued', () => {
    const { outcomes, answered } = held();
    outcomes.add(1, [], 100);
    outcomes.add(2, [], 200);
    outcomes.abandon();
    expect(answered).toEqual([
      [1, false],
      [2, false],
    ]);
    expect(vi.getTimerCount()).toBe(0);
  });
});
