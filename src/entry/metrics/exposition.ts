import type { HistogramReading } from '../../util/histogram.ts';

type MetricType = 'counter' | 'gauge' | 'histogram' | 'summary';

interface Sample {
  /** The name of the sample, if it differs from the family's, as for a bucket. */
  readonly name?: string;
  readonly labels: Readonly<Record<string, string | number>>;
  readonly value: number;
}

/** A metric with all its samples. The names of counters end in `_total`. */
export interface MetricFamily {
  readonly name: string;
  readonly help: string;
  readonly type: MetricType;
  readonly samples: readonly Sample[];
}

/** The prefix of the names of our metrics. */
const prefix = 'device_pipeline_';

export const prometheusType = 'text/plain; version=0.0.4; charset=utf-8';
export const openMetricsType = 'application/openmetrics-text; version=1.0.0; charset=utf-8';

/** A counter; its name gets the prefix and `_total`. */
export function counter(name: string, help: string, samples: number | readonly Sample[]) {
  return family(`${name}_total`, help, 'counter', samples);
}

/** A gauge; without a sample if its value is unknown. Its name gets the prefix. */
export function gauge(
  name: string,
  help: string,
  samples: number | undefined | readonly Sample[],
): MetricFamily {
  return family(name, help, 'gauge', samples ?? []);
}

export function histogram(
  name: string,
  help: string,
  readings: readonly { labels?: Sample['labels']; reading: HistogramReading }[],
): MetricFamily {
  const samples = readings.flatMap(({ labels = {}, reading: { buckets, count, sum } }) => [
    ...buckets.map(({ through, count: value }) => ({
      name: `${prefix}${name}_bucket`,
      labels: { ...labels, le: through === Infinity ? '+Inf' : String(through) },
      value,
    })),
    { name: `${prefix}${name}_sum`, labels, value: sum },
    { name: `${prefix}${name}_count`, labels, value: count },
  ]);
  return family(name, help, 'histogram', samples);
}

function family(
  name: string,
  help: string,
  type: MetricType,
  values: number | readonly Sample[],
): MetricFamily {
  const samples = typeof values === 'number' ? [{ labels: {}, value: values }] : values;
  return { name: `${prefix}${name}`, help, type, samples };
}

/**
 * Formats the families. Sources: Prometheus, "Exposition formats"; the OpenMetrics specification
 * 1.0.0, in which the name of a counter's family lacks the suffix `_total`.
 */
export function exposition(families: readonly MetricFamily[], isOpenMetrics: boolean): string {
  const texts = families.map(({ name, help, type, samples }) => {
    const shown = isOpenMetrics && type === 'counter' ? name.replace(/_total$/, '') : name;
    const lines = samples.map((sample) => {
      const labels = Object.entries(sample.labels).map(
        ([label, value]) => `${label}="${escaped(String(value))}"`,
      );
      const list = labels.length === 0 ? '' : `{${labels.join(',')}}`;
      return `${sample.name ?? name}${list} ${numberText(sample.value)}\n`;
    });
    return `# HELP ${shown} ${help}\n# TYPE ${shown} ${type}\n${lines.join('')}`;
  });
  return `${texts.join('')}${isOpenMetrics ? '# EOF\n' : ''}`;
}

function escaped(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('"', '\\"');
}

function numberText(value: number): string {
  if (Number.isNaN(value)) return 'NaN';
  if (Number.isFinite(value)) return String(value);
  return value > 0 ? '+Inf' : '-Inf';
}
