import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { CreateQueueCommand, SendMessageCommand, SQSClient } from '@aws-sdk/client-sqs';

import { clientEnvironment, clientSettings } from '../../../infra/local/client-settings.ts';
import type { Synthesized } from '../../../infra/local/template/synthesized-template.ts';
import { cutIntoChunks } from '../../../src/pipeline/chunks/chunk.ts';
import { startArchiveBucket } from '../aws/archive-bucket.ts';
import { messageWithBody } from '../aws/carried-message.ts';
import { promptTemplate, startTestStack } from '../aws/test-stack.ts';
import { change, numberedBatches, store } from '../embedded-store.ts';
import { afterTest, newClient, waitUntil } from '../processes/real-server.ts';
import { listen, StandIns, type Account } from './stand-ins.ts';
import { projectRoot, Workspace, type Outcome } from './workspace.ts';

/**
 * A clone with a server; one whose server has an archive in S3; one in which tokens are created; one
 * whose commands work on a stack.
 */
export type Place = 'clone' | 'archive' | 'tokens' | 'stack';

/** Where commands run, and what their rules can prepare and check there. */
export interface World {
  readonly workspace: Workspace;
  /** How often stand-ins were called so far. */
  readonly calls: () => number;
  /** Adds a dead letter; returns its id. */
  readonly addDeadLetter: (reason?: string) => Promise<string>;
  /**
   * Runs a command in the shell of a document, which has the variables of the commands before it.
   */
  readonly run: (document: string, text: string) => Promise<Outcome>;
  /** Resolves when everything sent is counted. */
  readonly settled: () => Promise<void>;
  /** The values of the documents' placeholders here. */
  readonly fill: (text: string) => Promise<string>;
}

const stackName = 'device-pipeline';
const worlds = new Map<Place, Promise<World>>();

/** Created when it is first needed. `undoAll` ends it. */
export function worldOf(place: Place): Promise<World> {
  const world = worlds.get(place) ?? createWorld(place);
  worlds.set(place, world);
  return world;
}

function createWorld(place: Place): Promise<World> {
  if (place === 'stack') return stackWorld();
  return place === 'archive' ? archiveWorld() : localWorld(place);
}

async function archiveWorld(): Promise<World> {
  const bucket = await startArchiveBucket();
  afterTest(() => bucket.stop());
  const { workspace, standIns } = await openWorkspace(bucket.env);
  await workspace.serve(['--archive', bucket.url]);
  const body = readFileSync(join(projectRoot, 'docs/sample.json'), 'utf8');
  await newClient(1).post(workspace.url, { body, key: undefined });
  await waitUntil('the archive to have the batch', async () => {
    const answer = await newClient(1).get(`${workspace.url}/readyz`);
    return /"archive":\{[^}]*"lag_bytes":0\b/.test(answer?.text ?? '');
  });
  return world({
    ...{ workspace, standIns, storeOption: '', archiveUrl: bucket.url },
    addDeadLetter: () => Promise.reject(new Error('no command needs it here')),
    settled: () => workspace.counted(),
  });
}

async function localWorld(place: Place): Promise<World> {
  const { workspace, standIns } = await openWorkspace();
  if (place === 'clone') await workspace.serve([]);
  let deadLetters = 0;
  const addDeadLetter = async () => {
    const key = `letter-${++deadLetters}`;
    const item = { type: 'dead letter', state: key, timestamp: '2026-06-17T12:00:00Z' };
    const body = JSON.stringify({ processed_devices: [item] });
    await newClient(1).post(workspace.url, { body, key });
    await workspace.counted();
    // As if an earlier version of the rules had refused it.
    change(
      workspace.dataDir,
      `INSERT INTO dead_letters SELECT position, batch_id, 'a reason', 1, 2, NULL, NULL
         FROM idempotency_keys WHERE key = '${key}';
       DELETE FROM counters WHERE state = '${key}'`,
    );
    return key;
  };
  const settled = async () => {
    if (place === 'clone') await workspace.counted();
  };
  return world({ workspace, standIns, addDeadLetter, settled, storeOption: '' });
}

