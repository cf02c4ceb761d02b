import type { Message } from '@aws-sdk/client-sqs';

/** A message in the form in which Lambda's event source passes it to a function. */
export interface SqsRecord {
  readonly messageId: string;
  readonly receiptHandle: string;
  readonly body: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly messageAttributes: Readonly<Record<string, object>>;
  readonly md5OfBody: string;
  readonly eventSource: 'aws:sqs';
  readonly eventSourceARN: string;
  readonly awsRegion: string;
}

export function sqsRecord(message: Message, eventSourceARN: string, awsRegion: string): SqsRecord {
  const attributes = Object.entries(message.MessageAttributes ?? {}).map(([name, value]) => [
    name,
    {
      ...(value.StringValue !== undefined && { stringValue: value.StringValue }),
      ...(value.BinaryValue !== undefined && {
        binaryValue: Buffer.from(value.BinaryValue).toString('base64'),
      }),
      stringListValues: [],
      binaryListValues: [],
      dataType: value.DataType,
    },
  ]);
  return {
    messageId: message.MessageId ?? '',
    receiptHandle: message.ReceiptHandle ?? '',
    body: message.Body ?? '',
    attributes: { ...message.Attributes },
    messageAttributes: Object.fromEntries(attributes) as Record<string, object>,
    md5OfBody: message.MD5OfBody ?? '',
    eventSource: 'aws:sqs',
    eventSourceARN,
    awsRegion,
  };
}

/**
 * The records that a function's response reports as successful. As documented by AWS: without failures
 * or without a response, all succeed; with an unknown or empty id, or an invalid list, all fail.
 */
export function recordsDone(
  records: readonly SqsRecord[],
  payload: string,
  reportsItemFailures: boolean,
): readonly SqsRecord[] {
  if (!reportsItemFailures) return records;
  const reply = JSON.parse(payload) as { batchItemFailures?: unknown } | null;
  if (reply === null || typeof reply !== 'object') return records;
  const { batchItemFailures: failures } = reply;
  if (failures === undefined || failures === null) return records;
  if (!Array.isArray(failures)) return [];
  const known = new Set(records.map(({ messageId }) => messageId));
  const failed = new Set<string>();
  for (const failure of failures as ({ itemIdentifier?: unknown } | null)[]) {
    const id = failure?.itemIdentifier;
    if (typeof id !== 'string' || !known.has(id)) return [];
    failed.add(id);
  }
  return records.filter(({ messageId }) => !failed.has(messageId));
}
