import { setImmediate as immediate } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';

import type { IngestOutcome, Submission } from '../../pipeline/ports.ts';
import {
  packOutcome,
  unpackSubmission,
  type FromWriter,
  type Parcel,
  type ToWriter,
  type WorkerSettings,
} from './messages.ts';
import { Writer } from './writer.ts';

const port = parentPort;
if (port === null) throw new Error('this module runs as a worker');

const send = (message: FromWriter) => port.postMessage(message);

const writer = open();

function open(): Writer | undefined {
  try {
    return Writer.open(workerData as WorkerSettings, {
      onProgress: (progress) => send({ kind: 'progress', progress }),
      onFailure: (message) => send({ kind: 'failed', message }),
    });
  } catch (error) {
    send({ kind: 'failed', message: error instanceof Error ? error.message : String(error) });
    return undefined;
  }
}

if (writer !== undefined) {
  port.on('message', (message: ToWriter) => {
    if (message.kind === 'close') void close(writer);
    else void take(writer, message);
  });
  send({ kind: 'ready', progress: writer.progress(), tornBytes: writer.tornBytes });
}

/** After so many items a parcel lets go of what it has read and waited for. */
const itemsBetweenPauses = 20_000;

async function take(writer: Writer, parcel: Parcel): Promise<void> {
  const answers: Promise<IngestOutcome>[] = [];
  let pauseAt = writer.itemsTaken + itemsBetweenPauses;
  for (const submission of submissionsOf(parcel)) {
    answers.push(writer.ingest(submission).catch(defect));
    if (writer.itemsTaken >= pauseAt) {
      await immediate();
      pauseAt = writer.itemsTaken + itemsBetweenPauses;
    }
  }
  const outcomes = await Promise.all(answers);
  // Given back at once: the garbage collector sees no hurry in memory that is not its own.
  parcel.bodies.transfer(0);
  send({
    kind: 'outcomes',
    id: parcel.id,
    outcomes: outcomes.map(packOutcome),
    progress: writer.progress(),
  });
}

/** An error that nobody foresaw must not take the other submissions with it. */
function defect(error: unknown): IngestOutcome {
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
  send({ kind: 'defect', message });
  const detail = 'The batch met an error of ours and was not stored. Please report it.';
  return { accepted: false, problem: { code: 'internal', detail } };
}

function submissionsOf({ bodies, submissions }: Parcel): Submission[] {
  let offset = 0;
  return submissions.map((packed) => {
    const submission = unpackSubmission(packed, bodies, offset);
    offset += submission.body.length;
    return submission;
  });
}

async function close(writer: Writer): Promise<void> {
  await writer.close();
  send({ kind: 'closed' });
  port?.close();
}
