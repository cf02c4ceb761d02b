import { hostname } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';

import { dataPaths } from '../../data-directory.ts';
import { nodeFileSystem } from '../../log/file-system.ts';
import { LogDamaged } from '../../log/recovery.ts';
import { listSegments, readLogIdentity } from '../../log/segment.ts';
import type { ArchiveSettings, FromArchive } from '../archive-messages.ts';
import { ArchivePositions } from '../archive-positions.ts';
import { archiveStatePath, readArchiveState, writeArchiveState } from '../archive-state.ts';
import { shipState } from '../archived-state.ts';
import { removeUnneeded } from '../manage/unneeded-objects.ts';
import { TokenShipper } from '../archived-tokens.ts';
import { Archiver } from './archiver.ts';
import { hourlyRetention } from './hourly-retention.ts';
import type { ObjectStore } from '../stores/object-store.ts';
import { openObjectStore } from '../stores/open-object-store.ts';

const port = parentPort;
if (port === null) throw new Error('this module runs as a worker');

const send = (message: FromArchive) => port.postMessage(message);

const { options, dataDir, memory } = workerData as ArchiveSettings;
/** The server starts after this time even if the store has not responded. */
const silenceMs = 5_000;
const silence = setTimeout(
  () => send({ kind: 'problem', problem: `${options.url}: no response yet` }),
  silenceMs,
).unref();
let isFirst = true;
try {
  const { archiver, retention } = await createArchiver();
  port.on('message', (graceMs: number) => archiver.stop(graceMs));
  await archiver.run().finally(() => retention?.stop());
  end({ kind: 'closed' });
} catch (error) {
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof LogDamaged) {
    // The pipeline continues to count and serve the log without its archive.
    send({ kind: 'problem', problem: `Archiving has stopped. ${message}` });
    port.on('message', () => end({ kind: 'closed' }));
  } else end({ kind: 'failed', message });
}

function end(message: FromArchive): void {
  send(message);
  port?.close();
}

async function createArchiver() {
  const paths = dataPaths(dataDir);
  const identity = readLogIdentity(nodeFileSystem, paths.log);
  if (identity === undefined) throw new Error(`${paths.log} holds no log to archive.`);
  const begin = listSegments(nodeFileSystem, paths.log)[0]?.base ?? 0;
  const statePath = archiveStatePath(paths);
  const store = await openObjectStore(options.url);
  const retention = createRetention(store, identity.logId.toString('hex'), paths.database);
  const archiver = new Archiver({
    ...{ store, isSync: options.isSync },
    ...{ intervalMs: options.intervalMs, bytesPerSecondMax: options.bytesPerSecondMax },
    log: { fileSystem: nodeFileSystem, directory: paths.log, identity },
    positions: new ArchivePositions(memory),
    claims: {
      read: () => readArchiveState(statePath)?.claims,
      write: (claims) => writeArchiveState(statePath, { claims }),
    },
    shipState: (store, logId) => shipState(store, logId, paths.database, begin),
    tokens: new TokenShipper(paths.tokens),
    removeUnneeded,
    ...{ host: hostname(), directory: paths.root },
    clock: {
      now: Date.now,
      elapsedMs: () => performance.now(),
      sleep: (milliseconds) => delay(milliseconds),
      random: Math.random,
    },
    onArchived(progress) {
      clearTimeout(silence);
      if (isFirst) send({ kind: 'problem', problem: undefined });
      isFirst = false;
      send({ kind: 'archived', ...progress });
      // The archive is claimed.
      retention?.start();
    },
    onProblem(problem) {
      clearTimeout(silence);
      send({ kind: 'problem', problem: problem && `${options.url}: ${problem}` });
    },
  });
  return { archiver, retention };
}

function createRetention(store: ObjectStore, logId: string, databasePath: string) {
  const { keepMs } = options;
  if (keepMs === undefined) return undefined;
  return hourlyRetention({ store, logId, databasePath, keepMs }, (outcome) =>
    send({ kind: 'pruned', ...outcome }),
  );
}
