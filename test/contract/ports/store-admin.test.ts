import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { ScanCommand, UpdateItemCommand, type AttributeValue } from '@aws-sdk/client-dynamodb';
import { DeleteMessageCommand, ReceiveMessageCommand } from '@aws-sdk/client-sqs';
import { afterAll, beforeAll, describe } from 'vitest';

import { readRawKey } from '../../../src/domain/batch-id.ts';
import { dayRule } from '../../../src/domain/day.ts';
import { awsStoreAdmin } from '../../../src/engines/aws/admin/store-admin.ts';
import type { DeployedStack } from '../../../src/engines/aws/admin/stack.ts';
import { openDataDirectory } from '../../../src/engines/embedded/store-admin.ts';
import { rawBatches } from '../../../src/engines/embedded/store/raw-batches.ts';
import { change, openWriter } from '../../support/embedded-store.ts';
import { AwsEngine } from '../../support/aws/aws-engine.ts';
import { createStore, startAws, type AwsEmulators } from '../../support/aws/aws-store.ts';
import { needs } from '../../support/run/needs.ts';
import { describeStoreAdmin, type StoreAdminHarness } from './store-admin-contract.ts';

const { isMet } = needs('Java');

describeStoreAdmin('a data directory', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'device-pipeline-'));
  await openWriter(dataDir).close();
  const admin = openDataDirectory(dataDir);
  return {
    admin,
    async put({ body, encoding, caller, idempotency }) {
      const submission = { body, encoding, caller, idempotencyKey: idempotency?.key };
      const writer = openWriter(dataDir);
      const outcome = await writer.ingest({ ...submission, strict: false });
      // Counts it.
      await writer.close();
      if (!outcome.accepted) throw new Error(outcome.problem.detail);
      const { batchId, rawKey } = outcome;
      return { batchId, receivedAt: readRawKey(rawKey)?.receivedAt ?? 0 };
    },
    kill(reason) {
      const { batchId = '', position = 0 } =
        [...rawBatches(dataDir, undefined)].at(-1)?.batch ?? {};
      change(
        dataDir,
        `DELETE FROM counters;
         INSERT INTO dead_letters VALUES (${position}, '${batchId}', '${reason}', 1000, 2000, NULL, NULL)`,
      );
      return Promise.resolve();
    },
    miscount() {
      change(
        dataDir,
        'UPDATE counters SET count = count + 1 WHERE type_state IN (SELECT min(type_state) FROM counters)',
      );
      return Promise.resolve();
    },
    settle: () => Promise.resolve(),
    close() {
      admin.close();
      rmSync(dataDir, { recursive: true });
      return Promise.resolve();
    },
  };
});

describe.runIf(isMet)('on AWS', () => {
  let aws: AwsEmulators;
  beforeAll(async () => {
    aws = await startAws();
  });
  afterAll(() => aws.stop());

  describe.each([
    ['a stack', false],
    ['a stack whose messages carry small bodies', true],
  ])('%s', (name, carriesBodies) => {
    describeStoreAdmin(name, () => openStack(carriesBodies));
  });

  async function openStack(carriesBodies: boolean): Promise<StoreAdminHarness> {
    const engine = new AwsEngine(aws, await createStore(aws), Date.now(), { carriesBodies });
    const admin = awsStoreAdmin(stackOf(aws, engine), {});
    return {
      admin,
      async put(batch) {
        engine.now++;
        const result = await engine.intake.accept(batch);
        await engine.storeCarried();
        return result.earlier ?? result.stored;
      },
      kill: (reason) => deadLetterOf(engine, aws, reason),
      async miscount() {
        const TableName = engine.store.countersTable;
        const { Items: [{ date, type_state } = {}] = [] } = await aws.dynamodb.send(
          new ScanCommand({ TableName, Limit: 1 }),
        );
        await aws.dynamodb.send(
          new UpdateItemCommand({
            ...{ TableName, Key: { date, type_state } as Record<string, AttributeValue> },
            UpdateExpression: 'ADD #count :one',
            ExpressionAttributeNames: { '#count': 'count' },
            ExpressionAttributeValues: { ':one': { N: '1' } },
          }),
        );
      },
      async settle() {
        await engine.process();
      },
      close() {
        admin.close();
        return Promise.resolve();
      },
    };
  }
});

function stackOf(aws: AwsEmulators, { store, keepMs }: AwsEngine): DeployedStack {
  const { dynamodb, s3, sqs } = aws;
  const { bucket: rawBucket, ...names } = store;
  return {
    ...{ name: 'a-stack', apiUrl: '', rawBucket, ...names, itemsPerMessage: Infinity, keepMs },
    ...{ dayZone: 'as-written', dayOf: dayRule('as-written') },
    ...{ dynamodb, transactions: dynamodb, s3, sqs },
    rawExpiryMs: () => Promise.resolve(undefined),
    close: () => undefined,
  };
}

/** Moves the only message of the queue into the dead-letter queue, as the processor does. */
async function deadLetterOf({ store, deadLetters }: AwsEngine, aws: AwsEmulators, reason: string) {
  const { queueUrl: QueueUrl } = store;
  const { Messages: [message] = [] } = await aws.sqs.send(new ReceiveMessageCommand({ QueueUrl }));
  const { MessageId: messageId = '', Body: body = '', ReceiptHandle } = message ?? {};
  const sentAt = Date.now();
  await deadLetters.add([{ messageId, originalId: messageId, sentAt, body, reason }]);
  await aws.sqs.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle }));
}
