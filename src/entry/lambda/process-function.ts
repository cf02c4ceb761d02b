import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { SQSClient } from '@aws-sdk/client-sqs';
import type { SQSBatchResponse, SQSEvent, SQSRecord } from 'aws-lambda';

import { awsCountingPorts } from '../../engines/aws/counters/counting-ports.ts';
import { ensureDayRule, leastKeepMs } from '../../engines/aws/ledger/settings.ts';
import { dynamodbCounterStore } from '../../engines/aws/counters/counter-store.ts';
import { deadLetterOnce } from '../../engines/aws/dead-letters/dead-letter-once.ts';
import {
  deadLetterAttributes,
  replayedAtAttribute,
  deadLetterQueue,
} from '../../engines/aws/dead-letters/dead-letter-queue.ts';
import { deliverSooner } from '../../engines/aws/queue/visibility.ts';
import { countMessages, type QueueMessage } from '../../pipeline/counting/count-messages.ts';
import { backoff, requestHandler } from './clients.ts';
import { batchIdsOf, observedDeadLetters, observedPorts } from './telemetry/counted-work.ts';
import { readEnvironment, roomMs, storeRules } from './environment.ts';
import { once } from './once.ts';
import { telemetryOf, type InvocationContext } from './telemetry/telemetry.ts';

export type ProcessFunction = (
  event: SQSEvent,
  context: InvocationContext,
) => Promise<SQSBatchResponse>;

/** What is left of an invocation for dead letters and the answer, once nothing more is counted. */
const closingMs = 5_000;

/** The function behind the queue: counts what the messages carry. */
export function processFunction(env: Record<string, string | undefined>): ProcessFunction {
  const environment = readEnvironment(env);
  const telemetry = telemetryOf('process', environment);
  const { dayZone, dayOf, keepMs } = storeRules(environment);
  const countersTable = environment.text('COUNTERS_TABLE');
  const ledgerTable = environment.text('LEDGER_TABLE');
  const receivesMax = environment.number('MAX_RECEIVES', 1);
  const dynamodb = telemetry.traced(new DynamoDBClient({ requestHandler }));
  // Transactions are tried again by the counter store alone, which knows what that means.
  const transactions = telemetry.traced(new DynamoDBClient({ requestHandler, maxAttempts: 1 }));
  const queueUrl = environment.text('QUEUE_URL');
  const sqs = telemetry.traced(new SQSClient({ requestHandler }));
  // Tried once: an invocation that is at its end has no time for more.
  const sqsOnce = telemetry.traced(new SQSClient({ requestHandler, maxAttempts: 1 }));
  const deadLetters = deadLetterQueue({
    client: sqs,
    queueUrl: environment.text('DEAD_LETTER_QUEUE_URL'),
    backoff: backoff(4),
  });
  const parking = deadLetterOnce(observedDeadLetters(deadLetters, telemetry), {
    client: dynamodb,
    ledgerTable,
    keepMs,
    now: Date.now,
  });
  // Of the environment, which has one invocation at a time.
  const repeats = { expectedUntil: 0 };
  const holdToRules = once(async () => {
    await ensureDayRule(dynamodb, ledgerTable, dayZone);
    return { leastMs: await leastKeepMs(dynamodb, ledgerTable, keepMs) };
  });

  return telemetry.handler(async (event, context) => {
    const { leastMs } = await holdToRules();
    const deadline = Date.now() + context.getRemainingTimeInMillis() - closingMs;
    const store = dynamodbCounterStore({
      client: transactions,
      countersTable,
      ledgerTable,
      keepMs,
      // What others write at the same time makes way in the end: until then it is tried again.
      backoff: backoff(Number.POSITIVE_INFINITY, deadline),
    });
    const messages = new Map(event.Records.map((record) => [messageOf(record), record]));
    const ledger = { client: dynamodb, ledgerTable, backoff: backoff(4, deadline) };
    const ports = observedPorts(awsCountingPorts(store, parking, ledger), telemetry);
    const left = await countMessages([...messages.keys()], ports, {
      dayOf,
      now: Date.now,
      deadline,
      ageMsMax: leastMs - roomMs,
      receivesMax,
      repeats,
    });
    telemetry.count('MessagesLeft', left.size);
    if (left.size > 0) {
      telemetry.log('ERROR', 'messages were not counted', {
        messages: left.size,
        ...batchIdsOf([...left].map(({ body }) => body)),
      });
    }
    const again = [...left].map((message) => ({
      receiptHandle: messages.get(message)?.receiptHandle ?? '',
      receives: message.receives,
    }));
    await deliverSooner(sqsOnce, queueUrl, again);
    return {
      batchItemFailures: [...left].map((message) => ({
        itemIdentifier: messages.get(message)?.messageId ?? '',
      })),
    };
  });
}

function messageOf({ messageId, body, attributes, messageAttributes }: SQSRecord): QueueMessage {
  const { originalId, sentAt, firstFailedAt } = deadLetterAttributes;
  const timeOf = (name: string) => {
    const time = Date.parse(messageAttributes[name]?.stringValue ?? '');
    return Number.isNaN(time) ? undefined : time;
  };
  const replayedAt = timeOf(replayedAtAttribute);
  return {
    messageId,
    originalId: messageAttributes[originalId]?.stringValue ?? messageId,
    body,
    ...(replayedAt !== undefined && { replayedAt }),
    sentAt: timeOf(sentAt) ?? Number(attributes.SentTimestamp),
    receives: Number(attributes.ApproximateReceiveCount),
    firstFailedAt: timeOf(firstFailedAt),
  };
}
