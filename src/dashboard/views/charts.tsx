import {
  BarController,
  BarElement,
  CategoryScale,
  Chart,
  LinearScale,
  LineController,
  LineElement,
  PointElement,
  Tooltip,
  type ChartConfiguration,
} from 'chart.js';
import type { ComponentChildren } from 'preact';
import { useEffect, useMemo, useRef } from 'preact/hooks';

import { colourOfFailures, colourOfOthers, coloursOf, type Scheme } from '../data/colours.ts';
import {
  bucketSums,
  isFailure,
  seriesOf,
  standsAlone,
  sumBy,
  totalOf,
  type Series,
} from '../data/counts.ts';
import { bucketsOf, rangeText, type Bucket } from '../data/days.ts';
import { compactText, shareText, wholeText } from '../data/format.ts';
import { seriesMax, type Snapshot } from '../data/load.ts';
import type { Store } from '../data/store.ts';
import type { View } from '../data/view.ts';

Chart.register(
  BarController,
  BarElement,
  CategoryScale,
  LinearScale,
  LineController,
  LineElement,
  PointElement,
  Tooltip,
);
const calm = matchMedia('(prefers-reduced-motion: reduce)');

interface CanvasProps<Kind extends 'bar' | 'line'> {
  label: string;
  config: ChartConfiguration<Kind>;
}

/** Redraws only what the configuration changes, so that an open tooltip stays. */
function Canvas<Kind extends 'bar' | 'line'>({ label, config }: CanvasProps<Kind>) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const chart = useRef<Chart<Kind>>(undefined);
  useEffect(() => {
    if (canvas.current === null) return undefined;
    chart.current = new Chart<Kind>(canvas.current, config);
    return () => chart.current?.destroy();
  }, []);
  useEffect(() => {
    if (chart.current === undefined) return;
    chart.current.data = config.data;
    if (config.options !== undefined) chart.current.options = config.options;
    chart.current.update('none');
  }, [config]);
  return (
    <div class="canvas">
      <canvas ref={canvas} role="img" aria-label={label} />
    </div>
  );
}

function paper(scheme: Scheme) {
  return scheme === 'dark'
    ? { ink: '#a4adbd', line: '#2a303b', surface: '#171b22', tip: '#2d3440' }
    : { ink: '#5c6675', line: '#e9ecf1', surface: '#ffffff', tip: '#1b2330' };
}

function axes(scheme: Scheme, isStacked: boolean, tick: (value: number) => string) {
  const { ink, line } = paper(scheme);
  const font = { family: 'system-ui, sans-serif', size: 12 };
  return {
    x: {
      stacked: isStacked,
      grid: { display: false },
      border: { color: line },
      ticks: { color: ink, font, maxRotation: 0, autoSkipPadding: 18 },
    },
    y: {
      stacked: isStacked,
      beginAtZero: true,
      border: { display: false },
      grid: { color: line },
      ticks: {
        color: ink,
        font,
        maxTicksLimit: 5,
        callback: (value: string | number) => tick(Number(value)),
      },
    },
  };
}

const common = {
  responsive: true,
  maintainAspectRatio: false,
  interaction: { mode: 'index', intersect: false },
} as const;

/** Shortens a name. U+2068 and U+2069 isolate the direction of its text. */
function shortName(name: string): string {
  const characters = Array.from(name);
  const text = characters.length > 40 ? `${characters.slice(0, 39).join('')}…` : name;
  return `\u2068${text}\u2069`;
}

function nameOf({ name, names }: Series): string {
  return name === undefined ? `${wholeText(names)} others` : shortName(name);
}

