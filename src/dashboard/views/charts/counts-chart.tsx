import { useMemo } from 'preact/hooks';

import {
  bucketsOf,
  bucketSums,
  usualUnit,
  type Bucket,
  type Unit,
} from '../../data/calendar/buckets.ts';
import { seriesColours } from '../../data/colours.ts';
import { sumBy, sumOf, totalOf } from '../../data/counts.ts';
import { rangeText } from '../../data/calendar/date-text.ts';
import { addDays, countDays, type Day, type Range } from '../../data/calendar/days.ts';
import { movedTo } from '../../data/comparison.ts';
import { compactText, shortName, wholeText } from '../../data/format.ts';
import { bandsPath, stackPaths, stepPath, ticksOf, type Frame } from '../../data/plot.ts';
import { seriesOf, type Series } from '../../data/series.ts';
import { filtersText, type View } from '../../data/view.ts';
import { failingOf, type Snapshot } from '../../state/load.ts';
import type { Store } from '../../state/store.ts';
import { Segments } from '../segments.tsx';
import { dayText, partTexts, whyPart } from './bucket-text.ts';
import { CountsLegend } from './counts-legend.tsx';
import { CountsTip } from './counts-tip.tsx';
import { savePicture } from './picture.ts';
import { Plot } from './plot.tsx';
import { sceneWith } from './scene.ts';
import { TableBehind } from './table-behind.tsx';

export interface ChartProps {
  store: Store;
  view: View;
  snapshot: Snapshot;
  today: Day;
}

const splits = [
  ['state', 'By state'],
  ['type', 'By type'],
] as const;
const unitChoices = [
  ['day', 'Days'],
  ['week', 'Weeks'],
  ['month', 'Months'],
] as const satisfies readonly (readonly [Unit, string])[];

/** A series with its texts on the page. */
interface Shown extends Series {
  readonly colour: string;
  readonly title: string;
  readonly sum: number;
}

function titleOf({ name, names, isFailing }: Series): string {
  if (name !== undefined) return name;
  const others = isFailing ? 'other failures' : 'others';
  return `${wholeText(names)} ${names === 1 ? others.slice(0, -1) : others}`;
}

/** The parts of the chart that depend on the data. */
function contentOf(snapshot: Snapshot, view: View, today: Day) {
  const { split } = view;
  const unit = view.unit ?? usualUnit(snapshot.range);
  const buckets = bucketsOf(snapshot.range, unit);
  const sums = sumBy(snapshot.pairs, (row) => row[split]);
  const failing = failingOf(view);
  const isFailing = split === 'state' ? failing : () => false;
  const { splitRows: rows, daily, failedDaily } = snapshot;
  const all = seriesOf(buckets, { rows, daily, failedDaily, sums }, isFailing);
  const areFailures = snapshot.pairs.every(({ state }) => failing(state));
  const colours = seriesColours(all, split === 'type' && areFailures);
  const series = all.map((one, index): Shown => {
    const text = { colour: colours[index] ?? '', title: titleOf(one) };
    return { ...one, ...text, sum: sumOf(one.values) };
  });
  const totals = buckets.map((_, index) => sumOf(series.map(({ values }) => values[index] ?? 0)));
  const before = view.hasBefore ? beforeOf(snapshot, buckets) : undefined;
  const pale = buckets.map((bucket) => whyPart(bucket, unit, today) !== undefined);
  return { unit, buckets, series, totals, pale, before };
}
export type Content = ReturnType<typeof contentOf>;

/** The counts of the days that the range is compared with, in the buckets of the days they stand for. */
function beforeOf({ comparison, earlierDaily }: Snapshot, buckets: readonly Bucket[]) {
  if (comparison.kind !== 'known' || earlierDaily === undefined) return undefined;
  const { before, now } = comparison;
  const moved = movedTo(comparison, earlierDaily);
  const shift = countDays({ from: before.from, to: now.from }) - 1;
  const sums = bucketSums(buckets, moved);
  // A bucket that contains today has more events than its complete days, and only these are
  // compared.
  const isWhole = (bucket: Bucket) => bucket.to <= now.to && moved.has(bucket.to);
  return {
    range: before,
    values: buckets.map((bucket, index) => (isWhole(bucket) ? sums[index] : undefined)),
    /** The days that stand for those of a bucket. */
    daysAt: (bucket: Bucket): Range => ({
      from: addDays(bucket.from, -shift),
      to: addDays(bucket.to, -shift),
    }),
  };
}

