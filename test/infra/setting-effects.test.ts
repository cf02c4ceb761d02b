import { RetentionDays } from 'aws-cdk-lib/aws-logs';
import { beforeAll, describe, expect, test } from 'vitest';

import { settingNames, type Settings } from '../../infra/settings.ts';
import { Synthesized, type Json } from './support.ts';

const lambda = 'AWS::Lambda::Function';

function variable(stack: Synthesized, name: string, variableName: string): unknown {
  const { Variables: variables } = stack.properties(lambda, name)['Environment'] as {
    Variables: Json;
  };
  return variables[variableName];
}

function rawRule(stack: Synthesized): Json {
  const { Rules: rules } = stack.properties('AWS::S3::Bucket', 'RawBucket')[
    'LifecycleConfiguration'
  ] as { Rules: Json[] };
  return rules[0] ?? {};
}

/** For each setting: a value other than its default, and its effect in the template. */
const effects: { [Name in keyof Settings]: [Settings[Name], (stack: Synthesized) => void] } = {
  stackName: [
    'trial',
    (stack) => {
      expect(stack.properties('AWS::ApiGatewayV2::Api', 'Api')['Name']).toBe('trial');
      expect(JSON.stringify(stack.all('AWS::Logs::MetricFilter'))).toContain(
        '"DevicePipeline/trial"',
      );
    },
  ],
  itemsPerMessage: [1, (stack) => expect(variable(stack, 'Ingest', 'ITEMS_PER_MESSAGE')).toBe('1')],
  smallBodies: [
    'queue',
    (stack) => {
      expect(variable(stack, 'Ingest', 'SMALL_BODIES')).toBe('queue');
      expect(variable(stack, 'Query', 'SMALL_BODIES')).toBe('queue');
    },
  ],
  maxCountersPerDay: [
    500,
    (stack) => expect(variable(stack, 'Ingest', 'MAX_COUNTERS_PER_DAY')).toBe('500'),
  ],
  dayZone: [
    'Europe/Berlin',
    (stack) => {
      for (const name of ['Ingest', 'Process', 'Query', 'Sweep']) {
        expect(variable(stack, name, 'DAY_ZONE')).toBe('Europe/Berlin');
      }
    },
  ],
  keepReceiptsDays: [
    365,
    (stack) => {
      for (const name of ['Ingest', 'Process', 'Query', 'Sweep']) {
        expect(variable(stack, name, 'KEEP_DAYS')).toBe('365');
      }
    },
  ],
  rawExpiryDays: [400, (stack) => expect(rawRule(stack)).toMatchObject({ ExpirationInDays: 400 })],
  rawInfrequentAccessDays: [
    'never',
    (stack) =>
      expect(rawRule(stack)['Transitions']).toEqual([
        { StorageClass: 'GLACIER_IR', TransitionInDays: 90 },
      ]),
  ],
  rawGlacierDays: [
    'never',
    (stack) =>
      expect(rawRule(stack)['Transitions']).toEqual([
        { StorageClass: 'STANDARD_IA', TransitionInDays: 30 },
      ]),
  ],
  logLevel: [
    'debug',
    (stack) => {
      for (const name of ['Ingest', 'Process', 'Query', 'Sweep']) {
        expect(variable(stack, name, 'POWERTOOLS_LOG_LEVEL')).toBe('DEBUG');
        expect(stack.properties(lambda, name)['LoggingConfig']).toMatchObject({
          ApplicationLogLevel: 'DEBUG',
        });
      }
    },
  ],
  athena: [
    'on',
    (stack) => {
      const [database] = Object.values(stack.all('AWS::Glue::Database'));
      expect(database?.Properties['DatabaseInput']).toMatchObject({ Name: 'trial' });
      expect(Object.keys(stack.all('AWS::Glue::Table'))).toHaveLength(2);
      expect(Object.keys(stack.template.findOutputs('*'))).toContain('AthenaDatabase');
    },
  ],
  logRetentionDays: [
    RetentionDays.ONE_WEEK,
    (stack) => {
      const groups = Object.values(stack.all('AWS::Logs::LogGroup'));
      expect(groups.map(({ Properties }) => Properties['RetentionInDays'])).toEqual([
        7, 7, 7, 7, 7,
      ]);
    },
  ],
  throttleRate: [
    50,
    (stack) =>
      expect(stack.properties('AWS::ApiGatewayV2::Stage', 'Stage')).toMatchObject({
        RouteSettings: {
          'POST /ingest': { ThrottlingRateLimit: 50, ThrottlingBurstLimit: 1000 },
        },
      }),
  ],
  throttleBurst: [
    60,
    (stack) =>
      expect(stack.properties('AWS::ApiGatewayV2::Stage', 'Stage')).toMatchObject({
        RouteSettings: { 'POST /ingest': { ThrottlingRateLimit: 500, ThrottlingBurstLimit: 60 } },
      }),
  ],
  queryThrottleRate: [
    50,
    (stack) =>
      expect(stack.properties('AWS::ApiGatewayV2::Stage', 'Stage')).toMatchObject({
        DefaultRouteSettings: { ThrottlingRateLimit: 50, ThrottlingBurstLimit: 200 },
      }),
  ],
  queryThrottleBurst: [
    60,
    (stack) =>
      expect(stack.properties('AWS::ApiGatewayV2::Stage', 'Stage')).toMatchObject({
        DefaultRouteSettings: { ThrottlingRateLimit: 100, ThrottlingBurstLimit: 60 },
      }),
  ],
  tokens: [
    'off',
    (stack) => {
      stack.template.resourceCountIs('AWS::SecretsManager::Secret', 0);
      expect(Object.keys(stack.template.findOutputs('*'))).not.toContain('TokensSecretArn');
      expect(variable(stack, 'Ingest', 'TOKENS_SECRET_ARN')).toBeUndefined();
      expect(variable(stack, 'Query', 'TOKENS_SECRET_ARN')).toBeUndefined();
      expect(stack.messages).toContain('WARNING tokens is off');
    },
  ],
  functionUrl: [
    'on',
    (stack) => {
      const [url] = Object.values(stack.all('AWS::Lambda::Url'));
      expect(url?.Properties).toMatchObject({
        AuthType: 'NONE',
        TargetFunctionArn: stack.arn(lambda, 'Ingest'),
      });
      expect(Object.keys(stack.template.findOutputs('*'))).toContain('IngestUrl');
      expect(JSON.stringify(variable(stack, 'Ingest', 'API_URL'))).toContain('ApiEndpoint');
      const alarm = JSON.stringify(stack.properties('AWS::CloudWatch::Alarm', 'ServerErrors'));
      expect(alarm).toContain('"Url5xxCount"');
    },
  ],
  corsOrigins: [
    'https://app.example,https://other.example',
    (stack) => {
      for (const name of ['Ingest', 'Query']) {
        expect(variable(stack, name, 'CORS_ORIGINS')).toBe(
          'https://app.example,https://other.example',
        );
      }
      for (const name of ['Process', 'Sweep']) {
        expect(variable(stack, name, 'CORS_ORIGINS')).toBeUndefined();
      }
      // The functions answer preflight requests themselves, as the embedded server does.
      expect(stack.properties('AWS::ApiGatewayV2::Api', 'Api')).not.toHaveProperty(
        'CorsConfiguration',
      );
    },
  ],
  alarmEmail: [
    'on-call@example.org',
    (stack) => {
      const topic = stack.ref('AWS::SNS::Topic', 'Alarms');
      const [subscription] = Object.values(stack.all('AWS::SNS::Subscription'));
      expect(subscription?.Properties).toEqual({
        TopicArn: topic,
        Protocol: 'email',
        Endpoint: 'on-call@example.org',
      });
      for (const { Properties } of Object.values(stack.all('AWS::CloudWatch::Alarm'))) {
        expect(Properties).toMatchObject({ AlarmActions: [topic], OKActions: [topic] });
      }
    },
  ],
  batchSize: [
    10,
    (stack) =>
      expect(
        stack.properties('AWS::Lambda::EventSourceMapping', 'ProcessSource')['BatchSize'],
      ).toBe(10),
  ],
  batchWindowSeconds: [
    20,
    (stack) => {
      expect(stack.properties('AWS::Lambda::EventSourceMapping', 'ProcessSource')).toMatchObject({
        MaximumBatchingWindowInSeconds: 20,
      });
      expect(stack.properties('AWS::SQS::Queue', 'Queue')['VisibilityTimeout']).toBe(740);
    },
  ],
  processConcurrencyMax: [
    7,
    (stack) =>
      expect(stack.properties('AWS::Lambda::EventSourceMapping', 'ProcessSource')).toMatchObject({
        ScalingConfig: { MaximumConcurrency: 7 },
      }),
  ],
  ingestConcurrency: [9, (stack) => expect(reservations(stack)).toEqual({ Ingest: 9 })],
  queryConcurrency: [3, (stack) => expect(reservations(stack)).toEqual({ Query: 3 })],
  sweepConcurrency: [1, (stack) => expect(reservations(stack)).toEqual({ Sweep: 1 })],
  rawBucketName: [
    'old-bodies',
    (stack) => {
      for (const name of ['Ingest', 'Query', 'Sweep']) {
        expect(variable(stack, name, 'RAW_BUCKET')).toBe('old-bodies');
      }
      expect(JSON.stringify(stack.all('AWS::IAM::Policy'))).toContain(':s3:::old-bodies/raw/*"');
    },
  ],
  countersTableName: [
    'old-counters',
    (stack) => {
      for (const name of ['Ingest', 'Process', 'Query', 'Sweep']) {
        expect(variable(stack, name, 'COUNTERS_TABLE')).toBe('old-counters');
      }
      expect(JSON.stringify(stack.all('AWS::IAM::Policy'))).toContain(':table/old-counters"');
      expect(JSON.stringify(stack.all('AWS::CloudWatch::Dashboard'))).toContain('old-counters');
    },
  ],
  ledgerTableName: [
    'old-ledger',
    (stack) => {
      for (const name of ['Ingest', 'Process', 'Query', 'Sweep']) {
        expect(variable(stack, name, 'LEDGER_TABLE')).toBe('old-ledger');
      }
      expect(JSON.stringify(stack.all('AWS::IAM::Policy'))).toContain(':table/old-ledger"');
      expect(JSON.stringify(stack.all('AWS::CloudWatch::Dashboard'))).toContain('old-ledger');
    },
  ],
  removalPolicy: [
    'destroy',
    (stack) => {
      for (const [type, name] of [
        ['AWS::S3::Bucket', 'RawBucket'],
        ['AWS::DynamoDB::Table', 'Counters'],
        ['AWS::DynamoDB::Table', 'Ledger'],
      ] as const) {
        expect(stack.one(type, name).DeletionPolicy).toBe('Delete');
      }
      for (const name of ['Counters', 'Ledger']) {
        expect(stack.properties('AWS::DynamoDB::Table', name)).toMatchObject({
          DeletionProtectionEnabled: false,
        });
      }
      stack.template.resourceCountIs('Custom::S3AutoDeleteObjects', 1);
    },
  ],
};

