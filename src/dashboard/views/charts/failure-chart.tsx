import { useMemo } from 'preact/hooks';

import { bucketsOf, bucketSums, usualUnit } from '../../data/calendar/buckets.ts';
import { colourOfFailures } from '../../data/colours.ts';
import { sumOf } from '../../data/counts.ts';
import { rangeText } from '../../data/calendar/date-text.ts';
import { overlapOf, type Range } from '../../data/calendar/days.ts';
import { shareText, wholeText } from '../../data/format.ts';
import { bandAt, dotsPath, linePath, ticksOf, type Frame } from '../../data/plot.ts';
import type { View } from '../../data/view.ts';
import type { Snapshot } from '../../state/load.ts';
import { dayText, PictureButton, type ChartProps } from './counts-chart.tsx';
import { savePicture } from './picture.ts';
import { Plot } from './plot.tsx';
import { sceneWith } from './scene.ts';
import { Swatch } from './swatch.tsx';
import { TableBehind } from './table-behind.tsx';

interface FailureChartProps extends ChartProps {
  /** The days to mark as unusual. */
  unusual: readonly Range[];
}

function contentOf(snapshot: Snapshot, view: View) {
  const unit = view.unit ?? usualUnit(snapshot.range);
  const buckets = bucketsOf(snapshot.range, unit);
  const whole = bucketSums(buckets, snapshot.wholeDaily);
  const failed = bucketSums(buckets, snapshot.failedDaily);
  // A day without events has no rate, so the line has a gap there.
  const rates = whole.map((all, index) => (all === 0 ? undefined : (failed[index] ?? 0) / all));
  return { unit, buckets, whole, failed, rates };
}

/** Many points would hide their line. */
const dotsMax = 45;

export function FailureChart({ store, view, snapshot, today, unusual }: FailureChartProps) {
  const content = useMemo(() => contentOf(snapshot, view), [snapshot, view.unit]);
  const { unit, buckets, whole, failed, rates } = content;
  const colour = colourOfFailures;
  const sceneOf = useMemo(() => {
    const ticks = ticksOf(Math.max(...rates.map((rate) => rate ?? 0)));
    return (frame: Frame) => {
      const top = ticks.at(-1) ?? 1;
      const bands = buckets.flatMap((bucket, index) => {
        if (!unusual.some((range) => overlapOf(range, bucket) !== undefined)) return [];
        const { x, width } = bandAt(frame, buckets.length, index);
        return [`M${x} ${frame.top}h${width}V${frame.bottom}h${-width}z`];
      });
      const tickText = (value: number) => shareText(value, 1);
      const axes = { frame, buckets, ticks, tickText, unit: '% of events' };
      return sceneWith(axes, [
        { d: bands.join(''), fill: colour, opacity: 0.13 },
        { d: linePath(frame, top, rates), stroke: colour },
        ...(rates.length > dotsMax ? [] : [{ d: dotsPath(frame, top, rates), fill: colour }]),
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
  return (
    <section class="card" aria-labelledby="failures-title">
      <div class="card-head">
        <h2 id="failures-title">Failure rate</h2>
        <span class="aside">{words === '' ? 'no state counts' : `states with ${words}`}</span>
        <PictureButton
          save={(frame) =>
            savePicture(`failure-rate-${snapshot.range.from}.png`, {
              title: `Failure rate per ${unit}`,
              note: `${rangeText(snapshot.range)}: ${rate} of ${wholeText(sumOf(whole))} events`,
              keys: [{ colour, text: `states with ${words}` }],
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
              {titleAt(index)}
              {(buckets[index]?.to ?? '') >= today && <small> not over</small>}
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
      {(unusual.length > 0 || whole.includes(0)) && (
        <ul class="legend">
          {unusual.length > 0 && (
            <li class="rule">
              <Swatch colour={colour} opacity={0.25} /> unusual days
            </li>
          )}
          {whole.includes(0) && <li class="rule">Gap: no events in that {unit}, so no rate</li>}
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
