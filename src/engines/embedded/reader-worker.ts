import { parentPort, workerData } from 'node:worker_threads';

import { dataPaths } from './data-directory.ts';
import { describeFailure } from './failures.ts';
import { nodeFileSystem } from './file-system.ts';
import { LogReader } from './log-reader.ts';
import { LogReceipts } from './log-receipts.ts';
import { ReplayedTail } from './replayed-tail.ts';
import type { FromReader, ToReader, WorkerSettings } from './messages.ts';
import { sqliteFailure } from './sqlite-errors.ts';
import { openStatsReader } from './stats-reader.ts';

const port = parentPort;
if (port === null) throw new Error('this module runs as a worker');

const { dataDir } = workerData as WorkerSettings;
const paths = dataPaths(dataDir);
const stats = openStatsReader(dataDir);
const log = new LogReader(nodeFileSystem, paths.log);
const tail = new ReplayedTail(log, () => stats.countedThrough());
const receipts = new LogReceipts(
  {
    recordAt: (position) => log.recordAt(position),
    // The row first: what is counted between the two is in it, or was in the tail.
    placeOfReplayed: (batchId) =>
      stats.placeOfReplayed(batchId) ?? tail.find(batchId) ?? stats.placeOfReplayed(batchId),
  },
  () => stats.countedThrough(),
  (at) => stats.isDeadLetter(at),
);

const send = (message: FromReader) => port.postMessage(message);

port.on('message', (request: ToReader) => {
  if (request.kind === 'close') {
    stats.close();
    log.close();
    port.close();
    return;
  }
  void answer(request);
});
send({ kind: 'ready' });

async function answer(request: Exclude<ToReader, { kind: 'close' }>): Promise<void> {
  const { id } = request;
  try {
    if (request.kind === 'stats') {
      for (const rows of stats.query(request.query)) send({ kind: 'rows', id, rows });
      send({ kind: 'answer', id });
    } else if (request.kind === 'sizes') {
      send({ kind: 'answer', id, sizes: stats.sizes() });
    } else send({ kind: 'answer', id, receipt: await receipts.find(request.batchId) });
  } catch (error) {
    const message = describeFailure(error, paths);
    const failure = sqliteFailure(error);
    if (failure === undefined || failure === 'busy') send({ kind: 'failed', id, message });
    else send({ kind: 'broken', message });
  }
}
