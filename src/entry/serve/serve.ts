import { dataPaths } from '../../engines/embedded/data-directory.ts';
import { EmbeddedPipeline } from '../../engines/embedded/embedded-pipeline.ts';
import { dayMs, embeddedDefaults } from '../../engines/embedded/options.ts';
import { serverAccess, TokenTable, type ImmediateAccess } from '../../auth/access.ts';
import { hostRule } from '../../http/app/allowed-hosts.ts';
import { connectionsWithin } from '../../http/server/connection-limiter.ts';
import {
  createHttpServer,
  defaultConnectionsMax,
  type HttpServer,
} from '../../http/server/server.ts';
import { watchTokens, type TokenWatch } from '../../engines/embedded/tokens/token-watch.ts';
import { ServerMetrics } from '../metrics/server-metrics.ts';
import { Traffic } from '../metrics/traffic.ts';
import { openFilesMax, socketsWithin } from './open-files.ts';
import { UsageError } from '../cli/option-parsers.ts';
import type { ServeOptions } from './serve-options.ts';
import { readPages } from '../pages.ts';
import { ignoreStandardOutputErrors } from '../cli/standard-streams.ts';
import { onStopSignal, type StopSignal } from '../cli/stop-signals.ts';
import { observers, openLog, ServerLog } from './server-log.ts';

/** How long a stop waits for requests in flight. */
const stopGraceMs = 10_000;
/** The same after a storage failure, when requests in flight only get an error response. */
const failureGraceMs = 1_500;
/** How long the process waits at its end for readers of stdout and stderr. */
const lastOutputMs = 2_000;

/**
 * Runs the server with the embedded engine until SIGTERM, SIGINT or SIGHUP (exit code 0), or until its
 * storage fails.
 * @throws an Error whose message says what is wrong and what to do.
 */
export async function serve(options: ServeOptions, version: string): Promise<void> {
  const { log: logger, output } = openLog(options.log);
  const log = new ServerLog(logger, output);
  ignoreStandardOutputErrors((reason) => {
    log.warn('stdout_lost', { reason }, `cannot write to standard output: ${reason}`);
  });
  const onUnexpectedError = (error: Error | string) => log.defect(error);
  const connectionsMax = boundConnections(log);
  const { access, watch } = openAccess(options, onUnexpectedError);
  const pipeline = await EmbeddedPipeline.open(
    {
      ...embeddedDefaults,
      dataDir: options.dataDir,
      dayZone: options.dayZone,
      bodyBytesMax: options.maxBodyBytes,
      // The largest body must fit.
      inFlightBytesMax: Math.max(embeddedDefaults.inFlightBytesMax, 2 * options.maxBodyBytes),
      backlogBytesMax: options.maxBacklogBytes,
      countersPerDayMax: options.maxCountersPerDay,
      keepKeysMs: options.keepReceiptsDays * dayMs,
      keepRawMs: options.keepRawDays === undefined ? undefined : options.keepRawDays * dayMs,
      archive: options.archive,
    },
    onUnexpectedError,
  );
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
    bodiesBytesMax: Math.max(embeddedDefaults.inFlightBytesMax, 2 * options.maxBodyBytes),
    access,
    hostRule: hostRule(options.host, options.allowedHosts),
    corsOrigins: options.corsOrigins,
    pages: readPages(),
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

/**
 * The number of connections that leave enough file descriptors for storage.
 * @throws if the limit on open files is too low for any.
 */
function boundConnections(log: ServerLog): number {
  const openFiles = openFilesMax();
  if (openFiles === undefined) return defaultConnectionsMax;
  const connectionsMax = connectionsWithin(socketsWithin(openFiles));
  if (connectionsMax >= defaultConnectionsMax) return defaultConnectionsMax;
  log.warn(
    'connections_bounded',
    { connections_max: connectionsMax, open_files_max: openFiles },
    `at most ${connectionsMax} connections, because the limit on open files is ${openFiles} (ulimit -n)`,
  );
  return connectionsMax;
}

/** The settings that explain how a server behaves, for the log. */
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
        log.info('archive_pruned', removed, 'old segments are removed from the archive');
      else
        log.warn('archive_not_pruned', { problem }, `the archive keeps old segments: ${problem}`);
    },
  );
}

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

/**
 * Access with the tokens of the data directory; changes of the token file take effect at once.
 * @throws {UsageError} if other machines could access the server without a token.
 */
function openAccess(
  { dataDir, host, isOpenWithoutTokens, rate }: ServeOptions,
  onProblem: (problem: string) => void,
): { access: ImmediateAccess; watch: TokenWatch } {
  let table = new TokenTable(undefined);
  const watch = watchTokens(
    dataPaths(dataDir),
    (tokens) => (table = new TokenTable(tokens)),
    onProblem,
  );
  if (table.isEmpty && !table.isUnset) {
    onProblem(
      `All tokens of ${dataDir} are revoked, so every request is refused. Create one with token create. To allow requests without tokens, stop the server and remove tokens.json and log/tokens-required.log.`,
    );
  }
  if (table.isEmpty && !isOpenWithoutTokens) {
    watch.close();
    throw new UsageError(
      `${host} can be reached from other machines, and ${dataDir} has no token. Create one with ` +
        `\`npx device-pipeline token create --data-dir ${dataDir} --name NAME --for ingest,read\`, ` +
        'bind 127.0.0.1, or give --insecure if the network is trusted.',
    );
  }
  return { access: serverAccess({ tokens: () => table, isOpenWithoutTokens, rate }), watch };
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
