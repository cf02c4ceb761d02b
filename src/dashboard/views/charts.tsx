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
import { Segments } from './segments.tsx';

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

/** The options that both charts share. */
function optionsOf(scheme: Scheme, isStacked: boolean, tick: (value: number) => string) {
  const { ink, line } = paper(scheme);
  const font = { family: 'system-ui, sans-serif', size: 12 };
  return {
    responsive: true,
    maintainAspectRatio: false,
    interaction: { mode: 'index', intersect: false },
    animation: calm.matches ? false : { duration: 250 },
    scales: {
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
    },
  } as const;
}

/** The title of a tooltip: the days of the bar or point. */
function titleOf(buckets: readonly Bucket[]) {
  return ([item]: readonly { readonly dataIndex: number }[]) => {
    const bucket = buckets[item?.dataIndex ?? 0];
    return bucket === undefined ? '' : rangeText(bucket);
  };
}

/** Shortens a name. U+2068 and U+2069 isolate the direction of its text. */
function shortName(name: string): string {
  const characters = Array.from(name);
  const text = characters.length > 40 ? `${characters.slice(0, 39).join('')}…` : name;
  return `\u2068${text}\u2069`;
}

function nameOf({ name, names }: Series): string {
  return name === undefined ? `${wholeText(names)} others` : shortName(name);
}

interface ChartProps {
  view: View;
  snapshot: Snapshot;
  scheme: Scheme;
}

export function CountsChart({ store, view, snapshot, scheme }: ChartProps & { store: Store }) {
  const { split, failureWords } = view;
  const { series, buckets, colourAt, config } = useMemo(() => {
    const spans = bucketsOf(snapshot.range);
    const sums = sumBy(snapshot.pairs, (row) => row[split]);
    const all = seriesOf(spans, snapshot.splitRows, snapshot.daily, sums, seriesMax);
    const names = all.flatMap(({ name }) => (name === undefined ? [] : [name]));
    const isFailing = (name: string) => split === 'state' && isFailure(name, failureWords);
    const colours = coloursOf(names, isFailing, scheme);
    const colourOf = ({ name }: Series) =>
      (name === undefined ? undefined : colours.get(name)) ?? colourOfOthers(scheme);
    const chosen = all.map(colourOf);
    const bars = barConfig(all, spans, chosen, scheme);
    return { series: all, buckets: spans, colourAt: chosen, config: bars };
  }, [snapshot, split, failureWords, scheme]);
  const unit = buckets.some(({ from, to }) => from !== to) ? 'week' : 'day';
  const total = totalOf(snapshot.pairs);
  const label = `Events per ${unit} by ${split}, ${rangeText(snapshot.range)}: ${wholeText(total)} in all. ${series
    .slice(0, 3)
    .map((one) => `${nameOf(one)} ${wholeText(sumOf(one.values))}`)
    .join(', ')}.`;
  return (
    <section class="card" aria-labelledby="counts-title">
      <div class="card-head">
        <h2 id="counts-title">Events per {unit}</h2>
        <Segments
          label="Split by"
          choices={splits}
          chosen={split}
          onChoose={(name) => store.show({ split: name })}
        />
      </div>
      <Canvas<'bar'> label={label} config={config} />
      <ul class="legend">
        {series.map((one, index) => (
          <li key={one.name ?? ''}>
            <Swatch colour={colourAt[index] ?? ''} />
            <bdi title={one.name}>{one.name ?? nameOf(one)}</bdi>
            <b>{compactText(sumOf(one.values))}</b>
          </li>
        ))}
      </ul>
      <TableBehind
        caption={`Events per ${unit} by ${split}`}
        head={[unit === 'day' ? 'Day' : 'Days', ...series.map((one) => one.name ?? nameOf(one))]}
        buckets={buckets}
        cellsOf={(index) => series.map(({ values }) => wholeText(values[index] ?? 0))}
      />
    </section>
  );
}

const splits = [
  ['state', 'By state'],
  ['type', 'By type'],
] as const;

function sumOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}

/** Sets a style by CSSOM: the page's Content-Security-Policy forbids style attributes. */
function Swatch({ colour }: { colour: string }) {
  return <span class="swatch" aria-hidden="true" style={{ background: colour }} />;
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
      ...optionsOf(scheme, true, compactText),
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
            title: titleOf(buckets),
            label: ({ dataset, parsed }) => ` ${dataset.label ?? ''}  ${wholeText(parsed.y ?? 0)}`,
            footer: (items) =>
              `Total  ${wholeText(items.reduce((sum, { parsed }) => sum + (parsed.y ?? 0), 0))}`,
          },
        },
      },
    },
  };
}

export function FailureChart({ view, snapshot, scheme }: ChartProps) {
  const { buckets, totals, failed, config } = useMemo(() => {
    const spans = bucketsOf(snapshot.range);
    const all = bucketSums(spans, snapshot.daily);
    const failures = bucketSums(spans, snapshot.failedDaily);
    const line = lineConfig(spans, all, failures, scheme);
    return { buckets: spans, totals: all, failed: failures, config: line };
  }, [snapshot, scheme]);
  const words = view.failureWords.map((word) => `“${word}”`).join(' or ');
  const rate = shareText(sumOf(failed), sumOf(totals));
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
      <TableBehind
        caption="Failure rate over time"
        head={['Days', 'Failures', 'Events', 'Rate']}
        buckets={buckets}
        cellsOf={(index) => {
          const [part, all] = [failed[index] ?? 0, totals[index] ?? 0];
          return [wholeText(part), wholeText(all), shareText(part, all)];
        }}
      />
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
      ...optionsOf(scheme, false, (value) => shareText(value, 1)),
      plugins: {
        tooltip: {
          backgroundColor: paper(scheme).tip,
          padding: 10,
          displayColors: false,
          callbacks: {
            title: titleOf(buckets),
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

interface TableProps {
  caption: string;
  head: readonly string[];
  buckets: readonly Bucket[];
  cellsOf: (index: number) => readonly string[];
}

/** The values of a chart as a table, with a row for each bucket. */
function TableBehind({ caption, head, buckets, cellsOf }: TableProps) {
  return (
    <details class="behind">
      <summary>Show as a table</summary>
      <div class="scroll" tabIndex={0} role="region" aria-label={caption}>
        <table>
          <caption class="unseen">{caption}</caption>
          <thead>
            <tr>
              {head.map((name) => (
                <th scope="col">
                  <bdi>{name}</bdi>
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {buckets.map(({ from, to }, index) => (
              <tr>
                <th scope="row">{from === to ? from : `${from} – ${to}`}</th>
                {cellsOf(index).map((text) => (
                  <td>{text}</td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </details>
  );
}
