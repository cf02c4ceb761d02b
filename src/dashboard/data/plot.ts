/** The area of a chart within its labels, in pixels. */
export interface Frame {
  readonly width: number;
  readonly height: number;
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
}

export function frameOf(width: number, height: number): Frame {
  return { width, height, left: 46, right: width - 4, top: 24, bottom: height - 26 };
}

const stepsMax = 4;

/** Round values from 0 to at least the largest, at most five. */
export function ticksOf(largest: number, smallestStep = 0): number[] {
  const rough = (largest > 0 ? largest : 1) / stepsMax;
  const power = 10 ** Math.floor(Math.log10(rough));
  const factor = [1, 2, 2.5, 5, 10].find((each) => each * power >= rough * 0.999) ?? 10;
  const step = Math.max(smallestStep, factor * power);
  const count = Math.max(1, Math.ceil((largest / step) * 0.999));
  return Array.from({ length: count + 1 }, (_, index) => Number((index * step).toPrecision(6)));
}

/** The left edge of a band of the x axis and its width; each bucket has one. */
export function bandAt(
  { left, right }: Pick<Frame, 'left' | 'right'>,
  count: number,
  index: number,
) {
  const width = (right - left) / Math.max(1, count);
  return { x: left + index * width, width };
}

/** The bucket at a position in pixels. */
export function indexAt({ left, right }: Frame, count: number, x: number): number {
  const index = Math.floor(((x - left) / (right - left)) * count);
  return Math.max(0, Math.min(count - 1, index));
}

/** The y of a value, where `top` is the largest tick. */
export function yOf({ top, bottom }: Frame, largest: number, value: number): number {
  return bottom - (value / largest) * (bottom - top);
}

const barWidthMax = 44;

/** A path of bars for each series, stacked in their order. */
export function stackPaths(
  frame: Frame,
  largest: number,
  series: readonly (readonly number[])[],
): string[] {
  const below: number[] = [];
  return series.map((values) => {
    let path = '';
    values.forEach((value, index) => {
      const base = below[index] ?? 0;
      below[index] = base + value;
      if (value > 0) path += barPath(frame, largest, values.length, { index, base, value });
    });
    return path;
  });
}

interface Bar {
  readonly index: number;
  readonly base: number;
  readonly value: number;
}

function barPath(
  frame: Frame,
  largest: number,
  count: number,
  { index, base, value }: Bar,
): string {
  const band = bandAt(frame, count, index);
  const width = Math.min(barWidthMax, Math.max(0.6, band.width * 0.8));
  const x = band.x + (band.width - width) / 2;
  const [low, high] = [yOf(frame, largest, base), yOf(frame, largest, base + value)];
  return `M${round(x)} ${round(low)}V${round(high)}h${round(width)}V${round(low)}z`;
}

/** A path of what `drawn` makes of each value and the place of its band. */
function pathOf<T>(
  frame: Frame,
  values: readonly T[],
  drawn: (value: NonNullable<T>, x: number, width: number, index: number) => string,
): string {
  const parts = values.map((value, index) => {
    if (value === undefined || value === null) return '';
    const { x, width } = bandAt(frame, values.length, index);
    return drawn(value, x, width, index);
  });
  return parts.join('');
}

type Values = readonly (number | undefined)[];

/** Straight lines between neighbours; a value without neighbours is a short dash. */
export function linePath(frame: Frame, largest: number, values: Values): string {
  return pathOf(frame, values, (value, x, width, index) => {
    const [middle, y] = [x + width / 2, round(yOf(frame, largest, value))];
    const isAlone = values[index - 1] === undefined && values[index + 1] === undefined;
    if (isAlone) return `M${round(middle - 3)} ${y}h6`;
    return `${values[index - 1] === undefined ? 'M' : 'L'}${round(middle)} ${y}`;
  });
}

/** Bands of the whole height. */
export function bandsPath(frame: Frame, areMarked: readonly boolean[]): string {
  const { top, bottom } = frame;
  return pathOf(frame, areMarked, (isMarked, x, width) =>
    isMarked ? `M${round(x)} ${top}h${round(width)}V${bottom}h${round(-width)}z` : '',
  );
}

/** Points as small circles. */
export function dotsPath(frame: Frame, largest: number, values: Values): string {
  const radius = 2.5;
  const arc = `a${radius} ${radius} 0 1 0`;
  return pathOf(frame, values, (value, x, width) => {
    const [start, y] = [round(x + width / 2 - radius), round(yOf(frame, largest, value))];
    return `M${start} ${y}${arc} ${2 * radius} 0${arc} ${-2 * radius} 0z`;
  });
}

/** A line at the top of each bar, with gaps where there is no value. */
export function stepPath(frame: Frame, largest: number, values: Values): string {
  return pathOf(frame, values, (value, x, width, index) => {
    const y = round(yOf(frame, largest, value));
    return `${values[index - 1] === undefined ? 'M' : 'L'}${round(x)} ${y}h${round(width)}`;
  });
}

const labelWidth = 62;

/** The buckets whose labels fit. */
export function labelled({ left, right }: Frame, count: number): number[] {
  const every = Math.max(1, Math.ceil((labelWidth * count) / (right - left)));
  return Array.from({ length: Math.ceil(count / every) }, (_, index) => index * every);
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
