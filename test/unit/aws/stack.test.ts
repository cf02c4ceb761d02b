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

/** Of other constructs in the stack of an application. */
const ownOutputs = { ShopApiUrl: 'https://shop.example', TableName1: 'orders' };

/** As CDK names the outputs of a construct with this path. */
function keysOf(path: string, hash: string, changed: Partial<typeof outputs> = {}) {
  const entries = Object.entries({ ...outputs, ...changed });
  return Object.fromEntries(entries.map(([key, value]) => [`${path}${key}${hash}`, value]));
}

let wire: Wire | undefined;

/** A wire without an emulator: only the outputs of the stack are read. */
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

  it.each([{}, { RawExpiryDays: 'never' }])('may keep raw bodies forever: %o', async (expiry) => {
    const { RawExpiryDays, ...others } = outputs;
    expect(RawExpiryDays).toBe('400');
    await startCloudFormation({ ...others, ...expiry });
    const stack = await openStack('local', process.env);
    expect(await stack.rawExpiryMs()).toBeUndefined();
    stack.close();
  });

  it('may be the stack of an application, in which the pipeline is one construct', async () => {
    await startCloudFormation({ ...ownOutputs, ...keysOf('ShopPipeline', '0a1b2c3d') });
    const stack = await openStack('local', process.env);
    expect(stack).toMatchObject({ name: 'local', ledgerTable: 'ledger', dayZone: 'UTC' });
    expect(await stack.rawExpiryMs()).toBe(400 * 86_400_000);
    stack.close();
  });

  it('with several pipelines needs the name of one', async () => {
    await startCloudFormation({
      ...{ ...ownOutputs, ...outputs },
      ...keysOf('MyLedger', '0a1b2c3d', { TableName: 'mine' }),
      ...keysOf('My', '1a2b3c4d', { TableName: 'other' }),
    });
    const open = async (name: string) => {
      const stack = await openStack(name, process.env);
      stack.close();
      return [stack.name, stack.countersTable];
    };
    expect(await open('local.MyLedger')).toEqual(['local.MyLedger', 'mine']);
    expect(await open('local.My')).toEqual(['local.My', 'other']);
    expect(await open('local.Default')).toEqual(['local.Default', 'counters']);
    expect(await open('local.My.Ledger')).toEqual(['local.My.Ledger', 'mine']);
    expect(await open('local.My.Ledger')).toEqual(['local.My.Ledger', 'mine']);
    await expect(open('local')).rejects.toThrow(
      /has several pipelines: Default, MyLedger, My\. Name one .*--stack local\.Default\./,
    );
    await expect(open('local.Ledger')).rejects.toThrow(
      'The stack local has no pipeline Ledger, only Default, MyLedger, My.',
    );
  });

  it('may have two pipelines with the same letters in their paths', async () => {
    await startCloudFormation({
      ...keysOf('AB', '0a1b2c3d', { TableName: 'of A-B' }),
      ...keysOf('AB', '1a2b3c4d', { TableName: 'of AB' }),
    });
    await expect(openStack('local.AB', process.env)).rejects.toThrow('AB0a1b2c3d, AB1a2b3c4d');
    const stack = await openStack('local.AB1a2b3c4d', process.env);
    expect(stack.countersTable).toBe('of AB');
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
