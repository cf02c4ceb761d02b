import { readdir, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';

import { collectDefaultMetrics, Registry } from 'prom-client';

import { problemCodes } from '../../domain/problem.ts';
import { browserHeaders, type Answer } from '../../http/app/answer.ts';
import { prefersOpenMetrics } from '../../http/app/negotiation.ts';
import { cutReasons } from '../../http/server/observer.ts';
import type { MemoryUsage } from '../../http/server/server.ts';
import type { PipelineStatus } from '../../pipeline/ports.ts';
import type { DataPaths } from '../../engines/embedded/data-directory.ts';
import type { CounterSizes } from '../../engines/embedded/writer/messages.ts';
import { journalBytes } from '../../engines/embedded/store/journal-check.ts';
import type { EmbeddedMeasures } from '../../engines/embedded/embedded-pipeline.ts';
import {
  counter,
  exposition,
  gauge,
  histogram,
  openMetricsType,
  prometheusType,
  type MetricFamily,
} from './exposition.ts';
import type { Traffic } from './traffic.ts';

interface ServerMetricsSources {
  readonly version: string;
  readonly traffic: Traffic;
  /** This, `measures` and `held` do not wait for another thread. */
  readonly status: () => Promise<PipelineStatus>;
  readonly measures: () => EmbeddedMeasures;
  readonly held: () => MemoryUsage;
  /** Rows and dates of the counters, from the reader thread. */
  readonly counters: () => Promise<CounterSizes>;
  readonly paths: DataPaths;
  /** Lines of the log that could not be written to stderr. */
  readonly logLinesDropped: () => number;
}

interface DiskUse {
  readonly segments: number;
  readonly bytes: number;
  readonly freeBytes: number;
  readonly journalBytes: number;
}

/** How long a scrape waits for a value; then it omits the value and reports it as missing. */
const waitMs = 500;
/** How long the number of counters is cached, because counting them is expensive. */
const countersAgeMs = 60_000;

/** `GET /metrics` of the embedded server. */
export class ServerMetrics {
  readonly #sources: ServerMetricsSources;
  readonly #defaults = new Registry();
  readonly #counters: CachedValue<CounterSizes>;
  readonly #disk: CachedValue<DiskUse>;

  constructor(sources: ServerMetricsSources) {
    this.#sources = sources;
    collectDefaultMetrics({ register: this.#defaults });
    this.#counters = new CachedValue(sources.counters, countersAgeMs);
    this.#disk = new CachedValue(() => diskUse(sources.paths), 0);
  }

  readonly answer = async (accept: string | undefined): Promise<Answer> => {
    const isOpenMetrics = prefersOpenMetrics(accept);
    const contentType = isOpenMetrics ? openMetricsType : prometheusType;
    const headers = { 'content-type': contentType, ...browserHeaders, vary: 'Accept' };
    return { status: 200, headers, body: exposition(await this.families(), isOpenMetrics) };
  };

  /** Stops measuring the event loop. */
  close(): void {
    this.#defaults.clear();
  }

  async families(): Promise<MetricFamily[]> {
    const { traffic, status, measures, held } = this.#sources;
    const [now, counters, disk, defaults] = await Promise.all([
      status(),
      this.#counters.get(),
      this.#disk.get(),
      this.#defaults.getMetricsAsJSON(),
    ]);
    const missing = { counters, disk };
    return [
      ...ofBuild(this.#sources.version),
      ...ofTraffic(traffic),
      ...ofLatency(traffic, measures()),
      ...ofBacklog(now, measures()),
      ...ofResources(held(), counters, disk),
      ...ofArchive(measures().archive),
      counter(
        'log_lines_dropped',
        'Log lines that were dropped because they could not be written to stderr.',
        this.#sources.logLinesDropped(),
      ),
      gauge(
        'scrape_missing',
        '1 if this part could not be read in time and is missing from this scrape.',
        Object.entries(missing).map(([part, value]) => ({
          labels: { part },
          value: value === undefined ? 1 : 0,
        })),
      ),
      ...defaults.filter(({ name }) => !name.startsWith('nodejs_active_')).map(fromPromClient),
    ];
  }
}

function ofBuild(version: string): MetricFamily[] {
  const labels = { version, node: process.versions.node };
  return [gauge('build_info', 'Always 1; the labels hold the versions.', [{ labels, value: 1 }])];
}

function ofTraffic(traffic: Traffic): MetricFamily[] {
  const requests = traffic.requests().map(({ count: value, ...labels }) => ({ labels, value }));
  return [
    counter('http_requests', 'Requests answered.', requests),
    counter(
      'problems',
      'Requests refused, by problem code.',
      samplesBy('code', problemCodes, traffic.problems),
    ),
    counter(
      'http_answers_cut',
      'Responses that were cut off, by reason.',
      samplesBy('reason', cutReasons, traffic.answersCut),
    ),
    counter(
      'batches_accepted',
      'Batches acknowledged, including retries.',
      traffic.batchesAccepted,
    ),
    counter(
      'items_accepted',
      'Items acknowledged, including those of retries.',
      traffic.itemsAccepted,
    ),
    counter(
      'items_refused',
      'Items rejected, in batches that could be parsed.',
      traffic.itemsRefused,
    ),
    counter(
      'item_errors',
      'Items rejected, by the code of their first error.',
      samplesBy('code', ['missing', 'not_rfc3339', 'too_many_counters'], traffic.itemErrors),
    ),
    counter('body_received_bytes', 'Bytes of validated bodies, as sent.', traffic.bytesReceived),
    counter('body_accepted_bytes', 'Bytes of accepted bodies, as sent.', traffic.bytesAccepted),
  ];
}

/** Counts by the value of a label, also those of the known values that never occurred. */
function samplesBy(
  label: string,
  known: readonly string[],
  counts: ReadonlyMap<string, number>,
): MetricFamily['samples'] {
  const all = new Map([...known.map((value) => [value, 0] as const), ...counts]);
  return [...all].map(([value, count]) => ({ labels: { [label]: value }, value: count }));
}

function ofLatency(traffic: Traffic, measures: EmbeddedMeasures): MetricFamily[] {
  const durations = [...traffic.durations].map(([route, times]) => ({
    labels: { route },
    reading: times.read(),
  }));
  const one = (times: EmbeddedMeasures['commits']) => [{ reading: times.read() }];
  return [
    histogram(
      'http_request_duration_seconds',
      'From the complete request (/ingest) or its headers (/stats) until the response is sent.',
      durations,
    ),
    histogram(
      'log_commit_duration_seconds',
      'One commit: from the first byte written to the log until all is durable.',
      one(measures.commits),
    ),
    histogram(
      'log_fsync_duration_seconds',
      'One sync of the log to the disk.',
      one(measures.syncs),
    ),
    histogram(
      'sqlite_transaction_duration_seconds',
      'One transaction that counts, or deletes expired rows.',
      one(measures.transactions),
    ),
  ];
}

function ofBacklog(status: PipelineStatus, measures: EmbeddedMeasures): MetricFamily[] {
  const { pending, countedThrough, lastReceivedAt, deadLetters, unavailable } = status;
  const lag = pending.amount === 0 ? 0 : (Date.now() - (countedThrough ?? Date.now())) / 1000;
  return [
    gauge('ready', '1 if the server accepts batches now.', unavailable ? 0 : 1),
    gauge('backlog_items', 'Items not counted yet.', pending.amount),
    gauge('backlog_bytes', 'Bytes of the log not counted yet.', pending.bytes),
    gauge(
      'backlog_age_seconds',
      'Age of the oldest batch that is not counted yet; 0 if there is none.',
      Math.max(0, lag),
    ),
    gauge('dead_letters', 'Dead letters: records that cannot be counted.', deadLetters),
    gauge(
      'last_received_timestamp_seconds',
      'Time at which the latest batch was received; absent if there is none.',
      lastReceivedAt === undefined ? undefined : lastReceivedAt / 1000,
    ),
    gauge('queue_batches', 'Batches waiting for the log.', measures.inFlight),
    gauge('queue_batches_max', 'The limit of that number.', measures.inFlightMax),
    gauge(
      'log_end_bytes',
      'Position of the end of the durable log: all bytes ever appended to it.',
      measures.storedEnd,
    ),
  ];
}

function ofArchive(archive: EmbeddedMeasures['archive']): MetricFamily[] {
  if (archive === undefined) return [];
  return [
    gauge(
      'archive_reachable',
      '0 if the last upload to the archive failed and is repeated.',
      archive.problem === undefined ? 1 : 0,
    ),
    gauge(
      'archive_lag_seconds',
      'Age of the oldest batch that the archive does not hold yet; 0 if there is none.',
      archive.lagSeconds,
    ),
    gauge(
      'archive_lag_bytes',
      'Bytes of the log that the archive does not hold yet.',
      archive.lagBytes,
    ),
    counter('archive_uploads', 'Pieces of the log stored in the archive.', archive.uploads),
    counter('archive_uploaded_bytes', 'Bytes of these pieces, compressed.', archive.uploadedBytes),
    counter(
      'archive_failures',
      'Failed requests to the archive, which are repeated.',
      archive.failures,
    ),
  ];
}

function ofResources(
  held: MemoryUsage,
  counters: CounterSizes | undefined,
  disk: DiskUse | undefined,
): MetricFamily[] {
  return [
    gauge('http_connections', 'Open connections.', held.connections),
    gauge('http_bodies_bytes', 'Bytes of request bodies in memory.', held.bodiesBytes),
    gauge(
      'http_unread_answers_bytes',
      'Bytes of large responses that clients have not read yet.',
      held.unreadBytes,
    ),
    gauge('counters', 'Counters of all days.', counters?.rows),
    gauge('counter_dates', 'Days that have counters.', counters?.dates),
    gauge('log_segments', 'Files of the log.', disk?.segments),
    gauge('log_disk_bytes', 'Size of the files of the log.', disk?.bytes),
    gauge(
      'database_journal_bytes',
      'Size of the write-ahead log of the database (pipeline.db-wal).',
      disk?.journalBytes,
    ),
    gauge('disk_free_bytes', 'Free space on the disk of the data directory.', disk?.freeBytes),
  ];
}

/** Caches a value that may take long to get; undefined if it is too old or does not come in time. */
class CachedValue<Value> {
  readonly #ask: () => Promise<Value>;
  readonly #ageMs: number;
  #latest: { value: Value; at: number } | undefined;
  #asking: Promise<void> | undefined;

  constructor(ask: () => Promise<Value>, ageMs: number) {
    this.#ask = ask;
    this.#ageMs = ageMs;
  }

  async get(): Promise<Value | undefined> {
    const isFresh = () =>
      this.#latest !== undefined && performance.now() - this.#latest.at <= this.#ageMs + waitMs;
    if (this.#ageMs === 0 || !isFresh()) {
      this.#asking ??= this.#refresh();
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, waitMs)));
      await Promise.race([this.#asking, late]);
      clearTimeout(timer);
    }
    return isFresh() ? this.#latest?.value : undefined;
  }

  async #refresh(): Promise<void> {
    try {
      const value = await this.#ask();
      this.#latest = { value, at: performance.now() };
    } catch {
      // The scrape reports it in device_pipeline_scrape_missing.
      this.#latest = undefined;
    } finally {
      this.#asking = undefined;
    }
  }
}

async function diskUse({ log: directory, database }: DataPaths): Promise<DiskUse> {
  const names = await readdir(directory);
  let bytes = 0;
  for (const name of names) {
    // The server may remove a segment at any time.
    const file = await stat(join(directory, name)).catch(() => undefined);
    bytes += file?.size ?? 0;
  }
  const { bavail, bsize } = await statfs(directory);
  return {
    segments: names.length,
    bytes,
    freeBytes: bavail * bsize,
    journalBytes: journalBytes(database),
  };
}

type PromClientMetric = Awaited<ReturnType<Registry['getMetricsAsJSON']>>[number];

function fromPromClient({ name, help, type, values }: PromClientMetric): MetricFamily {
  const samples = values.map((value) => ({
    labels: Object.fromEntries(
      Object.entries(value.labels).flatMap(([label, text]) =>
        text === undefined ? [] : [[label, text]],
      ),
    ),
    value: value.value,
    ...('metricName' in value &&
      typeof value.metricName === 'string' && { name: value.metricName }),
  }));
  return { name, help, type: String(type) as MetricFamily['type'], samples };
}