export function CountsChart({ store, view, snapshot, today }: ChartProps) {
  const content = useMemo(
    () => contentOf(snapshot, view, today),
    [snapshot, today, view.split, view.unit, view.hasBefore, view.failureWords],
  );
  const { unit, buckets, series, totals, pale, before } = content;
  const { comparison } = snapshot;
  const total = totalOf(snapshot.pairs);
  const sceneOf = useMemo(() => {
    const largest = Math.max(1, ...totals, ...(before?.values ?? []).map((value) => value ?? 0));
    const ticks = ticksOf(largest, 1);
    return (frame: Frame) => {
      const top = ticks.at(-1) ?? 1;
      const bars = stackPaths(
        frame,
        top,
        series.map(({ values }) => values),
      );
      const axes = {
        frame,
        buckets,
        ticks,
        tickText: compactText,
        unit: `events per ${unit}`,
      };
      return sceneWith(axes, [
        ...bars.map((d, index) => ({ d, fill: series[index]?.colour ?? '' })),
        { d: bandsPath(frame, pale), fill: 'var(--surface)', opacity: 0.5 },
        ...(before === undefined
          ? []
          : [{ d: stepPath(frame, top, before.values), stroke: 'var(--ink)', dash: '3 3' }]),
      ]);
    };
  }, [content]);
  const largestFirst = [...series].sort((a, b) => b.sum - a.sum);
  const label = `Events per ${unit} by ${view.split}, ${rangeText(snapshot.range)}: ${wholeText(total)} in all. ${largestFirst
    .slice(0, 3)
    .map(({ title, sum }) => `${shortName(title)} ${wholeText(sum)}`)
    .join(', ')}.`;
  const picture = (frame: Frame) =>
    savePicture(`events-per-${unit}-${snapshot.range.from}.png`, {
      title: `Events per ${unit} by ${view.split}`,
      note: `${rangeText(snapshot.range)}: ${wholeText(total)} events${filtersText(view)}`,
      keys: [
        ...series.map(({ colour, title, sum }) => {
          return { colour, text: `${shortName(title)} ${compactText(sum)}` };
        }),
        ...(before === undefined
          ? []
          : [{ colour: 'var(--ink)', dash: '3 3', text: rangeText(before.range) }]),
        ...partTexts(content).map((text) => ({ colour: 'var(--muted)', opacity: 0.4, text })),
      ],
      scene: sceneOf(frame),
    });
  return (
    <section class="card" aria-labelledby="counts-title">
      <div class="card-head">
        <h2 id="counts-title">Events per {unit}</h2>
        <div class="card-tools">
          {comparison.kind === 'known' && (
            <button
              type="button"
              class="toggle"
              aria-pressed={view.hasBefore}
              onClick={() => store.show({ hasBefore: !view.hasBefore })}
            >
              Compare with {rangeText(comparison.before)}
            </button>
          )}
          <Segments
            label="A bar is"
            choices={unitChoices}
            chosen={unit}
            onChoose={(name) => store.show({ unit: name })}
          />
          <Segments
            label="Split by"
            choices={splits}
            chosen={view.split}
            onChoose={(name) => store.show({ split: name })}
          />
          <PictureButton save={picture} />
        </div>
      </div>
      <Plot
        label={label}
        buckets={buckets}
        sceneOf={sceneOf}
        textOf={(index) => textOf(content, index)}
        tip={(index) => <CountsTip content={content} index={index} today={today} />}
        onChoose={(range) => store.show({ range })}
      />
      <CountsLegend store={store} view={view} total={total} content={content} />
      <TableBehind
        caption={`Events per ${unit} by ${view.split}`}
        head={[unit === 'day' ? 'Day' : 'Days', ...series.map(({ title }) => title), 'Total']}
        buckets={buckets}
        cellsOf={(index) => [
          ...series.map(({ values }) => wholeText(values[index] ?? 0)),
          wholeText(totals[index] ?? 0),
        ]}
      />
    </section>
  );
}

/** The width of pictures; it does not depend on the window. */
const pictureFrame: Frame = {
  ...{ width: 1000, height: 300, left: 46, right: 996, top: 24, bottom: 274 },
};

export function PictureButton({ save }: { save: (frame: Frame) => Promise<void> }) {
  return (
    <button
      type="button"
      title="Save the chart as a picture"
      onClick={() => void save(pictureFrame)}
    >
      PNG
    </button>
  );
}

function textOf({ buckets, series, totals }: Content, index: number): string {
  const bucket = buckets[index];
  if (bucket === undefined) return '';
  const parts = series
    .filter(({ values }) => (values[index] ?? 0) > 0)
    .map(({ title, values }) => `${title} ${wholeText(values[index] ?? 0)}`);
  return `${dayText(bucket)}: ${wholeText(totals[index] ?? 0)} events. ${parts.join(', ')}`;
}
