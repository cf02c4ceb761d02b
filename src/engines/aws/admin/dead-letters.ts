import { GetQueueAttributesCommand } from '@aws-sdk/client-sqs';

import type {
  DeadLetterSelection,
  DeadLetters,
  DeadLetterView,
} from '../../../pipeline/store-admin.ts';
import { sweepBatch } from '../../../pipeline/sweep/sweep.ts';
import type { SweepRules } from '../../../pipeline/sweep/ports.ts';
import { realBackoff } from '../../../util/backoff.ts';
import {
  forEachDeadLetter,
  type PassOptions,
  type StoredDeadLetter,
} from '../dead-letters/dead-letter-pass.ts';
import {
  droppedDeadLetters,
  dropDeadLetters,
  type DroppedDeadLetter,
} from '../dead-letters/drop.ts';
import { redriveDeadLetters, type RedriveOptions } from '../dead-letters/redrive.ts';
import { s3BodyGroups } from '../intake/body-groups.ts';
import { s3RawStore } from '../intake/raw-store.ts';
import { awsSweepPorts } from '../intake/sweep-ports.ts';
import { findShortestRetentionMs, redriveMarginMs } from '../ledger/settings.ts';
import { checkTablePair } from '../ledger/table-pair.ts';
import { sqsChunkQueue } from '../queue/chunk-queue.ts';
import { deployed, type AwsStore, type DeployedStack } from './stack.ts';

/** Long polling: how long SQS waits for a message before it returns none. */
const waitSeconds = 1;
const sendLimits = { attemptsMax: 6, delayMsMax: 1_000 };
/** The default of the sweeper. */
const sweepAfterMs = 15 * 60_000;

/** The dead-letter queue, and the record of dropped dead letters in the ledger. */
export function awsDeadLetters(store: AwsStore): DeadLetters {
  return {
    async list(limit, show) {
      const stack = deployed(store);
      const hidden = await countInFlight(stack);
      const { isMore } = await forEachDeadLetter(passOf(stack, limit), async (page) => {
        await show(page.map((each) => viewOf(each, each.body, undefined)));
        return new Set();
      });
      for await (const page of droppedDeadLetters(stack.dynamodb, stack.ledgerTable)) {
        await show(page.map((each) => viewOf(each, each.body, each.droppedAt)));
      }
      return { isMore, hidden };
    },

    async redrive(selection, report) {
      const stack = deployed(store);
      const { dynamodb: client, countersTable, ledgerTable } = stack;
      await checkTablePair({ client, countersTable, ledgerTable });
      let done = 0;
      const left: { id: string; reason: string }[] = [];
      const options = await redriveOptions(stack, selection.limit);
      const { isMore } = await redriveDeadLetters(options, filterBy(selection), {
        onDeadLetter(deadLetter, reason) {
          const id = nameOfDeadLetter(deadLetter);
          if (reason === undefined) done++;
          else left.push({ id, reason });
          report(id, reason === undefined ? 'sent' : `left: ${reason}`);
        },
      });
      return { how: 'sent', done, left, isMore };
    },

    async drop(selection) {
      const stack = deployed(store);
      const { transactions: client, ledgerTable } = stack;
      let dropped = 0;
      const countedBefore: string[] = [];
      const { isMore } = await dropDeadLetters(
        {
          pass: passOf(stack, selection.limit),
          client,
          ledgerTable,
          groups: s3BodyGroups(stack.s3, stack.rawBucket),
          backoff: realBackoff(sendLimits),
        },
        filterBy(selection),
        (deadLetter, outcome) => {
          if (outcome === 'dropped') dropped++;
          else countedBefore.push(nameOfDeadLetter(deadLetter));
        },
      );
      return { dropped, countedBefore, isMore };
    },
  };
}

async function redriveOptions(stack: DeployedStack, limit: number): Promise<RedriveOptions> {
  const { dynamodb, ledgerTable, keepMs, dayOf, sqs, queueUrl } = stack;
  const queue = { client: sqs, queueUrl, backoff: realBackoff(sendLimits) };
  const retentionMs = Math.min(
    keepMs,
    (await findShortestRetentionMs(dynamodb, ledgerTable)) ?? keepMs,
  );
  const ageMsMax = retentionMs - redriveMarginMs;
  const ports = awsSweepPorts({
    ledger: { client: dynamodb, ledgerTable, keepMs },
    rawStore: s3RawStore(stack.s3, stack.rawBucket),
    queue: sqsChunkQueue(queue),
    ...{ sqs, queueUrl, backoff: queue.backoff },
    deadLetters: { add: () => Promise.resolve(new Set()) },
    width: 1,
  });
  const rules: SweepRules = {
    ...{ dayOf, ageMsMax, keepMs: retentionMs, afterMs: sweepAfterMs, now: Date.now },
    deadline: Number.POSITIVE_INFINITY,
    onFailure: () => undefined,
    onForgotten: () => undefined,
  };
  return {
    ...{ pass: passOf(stack, limit), queue, dayOf, ageMsMax },
    redriveBatch: (rawKey) => sweepBatch(rawKey, ports, rules),
  };
}

function passOf({ sqs, deadLetterQueueUrl }: DeployedStack, limit: number): PassOptions {
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

function filterBy({ isChosen }: DeadLetterSelection): (deadLetter: StoredDeadLetter) => boolean {
  return (deadLetter) => {
    const { id, content, reason } = deadLetter;
    const batch = content.kind === 'message' ? [] : [content.batchId, content.rawKey];
    return isChosen([id, nameOfDeadLetter(deadLetter), ...batch], reason);
  };
}

/** A chunk is named by its batch id and index. */
function nameOfDeadLetter({ id, content }: Pick<StoredDeadLetter, 'id' | 'content'>): string {
  return content.kind === 'chunk' ? `${content.batchId}:${content.index}` : id;
}

function viewOf(
  deadLetter: Omit<DroppedDeadLetter, 'body' | 'droppedAt'>,
  body: string | undefined,
  droppedAt: number | undefined,
): DeadLetterView {
  const { content, reason, firstFailedAt, lastFailedAt } = deadLetter;
  const { batchId, rawKey } = content.kind === 'message' ? {} : content;
  const { index, items } = content.kind === 'chunk' ? content : {};
  return {
    ...{ id: nameOfDeadLetter(deadLetter), batchId, rawKey, index, items, reason },
    ...{ firstFailedAt, lastFailedAt, droppedAt, encoding: 'identity' },
    body: body === undefined ? undefined : Buffer.from(body),
  };
}
