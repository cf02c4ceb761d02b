import { describe, expect, it } from 'vitest';

import { permissionsOf } from '../../../infra/local/emulators/permissions.ts';
import type { AwsCall, Service } from '../../../infra/local/emulators/wire-call.ts';
import { readTemplate } from '../../../infra/local/template/read-template.ts';
import { standInTemplate } from './stand-ins.ts';

const endpoint = 'http://127.0.0.1:4000';
const listOnly = {
  Effect: 'Allow',
  Action: ['s3:ListBucket', 's3:GetObject'],
  Resource: ['arn:aws:s3:::local-bucket', 'arn:aws:s3:::local-bucket/raw/*'],
  Condition: { StringLike: { 's3:prefix': ['raw/*', 'grouped/?'] } },
};

function stackWith(...statements: object[]) {
  const { Policy } = standInTemplate().Resources;
  const Properties = { ...Policy?.Properties, PolicyDocument: { Statement: statements } };
  const template = standInTemplate({ Policy: { Type: 'AWS::IAM::Policy', Properties } });
  return readTemplate(template, { endpoint });
}

const byTemplate = permissionsOf(readTemplate(standInTemplate(), { endpoint }));

function call(service: Service, operation: string, request: object | string, caller = 'process') {
  const isTarget = typeof request === 'string';
  const requestBody = Buffer.from(isTarget ? '' : JSON.stringify(request));
  const rest = { environmentId: undefined, requestBytes: requestBody.length, requestBody };
  return {
    service,
    operation,
    caller,
    target: isTarget ? request : '/',
    ...rest,
  } satisfies AwsCall;
}

const table = 'local-Table';
const queueUrl = (name: string) => `${endpoint}/000000000000/${name}`;
const write = (name: string, TableName: string) => ({ [name]: { TableName } });

describe('a function may do what its policies allow', () => {
  it.each([
    ['a read', call('dynamodb', 'GetItem', { TableName: table })],
    ['reads of several keys', call('dynamodb', 'BatchGetItem', { RequestItems: { [table]: {} } })],
    [
      'a transaction',
      call('dynamodb', 'TransactWriteItems', { TransactItems: [write('Put', table)] }),
    ],
    ['messages', call('sqs', 'SendMessageBatch', { QueueUrl: queueUrl('local-Queue') })],
    ['an object', call('s3', 'PutObject', '/local-bucket/raw/a%20b.json?x-id=PutObject')],
    [
      'polling, by Lambda',
      call('sqs', 'ReceiveMessage', { QueueUrl: queueUrl('local-Queue') }, 'eventsource'),
    ],
    [
      'a failure, by Lambda',
      call('sqs', 'SendMessage', { QueueUrl: queueUrl('local-Failures') }, 'eventinvoke'),
    ],
    ['anything, by others', call('s3', 'DeleteObject', '/local-bucket/raw/a', 'operator')],
  ])('%s', (_, made) => {
    expect(byTemplate.refusal(made)).toBeUndefined();
  });

  it.each([
    [
      call('dynamodb', 'GetItem', { TableName: 'other' }),
      'dynamodb:GetItem on arn:aws:dynamodb:us-east-1:000000000000:table/other',
    ],
    [
      call('dynamodb', 'BatchGetItem', { RequestItems: { [table]: {}, other: {} } }),
      'dynamodb:BatchGetItem on',
    ],
    [
      call('dynamodb', 'TransactWriteItems', {
        TransactItems: [write('Put', table), write('Update', 'other')],
      }),
      'dynamodb:UpdateItem on',
    ],
    [
      call('sqs', 'SendMessageBatch', { QueueUrl: queueUrl('local-DeadLetters') }),
      'sqs:SendMessage on arn:aws:sqs:us-east-1:000000000000:local-DeadLetters',
    ],
    [
      call('s3', 'PutObject', '/local-bucket/other/a'),
      's3:PutObject on arn:aws:s3:::local-bucket/other/a',
    ],
    [call('s3', 'HeadObject', '/local-bucket/raw/a'), 's3:GetObject on'],
    [
      call('s3', 'ListObjectsV2', '/local-bucket?list-type=2&prefix=raw%2F'),
      's3:ListBucket on arn:aws:s3:::local-bucket, prefix raw/',
    ],
  ])('and no other: %#', (made, text) => {
    expect(byTemplate.refusal(made)).toContain(`process is not authorized to perform ${text}`);
  });

  it('a list is limited to prefixes, and does not reveal that an object is missing', () => {
    const permissions = permissionsOf(stackWith(listOnly));
    const list = (prefix: string) => call('s3', 'ListObjectsV2', `/local-bucket?prefix=${prefix}`);
    expect(permissions.refusal(list('raw/2026'))).toBeUndefined();
    expect(permissions.refusal(list('grouped/1'))).toBeUndefined();
    expect(permissions.refusal(list('grouped/12'))).toContain('prefix grouped/12');
    expect(permissions.refusal(call('s3', 'ListObjectsV2', '/local-bucket'))).toContain('prefix ');
    const get = call('s3', 'GetObject', '/local-bucket/raw/a');
    expect(permissions.tellsMissing(get)).toBe(false);
    const { Condition, ...anyList } = listOnly;
    expect(Condition).toBeDefined();
    expect(permissionsOf(stackWith(anyList)).tellsMissing(get)).toBe(true);
  });

  it.each([
    ['a denial', { ...listOnly, Effect: 'Deny' }, 'denies s3:ListBucket'],
    ['another condition', { ...listOnly, Condition: { Bool: { a: true } } }, 'has the condition'],
    [
      'a resource that does not run here',
      { ...listOnly, Resource: [{ Ref: 'Nothing' }] },
      'refers to Nothing',
    ],
  ])('%s in a policy is unsupported', (_, statement, text) => {
    expect(() => stackWith(statement)).toThrow(text);
  });
});
