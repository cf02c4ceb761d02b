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
import { namedDay, rangeText } from '../../data/calendar/date-text.ts';
import { addDays, countDays, type Day } from '../../data/calendar/days.ts';
import { compactText, shareText, shortName, weeksText, wholeText } from '../../data/format.ts';
import { bandAt, stackPaths, stepPath, ticksOf, type Frame } from '../../data/plot.ts';
import { seriesOf, type Series } from '../../data/series.ts';
import { hasRoomFor, type View } from '../../data/view.ts';
import { failingOf, type Snapshot } from '../../state/load.ts';
import type { Store } from '../../state/store.ts';
import { Segments } from '../segments.tsx';
import { savePicture } from './picture.ts';
import { Plot } from './plot.tsx';
import { sceneWith } from './scene.ts';
import { Swatch } from './swatch.tsx';
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

/** A series with what the page shows of it. */
interface Shown extends Series {
  readonly colour: string;
  readonly title: string;
  readonly sum: number;
}

function titleOf({ name, names, isFailing }: Series): string {
  if (name !== undefined) return name;
  return `${wholeText(names)} ${isFailing ? 'other failures' : 'others'}`;
}

/** The parts of the chart that depend on the data. */
function contentOf(snapshot: Snapshot, view: View) {
  const { split } = view;
  const unit = view.unit ?? usualUnit(snapshot.range);
  const buckets = bucketsOf(snapshot.range, unit);
  const sums = sumBy(snapshot.pairs, (row) => row[split]);
  const isFailing = split === 'state' ? failingOf(view) : () => false;
  const { splitRows: rows, daily, failedDaily } = snapshot;
  const all = seriesOf(buckets, { rows, daily, failedDaily, sums }, isFailing);
  const colours = seriesColours(all);
  const series = all.map((one, index): Shown => {
    const text = { colour: colours[index] ?? '', title: titleOf(one) };
    return { ...one, ...text, sum: sumOf(one.values) };
  });
  const totals = buckets.map((_, index) => sumOf(series.map(({ values }) => values[index] ?? 0)));
  return { unit, buckets, series, totals, before: beforeOf(snapshot, view, buckets) };
}

/** How many days the chart looks back, whole weeks; 0 if there are no counts so early. */
function daysBefore({ range, earlier }: Pick<Snapshot, 'range' | 'earlier'>): number {
  return earlier === undefined ? 0 : countDays({ from: earlier.range.from, to: range.from }) - 1;
}

/** The counts of the days before, each in the bucket as far from the start. */
function beforeOf({ range, earlier }: Snapshot, view: View, buckets: readonly Bucket[]) {
  if (!view.hasBefore || earlier === undefined) return undefined;
  const days = daysBefore({ range, earlier });
  const moved = new Map([...earlier.daily].map(([day, count]) => [addDays(day, days), count]));
  return { days, values: bucketSums(buckets, moved) };
}

