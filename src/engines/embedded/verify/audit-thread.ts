import { parentPort, workerData } from 'node:worker_threads';

import { rowsOfIncrements } from '../../../domain/counter.ts';
import { SpanAudit, type Span } from './audit-span.ts';
import type { AuditThreadSettings, FromAuditThread } from './audit-threads.ts';
import { nodeFileSystem } from '../log/file-system.ts';
import { openDatabaseReadOnly } from '../store/read-only-database.ts';

const port = parentPort;
if (port === null) throw new Error('this module runs as a worker');

const send = (message: FromAuditThread) => port.postMessage(message);

const { databasePath, place, ...rest } = workerData as AuditThreadSettings;
const audit = new SpanAudit({
  ...rest,
  place: { ...place, fileSystem: nodeFileSystem },
  database: openDatabaseReadOnly(databasePath),
  onIncrements: (increments) =>
    send({ kind: 'increments', rows: [...rowsOfIncrements(increments)] }),
  onDifference: (difference) => send({ kind: 'difference', difference }),
  onProgress: (bytes) => send({ kind: 'progress', bytes }),
});

port.on('message', (span: Span) => {
  send({ kind: 'done', findings: audit.audit(span) });
});
