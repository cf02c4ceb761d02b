import { parentPort, workerData } from 'node:worker_threads';

import type { IngestOutcome } from '../../../pipeline/ports.ts';
import type { FromWriter, ToWriter, WriterSettings } from './messages.ts';
import { thisMachine } from './platform.ts';
import { RingConsumer } from './submission-ring.ts';
import { meteredPlatform, writerMeters } from './writer-meters.ts';
import { GroupCommitter } from './group-commit.ts';
import { Writer, type WriterEvents } from './writer.ts';

const port = parentPort;
if (port === null) throw new Error('this module runs as a worker');

const send = (message: FromWriter) => port.postMessage(message);

const { options, ring, meters } = workerData as WriterSettings;
const writer = open();
if (writer !== undefined) {
  consume(writer, new RingConsumer(ring));
  const { tornBytes, dayZone } = writer;
  send({ kind: 'ready', progress: writer.progress(), tornBytes, dayZone });
}

function open(): Writer | undefined {
  try {
    const events: WriterEvents = {
      onProgress: (progress) => send({ kind: 'progress', progress }),
      onFailure: (message) => send({ kind: 'failed', message }),
      onUnexpectedError: (message) => send({ kind: 'defect', message }),
    };
    return Writer.open(options, events, meteredPlatform(thisMachine, writerMeters(meters)));
  } catch (error) {
    sendFailure(error);
    return undefined;
  }
}

function sendFailure(error: unknown): void {
  send({ kind: 'failed', message: error instanceof Error ? error.message : String(error) });
}

/**
 * Under load the next submission is here soon: to wait for it is quicker than to sleep, and short
 * enough for the timers and messages that stand back meanwhile.
 */
const waitMs = 1;

/** Takes what comes through the ring, turn by turn, until it is told to close. */
function consume(writer: Writer, ring: RingConsumer): void {
  let isAwake = false;
  const turns = new GroupCommitter(writer, ring, {
    onOutcomes: (through, others) =>
      send({ kind: 'verdicts', through, others, progress: writer.progress() }),
    onUnexpectedError: unexpectedError,
  });
  const turn = async () => {
    await turns.commitNext();
    if (!turns.isSyncing) ring.wait(waitMs);
    goOn();
  };
  const goOn = () => {
    isAwake = ring.waiting > 0 || !ring.sleep();
    // Timers and messages have their time between.
    if (isAwake) setImmediate(() => void turn());
  };
  port?.on('message', (message: ToWriter) => {
    if (message.kind === 'close') void turns.settled().then(() => close(writer));
    else if (!isAwake) goOn();
  });
  ring.sleep();
}

/** An error that nobody foresaw must not take the other submissions with it. */
function unexpectedError(error: unknown): IngestOutcome {
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
  send({ kind: 'defect', message });
  const detail = 'The batch met an error of ours and was not stored. Please report it.';
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
