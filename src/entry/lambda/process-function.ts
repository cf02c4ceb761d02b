import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { SQSClient } from '@aws-sdk/client-sqs';
import type { SQSBatchResponse, SQSEvent, SQSRecord } from 'aws-lambda';

import { awsCountingPorts } from '../../engines/aws/counters/counting-ports.ts';
import { redriveMarginMs } from '../../engines/aws/ledger/settings.ts';
import { dynamodbCounterStore } from '../../engines/aws/counters/counter-store.ts';
import {
  deadLetterAttributes,
  replayedAtAttribute,
} from '../../engines/aws/dead-letters/dead-letter-queue.ts';
import { deliverSooner } from '../../engines/aws/queue/visibility.ts';
import { countMessages, type QueueMessage } from '../../pipeline/counting/count-messages.ts';
import { backoff, requestHandler } from './clients.ts';
import {
  bodyGroupsOf,
  deadLetterSinkOf,
  functionParts,
  shortestRetentionMsOf,
} from './function-parts.ts';
import { batchIdsOf, observedPorts } from './telemetry/counted-work.ts';
import type { InvocationContext } from './telemetry/telemetry.ts';

type ProcessFunction = (event: SQSEvent, context: InvocationContext) => Promise<SQSBatchResponse>;

/** The time reserved at the end of an invocation for dead letters and the response. */
const closingMs = 5_000;

/** The function that counts the messages of the queue. */
export function processFunction(env: Record<string, string | undefined>): ProcessFunction {
  const parts = functionParts('process', env);
  const { environment, telemetry, dayOf, keepMs } = parts;
  const { countersTable, ledgerTable, queueUrl, dynamodb } = parts;
  const receivesMax = environment.number('MAX_RECEIVES', 1);
  // The counter store alone retries transactions; see `transact`.
  const transactions = telemetry.traced(new DynamoDBClient({ requestHandler, maxAttempts: 1 }));
  // Only one attempt: the end of an invocation leaves no time for more.
  const sqsOnce = telemetry.traced(new SQSClient({ requestHandler, maxAttempts: 1 }));
  const deadLetterSink = deadLetterSinkOf(parts, 4);
  // Shared by invocations: an environment runs one at a time.
  const repeats = { expectedUntil: 0 };
  const shortestRetentionMs = shortestRetentionMsOf(parts);
  const groups = bodyGroupsOf(parts);

  return telemetry.handler(async (event, context) => {
    const retentionMs = await shortestRetentionMs();
    const deadline = Date.now() + context.getRemainingTimeInMillis() - closingMs;
    // Conflicts with concurrent transactions end at some point, and failures of S3: until the deadline.
    const patient = backoff(Number.POSITIVE_INFINITY, deadline);
    const store = dynamodbCounterStore({
      client: transactions,
      countersTable,
      ledgerTable,
      keepMs,
      backoff: patient,
    });
    const messages = new Map(event.Records.map((record) => [messageOf(record), record]));
    const lookups = { client: dynamodb, ledgerTable, backoff: backoff(4, deadline) };
    const stores = { ...lookups, groups, storing: patient };
    const ports = observedPorts(awsCountingPorts(store, deadLetterSink, stores), telemetry);
    const left = await countMessages([...messages.keys()], ports, {
      dayOf,
      now: Date.now,
      deadline,
      ageMsMax: retentionMs - redriveMarginMs,
      receivesMax,
      repeats,
    });
    telemetry.count('MessagesLeft', left.size);
    if (left.size > 0) {
      const oldest = Math.min(...[...left].map(({ sentAt }) => sentAt));
      telemetry.count('UncountedSeconds', Math.round((Date.now() - oldest) / 1000));
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
