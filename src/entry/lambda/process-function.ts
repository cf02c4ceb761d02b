import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { SQSClient } from '@aws-sdk/client-sqs';
import type { SQSBatchResponse, SQSEvent, SQSRecord } from 'aws-lambda';

import { awsCountingPorts } from '../../engines/aws/counters/counting-ports.ts';
import { ensureDayRule, leastKeepMs, roomMs } from '../../engines/aws/ledger/settings.ts';
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
import { readEnvironment, storeRules } from './environment.ts';
import { once } from './once.ts';
import { telemetryOf, type InvocationContext } from './telemetry/telemetry.ts';

export type ProcessFunction = (
  event: SQSEvent,
  context: InvocationContext,
) => Promise<SQSBatchResponse>;

/** The time reserved at the end of an invocation for dead letters and the response. */
const closingMs = 5_000;

/** The function that counts the messages of the queue. */
export function processFunction(env: Record<string, string | undefined>): ProcessFunction {
  const environment = readEnvironment(env);
  const telemetry = telemetryOf('process', environment);
  const { dayZone, dayOf, keepMs } = storeRules(environment);
  const countersTable = environment.text('COUNTERS_TABLE');
  const ledgerTable = environment.text('LEDGER_TABLE');
  const receivesMax = environment.number('MAX_RECEIVES', 1);
  const dynamodb = telemetry.traced(new DynamoDBClient({ requestHandler }));
  // The counter store alone retries transactions; see `transact`.
  const transactions = telemetry.traced(new DynamoDBClient({ requestHandler, maxAttempts: 1 }));
  const queueUrl = environment.text('QUEUE_URL');
  const sqs = telemetry.traced(new SQSClient({ requestHandler }));
  // One attempt: at the end of an invocation there is no time for more.
  const sqsOnce = telemetry.traced(new SQSClient({ requestHandler, maxAttempts: 1 }));
  const deadLetters = deadLetterQueue({
    client: sqs,
    queueUrl: environment.text('DEAD_LETTER_QUEUE_URL'),
    backoff: backoff(4),
  });
  const deadLetterSink = deadLetterOnce(observedDeadLetters(deadLetters, telemetry), {
    client: dynamodb,
    ledgerTable,
    keepMs,
    now: Date.now,
  });
  // Shared by invocations: an environment runs one at a time.
  const repeats = { expectedUntil: 0 };
  const readRules = once(async () => {
    await ensureDayRule(dynamodb, ledgerTable, dayZone);
    return { leastMs: await leastKeepMs(dynamodb, ledgerTable, keepMs) };
  });

  return telemetry.handler(async (event, context) => {
    const { leastMs } = await readRules();
    const deadline = Date.now() + context.getRemainingTimeInMillis() - closingMs;
    const store = dynamodbCounterStore({
      client: transactions,
      countersTable,
      ledgerTable,
      keepMs,
      // Conflicts with concurrent transactions end at some point: retry until the deadline.
      backoff: backoff(Number.POSITIVE_INFINITY, deadline),
    });
    const messages = new Map(event.Records.map((record) => [messageOf(record), record]));
    const ledger = { client: dynamodb, ledgerTable, backoff: backoff(4, deadline) };
    const ports = observedPorts(awsCountingPorts(store, deadLetterSink, ledger), telemetry);
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
