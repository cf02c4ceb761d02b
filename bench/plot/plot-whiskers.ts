import { ink } from './plot-style.ts';
import type { BarSeries } from './plot.ts';

/** The part of the library's argument of `renderItem` that is used here. */
interface Place {
  value(dimension: number): number;
  coord(point: readonly [group: number, value: number]): [x: number, y: number];
  barLayout(layout: object): { readonly offsetCenter: number }[];
}

const halfCapPixels = 4;

/** A line from the minimum to the maximum over each bar that has a spread. */
export function whiskers(series: readonly BarSeries[]): object[] {
  return series.flatMap(({ spreads }, index) => {
    if (spreads === undefined) return [];
    return {
      type: 'custom',
      z: 10,
      data: spreads.flatMap((spread, group) =>
        spread === undefined ? [] : [[group, spread[0], spread[1]]],
      ),
      encode: { x: 0, y: [1, 2] },
      renderItem: (_parameters: unknown, place: Place) => whisker(place, index, series.length),
    };
  });
}

function whisker(place: Place, index: number, count: number): object {
  const bars = place.barLayout({ barGap: '8%', barCategoryGap: '22%', count });
  const shift = bars[index]?.offsetCenter ?? 0;
  const [middle, low] = place.coord([place.value(0), place.value(1)]);
  const [, high] = place.coord([place.value(0), place.value(2)]);
  const x = middle + shift;
  const line = (x1: number, y1: number, x2: number, y2: number) => ({
    type: 'line',
    shape: { x1, y1, x2, y2 },
    style: { stroke: ink.text, lineWidth: 1.2 },
  });
  return {
    type: 'group',
    children: [
      line(x, low, x, high),
      line(x - halfCapPixels, low, x + halfCapPixels, low),
      line(x - halfCapPixels, high, x + halfCapPixels, high),
    ],
  };
}
