import { hash } from 'node:crypto';

import { CloudFormationClient, DescribeStacksCommand } from '@aws-sdk/client-cloudformation';
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { S3Client } from '@aws-sdk/client-s3';
import { SQSClient } from '@aws-sdk/client-sqs';

import { asWritten, dayRule, type DayOf } from '../../domain/day.ts';
import { findDayRule } from '../../engines/aws/ledger/day-rule.ts';
import { findLeastKeepMs } from '../../engines/aws/ledger/least-keep.ts';
import { expiryOfBucket } from '../../engines/aws/intake/raw-expiry.ts';
import { readItemsPerMessage } from '../../pipeline/chunks/recut.ts';
import type { StackPlace } from './common-options.ts';
import { UsageError } from './option-parsers.ts';

/** A store on AWS, as the command line works on it: with the rights of whoever runs it. */
export interface AwsStore {
  /** No other store has it on this machine. */
  readonly name: string;
  /** Of these, what was not named and no stack has is empty. */
  readonly rawBucket: string;
  readonly countersTable: string;
  readonly ledgerTable: string;
  /** Undefined where no stack is named, whose queues went with it. */
  readonly deadLetterQueueUrl: string | undefined;
  /** Undefined where neither a stack nor a ledger is named. */
  readonly dayZone: string | undefined;
  readonly dayOf: DayOf;
  /** How long the rows of the ledger live, in milliseconds. */
  readonly keepMs: number;
  /** When the bucket deletes raw bodies, in milliseconds after they came; undefined: never, as far as is known. */
  readonly rawExpiryMs: number | undefined;
  readonly dynamodb: DynamoDBClient;
  /** One that tries once, for transactions: what is tried again is decided by who knows of marks. */
  readonly transactions: DynamoDBClient;
  readonly s3: S3Client;
  readonly sqs: SQSClient;
  /** Lets the connections go. */
  close(): void;
}

/** A store with the stack that fills it. */
export interface DeployedStack extends AwsStore {
  readonly apiUrl: string;
  readonly queueUrl: string;
  readonly deadLetterQueueUrl: string;
  /** `Infinity` where items are packed. */
  readonly itemsPerMessage: number;
  readonly dayZone: string;
}

/** No request is waited for longer; the SDK tries it again where that is safe. */
const requestHandler = { connectionTimeout: 3_000, requestTimeout: 20_000 };
const dayMs = 86_400_000;

/** As the stack has it by default. */
const keepDaysDefault = 90;

type Variables = Record<string, string | undefined>;

/**
 * Finds a stack by its name, in the region and with the credentials that the SDK finds in the
 * environment. An endpoint that is set there (`AWS_ENDPOINT_URL`) is used for all services.
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
      `The stack ${name} has no output ${key}. Is it one of device-pipeline? One of an earlier version has to be deployed again first.`,
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

/** Opens what the place names: a stack, or a store whose stack is gone. */
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
  // An emulator has no host for each bucket.
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

/** What a stack says in its outputs, as the ledger and the bucket tell it. */
async function readRules(
  { bucket, table, ledger }: StackPlace,
  { dynamodb, s3 }: Pick<AwsStore, 'dynamodb' | 's3'>,
): Promise<Pick<AwsStore, 'dayZone' | 'dayOf' | 'keepMs' | 'rawExpiryMs'>> {
  const rules = { dayZone: undefined, dayOf: dayRule(asWritten), rawExpiryMs: undefined };
  if (ledger === undefined) return { ...rules, keepMs: keepDaysDefault * dayMs };
  const dayZone = await findDayRule(dynamodb, ledger);
  if (dayZone === undefined) {
    throw new Error(
      `The table ${ledger} does not say by which rule days are taken. Is it the ledger of a stack of device-pipeline?`,
    );
  }
  return {
    ...{ dayZone, dayOf: dayRule(dayZone) },
    keepMs: (await findLeastKeepMs(dynamodb, ledger)) ?? keepDaysDefault * dayMs,
    // Of use only to what compares the bodies with the counters.
    rawExpiryMs:
      bucket === undefined || table === undefined ? undefined : await expiryOfBucket(s3, bucket),
  };
}

/** Notes of a rebuild go by it: one of a stack's own tables must not go on with those of a copy. */
function nameOf({ name = 'store', ...parts }: StackPlace): string {
  const { bucket = '', table = '', ledger = '' } = parts;
  if (`${bucket}${table}${ledger}` === '') return name;
  return `${name}-${hash('sha256', `${bucket} ${table} ${ledger}`).slice(0, 12)}`;
}

/** Stacks of earlier versions do not say it. */
function readExpiry(days: string | undefined): number | undefined {
  return days === undefined || days === 'never' ? undefined : Number(days) * dayMs;
}

/** Opens a store for the time in which it is used. */
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

/** As `withStore`, for what needs the queues of the stack. */
export async function withStack<T>(
  { name, ...parts }: StackPlace,
  env: Variables,
  use: (stack: DeployedStack) => Promise<T>,
): Promise<T> {
  if (name === undefined) {
    throw new UsageError('the queues of the stack are needed: name it with --stack');
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

/** Names what a service only calls a resource. */
function withResourceNames(error: unknown, { bucket, table, ledger }: StackPlace): unknown {
  const kind = error instanceof Error ? error.name : '';
  const tables = [table, ledger].filter((each) => each !== undefined).join(' and ');
  if (kind === 'NoSuchBucket' && bucket !== undefined) {
    return new Error(`There is no bucket ${bucket}. ${checkNameHint}`, { cause: error });
  }
  if (kind === 'ResourceNotFoundException' && tables !== '') {
    const message = `There is no such table: ${tables}. ${checkNameHint}`;
    return new Error(message, { cause: error });
  }
  return missingSettingError(error) ?? error;
}

const checkNameHint = 'Check the name, or set AWS_REGION and AWS_PROFILE.';

/** What is missing on this machine; undefined where the error is another. */
function missingSettingError(error: unknown): Error | undefined {
  if (!(error instanceof Error)) return undefined;
  const { name, message } = error;
  if (message.includes('Region is missing')) {
    return new Error('No region is set. Say where the stack is: AWS_REGION=… or AWS_PROFILE=….', {
      cause: error,
    });
  }
  if (name !== 'CredentialsProviderError') return undefined;
  return new Error(`There are no credentials for AWS (${message}). Sign in, or set AWS_PROFILE.`, {
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
    return `There is no stack ${name} in this account and region. Name it as it was deployed, or set AWS_REGION and AWS_PROFILE.`;
  }
  return `The stack ${name} cannot be looked up: ${message}`;
}
