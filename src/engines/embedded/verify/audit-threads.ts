import { availableParallelism } from 'node:os';
import type { Worker } from 'node:worker_threads';

import type { CounterRow } from '../../../domain/counter.ts';
import type { Difference } from '../../../pipeline/findings.ts';
import type { Span, SpanAuditOptions, SpanFindings } from './audit-span.ts';
import type { LogLocation } from '../log/scan-log.ts';
import { newWorker } from '../workers.ts';

export interface AuditThreadSettings extends Pick<
  SpanAuditOptions,
  'dayZone' | 'deadLetters' | 'received'
> {
  readonly databasePath: string;
  readonly place: Omit<LogLocation, 'fileSystem'>;
}

export type FromAuditThread =
  | { readonly kind: 'increments'; readonly rows: readonly CounterRow[] }
  | { readonly kind: 'difference'; readonly difference: Difference }
  | { readonly kind: 'progress'; readonly bytes: number }
  | { readonly kind: 'done'; readonly findings: SpanFindings };

interface AuditThreadEvents extends Pick<SpanAuditOptions, 'onDifference' | 'onProgress'> {
  readonly onRows: (rows: readonly CounterRow[]) => void;
}

/** A thread uses some tens of megabytes. */
const threadsMax = 8;

/** Starting a thread takes as long as reading some megabytes. */
const bytesPerThreadMin = 32 * 1024 * 1024;

/** The number of threads worth starting for this many bytes. */
export function threadsFor(bytes: number): number {
  return Math.min(availableParallelism(), Math.floor(bytes / bytesPerThreadMin), threadsMax);
}

/**
 * Audits spans on `threads` threads, each of which takes the next span when it is done with one.
 * @throws the first error of a thread, after it has ended the others.
 */
export async function auditOnThreads(
  spans: readonly Span[],
  threads: number,
  settings: AuditThreadSettings,
  events: AuditThreadEvents,
): Promise<SpanFindings[]> {
  const waiting = [...spans];
  const workers = Array.from({ length: threads }, () =>
    newWorker('verify/audit-thread', { workerData: settings }),
  );
  try {
    const found = await Promise.all(workers.map((worker) => follow(worker, waiting, events)));
    return found.flat();
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
}

function follow(worker: Worker, waiting: Span[], events: AuditThreadEvents) {
  const found: SpanFindings[] = [];
  return new Promise<SpanFindings[]>((resolve, reject) => {
    const next = () => {
      const span = waiting.shift();
      if (span === undefined) resolve(found);
      else worker.postMessage(span satisfies Span);
    };
    worker.on('error', reject);
    worker.on('exit', () => reject(new Error('an audit thread ended unexpectedly')));
    worker.on('message', (message: FromAuditThread) => {
      switch (message.kind) {
        case 'increments':
          events.onRows(message.rows);
          return;
        case 'difference':
          events.onDifference(message.difference);
          return;
        case 'progress':
          events.onProgress(message.bytes);
          return;
        case 'done':
          found.push(message.findings);
          next();
      }
    });
    next();
  });
}
