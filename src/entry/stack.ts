import { CloudFormationClient, DescribeStacksCommand } from '@aws-sdk/client-cloudformation';
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { S3Client } from '@aws-sdk/client-s3';
import { SQSClient } from '@aws-sdk/client-sqs';

import { dayRule, type DayOf } from '../domain/day.ts';
import { readItemsPerMessage } from '../pipeline/recut.ts';

/** A deployed stack, as the command line works on it: with the rights of whoever runs it. */
export interface DeployedStack {
  readonly name: string;
  readonly apiUrl: string;
  readonly rawBucket: string;
  readonly countersTable: string;
  readonly ledgerTable: string;
  readonly queueUrl: string;
  readonly deadLetterQueueUrl: string;
  /** `Infinity` where items are packed. */
  readonly itemsPerMessage: number;
  readonly dayZone: string;
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

/** No request is waited for longer; the SDK tries it again where that is safe. */
const requestHandler = { connectionTimeout: 3_000, requestTimeout: 20_000 };
const dayMs = 86_400_000;

/**
 * Finds a stack by its name, in the region and with the credentials that the SDK finds in the
 * environment. An endpoint that is set there (`AWS_ENDPOINT_URL`) is used for all services.
 * @throws an Error that says what is wrong and what to do.
 */
export async function openStack(
  name: string,
  env: Record<string, string | undefined>,
): Promise<DeployedStack> {
  const outputs = await outputsOf(name);
  const output = (key: string) => {
    const value = outputs.get(key);
    if (value !== undefined) return value;
    throw new Error(
      `The stack ${name} has no output ${key}. Is it one of device-pipeline? One of an earlier version has to be deployed again first.`,
    );
  };
  // An emulator has no host for each bucket.
  const isEmulated = (env['AWS_ENDPOINT_URL_S3'] ?? env['AWS_ENDPOINT_URL'] ?? '') !== '';
  const dynamodb = new DynamoDBClient({ requestHandler });
  const transactions = new DynamoDBClient({ requestHandler, maxAttempts: 1 });
  const s3 = new S3Client({ requestHandler, forcePathStyle: isEmulated });
  const sqs = new SQSClient({ requestHandler });
  return {
    name,
    apiUrl: output('ApiUrl'),
    rawBucket: output('BucketName'),
    countersTable: output('TableName'),
    ledgerTable: output('LedgerTableName'),
    queueUrl: output('QueueUrl'),
    deadLetterQueueUrl: output('DeadLetterQueueUrl'),
    itemsPerMessage: readItemsPerMessage(output('ItemsPerMessage')),
    dayZone: output('DayZone'),
    dayOf: dayRule(output('DayZone')),
    keepMs: Number(output('KeepReceiptsDays')) * dayMs,
    rawExpiryMs: readExpiry(outputs.get('RawExpiryDays')),
    ...{ dynamodb, transactions, s3, sqs },
    close() {
      for (const client of [dynamodb, transactions, s3, sqs]) client.destroy();
    },
  };
}

/** Stacks of earlier versions do not say it. */
function readExpiry(days: string | undefined): number | undefined {
  return days === undefined || days === 'never' ? undefined : Number(days) * dayMs;
}

/** Opens a stack for the time in which it is used. */
export async function withStack<T>(
  name: string,
  env: Record<string, string | undefined>,
  use: (stack: DeployedStack) => Promise<T>,
): Promise<T> {
  const stack = await openStack(name, env);
  try {
    return await use(stack);
  } finally {
    stack.close();
  }
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
    throw new Error(whyNot(name, error), { cause: error });
  } finally {
    client.destroy();
  }
}

function whyNot(name: string, error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  const kind = error instanceof Error ? error.name : '';
  if (kind === 'ValidationError' && message.includes('does not exist')) {
    return `There is no stack ${name} in this account and region. Name it as it was deployed, or set AWS_REGION and AWS_PROFILE.`;
  }
  if (message.includes('Region is missing')) {
    return 'No region is set. Say where the stack is: AWS_REGION=… or AWS_PROFILE=….';
  }
  if (kind === 'CredentialsProviderError') {
    return `There are no credentials for AWS (${message}). Sign in, or set AWS_PROFILE.`;
  }
  return `The stack ${name} cannot be looked up: ${message}`;
}
