import { afterEach, describe, expect, it, vi } from 'vitest';

import { clientEnvironment } from '../../../infra/local/client-settings.ts';
import { localCloudFormation } from '../../../infra/local/template/cloudformation.ts';
import { startWire, type Wire } from '../../../infra/local/emulators/wire.ts';
import { openStack } from '../../../src/engines/aws/admin/stack.ts';

const outputs = {
  ApiUrl: 'http://127.0.0.1:1/',
  BucketName: 'raw-bodies',
  TableName: 'counters',
  LedgerTableName: 'ledger',
  QueueUrl: 'http://127.0.0.1/1/queue?a=1&b=<2>',
  DeadLetterQueueUrl: 'http://127.0.0.1/1/dead',
  ItemsPerMessage: 'packed',
  DayZone: 'UTC',
  KeepReceiptsDays: '90',
  RawExpiryDays: '400',
};

let wire: Wire | undefined;

/** A wire that leads to no emulator: only the stack's own outputs are asked for. */
async function startCloudFormation(known: Record<string, string>): Promise<void> {
  const nowhere = 'http://127.0.0.1:1';
  const cloudFormation = localCloudFormation('local', known);
  wire = await startWire({
    ...{ dynamoDbUrl: nowhere, fauxqsUrl: nowhere },
    cloudFormation: () => cloudFormation,
  });
  const variables = clientEnvironment(wire.url, 'us-east-1', 'operator');
  for (const [name, value] of Object.entries(variables)) vi.stubEnv(name, value);
  vi.stubEnv('AWS_ENDPOINT_URL', wire.url);
}

afterEach(async () => {
  vi.unstubAllEnvs();
  await wire?.stop();
  wire = undefined;
});

describe('a stack that commands work on', () => {
  it('is found by its name, with what its outputs say', async () => {
    await startCloudFormation(outputs);
    const stack = await openStack('local', process.env);
    expect(stack).toMatchObject({
      ...{ rawBucket: 'raw-bodies', countersTable: 'counters', ledgerTable: 'ledger' },
      ...{ queueUrl: outputs.QueueUrl, itemsPerMessage: Infinity, keepMs: 90 * 86_400_000 },
    });
    expect(await stack.rawExpiryMs()).toBe(400 * 86_400_000);
    expect(stack.dayOf('2023-06-16T23:30:00-05:00')).toBe('2023-06-17');
    stack.close();
  });

  it.each([{}, { RawExpiryDays: 'never' }])('may keep raw bodies for ever: %o', async (expiry) => {
    const { RawExpiryDays, ...others } = outputs;
    expect(RawExpiryDays).toBe('400');
    await startCloudFormation({ ...others, ...expiry });
    const stack = await openStack('local', process.env);
    expect(await stack.rawExpiryMs()).toBeUndefined();
    stack.close();
  });

  it('that does not exist is an error that says what to do', async () => {
    await startCloudFormation(outputs);
    await expect(openStack('other', process.env)).rejects.toThrow(/no stack other .*AWS_REGION/);
  });

  it('of an earlier version must be deployed again', async () => {
    const { ItemsPerMessage, ...earlier } = outputs;
    expect(ItemsPerMessage).toBe('packed');
    await startCloudFormation(earlier);
    await expect(openStack('local', process.env)).rejects.toThrow(
      /ItemsPerMessage.*deploy it again/,
    );
  });
});
