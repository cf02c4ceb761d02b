import { once } from 'node:events';

import { GetQueueAttributesCommand } from '@aws-sdk/client-sqs';

import { awsSweepPorts } from '../../engines/aws/intake/sweep-ports.ts';
import {
  forEachDeadLetter,
  type PassOptions,
  type StoredDeadLetter,
} from '../../engines/aws/dead-letters/dead-letter-pass.ts';
import {
  droppedDeadLetters,
  dropDeadLetters,
  type DroppedDeadLetter,
} from '../../engines/aws/dead-letters/drop.ts';
import { findLeastKeepMs } from '../../engines/aws/ledger/settings.ts';
import { redriveDeadLetters, type RedriveOptions } from '../../engines/aws/dead-letters/redrive.ts';
import { s3RawStore } from '../../engines/aws/intake/raw-store.ts';
import { sqsChunkQueue } from '../../engines/aws/queue/chunk-queue.ts';
import { checkTablePair } from '../../engines/aws/ledger/table-pair.ts';
import { sweepBatch } from '../../pipeline/sweep/sweep.ts';
import type { SweepRules } from '../../pipeline/sweep/ports.ts';
import type { StackPlace } from '../cli/common-options.ts';
import { DeadLetterFilter, type ChosenDeadLetters, type DlqOptions } from './dlq-options.ts';
import { backoff } from '../lambda/clients.ts';
import { roomMs } from '../lambda/environment.ts';
import { deadLetterJson, deadLetterText, type DeadLetterView } from './dead-letter-text.ts';
import { withStack, type DeployedStack } from '../../engines/aws/admin/stack.ts';
import { jsonText, visible } from '../cli/terminal-text.ts';

/** Long polling: how long SQS waits for a message before it returns none. */
const waitSeconds = 1;
const sendAttemptsMax = 6;
/** The default of the sweeper. */
const sweepAfterMs = 15 * 60_000;

export const listOfStack = onStack(list);
export const redriveOnStack = onStack(redrive);
export const dropFromStack = onStack(drop);

function onStack<Options>(act: (stack: DeployedStack, options: Options) => Promise<number>) {
  return (place: StackPlace, options: Options) =>
    withStack(place, process.env, (stack) => act(stack, options));
}

/** Prints the dead-letter queue and the dropped dead letters. Returns the exit code. */
async function list(stack: DeployedStack, options: DlqOptions): Promise<number> {
  const { json } = options;
  const hidden = await countInFlight(stack);
  const print = async (letters: readonly DeadLetterView[]) => {
    const text = letters.map((deadLetter) =>
      json ? `${deadLetterJson(deadLetter)}\n` : deadLetterText(deadLetter),
    );
    if (!process.stdout.write(text.join(''))) await once(process.stdout, 'drain');
  };
  const { visited: letters, isMore } = await forEachDeadLetter(
    passOf(stack, options),
    async (page) => {
      await print(page.map(shownOf));
      return new Set();
    },
  );
  let dropped = 0;
  for await (const page of droppedDeadLetters(stack.dynamodb, stack.ledgerTable)) {
    await print(page.map(shownOfDropped));
    dropped += page.length;
  }
  if (letters + dropped === 0 && !json) process.stdout.write('no dead letters\n');
  reportLimit(isMore, options);
  if (hidden > 0) {
    process.stderr.write(
      `about ${hidden} dead letters are in flight to another command or console; list again in some minutes\n`,
    );
  }
  return 0;
}

/** Moves dead letters back to the queue. Returns the exit code: 1 if some are left. */
async function redrive(stack: DeployedStack, options: ChosenDeadLetters): Promise<number> {
  const { json } = options;
  const { dynamodb: client, countersTable, ledgerTable } = stack;
  await checkTablePair({ client, countersTable, ledgerTable });
  const filter = new DeadLetterFilter(options);
  let sent = 0;
  const left: { id: string; reason: string }[] = [];
  const result = await redriveDeadLetters(await redriveOptions(stack, options), filterBy(filter), {
    onDeadLetter(deadLetter, reason) {
      const name = nameOfDeadLetter(deadLetter);
      if (reason === undefined) sent++;
      else left.push({ id: name, reason });
      if (json) return;
      const text = reason === undefined ? 'sent' : `left: ${reason}`;
      process.stdout.write(`${visible(name)}: ${visible(text)}\n`);
    },
  });
  const text = `sent ${sent} to be counted, left ${left.length}`;
  process.stdout.write(`${json ? jsonText({ sent, left }) : text}\n`);
  reportLimit(result.isMore, options);
  return filter.reportMissing() && left.length === 0 ? 0 : 1;
}

