import { hash } from 'node:crypto';

import { CloudFormationClient, DescribeStacksCommand } from '@aws-sdk/client-cloudformation';
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { S3Client } from '@aws-sdk/client-s3';
import { SQSClient } from '@aws-sdk/client-sqs';

import { asWritten, dayRule, type DayOf } from '../../domain/day.ts';
import { findDayRule, findLeastKeepMs } from '../../engines/aws/ledger/settings.ts';
import { expiryOfBucket } from '../../engines/aws/intake/raw-expiry.ts';
import { readItemsPerMessage } from '../../pipeline/chunks/recut.ts';
import type { StackPlace } from './common-options.ts';
import { UsageError } from './option-parsers.ts';

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
  /** The age in milliseconds at which the bucket deletes raw bodies; undefined: never, or unknown. */
  readonly rawExpiryMs: number | undefined;
  readonly dynamodb: DynamoDBClient;
  /** For transactions. It does not retry: only callers that check dedup records may do that safely. */
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

/** In milliseconds. After a timeout, the SDK retries requests that are safe to repeat. */
const requestHandler = { connectionTimeout: 3_000, requestTimeout: 20_000 };
const dayMs = 86_400_000;

/** The stack's default. */
const keepDaysDefault = 90;

type Variables = Record<string, string | undefined>;

/**
 * Looks up a stack by its name. The SDK takes region, credentials and endpoints (`AWS_ENDPOINT_URL`)
 * from the environment.
 * @throws an Error that says what is wrong and what to do.
 */
export async function openStack(
  name: string,
  env: Variables,
  parts: Omit<StackPlace, 'name'> = {},
): Promise<DeployedStack> {
  const outputs = await outputsOf(name);
  const output = (key: string) => {
    const value = outputs.get(key);
    if (value !== undefined) return value;
    throw new Error(
      `The stack ${name} has no output ${key}. Check that it is a device-pipeline stack; deploy it again if an earlier version created it.`,
    );
  };
  return {
    name: nameOf({ name, ...parts }),
    apiUrl: output('ApiUrl'),
    rawBucket: parts.bucket ?? output('BucketName'),
    countersTable: parts.table ?? output('TableName'),
    ledgerTable: parts.ledger ?? output('LedgerTableName'),
    queueUrl: output('QueueUrl'),
    deadLetterQueueUrl: output('DeadLetterQueueUrl'),
    itemsPerMessage: readItemsPerMessage(output('ItemsPerMessage')),
    dayZone: output('DayZone'),
    dayOf: dayRule(output('DayZone')),
    keepMs: Number(output('KeepReceiptsDays')) * dayMs,
    rawExpiryMs: readExpiry(outputs.get('RawExpiryDays')),
    ...openClients(env),
  };
}

