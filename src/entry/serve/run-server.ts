import type { ImmediateAccess } from '../../auth/check-access.ts';
import { dataPaths } from '../../engines/embedded/data-directory.ts';
import type { EmbeddedPipeline } from '../../engines/embedded/embedded-pipeline.ts';
import { dayMs } from '../../engines/embedded/options.ts';
import type { TokenWatch } from '../../engines/embedded/tokens/token-watch.ts';
import { hostRule } from '../../http/app/allowed-hosts.ts';
import { createHttpServer, type HttpServer } from '../../http/server/server.ts';
import { onStopSignal, type StopSignal } from '../cli/stop-signals.ts';
import { ServerMetrics } from '../metrics/server-metrics.ts';
import { Traffic } from '../metrics/traffic.ts';
import type { readPages } from '../pages.ts';
import type { ServeOptions } from './serve-options.ts';
import { observers, type ServerLog } from './server-log.ts';

/** How long a stop waits for requests in flight. */
const stopGraceMs = 10_000;
/** The same after a storage failure, when requests in flight only get an error response. */
const failureGraceMs = 1_500;
/** How long the process waits at its end for readers of stdout and stderr. */
const lastOutputMs = 2_000;

/** The parts that `serve` opens before the HTTP server. They are closed after it. */
interface Opened {
  readonly pipeline: EmbeddedPipeline;
  readonly access: ImmediateAccess;
  readonly watch: TokenWatch;
  readonly connectionsMax: number;
  /** Bytes of all bodies that are being received. */
  readonly bodiesBytesMax: number;
  readonly pages: ReturnType<typeof readPages>;
  readonly log: ServerLog;
}

/**
 * Answers requests until a stop signal, or until the storage fails.
 * @throws an Error whose message says what is wrong and what to do.
 */
export async function runServer(
  { pipeline, access, watch, connectionsMax, bodiesBytesMax, pages, log }: Opened,
  options: ServeOptions,
  version: string,
): Promise<void> {
  const onUnexpectedError = (error: Error | string) => log.defect(error);
  const traffic = new Traffic();
  const metrics = new ServerMetrics({
    version,
    traffic,
    status: () => pipeline.status(),
    measures: () => pipeline.measures,
    held: () => http.memoryUsage(),
    counters: () => pipeline.counterSizes(),
    paths: dataPaths(options.dataDir),
    logLinesDropped: () => log.linesDropped,
  });
  const http = createHttpServer({
    pipeline,
    connectionsMax,
    bodyBytesMax: options.maxBodyBytes,
    bodiesBytesMax,
    access,
    hostRule: hostRule(options.host, options.allowedHosts),
    corsOrigins: options.corsOrigins,
    pages,
    onUnexpectedError,
    observer: observers(traffic, log),
    metrics: metrics.answer,
    dayZone: pipeline.dayZone,
    version,
  });
  const stop = stopSignal();
  followArchive(pipeline, log);
  try {
    const url = await listen(http, options, onUnexpectedError);
    if (pipeline.tornBytes > 0) {
      log.warn(
        'torn_tail',
        { bytes: pipeline.tornBytes },
        `removed ${pipeline.tornBytes} bytes of unacknowledged batches from the end of the log`,
      );
    }
    log.info(
      'started',
      {
        version,
        url,
        ...settingsOf(options),
        day_zone: pipeline.dayZone,
        scanner: pipeline.scanner,
      },
      `device-pipeline ${version} started`,
    );
    process.stdout.write(`listening on ${url}\n`);
    const failure = await Promise.race([stop, pipeline.failed]);
    if (failure === undefined) log.info('stopping', {}, 'stopping: finishing requests in flight');
    else log.failure(failure.message);
    await http.stop(failure === undefined ? stopGraceMs : failureGraceMs);
    if (failure !== undefined) throw failure;
  } finally {
    watch.close();
    try {
      // Throws if the storage fails during the stop.
      await pipeline.close();
      log.info('stopped', {}, 'stopped');
    } finally {
      metrics.close();
      await log.close();
      // A stalled reader of stdout or stderr must not keep the process alive.
      setTimeout(() => process.exit(), lastOutputMs).unref();
    }
  }
}

function followArchive(pipeline: EmbeddedPipeline, log: ServerLog): void {
  pipeline.followArchive(
    (problem) => {
      if (problem === undefined)
        log.info('archive_reachable', {}, 'the archive is reachable again');
      else
        log.warn('archive_unreachable', { problem }, `the archive cannot be reached: ${problem}`);
    },
    ({ problem, ...removed }) => {
      if (problem === undefined)
        log.info('archive_pruned', removed, 'old segments were removed from the archive');
      else
        log.warn(
          'archive_not_pruned',
          { problem },
          `old segments could not be removed from the archive: ${problem}`,
        );
    },
  );
}

/** The settings that explain how a server behaves, for the log. */
function settingsOf(options: ServeOptions): Record<string, unknown> {
  const { dataDir, maxBodyBytes, maxBacklogBytes, maxCountersPerDay } = options;
  return {
    data_dir: dataDir,
    max_body_bytes: maxBodyBytes,
    max_backlog_bytes: maxBacklogBytes,
    max_counters_per_day: maxCountersPerDay,
    keep_receipts_days: options.keepReceiptsDays,
    keep_raw_days: options.keepRawDays,
    archive: options.archive?.url,
    archive_keep_days: options.archive?.keepMs && options.archive.keepMs / dayMs,
    archive_mode: options.archive && (options.archive.isSync ? 'sync' : 'async'),
    node: process.versions.node,
    pid: process.pid,
  };
}

/** Resolves at the first stop signal. A second one, unless it is SIGHUP, ends the process at once. */
function stopSignal(): Promise<undefined> {
  return new Promise((resolve) => {
    let isStopping = false;
    const onSignal = (signal: StopSignal) => {
      if (isStopping && signal !== 'SIGHUP') process.exit(130);
      isStopping = true;
      resolve(undefined);
    };
    onStopSignal(onSignal);
  });
}

/** Starts listening and returns the server's URL. */
function listen(
  { server }: HttpServer,
  { host, port }: ServeOptions,
  onUnexpectedError: (error: Error) => void,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const onError = (error: NodeJS.ErrnoException) => {
      reject(new Error(whyNotListening(error, host, port), { cause: error }));
    };
    server.once('error', onError);
    server.listen(port, host, () => {
      // From here on errors concern single connections, such as a lack of file descriptors.
      server.off('error', onError).on('error', onUnexpectedError);
      const address = server.address();
      const actualPort = typeof address === 'object' && address !== null ? address.port : port;
      resolve(`http://${host.includes(':') ? `[${host}]` : host}:${actualPort}`);
    });
  });
}

function whyNotListening(error: NodeJS.ErrnoException, host: string, port: number): string {
  switch (error.code) {
    case 'EADDRINUSE':
      return `Port ${port} of ${host} is in use. Stop the other program, or choose another port with --port.`;
    case 'EACCES':
      return `This user may not listen on port ${port}. Choose one above 1023 with --port.`;
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
      return `${host} is not an address of this machine. Choose another with --host.`;
    case undefined:
    default:
      return `The server cannot listen on ${host}:${port}: ${error.message}.`;
  }
}