export function CountsChart({
  store,
  view,
  snapshot,
  scheme,
}: {
  store: Store;
  view: View;
  snapshot: Snapshot;
  scheme: Scheme;
}) {
  const { split, failureWords } = view;
  const { series, buckets, colourAt } = useMemo(() => {
    const spans = bucketsOf(snapshot.range);
    const sums = sumBy(snapshot.pairs, (row) => row[split]);
    const all = seriesOf(spans, snapshot.splitRows, snapshot.daily, sums, seriesMax);
    const names = all.flatMap(({ name }) => (name === undefined ? [] : [name]));
    const isFailing = (name: string) => split === 'state' && isFailure(name, failureWords);
    const colours = coloursOf(names, isFailing, scheme);
    const colourOf = ({ name }: Series) =>
      (name === undefined ? undefined : colours.get(name)) ?? colourOfOthers(scheme);
    return { series: all, buckets: spans, colourAt: all.map(colourOf) };
  }, [snapshot, split, failureWords, scheme]);
  const config = useMemo(
    () => barConfig(series, buckets, colourAt, scheme),
    [series, buckets, colourAt, scheme],
  );
  const unit = buckets.some(({ from, to }) => from !== to) ? 'week' : 'day';
  const total = totalOf(snapshot.pairs);
  const label = `Events per ${unit} by ${split}, ${rangeText(snapshot.range)}: ${wholeText(total)} in all. ${series
    .slice(0, 3)
    .map((one) => `${nameOf(one)} ${wholeText(sumOf(one))}`)
    .join(', ')}.`;
  return (
    <section class="card" aria-labelledby="counts-title">
      <div class="card-head">
        <h2 id="counts-title">Events per {unit}</h2>
        <div class="segments" role="group" aria-label="Split by">
          {(['state', 'type'] as const).map((name) => (
            <button
              type="button"
              aria-pressed={split === name}
              onClick={() => store.show({ split: name })}
            >
              By {name}
            </button>
          ))}
        </div>
      </div>
      <Canvas<'bar'> label={label} config={config} />
      <ul class="legend">
        {series.map((one, index) => (
          <li key={one.name ?? ''}>
            <Swatch colour={colourAt[index] ?? ''} />
            <bdi title={one.name}>{one.name ?? nameOf(one)}</bdi>
            <b>{compactText(sumOf(one))}</b>
          </li>
        ))}
      </ul>
      <TableBehind caption={`Events per ${unit} by ${split}`}>
        <thead>
          <tr>
            <th scope="col">{unit === 'day' ? 'Day' : 'Days'}</th>
            {series.map((one) => (
              <th scope="col">
                <bdi>{one.name ?? nameOf(one)}</bdi>
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {buckets.map((bucket, index) => (
            <tr>
              <th scope="row">{spanText(bucket)}</th>
              {series.map(({ values }) => (
                <td>{wholeText(values[index] ?? 0)}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </TableBehind>
    </section>
  );
}

function sumOf({ values }: Series): number {
  return values.reduce((sum, value) => sum + value, 0);
}

/** Sets a style by CSSOM: the page's Content-Security-Policy forbids style attributes. */
function Swatch({ colour }: { colour: string }) {
  return <span class="swatch" aria-hidden="true" style={{ background: colour }} />;
}

function spanText({ from, to }: Bucket): string {
  return from === to ? from : `${from} – ${to}`;
}

function barConfig(
  series: readonly Series[],
  buckets: readonly Bucket[],
  colours: readonly string[],
  scheme: Scheme,
): ChartConfiguration<'bar'> {
  const { surface, tip } = paper(scheme);
  return {
    type: 'bar',
    data: {
      labels: buckets.map(({ label }) => label),
      datasets: series.map((one, index) => ({
        label: nameOf(one),
        data: [...one.values],
        backgroundColor: colours[index] ?? '',
        borderColor: surface,
        borderWidth: { top: 1 },
        borderRadius: 2,
        maxBarThickness: 44,
        categoryPercentage: 0.86,
        barPercentage: 0.92,
      })),
    },
    options: {
      ...common,
      animation: calm.matches ? false : { duration: 250 },
      scales: axes(scheme, true, compactText),
      plugins: {
        tooltip: {
          backgroundColor: tip,
          padding: 10,
          boxPadding: 4,
          usePointStyle: true,
          // Keep one row for a day without events: the title is taken from it.
          filter: ({ parsed, datasetIndex, dataIndex }) =>
            (parsed.y ?? 0) > 0 ||
            (datasetIndex === 0 && series.every(({ values }) => (values[dataIndex] ?? 0) === 0)),
          itemSort: (a, b) => (b.parsed.y ?? 0) - (a.parsed.y ?? 0),
          callbacks: {
            title: ([item]) => {
              const bucket = buckets[item?.dataIndex ?? 0];
              return bucket === undefined ? '' : rangeText(bucket);
            },
            label: ({ dataset, parsed }) => ` ${dataset.label ?? ''}  ${wholeText(parsed.y ?? 0)}`,
            footer: (items) =>
              `Total  ${wholeText(items.reduce((sum, { parsed }) => sum + (parsed.y ?? 0), 0))}`,
          },
        },
      },
    },
  };
}

export function FailureChart({
  view,
  snapshot,
  scheme,
}: {
  view: View;
  snapshot: Snapshot;
  scheme: Scheme;
}) {
  const { buckets, totals, failed } = useMemo(() => {
    const spans = bucketsOf(snapshot.range);
    return {
      buckets: spans,
      totals: bucketSums(spans, snapshot.daily),
      failed: bucketSums(spans, snapshot.failedDaily),
    };
  }, [snapshot]);
  const config = useMemo(
    () => lineConfig(buckets, totals, failed, scheme),
    [buckets, totals, failed, scheme],
  );
  const sum = (values: readonly number[]) => values.reduce((all, value) => all + value, 0);
  const words = view.failureWords.map((word) => `“${word}”`).join(' or ');
  const rate = shareText(sum(failed), sum(totals));
  return (
    <section class="card" aria-labelledby="failures-title">
      <div class="card-head">
        <h2 id="failures-title">Failure rate</h2>
        <span class="aside">{words === '' ? 'no state counts' : `states with ${words}`}</span>
      </div>
      <Canvas<'line'>
        label={`Failure rate over time, ${rangeText(snapshot.range)}: ${rate} over all.`}
        config={config}
      />
      <TableBehind caption="Failure rate over time">
        <thead>
          <tr>
            <th scope="col">Days</th>
            <th scope="col">Failures</th>
            <th scope="col">Events</th>
            <th scope="col">Rate</th>
          </tr>
        </thead>
        <tbody>
          {buckets.map((bucket, index) => (
            <tr>
              <th scope="row">{spanText(bucket)}</th>
              <td>{wholeText(failed[index] ?? 0)}</td>
              <td>{wholeText(totals[index] ?? 0)}</td>
              <td>{shareText(failed[index] ?? 0, totals[index] ?? 0)}</td>
            </tr>
          ))}
        </tbody>
      </TableBehind>
    </section>
  );
}

/** A day without events has no rate, so the line has a gap there. */
function lineConfig(
  buckets: readonly Bucket[],
  totals: readonly number[],
  failed: readonly number[],
  scheme: Scheme,
): ChartConfiguration<'line'> {
  const colour = colourOfFailures(scheme);
  const rates = totals.map((total, index) => (total === 0 ? null : (failed[index] ?? 0) / total));
  return {
    type: 'line',
    data: {
      labels: buckets.map(({ label }) => label),
      datasets: [
        {
          data: rates,
          borderColor: colour,
          backgroundColor: colour,
          borderWidth: 2,
          cubicInterpolationMode: 'monotone',
          pointRadius: pointRadii(rates),
          pointHoverRadius: 4,
        },
      ],
    },
    options: {
      ...common,
      animation: calm.matches ? false : { duration: 250 },
      scales: axes(scheme, false, (value) => shareText(value, 1)),
      plugins: {
        tooltip: {
          backgroundColor: paper(scheme).tip,
          padding: 10,
          displayColors: false,
          callbacks: {
            title: ([item]) => {
              const bucket = buckets[item?.dataIndex ?? 0];
              return bucket === undefined ? '' : rangeText(bucket);
            },
            label: ({ dataIndex }) =>
              `${shareText(failed[dataIndex] ?? 0, totals[dataIndex] ?? 0)}: ${wholeText(failed[dataIndex] ?? 0)} of ${wholeText(totals[dataIndex] ?? 0)}`,
          },
        },
      },
    },
  };
}

/** Many points would hide their line, but a point without neighbours has no line. */
function pointRadii(rates: readonly (number | null)[]): number[] {
  const usual = rates.length > 40 ? 0 : 2;
  return rates.map((_, index) => (standsAlone(rates, index) ? 2.5 : usual));
}

function TableBehind({ caption, children }: { caption: string; children: ComponentChildren }) {
  return (
    <details class="behind">
      <summary>Show as a table</summary>
      <div class="scroll" tabIndex={0} role="region" aria-label={caption}>
        <table>
          <caption class="unseen">{caption}</caption>
          {children}
        </table>
      </div>
    </details>
  );
}
