import { PolicyStatement } from 'aws-cdk-lib/aws-iam';
import type { Secret } from 'aws-cdk-lib/aws-secretsmanager';

import type { HandlerName } from '../bundle.ts';
import type { Queues } from './queues.ts';
import type { Storage } from './storage.ts';

export interface Resources extends Storage, Queues {
  /** Undefined where no tokens are asked for. */
  tokensSecret: Secret | undefined;
}

/**
 * What each function may do: the calls that it makes, on the resources that it makes them on.
 * TransactWriteItems needs the permissions of the writes that it holds, here PutItem and UpdateItem.
 */
export function permissionsOf(name: HandlerName, resources: Resources): PolicyStatement[] {
  switch (name) {
    case 'ingest':
      return ingestPermissions(resources);
    case 'process':
      return processPermissions(resources);
    case 'query':
      return queryPermissions(resources);
    case 'sweep':
      return sweepPermissions(resources);
  }
}

function ingestPermissions(resources: Resources) {
  const { countersTable, ledgerTable, rawBucket, queue, tokensSecret } = resources;
  return [
    // Which counters a day has, where it gets very many.
    allow(countersTable.tableArn, 'dynamodb:Query'),
    // A batch that is replayed is compared with what is there.
    allow(ledgerTable.tableArn, 'dynamodb:GetItem', 'dynamodb:PutItem'),
    allow(rawBucket.arnForObjects('raw/*'), 's3:GetObject', 's3:PutObject'),
    allow(rawBucket.arnForObjects('excluded/*'), 's3:GetObject', 's3:PutObject'),
    listRawBodies(rawBucket.bucketArn),
    ...describeTables(resources),
    allow(queue.queueArn, 'sqs:SendMessage'),
    ...readTokens(tokensSecret),
  ];
}

function processPermissions({ ledgerTable, countersTable, queue, deadLetterQueue }: Resources) {
  return [
    allow(ledgerTable.tableArn, 'dynamodb:BatchGetItem', 'dynamodb:GetItem', 'dynamodb:PutItem'),
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
    // When the latest batch came.
    listRawBodies(rawBucket.bucketArn),
    allow(countersTable.tableArn, 'dynamodb:Query'),
    allow(ledgerTable.tableArn, 'dynamodb:Query'),
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
    // How much waits there: what may be among it is not sent again.
    allow(queue.queueArn, 'sqs:GetQueueAttributes', 'sqs:SendMessage'),
    allow(deadLetterQueue.queueArn, 'sqs:SendMessage'),
    // Lambda hands a failed sweep on with the function's own role.
    allow(sweepFailures.queueArn, 'sqs:SendMessage'),
  ];
}

function allow(resource: string, ...actions: string[]): PolicyStatement {
  return new PolicyStatement({ actions, resources: [resource] });
}

/** Whether one of the tables was restored. */
function describeTables({ countersTable, ledgerTable }: Resources): PolicyStatement[] {
  return [countersTable, ledgerTable].map(({ tableArn }) =>
    allow(tableArn, 'dynamodb:DescribeTable'),
  );
}

/** Lists raw bodies, and nothing else that may be put into the bucket. */
function listRawBodies(bucketArn: string): PolicyStatement {
  return new PolicyStatement({
    actions: ['s3:ListBucket'],
    resources: [bucketArn],
    conditions: { StringLike: { 's3:prefix': 'raw/*' } },
  });
}

function readTokens(secret: Secret | undefined): PolicyStatement[] {
  return secret === undefined ? [] : [allow(secret.secretArn, 'secretsmanager:GetSecretValue')];
}