async function stackWorld(): Promise<World> {
  const template = await promptTemplate();
  const stack = await startTestStack({ ...template, name: stackName, isThrottled: false });
  const { region, outputs } = stack.description;
  const sqs = new SQSClient(clientSettings(stack.endpoint, region, 'test'));
  afterTest(async () => {
    sqs.destroy();
    await stack.stop();
  });
  const account: Account = {
    stackName,
    resources: resourceTypes(template),
    outputs: { ...outputs, ApiUrl: stack.url, TokensSecretArn: 'arn:aws:secretsmanager:tokens' },
    secret: JSON.stringify({ tokens: [], initial: 'the-initial-token' }),
  };
  const environment = clientEnvironment(stack.endpoint, region, 'operator');
  const env = { ...environment, AWS_ENDPOINT_URL: stack.endpoint };
  const { workspace, standIns } = await openWorkspace(env, account);
  // As if another stack had left it.
  await sqs.send(new CreateQueueCommand({ QueueName: 'kept' }));
  const keptQueueUrl = (outputs['QueueUrl'] ?? '').replace(/[^/]*$/, 'kept');
  const MessageBody = messageWithBody({
    ...{ type: 'kept', state: 'waiting', timestamp: '2026-06-17T12:00:00Z' },
  });
  await sqs.send(new SendMessageCommand({ QueueUrl: keptQueueUrl, MessageBody }));
  // For `replay --from ./data`.
  await store(workspace.dataDir, numberedBatches(3));
  const body = readFileSync(join(projectRoot, 'docs/sample.json'), 'utf8');
  await newClient(1).post(stack.url, { body, key: undefined });
  let deadLetters = 0;
  const addDeadLetter = async (reason?: string) => {
    const item = {
      type: 'dead letter',
      state: `${++deadLetters}`,
      timestamp: '2026-06-17T12:00:00Z',
    };
    const body = JSON.stringify({ processed_devices: [item] });
    const answer = await newClient(1).post(stack.url, { body, key: undefined });
    const { raw_key: rawKey } = JSON.parse(answer?.text ?? '') as { raw_key: string };
    await settled();
    // A second copy of its message, which SQS moved there.
    const batch = { batchId: batchIdOf(rawKey), receivedAt: Date.parse(rawKey.slice(4, 28)) };
    const [chunk] = cutIntoChunks(batch, [{ ...item, date: '2026-06-17' }]);
    await sqs.send(
      new SendMessageCommand({
        QueueUrl: outputs['DeadLetterQueueUrl'],
        MessageBody: chunk?.message,
        ...(reason !== undefined && {
          MessageAttributes: { reason: { DataType: 'String', StringValue: `${reason}: a test` } },
        }),
      }),
    );
    return `${batch.batchId}:0`;
  };
  const settled = () =>
    waitUntil('the stack to count all', async () => {
      const answer = await newClient(1).get(`${stack.url}/readyz`);
      return /"pending_messages":0\b/.test(answer?.text ?? '');
    });
  return world({
    workspace,
    standIns,
    addDeadLetter,
    settled,
    keptQueueUrl,
    storeOption: ` --stack ${stackName}`,
  });
}

function resourceTypes({ template }: Synthesized): Map<string, string> {
  return new Map(Object.entries(template.Resources).map(([id, { Type }]) => [id, Type]));
}

function batchIdOf(rawKey: string): string {
  return rawKey.slice(-41, -5);
}

async function openWorkspace(env: Readonly<Record<string, string>> = {}, account?: Account) {
  const { port, close } = await listen((call) => standIns.answer(call));
  afterTest(close);
  const workspace = new Workspace(port, env);
  const standIns = new StandIns(workspace, account);
  return { workspace, standIns };
}

interface Parts extends Pick<World, 'workspace' | 'addDeadLetter' | 'settled'> {
  readonly standIns: StandIns;
  /** The option that says where the batches are. */
  readonly storeOption: string;
  /** Of a queue that a deleted stack left. */
  readonly keptQueueUrl?: string;
  /** Of the archive in S3, if there is one. */
  readonly archiveUrl?: string;
}

function world(parts: Parts): World {
  const { workspace, standIns, addDeadLetter, settled, storeOption, archiveUrl } = parts;
  const { keptQueueUrl = '' } = parts;
  let directories = 0;
  const run = async (document: string, text: string) => await workspace.run(document, text);
  const rawKey = async () => {
    const { stdout } = await run('', `npx device-pipeline raw list --brief${storeOption}`);
    return (JSON.parse(stdout.split('\n')[0] ?? '{}') as { raw_key: string }).raw_key;
  };
  const meanings: readonly [RegExp, () => string | Promise<string>][] = [
    [/<raw key>|<key>/, rawKey],
    [/<batch id>|\bBATCH_ID\b/, async () => batchIdOf(await rawKey())],
    [/<id>|\bID\b/, addDeadLetter],
    [/(?<=--queue )"\$QUEUE"/, () => keptQueueUrl],
    [/<dir>|<directory>/, () => `./directory-${++directories}`],
    [/<name>|\bNAME\b/, () => stackName],
    [/<a checkout without>/, () => '../without'],
    [/(?<=--from )…/, () => './data'],
    [/(?<=--to )…/, () => './replayed'],
    [/\bCOMMAND(?= )/, () => 'stats'],
    [/\bCOMMAND$/, () => '--version'],
    // A disk of their own, which this machine does not have.
    [/(?<= )\/mnt\//, () => './mnt/'],
    [/(?<=file:\/\/)\/mnt\//, () => `${workspace.directory}/mnt/`],
    [/s3:\/\/my-bucket\/pipeline/, () => archiveUrl ?? 's3://there-is-no-bucket'],
  ];
  const fill = async (text: string) => {
    let filled = text;
    for (const [placeholder, meaning] of meanings) {
      if (placeholder.test(filled)) filled = filled.replace(placeholder, await meaning());
    }
    return filled;
  };
  return { workspace, calls: () => standIns.calls.length, addDeadLetter, run, settled, fill };
}
