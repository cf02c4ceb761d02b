import { parseArgs } from 'node:util';

import type { ArchiveOptions } from '../../../src/engines/embedded/archive/archive-messages.ts';
import { EmbeddedPipeline } from '../../../src/engines/embedded/embedded-pipeline.ts';
import { dayMs, embeddedDefaults } from '../../../src/engines/embedded/options.ts';
import { openFilesMax, socketsWithin } from '../../../src/entry/serve/open-files.ts';
import { connectionsWithin } from '../../../src/http/server/connection-limiter.ts';
import { defaultConnectionsMax } from '../../../src/http/server/connection-limiter.ts';
import { createHttpServer } from '../../../src/http/server/server.ts';

/*
 * The server with segments so small that it creates and removes them all the time. It keeps no raw
 * bodies. Its arguments are those of `serve` in the tests.
 */
const { values } = parseArgs({
  options: {
    'data-dir': { type: 'string', default: '' },
    port: { type: 'string' },
    archive: { type: 'string' },
    'archive-mode': { type: 'string' },
    'archive-interval': { type: 'string' },
  },
  allowPositionals: true,
});

function archiveOptions(url: string): ArchiveOptions {
  const isSync = values['archive-mode'] === 'sync';
  const intervalMs = Number(values['archive-interval']) * 1000;
  return { url, isSync, intervalMs, bytesPerSecondMax: Number.POSITIVE_INFINITY };
}

// As `serve` does.
const connectionsMax = Math.min(
  defaultConnectionsMax,
  connectionsWithin(socketsWithin(openFilesMax() ?? Infinity)),
);
const report = (error: Error | string) => void process.stderr.write(`${String(error)}\n`);
const pipeline = await EmbeddedPipeline.open(
  {
    ...embeddedDefaults,
    dataDir: values['data-dir'],
    segmentBytes: 32 * 1024,
    allocateBytes: 4096,
    keepKeysMs: 90 * dayMs,
    keepRawMs: 0,
    archive: values.archive === undefined ? undefined : archiveOptions(values.archive),
  },
  report,
);
const { bodyBytesMax, inFlightBytesMax } = embeddedDefaults;
const http = createHttpServer({
  pipeline,
  bodyBytesMax,
  bodiesBytesMax: inFlightBytesMax,
  connectionsMax,
  onUnexpectedError: report,
});
http.server.listen(0, '127.0.0.1', () => {
  const address = http.server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  process.stdout.write(`listening on http://127.0.0.1:${port}\n`);
});

let failure: Error | undefined;
const stop = new Promise<undefined>((resolve) => {
  process.once('SIGTERM', () => resolve(undefined));
});
try {
  failure = await Promise.race([stop, pipeline.failed]);
  await http.stop(failure === undefined ? 10_000 : 1_500);
} finally {
  await pipeline.close();
}
if (failure !== undefined) {
  report(failure);
  process.exitCode = 1;
}