/** Decides that dead letters are never counted. Returns the exit code. */
async function drop(stack: DeployedStack, options: ChosenDeadLetters): Promise<number> {
  const filter = new DeadLetterFilter(options);
  let dropped = 0;
  const counted: string[] = [];
  const result = await dropDeadLetters(
    {
      pass: passOf(stack, options),
      client: stack.transactions,
      ledgerTable: stack.ledgerTable,
      backoff: backoff(sendAttemptsMax),
    },
    filterBy(filter),
    (deadLetter, outcome) => {
      if (outcome === 'dropped') dropped++;
      else counted.push(nameOfDeadLetter(deadLetter));
    },
  );
  if (options.json) {
    process.stdout.write(`${jsonText({ dropped, counted_before: counted })}\n`);
  } else {
    for (const name of counted) {
      process.stdout.write(`${visible(name)}: already counted from another copy; removed\n`);
    }
    process.stdout.write(`dropped ${dropped}; they stay on record and are never counted\n`);
  }
  reportLimit(result.isMore, options);
  return filter.reportMissing() ? 0 : 1;
}

async function redriveOptions(stack: DeployedStack, options: DlqOptions): Promise<RedriveOptions> {
  const { dynamodb, ledgerTable, keepMs, dayOf } = stack;
  const queue = {
    client: stack.sqs,
    queueUrl: stack.queueUrl,
    backoff: backoff(sendAttemptsMax),
  };
  const leastMs = Math.min(keepMs, (await findLeastKeepMs(dynamodb, ledgerTable)) ?? keepMs);
  const ageMsMax = leastMs - roomMs;
  const ports = awsSweepPorts({
    ledger: { client: dynamodb, ledgerTable, keepMs },
    rawStore: s3RawStore(stack.s3, stack.rawBucket),
    queue: sqsChunkQueue(queue),
    ...{ sqs: queue.client, queueUrl: queue.queueUrl, backoff: queue.backoff },
    deadLetters: { add: () => Promise.resolve(new Set()) },
    width: 1,
  });
  const rules: SweepRules = {
    ...{ dayOf, ageMsMax, keepMs: leastMs, afterMs: sweepAfterMs, now: Date.now },
    deadline: Number.POSITIVE_INFINITY,
    onFailure: () => undefined,
    onForgotten: () => undefined,
  };
  return {
    ...{ pass: passOf(stack, options), queue, dayOf, ageMsMax },
    redriveBatch: (rawKey) => sweepBatch(rawKey, ports, rules),
  };
}

function passOf({ sqs, deadLetterQueueUrl }: DeployedStack, { limit }: DlqOptions): PassOptions {
  return { client: sqs, queueUrl: deadLetterQueueUrl, now: Date.now, limit, waitSeconds };
}

/** The approximate number of dead letters that another reader has received and not deleted. */
async function countInFlight({ sqs, deadLetterQueueUrl }: DeployedStack): Promise<number> {
  const name = 'ApproximateNumberOfMessagesNotVisible';
  const { Attributes = {} } = await sqs.send(
    new GetQueueAttributesCommand({ QueueUrl: deadLetterQueueUrl, AttributeNames: [name] }),
  );
  return Number(Attributes[name] ?? 0);
}

function reportLimit(isMore: boolean, { limit }: DlqOptions): void {
  if (!isMore) return;
  process.stderr.write(
    `there may be more dead letters than --limit ${limit} allows; run the command again, or with a larger --limit\n`,
  );
}

function filterBy(filter: DeadLetterFilter): (deadLetter: StoredDeadLetter) => boolean {
  return (deadLetter) => {
    const { id, content, reason } = deadLetter;
    const batch = content.kind === 'message' ? [] : [content.batchId, content.rawKey];
    return filter.isChosen({ names: [id, nameOfDeadLetter(deadLetter), ...batch], reason });
  };
}

/** A chunk is named by its batch id and index. */
function nameOfDeadLetter({ id, content }: Pick<StoredDeadLetter, 'id' | 'content'>): string {
  return content.kind === 'chunk' ? `${content.batchId}:${content.index}` : id;
}

function shownOf(deadLetter: StoredDeadLetter): DeadLetterView {
  return shown(deadLetter, Buffer.from(deadLetter.body), undefined);
}

function shownOfDropped(deadLetter: DroppedDeadLetter): DeadLetterView {
  const { body, droppedAt } = deadLetter;
  return shown(deadLetter, body === undefined ? undefined : Buffer.from(body), droppedAt);
}

function shown(
  deadLetter: Omit<DroppedDeadLetter, 'body' | 'droppedAt'>,
  body: Uint8Array | undefined,
  droppedAt: number | undefined,
): DeadLetterView {
  const { content, reason, firstFailedAt, lastFailedAt } = deadLetter;
  const isChunk = content.kind === 'chunk';
  const isMessage = content.kind === 'message';
  return {
    id: nameOfDeadLetter(deadLetter),
    batchId: isMessage ? undefined : content.batchId,
    rawKey: isMessage ? undefined : content.rawKey,
    index: isChunk ? content.index : undefined,
    items: isChunk ? content.items : undefined,
    ...{ reason, firstFailedAt, lastFailedAt, droppedAt, body, encoding: 'identity' },
  };
}
