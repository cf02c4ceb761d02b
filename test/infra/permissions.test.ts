import { describe, expect, test } from 'vitest';

import { Synthesized, type Json } from './support.ts';

interface Statement {
  Effect: string;
  Action: string | string[];
  Resource: unknown;
  Condition?: unknown;
}

const on = new Synthesized();
const off = new Synthesized({ tokens: 'off' });

const lambda = 'AWS::Lambda::Function';

/** One line for each action that a function's role allows, with the name of the resource. */
function grants(stack: Synthesized, name: string): string[] {
  const role = stack.one('AWS::IAM::Role', `${name}Role`);
  expect(stack.properties(lambda, name)['Role']).toEqual(
    stack.arn('AWS::IAM::Role', `${name}Role`),
  );
  expect(role.Properties).not.toHaveProperty('ManagedPolicyArns');
  expect(role.Properties).not.toHaveProperty('Policies');
  const policies = Object.values(stack.all('AWS::IAM::Policy')).filter(({ Properties }) =>
    (Properties['Roles'] as unknown[]).some(
      (attached) => JSON.stringify(attached) === JSON.stringify({ Ref: role.id }),
    ),
  );
  return policies
    .flatMap(
      ({ Properties }) => (Properties['PolicyDocument'] as { Statement: Statement[] }).Statement,
    )
    .flatMap((statement) => {
      expect(statement.Effect).toBe('Allow');
      const actions = [statement.Action].flat();
      const resources = [statement.Resource].flat();
      const where = statement.Condition ? ` where ${JSON.stringify(statement.Condition)}` : '';
      return actions.flatMap((action) =>
        resources.map((resource) => `${action} on ${resourceName(resource)}${where}`),
      );
    })
    .sort();
}

/** The logical id, without the CDK's hash, and what is appended to its ARN. */
function resourceName(resource: unknown): string {
  if (typeof resource === 'string') return resource;
  const { Ref: ref, 'Fn::GetAtt': attribute, 'Fn::Join': join } = resource as Json;
  if (join !== undefined) {
    const [, parts] = join as [string, unknown[]];
    return parts.map(resourceName).join('');
  }
  const id = attribute === undefined ? ref : (attribute as string[])[0];
  return String(id).replace(/[0-9A-F]{8}$/, '');
}

const everyFunction = (name: string) => [
  `logs:CreateLogStream on ${name}Logs`,
  `logs:PutLogEvents on ${name}Logs`,
  'xray:PutTelemetryRecords on *',
  'xray:PutTraceSegments on *',
];
const listRaw = 's3:ListBucket on RawBucket where {"StringLike":{"s3:prefix":"raw/*"}}';
const listBoth =
  's3:ListBucket on RawBucket where {"StringLike":{"s3:prefix":["raw/*","grouped/*"]}}';
const readTokens = 'secretsmanager:GetSecretValue on Tokens';

