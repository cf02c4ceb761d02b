import { hash } from 'node:crypto';

import { CloudFormationClient, DescribeStacksCommand } from '@aws-sdk/client-cloudformation';
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { S3Client } from '@aws-sdk/client-s3';
import { SQSClient } from '@aws-sdk/client-sqs';

import { asWritten, dayRule, type DayOf } from '../../../domain/day.ts';
import { dayMs } from '../../../domain/timestamp.ts';
import { readItemsPerMessage } from '../../../pipeline/chunks/recut.ts';
import { nameOf } from '../errors.ts';
import { expiryOfBucket } from '../intake/raw-expiry.ts';
import { findDayRule, findShortestRetentionMs } from '../ledger/settings.ts';
import { outputsOfPipeline, splitName, type PipelineOutputs } from './stack-outputs.ts';

/**
 * A store on AWS: a stack by its name (`stack.pipeline` if it has several), the names of its resources,
 * or both; a named resource then replaces the one of the stack.
 */
export interface StackPlace {
  readonly name?: string;
  readonly bucket?: string;
  readonly table?: string;
  readonly ledger?: string;
  /** The URL of a queue, such as one that another stack left, in place of the dead-letter queue. */
  readonly queue?: string;
}

/** A store on AWS, accessed with the AWS permissions of the user who runs the command. */
export interface AwsStore {
  /** Unique among the stores that are used from this machine. */
  readonly name: string;
  /** This and the two table names are empty if neither an option nor a stack names them. */
  readonly rawBucket: string;
  readonly countersTable: string;
  readonly ledgerTable: string;
  /** Undefined if no stack is named. */
  readonly deadLetterQueueUrl: string | undefined;
  /** Undefined if neither a stack nor a ledger is named. */
  readonly dayZone: string | undefined;
  readonly dayOf: DayOf;
  /** How long the rows of the ledger live, in milliseconds. */
  readonly keepMs: number;
  /** The age in milliseconds at which the bucket deletes raw bodies; undefined: never. May ask S3. */
  rawExpiryMs(): Promise<number | undefined>;
  readonly dynamodb: DynamoDBClient;
  /**
   * The client for transactions. It does not retry: only callers that check dedup records may do
   * that safely.
   */
  readonly transactions: DynamoDBClient;
  readonly s3: S3Client;
  readonly sqs: SQSClient;
  /** Closes the connections. */
  close(): void;
}

/** A store with its deployed stack. */
export interface DeployedStack extends AwsStore {
  readonly apiUrl: string;
  readonly queueUrl: string;
  readonly deadLetterQueueUrl: string;
  /** `Infinity` if messages are packed as full as their size allows. */
  readonly itemsPerMessage: number;
  readonly dayZone: string;
}

/** The store as a stack. @throws if it was opened without one. */
export function deployed(store: AwsStore): DeployedStack {
  if ('queueUrl' in store) return store as DeployedStack;
  throw new Error('This command needs the queues of the stack. Name it with --stack.');
}

/** Timeouts in milliseconds. After a timeout, the SDK retries requests that are safe to repeat. */
const requestHandler = { connectionTimeout: 3_000, requestTimeout: 20_000 };

/** The stack's default. */
const keepDaysDefault = 90;

type Variables = Record<string, string | undefined>;

/**
 * Opens the named stack, or the named tables and bucket if their stack no longer exists. The SDK takes
 * region, credentials and endpoints (`AWS_ENDPOINT_URL`) from the environment.
 * @throws an Error that says what is wrong and what to do.
 */
export async function openAwsStore(place: StackPlace, env: Variables): Promise<AwsStore> {
  const { name, ...parts } = place;
  try {
    return name === undefined ? await openParts(parts, env) : await openStack(name, env, parts);
  } catch (error) {
    throw explainAwsError(error, place);
  }
}

