import { parentPort, workerData } from 'node:worker_threads';

import type { IngestOutcome } from '../../../pipeline/ports.ts';
import { ArchivePositions } from '../archive/archive-positions.ts';
import type { FromWriter, Progress, ToWriter, WriterSettings } from './messages.ts';
import { thisMachine } from './platform.ts';
import { RingConsumer } from './submission-ring.ts';
import { meteredPlatform, writerMeters } from './writer-meters.ts';
import { GroupCommitter } from './group-commit.ts';
import { Writer, type WriterEvents } from './writer.ts';

const port = parentPort;
if (port === null) throw new Error('this module runs as a worker');

const send = (message: FromWriter) => port.postMessage(message);

const { options, ring, meters, archive } = workerData as WriterSettings;
const positions = archive && new ArchivePositions(archive);
const writer = open();
if (writer !== undefined) {
  consume(writer, new RingConsumer(ring));
  const { tornBytes, dayZone, scanner } = writer;
  send({ kind: 'ready', progress: progressOf(writer), tornBytes, dayZone, scanner });
}

function open(): Writer | undefined {
  try {
    const events: WriterEvents = {
      onProgress: (progress) => send({ kind: 'progress', progress }),
      onFailure: (message) => send({ kind: 'failed', message }),
      onUnexpectedError: (message) => send({ kind: 'unexpected', message }),
    };
    return Writer.open(
      options,
      events,
      meteredPlatform(thisMachine, writerMeters(meters)),
      positions,
      ring.bodies,
    );
  } catch (error) {
    sendFailure(error);
    return undefined;
  }
}

/**
 * Also publishes the durable end of the log to the archive's thread, before clients get a response.
 */
function progressOf(writer: Writer): Progress {
  const progress = writer.progress();
  if (positions !== undefined) positions.durableEnd = progress.durableEnd;
  return progress;
}

function sendFailure(error: unknown): void {
  send({ kind: 'failed', message: error instanceof Error ? error.message : String(error) });
}

/**
 * Under load the next submission arrives soon: blocking for it is faster than sleeping, and short
 * enough for the timers and messages that it delays.
 */
const waitMs = 1;

/** Commits the ring's submissions group by group, until the client sends `close`. */
function consume(writer: Writer, ring: RingConsumer): void {
  let isAwake = false;
  const committer = new GroupCommitter(writer, ring, {
    onOutcomes: (through, others) =>
      send({ kind: 'outcomes', through, others, progress: progressOf(writer) }),
    onUnexpectedError: unexpectedError,
  });
  const commitGroup = async () => {
    await committer.commitNext();
    if (!committer.isSyncing) ring.wait(waitMs);
    continueOrSleep();
  };
  const continueOrSleep = () => {
    isAwake = ring.waiting > 0 || !ring.sleep();
    // Lets timers and messages run between groups.
    if (isAwake) setImmediate(() => void commitGroup());
  };
  port?.on('message', (message: ToWriter) => {
    if (message.kind === 'close') void committer.settled().then(() => close(writer));
    else if (!isAwake) continueOrSleep();
  });
  ring.sleep();
}

/** Reports an unexpected error, which fails only its own submission. */
function unexpectedError(error: unknown): IngestOutcome {
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
  send({ kind: 'unexpected', message });
  const detail = 'Internal error; the batch was not stored. Please report it.';
  return { accepted: false, problem: { code: 'internal', detail } };
}

async function close(writer: Writer): Promise<void> {
  try {
    await writer.close();
    send({ kind: 'closed' });
  } catch (error) {
    sendFailure(error);
  }
  port?.close();
}
