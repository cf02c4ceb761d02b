import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe } from 'vitest';

import { readRawKey } from '../../../src/domain/batch-id.ts';
import { dayRule } from '../../../src/domain/day.ts';
import { awsStoreAdmin } from '../../../src/engines/aws/admin/store-admin.ts';
import type { DeployedStack } from '../../../src/engines/aws/admin/stack.ts';
import { openDataDirectory } from '../../../src/engines/embedded/admin/store-admin.ts';
import { openWriter } from '../../support/embedded-store.ts';
import { AwsEngine } from '../../support/aws/aws-engine.ts';
import { createStore, startAws, type AwsEmulators } from '../../support/aws/aws-store.ts';
import { needs } from '../../support/run/needs.ts';
import { describeStoreAdmin } from './store-admin-contract.ts';

const { isMet } = needs('Java');

describeStoreAdmin('a data directory', () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'device-pipeline-'));
  const writer = openWriter(dataDir);
  const admin = openDataDirectory(dataDir);
  return Promise.resolve({
    admin,
    async put({ body, encoding, caller, idempotency }) {
      const submission = { body, encoding, caller, idempotencyKey: idempotency?.key };
      const outcome = await writer.ingest({ ...submission, strict: false });
      if (!outcome.accepted) throw new Error(outcome.problem.detail);
      const { batchId, rawKey } = outcome;
      return { batchId, receivedAt: readRawKey(rawKey)?.receivedAt ?? 0 };
    },
    async close() {
      admin.close();
      await writer.close();
      rmSync(dataDir, { recursive: true });
    },
  });
});

describe.runIf(isMet)('on AWS', () => {
  let aws: AwsEmulators;
  beforeAll(async () => {
    aws = await startAws();
  });
  afterAll(() => aws.stop());

  describeStoreAdmin('a stack', async () => {
    const engine = new AwsEngine(aws, await createStore(aws), Date.now());
    const admin = awsStoreAdmin(stackOf(aws, engine), {});
    return {
      admin,
      async put(batch) {
        engine.now++;
        const result = await engine.intake.accept(batch);
        return result.earlier ?? result.stored;
      },
      close() {
        admin.close();
        return Promise.resolve();
      },
    };
  });
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