const exact: Record<string, string[]> = {
  Ingest: [
    'dynamodb:DescribeTable on Counters',
    'dynamodb:DescribeTable on Ledger',
    'dynamodb:GetItem on Ledger',
    'dynamodb:PutItem on Ledger',
    'dynamodb:Query on Counters',
    's3:GetObject on RawBucket/excluded/*',
    's3:GetObject on RawBucket/grouped/*',
    's3:GetObject on RawBucket/raw/*',
    's3:PutObject on RawBucket/excluded/*',
    's3:PutObject on RawBucket/raw/*',
    listBoth,
    'sqs:SendMessage on Queue',
    readTokens,
  ],
  Process: [
    'dynamodb:BatchGetItem on Ledger',
    'dynamodb:GetItem on Ledger',
    'dynamodb:PutItem on Ledger',
    'dynamodb:UpdateItem on Counters',
    'dynamodb:UpdateItem on Ledger',
    's3:PutObject on RawBucket/grouped/*',
    'sqs:ChangeMessageVisibility on Queue',
    'sqs:DeleteMessage on Queue',
    'sqs:GetQueueAttributes on Queue',
    'sqs:ReceiveMessage on Queue',
    'sqs:SendMessage on DeadLetterQueue',
  ],
  Query: [
    'dynamodb:GetItem on Ledger',
    'dynamodb:Query on Counters',
    'dynamodb:Query on Ledger',
    listBoth,
    'sqs:GetQueueAttributes on DeadLetterQueue',
    'sqs:GetQueueAttributes on Queue',
    readTokens,
  ],
  Sweep: [
    'dynamodb:BatchGetItem on Ledger',
    'dynamodb:DeleteItem on Ledger',
    'dynamodb:DescribeTable on Counters',
    'dynamodb:DescribeTable on Ledger',
    'dynamodb:GetItem on Ledger',
    'dynamodb:PutItem on Ledger',
    'dynamodb:Query on Ledger',
    's3:GetObject on RawBucket/excluded/*',
    's3:GetObject on RawBucket/raw/*',
    's3:PutObject on RawBucket/grouped/*',
    listRaw,
    'sqs:ChangeMessageVisibility on DeadLetterQueue',
    'sqs:DeleteMessage on DeadLetterQueue',
    'sqs:GetQueueAttributes on DeadLetterQueue',
    'sqs:GetQueueAttributes on Queue',
    'sqs:ReceiveMessage on DeadLetterQueue',
    'sqs:SendMessage on DeadLetterQueue',
    'sqs:SendMessage on Queue',
    'sqs:SendMessage on SweepFailures',
  ],
};

describe('each function has the permissions that it needs, and no others', () => {
  test.each(Object.entries(exact))('%s', (name, permissions) => {
    expect(grants(on, name)).toEqual([...permissions, ...everyFunction(name)].sort());
  });

  test.each(Object.entries(exact))(
    '%s has no permission to read tokens if there are none',
    (name) => {
      expect(grants(off, name)).toEqual(grants(on, name).filter((grant) => grant !== readTokens));
    },
  );

  test('each has a role of its own, which only Lambda may assume', () => {
    const roles = Object.values(on.all('AWS::IAM::Role'));
    expect(roles).toHaveLength(4);
    for (const { Properties } of roles) {
      expect(Properties['AssumeRolePolicyDocument']).toMatchObject({
        Statement: [
          {
            Action: 'sts:AssumeRole',
            Effect: 'Allow',
            Principal: { Service: 'lambda.amazonaws.com' },
          },
        ],
      });
    }
  });

  test('there is no other policy in the stack', () => {
    expect(Object.keys(on.all('AWS::IAM::Policy'))).toHaveLength(4);
    on.template.resourceCountIs('AWS::IAM::ManagedPolicy', 0);
  });
});

describe('only its own trigger may start a function', () => {
  test('the API may invoke ingest and query, the rule the sweeper, and none of them process', () => {
    const permissions = Object.values(on.all('AWS::Lambda::Permission')).map(({ Properties }) => [
      resourceName(Properties['FunctionName']),
      Properties['Principal'],
      Properties['Action'],
      resourceName(Properties['SourceArn']),
    ]);
    const api = 'arn:AWS::Partition:execute-api:AWS::Region:AWS::AccountId:Api';
    expect(permissions.sort()).toEqual([
      ['Ingest', 'apigateway.amazonaws.com', 'lambda:InvokeFunction', `${api}/*/*/ingest`],
      ['Query', 'apigateway.amazonaws.com', 'lambda:InvokeFunction', `${api}/*/*`],
      ['Sweep', 'events.amazonaws.com', 'lambda:InvokeFunction', 'SweepSchedule'],
    ]);
  });

  test('only the schedule may send to the queue of failures', () => {
    const { PolicyDocument: document } = on.properties(
      'AWS::SQS::QueuePolicy',
      'SweepFailuresPolicy',
    ) as { PolicyDocument: { Statement: Statement[] } };
    const allowed = document.Statement.filter(({ Effect }) => Effect === 'Allow');
    expect(allowed).toMatchObject([
      {
        Action: 'sqs:SendMessage',
        Principal: { Service: 'events.amazonaws.com' },
        Condition: {
          ArnEquals: { 'aws:SourceArn': on.arn('AWS::Events::Rule', 'SweepSchedule') },
        },
      },
    ]);
  });
});