export function CountsChart({ store, view, snapshot, today }: ChartProps) {
  const content = useMemo(
    () => contentOf(snapshot, view),
    [snapshot, view.split, view.unit, view.hasBefore, view.failureWords],
  );
  const { unit, buckets, series, totals, before } = content;
  const earlierDays = daysBefore(snapshot);
  const total = totalOf(snapshot.pairs);
  const sceneOf = useMemo(() => {
    const largest = Math.max(1, ...totals, ...(before?.values ?? []));
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
        { d: veil(frame, buckets, today), fill: 'var(--surface)', opacity: 0.5 },
        ...(before === undefined
          ? []
          : [{ d: stepPath(frame, top, before.values), stroke: 'var(--ink)', dash: '3 3' }]),
      ]);
    };
  }, [content, today]);
  const largestFirst = [...series].sort((a, b) => b.sum - a.sum);
  const label = `Events per ${unit} by ${view.split}, ${rangeText(snapshot.range)}: ${wholeText(total)} in all. ${largestFirst
    .slice(0, 3)
    .map(({ title, sum }) => `${shortName(title)} ${wholeText(sum)}`)
    .join(', ')}.`;
  const picture = (frame: Frame) =>
    savePicture(`events-per-${unit}-${snapshot.range.from}.png`, {
      title: `Events per ${unit} by ${view.split}`,
      note: `${rangeText(snapshot.range)}: ${wholeText(total)} events`,
      keys: series.map(({ colour, title, sum }) => {
        return { colour, text: `${shortName(title)} ${compactText(sum)}` };
      }),
      scene: sceneOf(frame),
    });
  return (
    <section class="card" aria-labelledby="counts-title">
      <div class="card-head">
        <h2 id="counts-title">Events per {unit}</h2>
        <div class="card-tools">
          {earlierDays > 0 && (
            <button
              type="button"
              class="toggle"
              aria-pressed={view.hasBefore}
              onClick={() => store.show({ hasBefore: !view.hasBefore })}
            >
              Show {weeksText(earlierDays / 7)} earlier
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
      <Legend
        store={store}
        view={view}
        series={series}
        total={total}
        content={content}
        isGrowing={(totals.at(-1) ?? 0) > 0 && (buckets.at(-1)?.to ?? '') >= today}
      />
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

/** Covers the bars that still grow, so that they do not look like a fall. */
function veil({ left, right, top, bottom }: Frame, buckets: readonly Bucket[], today: Day): string {
  const over = buckets.filter(({ to }) => to < today).length;
  if (over === buckets.length) return '';
  const { x } = bandAt({ left, right }, buckets.length, over);
  return `M${x} ${top}H${right}V${bottom - 1}H${x}z`;
}

/** The width of pictures, whatever the width of the window is. */
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

type Content = ReturnType<typeof contentOf>;

function textOf({ buckets, series, totals }: Content, index: number): string {
  const bucket = buckets[index];
  if (bucket === undefined) return '';
  const parts = series
    .filter(({ values }) => (values[index] ?? 0) > 0)
    .map(({ title, values }) => `${title} ${wholeText(values[index] ?? 0)}`);
  return `${dayText(bucket)}: ${wholeText(totals[index] ?? 0)} events. ${parts.join(', ')}`;
}

/** A day with its weekday, or the days of a longer bucket. */
export function dayText(bucket: Bucket): string {
  return bucket.from === bucket.to ? namedDay(bucket.from) : rangeText(bucket);
}

interface TipProps {
  content: Content;
  index: number;
  today: Day;
}

function CountsTip({ content: { buckets, series, totals, before }, index, today }: TipProps) {
  const bucket = buckets[index];
  if (bucket === undefined) return null;
  const total = totals[index] ?? 0;
  const rows = series.filter(({ values }) => (values[index] ?? 0) > 0);
  return (
    <table>
      <caption>
        {dayText(bucket)}
        {bucket.to >= today && <small> not over</small>}
      </caption>
      <tbody>
        {rows.map(({ colour, title, values }) => (
          <tr>
            <th scope="row">
              <Swatch colour={colour} /> <bdi>{shortName(title)}</bdi>
            </th>
            <td>{wholeText(values[index] ?? 0)}</td>
            <td>{shareText(values[index] ?? 0, total)}</td>
          </tr>
        ))}
        <tr class="total">
          <th scope="row">{total === 0 ? 'No events' : 'Total'}</th>
          <td>{wholeText(total)}</td>
          <td />
        </tr>
        {before !== undefined && (
          <tr>
            <th scope="row">{weeksText(before.days / 7)} earlier</th>
            <td>{wholeText(before.values[index] ?? 0)}</td>
            <td />
          </tr>
        )}
      </tbody>
    </table>
  );
}

interface LegendProps {
  store: Store;
  view: View;
  series: readonly Shown[];
  total: number;
  content: Content;
  /** Whether the last bar is not complete. */
  isGrowing: boolean;
}

/** The series with their sums; a name filters to it. */
function Legend({ store, view, series, total, content, isGrowing }: LegendProps) {
  const field = view.split === 'type' ? 'types' : 'states';
  const hasEmpty = content.totals.includes(0);
  return (
    <ul class="legend">
      {series.map(({ name, title, colour, sum }) => {
        const text = (
          <>
            <Swatch colour={colour} />
            <bdi title={name}>{title}</bdi>
            <b>{compactText(sum)}</b>
            <small>{shareText(sum, total)}</small>
          </>
        );
        const isFree = name !== undefined && hasRoomFor(name, { types: [], states: [] }, field);
        return (
          <li key={name ?? title}>
            {isFree && view[field].join() !== name ? (
              <button
                type="button"
                title={`Show only ${name}`}
                onClick={() => store.show({ [field]: [name] })}
              >
                {text}
              </button>
            ) : (
              <span>{text}</span>
            )}
          </li>
        );
      })}
      {content.before !== undefined && (
        <li class="rule">
          <svg class="dashes" viewBox="0 0 20 10" aria-hidden="true">
            <path d="M0 5h20" />
          </svg>
          {weeksText(content.before.days / 7)} earlier
        </li>
      )}
      <li class="rule">% of the events shown</li>
      {isGrowing && <li class="rule">Pale: not over</li>}
      {hasEmpty && <li class="rule">No bar: no events in that {content.unit}</li>}
    </ul>
  );
}
