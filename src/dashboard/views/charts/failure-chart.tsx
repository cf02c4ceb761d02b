import { useMemo } from 'preact/hooks';

import { bucketsOf, bucketSums, usualUnit } from '../../data/calendar/buckets.ts';
import { colourOfFailures } from '../../data/colours.ts';
import { sumOf } from '../../data/counts.ts';
import { rangeText } from '../../data/calendar/date-text.ts';
import { overlapOf, type Day, type Range } from '../../data/calendar/days.ts';
import { shareText, tickText, wholeText } from '../../data/format.ts';
import { bandsPath, dotsPath, linePath, ticksOf, type Frame } from '../../data/plot.ts';
import { eventsMin } from '../../data/type-rates.ts';
import { filtersText, type View } from '../../data/view.ts';
import type { Snapshot } from '../../state/load.ts';
import { dayText, whyPart } from './bucket-text.ts';
import { PictureButton, type ChartProps } from './counts-chart.tsx';
import { savePicture } from './picture.ts';
import { Plot } from './plot.tsx';
import { sceneWith } from './scene.ts';
import { Swatch } from './swatch.tsx';
import { TableBehind } from './table-behind.tsx';

interface FailureChartProps extends ChartProps {
  /** The days to mark as unusual. */
  unusual: readonly Range[];
}

function contentOf(snapshot: Snapshot, view: View, today: Day) {
  const unit = view.unit ?? usualUnit(snapshot.range);
  const buckets = bucketsOf(snapshot.range, unit);
  const whole = bucketSums(buckets, snapshot.wholeDaily);
  const failed = bucketSums(buckets, snapshot.failedDaily);
  // A day without events has no rate, so the line has a gap there.
  const rates = whole.map((all, index) => (all === 0 ? undefined : (failed[index] ?? 0) / all));
  const isFirm = (index: number) => {
    const bucket = buckets[index];
    if (bucket === undefined || (whole[index] ?? 0) < eventsMin) return false;
    return whyPart(bucket, unit, today) === undefined;
  };
  const firm = rates.map((rate, index) => (isFirm(index) ? rate : undefined));
  const hasFirm = firm.some((rate) => rate !== undefined);
  // A high rate of few events must not set the scale for the other rates.
  const ticks = ticksOf(Math.max(0, ...(hasFirm ? firm : rates).map((rate) => rate ?? 0)));
  const top = ticks.at(-1) ?? 1;
  const drawn = rates.map((rate) => rate && Math.min(rate, top));
  const faint = drawn.map((rate, index) => (firm[index] === undefined ? rate : undefined));
  const isCut = rates.some((rate) => rate !== undefined && rate > top);
  return { unit, buckets, whole, failed, ticks, drawn, firm, faint, isCut };
}

/** Many points would hide their line. */
const dotsMax = 45;

export function FailureChart({ store, view, snapshot, today, unusual }: FailureChartProps) {
  const content = useMemo(() => contentOf(snapshot, view, today), [snapshot, today, view.unit]);
  const { unit, buckets, whole, failed, firm, faint, drawn, ticks } = content;
  const bands = buckets.map((bucket) =>
    unusual.some((range) => overlapOf(range, bucket) !== undefined),
  );
  const colour = colourOfFailures;
  const sceneOf = useMemo(() => {
    return (frame: Frame) => {
      const top = ticks.at(-1) ?? 1;
      const axes = { frame, buckets, ticks, tickText, unit: '% of events' };
      const hasDots = drawn.length <= dotsMax;
      return sceneWith(axes, [
        { d: bandsPath(frame, bands), fill: colour, opacity: 0.13 },
        { d: linePath(frame, top, drawn), stroke: colour, opacity: 0.35 },
        { d: linePath(frame, top, firm), stroke: colour },
        ...(hasDots ? [{ d: dotsPath(frame, top, firm), fill: colour }] : []),
        ...(hasDots
          ? [
              {
                d: dotsPath(frame, top, faint),
                fill: 'var(--surface)',
                stroke: colour,
                opacity: 0.6,
              },
            ]
          : []),
      ]);
    };
  }, [content, unusual]);
  const words = view.failureWords.map((word) => `“${word}”`).join(' or ');
  const rate = shareText(sumOf(failed), sumOf(whole));
  const textAt = (index: number) =>
    (whole[index] ?? 0) === 0
      ? 'no events, so no rate'
      : `${shareText(failed[index] ?? 0, whole[index] ?? 0)}: ${wholeText(failed[index] ?? 0)} of ${wholeText(whole[index] ?? 0)} events`;
  const titleAt = (index: number) => (buckets[index] === undefined ? '' : dayText(buckets[index]));
  const partAt = (index: number) =>
    buckets[index] === undefined ? undefined : whyPart(buckets[index], unit, today);
  const legend = legendOf(content);
  return (
    <section class="card" aria-labelledby="failures-title">
      <div class="card-head">
        <h2 id="failures-title">Failure rate</h2>
        <span class="aside">{words === '' ? 'no state counts' : `states with ${words}`}</span>
        <PictureButton
          save={(frame) =>
            savePicture(`failure-rate-${snapshot.range.from}.png`, {
              title: `Failure rate per ${unit}`,
              note: `${rangeText(snapshot.range)}: ${rate} of ${wholeText(sumOf(whole))} events${filtersText(view)}`,
              keys: [
                { colour, text: `states with ${words}` },
                ...(bands.includes(true) ? [{ colour, opacity: 0.25, text: 'unusual days' }] : []),
                ...legend.map((text) => ({ colour, opacity: 0, text })),
              ],
              scene: sceneOf(frame),
            })
          }
        />
      </div>
      <Plot
        label={`Failure rate per ${unit}, ${rangeText(snapshot.range)}: ${rate} over all.`}
        buckets={buckets}
        sceneOf={sceneOf}
        textOf={(index) => `${titleAt(index)}: ${textAt(index)}`}
        tip={(index) => (
          <table>
            <caption>
              {titleAt(index)} <small>{partAt(index)}</small>
            </caption>
            <tbody>
              <tr>
                <th scope="row">{textAt(index)}</th>
              </tr>
            </tbody>
          </table>
        )}
        onChoose={(range) => store.show({ range })}
      />
      {(bands.includes(true) || legend.length > 0) && (
        <ul class="legend">
          {bands.includes(true) && (
            <li class="rule">
              <Swatch colour={colour} opacity={0.25} /> unusual days
            </li>
          )}
          {legend.map((text) => (
            <li class="rule">{text}</li>
          ))}
        </ul>
      )}
      <TableBehind
        caption="Failure rate over time"
        head={['Days', 'Failures', 'Events', 'Rate']}
        buckets={buckets}
        cellsOf={(index) => {
          const [part, all] = [failed[index] ?? 0, whole[index] ?? 0];
          return [wholeText(part), wholeText(all), shareText(part, all)];
        }}
      />
    </section>
  );
}

/** The meaning of pale points and gaps. */
function legendOf({ unit, whole, faint, isCut }: ReturnType<typeof contentOf>): string[] {
  const notWhole = unit === 'day' ? 'incomplete' : `not a whole ${unit}`;
  const higher = isCut ? '; at the upper edge: higher' : '';
  return [
    ...(faint.some((rate) => rate !== undefined)
      ? [`Pale: fewer than ${eventsMin} events, or ${notWhole}${higher}`]
      : []),
    ...(whole.includes(0) ? [`Gap: no events in that ${unit}, so no rate`] : []),
  ];
}
