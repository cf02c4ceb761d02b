import { ChangeMessageVisibilityBatchCommand } from '@aws-sdk/client-sqs';
import { expect, it } from 'vitest';

import { deliverSooner } from '../../../src/engines/aws/queue/visibility.ts';

it('delays messages longer each time, ten in a request, and ignores failures', async () => {
  const hidden = new Map<string, number>();
  const sizes: number[] = [];
  const client = {
    send(command: object) {
      if (!(command instanceof ChangeMessageVisibilityBatchCommand)) throw new Error('unexpected');
      const { QueueUrl, Entries = [] } = command.input;
      expect(QueueUrl).toBe('the queue');
      expect(new Set(Entries.map(({ Id }) => Id)).size).toBe(Entries.length);
      sizes.push(Entries.length);
      for (const { ReceiptHandle = '', VisibilityTimeout = NaN } of Entries) {
        hidden.set(ReceiptHandle, VisibilityTimeout);
      }
      return Promise.reject(new Error('SQS does not answer'));
    },
  };
  const messages = Array.from({ length: 12 }, (_, at) => ({
    receiptHandle: `received ${at + 1}`,
    receives: at + 1,
  }));
  const once = Array.from({ length: 7 }, (_, at) => ({ receiptHandle: `new ${at}`, receives: 1 }));
  await deliverSooner(client as never, 'the queue', [...messages, ...once]);
  expect(sizes).toEqual([10, 3]);
  expect([1, 2, 3, 4, 5, 6].map((receives) => hidden.get(`received ${receives}`))).toEqual([
    15, 30, 60, 120, 240, 480,
  ]);
  // Above the limit the queue's own timeout applies.
  expect(hidden.has('received 7')).toBe(false);
  expect(hidden.size).toBe(13);
});
