import type { Bucket } from '../../data/calendar/buckets.ts';
import { bandAt, labelled, yOf, type Frame } from '../../data/plot.ts';
import type { Label, Layer, Scene } from './plot.tsx';

interface Axes {
  readonly frame: Frame;
  readonly buckets: readonly Bucket[];
  readonly ticks: readonly number[];
  readonly tickText: (value: number) => string;
  /** What the y axis counts. */
  readonly unit: string;
}

/** A scene with axes behind its layers. */
export function sceneWith(axes: Axes, layers: readonly Layer[]): Scene {
  const { frame, buckets, ticks, tickText, unit } = axes;
  const largest = ticks.at(-1) ?? 1;
  const yAt = (value: number) => Math.round(yOf(frame, largest, value)) + 0.5;
  const grid = ticks.map(
    (tick) => `M${frame.left} ${yAt(tick) - 0.5}h${frame.right - frame.left}v1H${frame.left}z`,
  );
  const labels: Label[] = [
    { x: 0, y: 11, text: unit, anchor: 'start' },
    ...ticks.map((tick): Label => {
      return { x: frame.left - 8, y: yAt(tick) + 4, text: tickText(tick), anchor: 'end' };
    }),
    ...labelled(frame, buckets.length).map((index): Label => {
      const { x, width } = bandAt(frame, buckets.length, index);
      const middle = Math.max(frame.left + 14, Math.min(frame.right - 24, x + width / 2));
      return {
        x: middle,
        y: frame.height - 7,
        text: buckets[index]?.label ?? '',
        anchor: 'middle',
      };
    }),
  ];
  return { frame, layers: [{ d: grid.join(''), fill: 'var(--line)' }, ...layers], labels };
}
