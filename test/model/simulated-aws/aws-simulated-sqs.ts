import type {
  ChangeMessageVisibilityBatchCommandInput,
  DeleteMessageBatchCommandInput,
  GetQueueAttributesCommandInput,
  ReceiveMessageCommandInput,
  SendMessageBatchCommandInput,
} from '@aws-sdk/client-sqs';

import { knowsOnly, serviceError } from './aws-simulated-errors.ts';

export interface SimulatedMessage {
  readonly id: string;
  readonly body: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly sentAt: number;
  receives: number;
  visibleAt: number;
}

const entriesMax = 10;
const visibilityMsDefault = 30_000;

/** A standard queue: what is received stays, hidden for a time, until it is deleted. */
export class SimulatedQueue {
  readonly messages = new Map<string, SimulatedMessage>();
  readonly #now: () => number;
  readonly #makeId: () => string;

  constructor(now: () => number, makeId: () => string) {
    this.#now = now;
    this.#makeId = makeId;
  }

  put(
    body: string,
    attributes: Readonly<Record<string, string>> = {},
    id = this.#makeId(),
  ): string {
    const sentAt = this.#now();
    this.messages.set(id, { id, body, attributes, sentAt, receives: 0, visibleAt: sentAt });
    return id;
  }

  /** A message that SQS dead-letters keeps its id and its time of sending. */
  takeOver(message: SimulatedMessage): void {
    this.messages.set(message.id, { ...message, visibleAt: this.#now() });
  }

  visible(): SimulatedMessage[] {
    return [...this.messages.values()].filter(({ visibleAt }) => visibleAt <= this.#now());
  }

  /** `failed`: the indexes of the entries that SQS refuses. */
  sendMessageBatch(
    { Entries = [] }: SendMessageBatchCommandInput,
    failed: ReadonlySet<number> = new Set(),
  ) {
    checkEntries(Entries);
    const Successful = [];
    const Failed = [];
    for (const [at, entry] of Entries.entries()) {
      knowsOnly(entry, ['Id', 'MessageBody', 'MessageAttributes']);
      const { Id = '', MessageBody = '', MessageAttributes = {} } = entry;
      if (failed.has(at)) {
        Failed.push({ Id, SenderFault: false, Code: 'InternalError', Message: 'try again' });
        continue;
      }
      const attributes = Object.fromEntries(
        Object.entries(MessageAttributes).map(([name, { StringValue = '' }]) => [
          name,
          StringValue,
        ]),
      );
      Successful.push({ Id, MessageId: this.put(MessageBody, attributes) });
    }
    return {
      $metadata: {},
      ...(Successful.length > 0 && { Successful }),
      ...(Failed.length > 0 && { Failed }),
    };
  }

  receiveMessage(request: ReceiveMessageCommandInput) {
    const { MaxNumberOfMessages = 1, VisibilityTimeout } = request;
    const hiddenMs =
      VisibilityTimeout === undefined ? visibilityMsDefault : VisibilityTimeout * 1_000;
    const Messages = this.visible()
      .slice(0, MaxNumberOfMessages)
      .map((message) => {
        message.receives++;
        message.visibleAt = this.#now() + hiddenMs;
        return {
          MessageId: message.id,
          ReceiptHandle: message.id,
          Body: message.body,
          MessageAttributes: Object.fromEntries(
            Object.entries(message.attributes).map(([name, StringValue]) => [
              name,
              { DataType: 'String', StringValue },
            ]),
          ),
          Attributes: {
            SentTimestamp: String(message.sentAt),
            ApproximateReceiveCount: String(message.receives),
          },
        };
      });
    return { $metadata: {}, ...(Messages.length > 0 && { Messages }) };
  }

  deleteMessageBatch({ Entries = [] }: DeleteMessageBatchCommandInput) {
    checkEntries(Entries);
    for (const { ReceiptHandle = '' } of Entries) this.messages.delete(ReceiptHandle);
    return { $metadata: {}, Successful: Entries.map(({ Id }) => ({ Id })) };
  }

  changeMessageVisibilityBatch({ Entries = [] }: ChangeMessageVisibilityBatchCommandInput) {
    for (const { ReceiptHandle = '', VisibilityTimeout = 0 } of Entries) {
      const message = this.messages.get(ReceiptHandle);
      if (message !== undefined) message.visibleAt = this.#now() + VisibilityTimeout * 1_000;
    }
    return { $metadata: {}, Successful: Entries.map(({ Id }) => ({ Id })) };
  }

  getQueueAttributes({ AttributeNames = [] }: GetQueueAttributesCommandInput) {
    const visible = this.visible().length;
    const all: Record<string, number> = {
      ApproximateNumberOfMessages: visible,
      ApproximateNumberOfMessagesNotVisible: this.messages.size - visible,
      ApproximateNumberOfMessagesDelayed: 0,
    };
    const asked = AttributeNames.map((name) => [name, String(all[name])]);
    return { $metadata: {}, Attributes: Object.fromEntries(asked) as Record<string, string> };
  }
}

function checkEntries(entries: readonly { readonly Id: string | undefined }[]): void {
  if (entries.length === 0) throw serviceError('EmptyBatchRequest', 400);
  if (entries.length > entriesMax) {
    throw serviceError('TooManyEntriesInBatchRequest', 400);
  }
  if (new Set(entries.map(({ Id }) => Id)).size < entries.length) {
    throw serviceError('BatchEntryIdsNotDistinct', 400);
  }
}