/** Opens the named stack, or the named tables and bucket if their stack no longer exists. */
async function openStore(place: StackPlace, env: Variables): Promise<AwsStore> {
  const { name, ...parts } = place;
  if (name !== undefined) {
    const stack = await openStack(name, env, parts);
    if (parts.bucket === undefined) return stack;
    return { ...stack, rawExpiryMs: await expiryOfBucket(stack.s3, parts.bucket) };
  }
  const clients = openClients(env);
  try {
    return { ...namesOf(place), ...(await readRules(place, clients)), ...clients };
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

function namesOf(place: StackPlace) {
  return {
    name: nameOf(place),
    rawBucket: place.bucket ?? '',
    countersTable: place.table ?? '',
    ledgerTable: place.ledger ?? '',
    deadLetterQueueUrl: undefined,
  };
}

/** Reads from the ledger and the bucket what a stack states in its outputs. */
async function readRules(
  { bucket, table, ledger }: StackPlace,
  { dynamodb, s3 }: Pick<AwsStore, 'dynamodb' | 's3'>,
): Promise<Pick<AwsStore, 'dayZone' | 'dayOf' | 'keepMs' | 'rawExpiryMs'>> {
  const rules = { dayZone: undefined, dayOf: dayRule(asWritten), rawExpiryMs: undefined };
  if (ledger === undefined) return { ...rules, keepMs: keepDaysDefault * dayMs };
  const dayZone = await findDayRule(dynamodb, ledger);
  if (dayZone === undefined) {
    throw new Error(
      `The table ${ledger} does not record a day rule. Check that it is the ledger table of a device-pipeline stack.`,
    );
  }
  return {
    ...{ dayZone, dayOf: dayRule(dayZone) },
    keepMs: (await findLeastKeepMs(dynamodb, ledger)) ?? keepDaysDefault * dayMs,
    // Only commands that compare bodies with counters name both, and only they need it.
    rawExpiryMs:
      bucket === undefined || table === undefined ? undefined : await expiryOfBucket(s3, bucket),
  };
}

/** Names the work files of a rebuild, so that a stack's tables and a copy of them do not share any. */
function nameOf({ name = 'store', ...parts }: StackPlace): string {
  const { bucket = '', table = '', ledger = '' } = parts;
  if (`${bucket}${table}${ledger}` === '') return name;
  return `${name}-${hash('sha256', `${bucket} ${table} ${ledger}`).slice(0, 12)}`;
}

/** Stacks of earlier versions lack this output. */
function readExpiry(days: string | undefined): number | undefined {
  return days === undefined || days === 'never' ? undefined : Number(days) * dayMs;
}

/** Opens a store, calls `use` and closes the store. */
export async function withStore<T>(
  place: StackPlace,
  env: Variables,
  use: (store: AwsStore) => Promise<T>,
): Promise<T> {
  try {
    return await useAndClose(await openStore(place, env), use);
  } catch (error) {
    throw withResourceNames(error, place);
  }
}

/** As `withStore`, for commands that need the queues of the stack. */
export async function withStack<T>(
  { name, ...parts }: StackPlace,
  env: Variables,
  use: (stack: DeployedStack) => Promise<T>,
): Promise<T> {
  if (name === undefined) {
    throw new UsageError('this command needs the queues of the stack; name it with --stack');
  }
  return useAndClose(await openStack(name, env, parts), use);
}

async function useAndClose<Store extends AwsStore, T>(
  store: Store,
  use: (store: Store) => Promise<T>,
): Promise<T> {
  try {
    return await use(store);
  } finally {
    store.close();
  }
}

/** Replaces an error about an unnamed resource by one that gives its name. */
function withResourceNames(error: unknown, { bucket, table, ledger }: StackPlace): unknown {
  const kind = error instanceof Error ? error.name : '';
  const tables = [table, ledger].filter((each) => each !== undefined).join(' and ');
  if (kind === 'NoSuchBucket' && bucket !== undefined) {
    return new Error(`There is no bucket ${bucket}. ${checkNameHint}`, { cause: error });
  }
  if (kind === 'ResourceNotFoundException' && tables !== '') {
    const message = `No such table: ${tables}. ${checkNameHint}`;
    return new Error(message, { cause: error });
  }
  return missingSettingError(error) ?? error;
}

const checkNameHint = 'Check the name, or set AWS_REGION and AWS_PROFILE.';

/** An error that says which setting is missing on this machine; undefined for other errors. */
function missingSettingError(error: unknown): Error | undefined {
  if (!(error instanceof Error)) return undefined;
  const { name, message } = error;
  if (message.includes('Region is missing')) {
    return new Error('No region is set. Set AWS_REGION or AWS_PROFILE.', {
      cause: error,
    });
  }
  if (name !== 'CredentialsProviderError') return undefined;
  return new Error(`No AWS credentials were found (${message}). Sign in, or set AWS_PROFILE.`, {
    cause: error,
  });
}

async function outputsOf(name: string): Promise<ReadonlyMap<string, string>> {
  const client = new CloudFormationClient({ requestHandler });
  try {
    const { Stacks = [] } = await client.send(new DescribeStacksCommand({ StackName: name }));
    const { Outputs = [] } = Stacks[0] ?? {};
    return new Map(
      Outputs.map(({ OutputKey = '', OutputValue = '' }) => [OutputKey, OutputValue] as const),
    );
  } catch (error) {
    throw missingSettingError(error) ?? new Error(lookupErrorText(name, error), { cause: error });
  } finally {
    client.destroy();
  }
}

function lookupErrorText(name: string, error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  const kind = error instanceof Error ? error.name : '';
  if (kind === 'ValidationError' && message.includes('does not exist')) {
    return `There is no stack ${name} in this account and region. Check the name, or set AWS_REGION and AWS_PROFILE.`;
  }
  return `The stack ${name} cannot be looked up: ${message}`;
}
