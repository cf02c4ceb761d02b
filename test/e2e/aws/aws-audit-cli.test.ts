import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { DeleteItemCommand, DynamoDBClient, UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import { expect } from 'vitest';

import { clientEnvironment, clientSettings } from '../../../infra/local/client-settings.ts';
import { readCountersDirectly, scan } from '../../support/aws/aws-store.ts';
import { callerOf, isCommand } from '../../support/aws/command-permissions.ts';
import { promptTemplate, startTestStack } from '../../support/aws/test-stack.ts';
import { directory, run, start } from '../../support/processes/command-line.ts';
import { exchange } from '../../support/server.ts';
import { needs } from '../../support/run/needs.ts';

const { it } = needs('Java');

it('the commands prove a stack and make it good, killed again and again', async () => {
  let calls = 0;
  let heldFrom = Number.POSITIVE_INFINITY;
  const stack = await startTestStack({
    ...(await promptTemplate()),
    isThrottled: false,
    // What the commands ask for hangs from some call on, so that they are killed within it.
    fault: (call) =>
      isCommand(call) && ++calls >= heldFrom ? { kind: 'hold', ms: 3_000 } : undefined,
  });
  try {
    const { endpoint, description } = stack;
    const { AWS_REGION = '' } = clientEnvironment(endpoint, description.region, 'operator');
    const environment = (args: readonly string[]) => ({
      ...{ AWS_ENDPOINT_URL: endpoint, AWS_REGION },
      ...{ AWS_ACCESS_KEY_ID: callerOf(args), AWS_SECRET_ACCESS_KEY: 'local' },
    });
    const command = (...args: string[]) =>
      run([...args, '--stack', 'local', '--in-flight', '0'], undefined, environment(args));
    const sent = await run([
      'feed',
      stack.url,
      '--batches',
      '30',
      '--items',
      '20',
      '--seed',
      'proof',
    ]);
    expect(sent, sent.stderr).toMatchObject({ code: 0 });
    for (;;) {
      const { text } = await exchange(stack.url, { path: '/readyz' });
      if ((JSON.parse(text) as { pending_messages: number }).pending_messages === 0) break;
      await delay(200);
    }
    const client = new DynamoDBClient(clientSettings(endpoint, description.region, 'test'));
    const { TableName = '', LedgerTableName = '' } = description.outputs;
    const before = await readCountersDirectly(client, TableName);

    const clean = await command('audit', '--json');
    expect(clean, clean.stderr + clean.stdout).toMatchObject({ code: 0 });
    expect(clean.stderr).toMatch(/^will read 30 bodies .* dollars at the list prices of us-east-1/);
    expect(JSON.parse(clean.stdout)).toMatchObject({
      ...{ agrees: true, batches: 30, items: 600, differences: [] },
      estimate: { objects: 30, s3_gets: 30 },
    });

    const [row] = await scan(client, TableName);
    const [mark] = (await scan(client, LedgerTableName)).filter(({ entry }) =>
      entry?.S?.startsWith('chunk:'),
    );
    if (row === undefined || mark === undefined) throw new Error('nothing is counted');
    const { date, type_state, id, entry } = { ...row, ...mark } as Required<typeof row>;
    await client.send(
      new UpdateItemCommand({
        TableName,
        Key: { date: date ?? { S: '' }, type_state: type_state ?? { S: '' } },
        UpdateExpression: 'ADD #count :more',
        ExpressionAttributeNames: { '#count': 'count' },
        ExpressionAttributeValues: { ':more': { N: '1000' } },
      }),
    );
    const Key = { id: id ?? { S: '' }, entry: entry ?? { S: '' } };
    await client.send(new DeleteItemCommand({ TableName: LedgerTableName, Key }));

    const found = await command('audit');
    expect(found, found.stderr + found.stdout).toMatchObject({ code: 1 });
    expect(found.stdout).toContain('counter_differs: ');
    expect(found.stdout).toContain('ledger_missing: ');

    // The next run continues from the audit database of the killed one.
    const workDir = join(directory, 'notes');
    const rebuild = ['rebuild', '--work-dir', workDir, '--parallel', '2'];
    for (const kill of [20, 30, 25]) {
      [calls, heldFrom] = [0, kill];
      const killed = start(
        [...rebuild, '--stack', 'local', '--in-flight', '0'],
        undefined,
        environment(rebuild),
      );
      while (calls < kill) {
        if (killed.child.exitCode !== null) throw new Error((await killed.outcome).stderr);
        await delay(20);
      }
      killed.child.kill('SIGKILL');
      await killed.outcome;
      heldFrom = Number.POSITIVE_INFINITY;
      expect(existsSync(join(workDir, 'local.rebuild.db'))).toBe(true);
    }
    const rebuilt = await command(...rebuild);
    expect(rebuilt, rebuilt.stderr + rebuilt.stdout).toMatchObject({ code: 0 });
    // Not all bodies had to be read again.
    expect(rebuilt.stderr).not.toContain('will read 30 bodies');
    expect(readdirSync(workDir)).toEqual([]);
    expect(await readCountersDirectly(client, TableName)).toEqual(before);
    const proven = await command('audit');
    expect(proven, proven.stderr + proven.stdout).toMatchObject({ code: 0 });
    expect(proven.stdout).toContain('everything agrees');
    expect((await command('rebuild', '--drop-old')).code).toBe(0);
  } finally {
    await stack.stop();
  }
});