/** Opens a stack, which has all parts. */
export async function openStack(
  name: string,
  env: Variables,
  parts: Omit<StackPlace, 'name'> = {},
): Promise<DeployedStack> {
  const outputs = await outputsOf(name, env);
  const output = (key: string) => {
    const value = outputs(key);
    if (value !== undefined) return value;
    throw new Error(
      `The stack ${name} has no output ${key}. Check that it is a device-pipeline stack; deploy it again if an earlier version created it.`,
    );
  };
  const clients = openClients(env);
  const { bucket, queue } = parts;
  const queueUrl = output('QueueUrl');
  if (queue === queueUrl) {
    throw new Error(
      `${queue} is the stack's own queue, which ${name} processes anyway. Give --queue only for a queue of another stack.`,
    );
  }
  return {
    name: workName({ name, ...parts }),
    apiUrl: output('ApiUrl'),
    rawBucket: bucket ?? output('BucketName'),
    countersTable: parts.table ?? output('TableName'),
    ledgerTable: parts.ledger ?? output('LedgerTableName'),
    queueUrl,
    deadLetterQueueUrl: queue ?? output('DeadLetterQueueUrl'),
    itemsPerMessage: readItemsPerMessage(output('ItemsPerMessage')),
    dayZone: output('DayZone'),
    dayOf: dayRule(output('DayZone')),
    keepMs: Number(output('KeepReceiptsDays')) * dayMs,
    rawExpiryMs: () =>
      bucket === undefined
        ? Promise.resolve(readExpiry(outputs('RawExpiryDays')))
        : expiryOfBucket(clients.s3, bucket),
    ...clients,
  };
}

async function openParts(parts: Omit<StackPlace, 'name'>, env: Variables): Promise<AwsStore> {
  const clients = openClients(env);
  const { bucket: rawBucket = '', table: countersTable = '', ledger: ledgerTable = '' } = parts;
  try {
    await requireRegion(clients.s3, env);
    return {
      ...{ name: workName(parts), rawBucket, countersTable, ledgerTable },
      deadLetterQueueUrl: undefined,
      ...(await readRules(clients.dynamodb, ledgerTable)),
      rawExpiryMs: () => expiryOfBucket(clients.s3, rawBucket),
      ...clients,
    };
  } catch (error) {
    clients.close();
    throw error;
  }
}

function openClients(env: Variables) {
  // Emulators do not resolve a host name for each bucket.
  const isEmulated = (env['AWS_ENDPOINT_URL_S3'] ?? env['AWS_ENDPOINT_URL'] ?? '') !== '';
  const dynamodb = new DynamoDBClient({ requestHandler });
  const transactions = new DynamoDBClient({ requestHandler, maxAttempts: 1 });
  const s3 = new S3Client({ requestHandler, forcePathStyle: isEmulated });
  const sqs = new SQSClient({ requestHandler });
  return {
    ...{ dynamodb, transactions, s3, sqs },
    close() {
      for (const client of [dynamodb, transactions, s3, sqs]) client.destroy();
    },
  };
}

/** Reads the values from the ledger that a stack has in its outputs. */
async function readRules(
  dynamodb: DynamoDBClient,
  ledger: string,
): Promise<Pick<AwsStore, 'dayZone' | 'dayOf' | 'keepMs'>> {
  const keepMs = keepDaysDefault * dayMs;
  if (ledger === '') return { dayZone: undefined, dayOf: dayRule(asWritten), keepMs };
  const dayZone = await findDayRule(dynamodb, ledger);
  if (dayZone === undefined) {
    throw new Error(
      `The table ${ledger} does not record a day rule. Check that it is the ledger table of a device-pipeline stack.`,
    );
  }
  const retentionMs = await findShortestRetentionMs(dynamodb, ledger);
  return { dayZone, dayOf: dayRule(dayZone), keepMs: retentionMs ?? keepMs };
}

