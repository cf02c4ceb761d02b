import { PolicyStatement } from 'aws-cdk-lib/aws-iam';
import type { Secret } from 'aws-cdk-lib/aws-secretsmanager';

import type { HandlerName } from './function-specs.ts';
import type { Queues } from './queues.ts';
import type { Storage } from './storage.ts';

export interface Resources extends Storage, Queues {
  /** Undefined if no tokens are required. */
  tokensSecret: Secret | undefined;
}

/**
 * Grants each function the calls that it makes, on the resources that it uses; the local engine refuses
 * all others. TransactWriteItems needs the permissions of the writes that it contains, here PutItem and
 * UpdateItem.
 */
export function permissionsOf(name: HandlerName, resources: Resources): PolicyStatement[] {
  return permissions[name](resources);
}

const permissions: Record<HandlerName, (resources: Resources) => PolicyStatement[]> = {
  ingest: ingestPermissions,
  process: processPermissions,
  query: queryPermissions,
  sweep: sweepPermissions,
};

function ingestPermissions(resources: Resources) {
  const { countersTable, ledgerTable, rawBucket, queue, tokensSecret } = resources;
  return [
    // To read the counters of a day that approaches its limit.
    allow(countersTable.tableArn, 'dynamodb:Query'),
    // To compare a replayed batch with the stored one, in both forms.
    allow(ledgerTable.tableArn, 'dynamodb:GetItem', 'dynamodb:PutItem'),
    allow(rawBucket.arnForObjects('raw/*'), 's3:GetObject', 's3:PutObject'),
    allow(rawBucket.arnForObjects('excluded/*'), 's3:GetObject', 's3:PutObject'),
    allow(rawBucket.arnForObjects('grouped/*'), 's3:GetObject'),
    listRawBodies(rawBucket.bucketArn, 'grouped/*'),
    ...describeTables(resources),
    allow(queue.queueArn, 'sqs:SendMessage'),
    ...readTokens(tokensSecret),
  ];
}

function processPermissions(resources: Resources) {
  const { ledgerTable, countersTable, rawBucket, queue, deadLetterQueue } = resources;
  return [
    // To store the bodies that messages carry.
    allow(rawBucket.arnForObjects('grouped/*'), 's3:PutObject'),
    allow(
      ledgerTable.tableArn,
      'dynamodb:BatchGetItem',
      'dynamodb:GetItem',
      'dynamodb:PutItem',
      'dynamodb:UpdateItem',
    ),
    allow(countersTable.tableArn, 'dynamodb:UpdateItem'),
    allow(
      queue.queueArn,
      'sqs:ChangeMessageVisibility',
      'sqs:DeleteMessage',
      'sqs:GetQueueAttributes',
      'sqs:ReceiveMessage',
    ),
    allow(deadLetterQueue.queueArn, 'sqs:SendMessage'),
  ];
}

function queryPermissions(resources: Resources) {
  const { countersTable, ledgerTable, rawBucket, queue, deadLetterQueue, tokensSecret } = resources;
  return [
    // To find when the latest batch was received.
    listRawBodies(rawBucket.bucketArn, 'grouped/*'),
    allow(countersTable.tableArn, 'dynamodb:Query'),
    // For receipts: the records of single chunks, and the rows that batches of small bodies share.
    allow(ledgerTable.tableArn, 'dynamodb:GetItem', 'dynamodb:Query'),
    allow(queue.queueArn, 'sqs:GetQueueAttributes'),
    allow(deadLetterQueue.queueArn, 'sqs:GetQueueAttributes'),
    ...readTokens(tokensSecret),
  ];
}

function sweepPermissions(resources: Resources) {
  const { rawBucket, ledgerTable, queue, deadLetterQueue, sweepFailures } = resources;
  return [
    allow(rawBucket.arnForObjects('raw/*'), 's3:GetObject'),
    allow(rawBucket.arnForObjects('excluded/*'), 's3:GetObject'),
    // To store the bodies that dead letters carry, which SQS moved.
    allow(rawBucket.arnForObjects('grouped/*'), 's3:PutObject'),
    listRawBodies(rawBucket.bucketArn),
    allow(
      ledgerTable.tableArn,
      'dynamodb:BatchGetItem',
      'dynamodb:DeleteItem',
      'dynamodb:GetItem',
      'dynamodb:PutItem',
      'dynamodb:Query',
    ),
    ...describeTables(resources),
    // To read the length of the queue: chunks that may be in it are not sent again.
    allow(queue.queueArn, 'sqs:GetQueueAttributes', 'sqs:SendMessage'),
    allow(
      deadLetterQueue.queueArn,
      'sqs:ChangeMessageVisibility',
      'sqs:DeleteMessage',
      'sqs:GetQueueAttributes',
      'sqs:ReceiveMessage',
      'sqs:SendMessage',
    ),
    // Lambda sends a failed sweep to its destination with the function's own role.
    allow(sweepFailures.queueArn, 'sqs:SendMessage'),
  ];
}

function allow(resource: string, ...actions: string[]): PolicyStatement {
  return new PolicyStatement({ actions, resources: [resource] });
}

/** Allows checking whether one of the tables was restored. */
function describeTables({ countersTable, ledgerTable }: Resources): PolicyStatement[] {
  return [countersTable, ledgerTable].map(({ tableArn }) =>
    allow(tableArn, 'dynamodb:DescribeTable'),
  );
}

/** Allows listing raw bodies only, not other objects of the bucket. */
function listRawBodies(bucketArn: string, ...more: string[]): PolicyStatement {
  return new PolicyStatement({
    actions: ['s3:ListBucket'],
    resources: [bucketArn],
    conditions: { StringLike: { 's3:prefix': more.length > 0 ? ['raw/*', ...more] : 'raw/*' } },
  });
}

function readTokens(secret: Secret | undefined): PolicyStatement[] {
  return secret === undefined ? [] : [allow(secret.secretArn, 'secretsmanager:GetSecretValue')];
}
