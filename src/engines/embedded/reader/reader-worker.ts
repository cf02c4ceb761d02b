import { parentPort, workerData } from 'node:worker_threads';

import { dataPaths } from '../data-directory.ts';
import { describeFailure } from '../failure-text.ts';
import { nodeFileSystem } from '../log/file-system.ts';
import { LogReader } from '../log/log-reader.ts';
import type { RecordLookup } from '../log/record-identity.ts';
import { findReceipt } from './receipts.ts';
import { findUncountedReplay } from '../log/uncounted-replays.ts';
import type { EmbeddedOptions } from '../options.ts';
import type { FromReader, ReaderRequest, ToReader } from '../writer/messages.ts';
import { sqliteFailure } from '../../../util/sqlite.ts';
import { openDatabaseReadOnly } from '../store/read-only-database.ts';
import { journalBytes } from '../store/journal-check.ts';
import { journalBytesMax } from '../store/schema.ts';
import { StatsResponder } from './stats-responder.ts';
import { openStatsReader } from './stats-reader.ts';

const port = parentPort;
if (port === null) throw new Error('this module runs as a worker');

const { dataDir } = workerData as EmbeddedOptions;
const paths = dataPaths(dataDir);
const stats = openStatsReader(dataDir);
const log = new LogReader(nodeFileSystem, paths.log);
const findUncounted = findUncountedReplay(log, () => stats.countedThrough());
const lookup: RecordLookup = {
  recordAt: (position) => log.recordAt(position),
  // Look into the database again: the batch may have been counted between the first two lookups.
  positionOfReplayed: (batchId) =>
    stats.positionOfReplayed(batchId) ??
    findUncounted(batchId) ??
    stats.positionOfReplayed(batchId),
};

const send = (message: FromReader, transfer: ArrayBuffer[] = []) =>
  port.postMessage(message, transfer);
const responder = new StatsResponder({
  connect: () => openDatabaseReadOnly(paths.database),
  dataVersion: () => stats.dataVersion(),
  isJournalTooLarge: () => journalBytes(paths.database) > journalBytesMax,
  send,
  onError: sendFailure,
});

port.on('message', (request: ToReader) => {
  switch (request.kind) {
    case 'consumed':
      responder.consumed(request.id, request.bytes);
      return;
    case 'cancel':
      responder.cancel(request.id);
      return;
    case 'close':
      responder.close();
      stats.close();
      log.close();
      port.close();
      return;
    case 'stats':
    case 'receipt':
    case 'sizes':
      answer(request);
  }
});
send({ kind: 'ready' });

function answer(request: ReaderRequest & { readonly id: number }): void {
  const { id } = request;
  try {
    switch (request.kind) {
      case 'stats':
        responder.stats(id, request);
        return;
      case 'sizes':
        send({ kind: 'sizes', id, sizes: stats.sizes() });
        return;
      case 'receipt':
        send({ kind: 'receipt', id, receipt: findReceipt(lookup, stats, request.batchId) });
    }
  } catch (error) {
    sendFailure(id, error);
  }
}

function sendFailure(id: number, error: unknown): void {
  const message = describeFailure(error, paths);
  const failure = sqliteFailure(error);
  if (failure === undefined || failure === 'busy') send({ kind: 'failed', id, message });
  else send({ kind: 'broken', message });
}