/** Names the work files of a rebuild, so that a stack's tables and a copy of them do not share any. */
function workName({ name: given = 'store', ...parts }: StackPlace): string {
  // A pipeline has the same name with and without the slashes of its path.
  const name = given.replaceAll('/', '');
  const { bucket = '', table = '', ledger = '' } = parts;
  if (`${bucket}${table}${ledger}` === '') return name;
  return `${name}-${hash('sha256', `${bucket} ${table} ${ledger}`).slice(0, 12)}`;
}

/** Stacks of earlier versions lack this output. */
function readExpiry(days: string | undefined): number | undefined {
  return days === undefined || days === 'never' ? undefined : Number(days) * dayMs;
}

/**
 * Adds the name to an error about a named resource, and names settings that are missing on this
 * machine.
 */
export function explainAwsError(
  error: unknown,
  { bucket, table, ledger, queue }: StackPlace,
): unknown {
  const tables = [table, ledger].filter((each) => each !== undefined).join(' and ');
  switch (nameOf(error)) {
    case 'NoSuchBucket':
      if (bucket === undefined) return error;
      return new Error(`There is no bucket ${bucket}. ${checkNameHint}`, { cause: error });
    case 'ResourceNotFoundException':
      if (tables === '') return error;
      return new Error(`No such table: ${tables}. ${checkNameHint}`, { cause: error });
    case 'QueueDoesNotExist':
    case 'InvalidAddress':
      if (queue === undefined) return error;
      return new Error(`There is no queue ${queue}. ${checkNameHint}`, { cause: error });
    case 'CredentialsProviderError':
      return new Error(
        `No AWS credentials were found (${messageOf(error)}). Sign in, or set AWS_PROFILE.`,
        { cause: error },
      );
    default:
      return error;
  }
}

const checkNameHint = 'Check the name, or set AWS_REGION and AWS_PROFILE.';

/**
 * @throws an Error that says which setting is missing. The SDK's own error is a plain Error, so ask for
 *   the region before any request. It refuses an invalid AWS_REGION with another one.
 */
async function requireRegion(
  { config }: { readonly config: { region(): Promise<string> } },
  env: Variables,
): Promise<void> {
  try {
    await config.region();
  } catch (cause) {
    if ((env['AWS_REGION'] ?? '') !== '') throw cause;
    throw new Error('No region is set. Set AWS_REGION or AWS_PROFILE.', { cause });
  }
}

async function outputsOf(name: string, env: Variables): Promise<PipelineOutputs> {
  const client = new CloudFormationClient({ requestHandler });
  try {
    await requireRegion(client, env);
    const request = new DescribeStacksCommand({ StackName: splitName(name).stack });
    const { Stacks = [] } = await client.send(request).catch((error: unknown) => {
      throw explainLookup(name, error);
    });
    const { Outputs = [] } = Stacks[0] ?? {};
    const byKey = Outputs.map(
      ({ OutputKey = '', OutputValue = '' }) => [OutputKey, OutputValue] as const,
    );
    return outputsOfPipeline(name, new Map(byKey));
  } finally {
    client.destroy();
  }
}

function explainLookup(name: string, cause: unknown): unknown {
  if (nameOf(cause) === 'CredentialsProviderError') return explainAwsError(cause, { name });
  const text = isNoSuchStack(cause)
    ? `There is no stack ${name} in this account and region. Check the name, or set AWS_REGION and AWS_PROFILE.`
    : `The stack ${name} cannot be looked up: ${messageOf(cause)}`;
  return new Error(text, { cause });
}

/**
 * CloudFormation answers `ValidationError` both for a stack that does not exist and for an invalid name;
 * only the message tells them apart, so this reads the message.
 */
function isNoSuchStack(error: unknown): boolean {
  return nameOf(error) === 'ValidationError' && messageOf(error).includes('does not exist');
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Opens a store, calls `use` and closes the store. */
export async function withAwsStore<T>(
  place: StackPlace,
  env: Variables,
  use: (store: AwsStore) => Promise<T>,
): Promise<T> {
  const store = await openAwsStore(place, env);
  try {
    return await use(store);
  } catch (error) {
    throw explainAwsError(error, place);
  } finally {
    store.close();
  }
}
