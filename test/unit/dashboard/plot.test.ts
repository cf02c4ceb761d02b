import { describe, expect, it } from 'vitest';

import {
  frameOf,
  indexAt,
  labelled,
  linePath,
  stackPaths,
  stepPath,
  ticksOf,
} from '../../../src/dashboard/data/plot.ts';

const frame = frameOf(450, 150);

describe('a chart', () => {
  it('has round ticks from 0 to at least the largest value', () => {
    expect(ticksOf(4600)).toEqual([0, 2000, 4000, 6000]);
    expect(ticksOf(0.034)).toEqual([0, 0.01, 0.02, 0.03, 0.04]);
    expect(ticksOf(1, 1)).toEqual([0, 1]);
    for (const largest of [0, 1e-6, 0.3, 7, 99, 12_345, 9e9]) {
      const ticks = ticksOf(largest);
      expect(ticks.at(-1)).toBeGreaterThanOrEqual(largest);
      expect(ticks.length).toBeLessThanOrEqual(6);
    }
  });

  it('stacks bars, without one for nothing', () => {
    const [low = '', high = ''] = stackPaths(frame, 10, [
      [5, 0],
      [5, 10],
    ]);
    expect(low.match(/M/g)).toHaveLength(1);
    expect(high.match(/M/g)).toHaveLength(2);
    expect(low).toContain(` ${frame.bottom}V`);
    expect(high).toContain(`V${frame.top}h`);
  });

  it('leaves a gap in a line where there is no value, and shows one that is alone', () => {
    const path = linePath(frame, 1, [0.1, 0.2, undefined, 0.5, undefined, 0.3, 0.4]);
    expect(path.replaceAll(/[\d. ]/g, '')).toBe('MLMhML');
    expect(path).not.toMatch(/[CSQ]/);
  });

  it('leaves a gap in a stepped line where there is no value', () => {
    const path = stepPath(frame, 1, [undefined, 0.5, 0.5, undefined, 0]);
    expect(path.replaceAll(/[\d. ]/g, '')).toBe('MhLhMh');
  });

  it('finds the bucket under a pointer', () => {
    expect([0, 46, 245, 246, 999].map((x) => indexAt(frame, 2, x))).toEqual([0, 0, 0, 1, 1]);
  });

  it('labels as many buckets as have room', () => {
    expect(labelled(frame, 5)).toEqual([0, 1, 2, 3, 4]);
    expect(labelled(frame, 366).length).toBeLessThan(8);
  });
});