function reservations(stack: Synthesized): Record<string, unknown> {
  return Object.fromEntries(
    ['Ingest', 'Process', 'Query', 'Sweep'].flatMap((name) => {
      const reserved = stack.properties(lambda, name)['ReservedConcurrentExecutions'];
      return reserved === undefined ? [] : [[name, reserved]];
    }),
  );
}

/** CloudFormation's own rules check the template of every setting. */
beforeAll(() => {
  process.env['CDK_VALIDATION'] = 'true';
});

/** Settings that are synthesised separately, because they change what others affect. */
const apart: readonly (readonly (keyof Settings)[])[] = [
  ['rawInfrequentAccessDays', 'throttleBurst', 'queryThrottleBurst', 'tokens', 'queryConcurrency'],
  ['rawGlacierDays', 'sweepConcurrency'],
  ['rawBucketName', 'countersTableName', 'ledgerTableName'],
];
const together = settingNames.filter((name) => !apart.flat().includes(name));

describe.each([together, ...apart])('each setting does what it says', (...names) => {
  let stack: Synthesized;
  beforeAll(() => {
    stack = new Synthesized(Object.fromEntries(names.map((name) => [name, effects[name][0]])));
  });

  test.each(names)('%s', (name) => {
    const [, expectation] = effects[name];
    expectation(stack);
  });
});

test.each([
  ['queue', ['DeadLetterQueue', 'Queue']],
  ['object', []],
] as const)(
  'a stack with small bodies in the form %s leaves these queues: %j',
  (smallBodies, left) => {
    const queues = new Synthesized({ smallBodies }).all('AWS::SQS::Queue');
    const kept = Object.entries(queues).filter(
      ([, { DeletionPolicy }]) => DeletionPolicy === 'Retain',
    );
    expect(kept.map(([id]) => id.replace(/[0-9A-F]{8}$/, '')).sort()).toEqual(left);
  },
);

test('the bucket has no transitions if no body is to move', () => {
  const stack = new Synthesized({ rawInfrequentAccessDays: 'never', rawGlacierDays: 'never' });
  expect(rawRule(stack)).not.toHaveProperty('Transitions');
});
