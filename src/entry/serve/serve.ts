import { dataPaths } from '../../engines/embedded/data-directory.ts';
import { EmbeddedPipeline } from '../../engines/embedded/embedded-pipeline.ts';
import { dayMs, embeddedDefaults, type EmbeddedOptions } from '../../engines/embedded/options.ts';
import { serverAccess, TokenTable, type ImmediateAccess } from '../../auth/check-access.ts';
import { connectionsWithin, defaultConnectionsMax } from '../../http/server/connection-limiter.ts';
import { watchTokens, type TokenWatch } from '../../engines/embedded/tokens/token-watch.ts';
import { openFilesMax, socketsWithin } from './open-files.ts';
import { UsageError } from '../cli/option-parsers.ts';
import type { ServeOptions } from './serve-options.ts';
import { readPages } from '../pages.ts';
import { ignoreStandardOutputErrors } from '../cli/standard-streams.ts';
import { openLog, ServerLog } from './server-log.ts';

/**
 * Runs the server with the embedded engine until SIGTERM, SIGINT or SIGHUP (exit code 0), or until its
 * storage fails.
 * @throws an Error whose message says what is wrong and what to do.
 */
export async function serve(options: ServeOptions, version: string): Promise<void> {
  const { log: logger, output } = await openLog(options.log);
  const log = new ServerLog(logger, output);
  ignoreStandardOutputErrors((reason) => {
    log.warn('stdout_lost', { reason }, `cannot write to standard output: ${reason}`);
  });
  const onUnexpectedError = (error: Error | string) => log.defect(error);
  const connectionsMax = boundConnections(log);
  const { access, watch } = openAccess(options, onUnexpectedError);
  const settings = embeddedOptions(options);
  // The modules of the HTTP server load while the writer's thread starts.
  const opening = EmbeddedPipeline.open(settings, onUnexpectedError);
  const loading = import('./run-server.ts').then((module) => ({ ...module, pages: readPages() }));
  const [opened, loaded] = await Promise.allSettled([opening, loading]);
  // Open files and threads would keep the process running.
  if (opened.status === 'rejected') {
    watch.close();
    throw opened.reason;
  }
  if (loaded.status === 'rejected') {
    watch.close();
    await opened.value.close();
    throw loaded.reason;
  }
  const { runServer, pages } = loaded.value;
  const bodiesBytesMax = settings.inFlightBytesMax;
  const parts = { access, watch, connectionsMax, bodiesBytesMax, pages, log };
  await runServer({ pipeline: opened.value, ...parts }, options, version);
}

function embeddedOptions(options: ServeOptions): EmbeddedOptions {
  return {
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
  };
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
