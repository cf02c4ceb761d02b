import { dataPaths } from '../../engines/embedded/data-directory.ts';
import { EmbeddedPipeline } from '../../engines/embedded/embedded-pipeline.ts';
import { dayMs, embeddedDefaults } from '../../engines/embedded/options.ts';
import { serverAccess, TokenTable, type ImmediateAccess } from '../../http/app/access.ts';
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

/** A stop waits so long for requests under way. */
const stopGraceMs = 10_000;
/** After a failure of the storage, those who wait are only told so. */
const failureGraceMs = 1_500;
/** For the last lines on stdout and stderr. */
const lastOutputMs = 2_000;

/**
 * Runs the embedded pipeline until SIGTERM, SIGINT or SIGHUP (exit code 0) or until its storage fails.
 * @throws an Error whose message says what is wrong and what to do.
 */
export async function serve(options: ServeOptions, version: string): Promise<void> {
  const { log: logger, output } = openLog(options.log);
  const log = new ServerLog(logger, output);
  ignoreStandardOutputErrors((reason) => {
    log.warn('stdout_lost', { reason }, `cannot write to standard output: ${reason}`);
  });
  const onDefect = (error: Error | string) => log.defect(error);
  const connectionsMax = boundConnections(log);
  const { access, watch } = openAccess(options, onDefect);
  const pipeline = await EmbeddedPipeline.open(
    {
      ...embeddedDefaults,
      dataDir: options.dataDir,
      dayZone: options.dayZone,
      bodyBytesMax: options.maxBodyBytes,
      // A single body must fit in, however large bodies may be.
      inFlightBytesMax: Math.max(embeddedDefaults.inFlightBytesMax, 2 * options.maxBodyBytes),
      backlogBytesMax: options.maxBacklogBytes,
      countersPerDayMax: options.maxCountersPerDay,
      keepKeysMs: options.keepReceiptsDays * dayMs,
      keepRawMs: options.keepRawDays === undefined ? undefined : options.keepRawDays * dayMs,
    },
    onDefect,
  );
  const traffic = new Traffic();
  const metrics = new ServerMetrics({
    version,
    traffic,
    status: () => pipeline.status(),
    measures: () => pipeline.measures,
    held: () => http.held(),
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
    onDefect,
    observer: observers(traffic, log),
    metrics: metrics.answer,
    dayZone: pipeline.dayZone,
    version,
  });
  const stop = stopSignal();
  try {
    const url = await listen(http, options, onDefect);
    if (pipeline.tornBytes > 0) {
      log.warn(
        'torn_tail',
        { bytes: pipeline.tornBytes },
        `${pipeline.tornBytes} bytes of batches that were never acknowledged were cut off the log`,
      );
    }
    log.info(
      'started',
      { version, url, ...settingsOf(options), day_zone: pipeline.dayZone },
      `device-pipeline ${version} started`,
    );
    process.stdout.write(`listening on ${url}\n`);
    const failure = await Promise.race([stop, pipeline.failed]);
    if (failure === undefined) log.info('stopping', {}, 'stopping: answering what is under way');
    else log.failure(failure.message);
    await http.stop(failure === undefined ? stopGraceMs : failureGraceMs);
    if (failure !== undefined) throw failure;
  } finally {
    watch.close();
    try {
      // What failed within the stop is told too.
      await pipeline.close();
      log.info('stopped', {}, 'stopped');
    } finally {
      metrics.close();
      await log.close();
      // A reader of stdout or stderr that has stopped must not hold up the end.
      setTimeout(() => process.exit(), lastOutputMs).unref();
    }
  }
}

/**
 * How many connections may be open, so that storage has the file descriptors that it needs.
 * @throws where there would be none.
 */
function boundConnections(log: ServerLog): number {
  const openFiles = openFilesMax();
  if (openFiles === undefined) return defaultConnectionsMax;
  const connectionsMax = connectionsWithin(socketsWithin(openFiles));
  if (connectionsMax >= defaultConnectionsMax) return defaultConnectionsMax;
  log.warn(
    'connections_bounded',
    { connections_max: connectionsMax, open_files_max: openFiles },
    `at most ${connectionsMax} connections, since this process may open ${openFiles} files and sockets (ulimit -n)`,
  );
  return connectionsMax;
}

/** The settings that tell why a server behaves as it does. */
function settingsOf(options: ServeOptions): Record<string, unknown> {
  const { dataDir, maxBodyBytes, maxBacklogBytes, maxCountersPerDay } = options;
  return {
    data_dir: dataDir,
    max_body_bytes: maxBodyBytes,
    max_backlog_bytes: maxBacklogBytes,
    max_counters_per_day: maxCountersPerDay,
    keep_receipts_days: options.keepReceiptsDays,
    keep_raw_days: options.keepRawDays,
    node: process.versions.node,
    pid: process.pid,
  };
}

/**
 * Access by the tokens of the data directory, as they are at any time.
 * @throws {UsageError} where others could come in without any.
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
      `All tokens of ${dataDir} are revoked, so every client is refused. Make one with token create. To let clients in without tokens, stop the server and remove tokens.json and log/tokens-required.log.`,
    );
  }
  if (table.isEmpty && !isOpenWithoutTokens) {
    watch.close();
    throw new UsageError(
      `${host} can be reached from other machines, and ${dataDir} has no token yet. Make one with ` +
        `\`npx device-pipeline token create --data-dir ${dataDir} --name NAME --for ingest,read\`, ` +
        'bind 127.0.0.1, or say --insecure if the network is trusted.',
    );
  }
  return { access: serverAccess({ tokens: () => table, isOpenWithoutTokens, rate }), watch };
}

/** Resolves at the first signal to stop. A second one, unless it is SIGHUP, ends the process at once. */
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

/** Returns the address that it listens on, as a URL. */
function listen(
  { server }: HttpServer,
  { host, port }: ServeOptions,
  onDefect: (error: Error) => void,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const onError = (error: NodeJS.ErrnoException) => {
      reject(new Error(whyNotListening(error, host, port), { cause: error }));
    };
    server.once('error', onError);
    server.listen(port, host, () => {
      // A connection that cannot be accepted, such as for want of descriptors, is no reason to end.
      server.off('error', onError).on('error', onDefect);
      const address = server.address();
      const actualPort = typeof address === 'object' && address !== null ? address.port : port;
      resolve(`http://${host.includes(':') ? `[${host}]` : host}:${actualPort}`);
    });
  });
}

function whyNotListening(error: NodeJS.ErrnoException, host: string, port: number): string {
  switch (error.code) {
    case 'EADDRINUSE':
      return `Port ${port} of ${host} is in use. Stop what listens there, or choose another with --port.`;
    case 'EACCES':
      return `Port ${port} needs more rights than this user has. Choose one above 1023 with --port.`;
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
      return `${host} is no address of this machine. Choose another with --host.`;
    case undefined:
    default:
      return `The server cannot listen on ${host}:${port}: ${error.message}.`;
  }
}
