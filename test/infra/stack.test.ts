import { describe, expect, test } from 'vitest';

import { Synthesized, type Json } from './support.ts';

const stack = new Synthesized();
const { template } = stack;

const bucket = 'AWS::S3::Bucket';
const table = 'AWS::DynamoDB::Table';
const queue = 'AWS::SQS::Queue';
const lambda = 'AWS::Lambda::Function';

/** The statement that refuses every request without TLS. */
function tlsOnly(actions: string, ...resources: unknown[]) {
  return {
    Action: actions,
    Condition: { Bool: { 'aws:SecureTransport': 'false' } },
    Effect: 'Deny',
    Principal: { AWS: '*' },
    Resource: resources.length === 1 ? resources[0] : resources,
  };
}

describe('the HTTP API', () => {
  test('sends POST /ingest to ingest and everything else to query, in payload format 2.0', () => {
    for (const [name, routeKey, handler] of [
      ['IngestRoute', 'POST /ingest', 'Ingest'],
      ['QueryRoute', '$default', 'Query'],
    ] as const) {
      const integration = stack.one(
        'AWS::ApiGatewayV2::Integration',
        `${name}${handler}Integration`,
      );
      expect(integration.Properties).toMatchObject({
        IntegrationType: 'AWS_PROXY',
        IntegrationUri: stack.arn(lambda, handler),
        PayloadFormatVersion: '2.0',
      });
      expect(stack.properties('AWS::ApiGatewayV2::Route', name)).toMatchObject({
        RouteKey: routeKey,
        Target: { 'Fn::Join': ['', ['integrations/', { Ref: integration.id }]] },
      });
    }
    template.resourceCountIs('AWS::ApiGatewayV2::Route', 2);
  });

  test('has one stage, which logs every request as JSON', () => {
    template.resourceCountIs('AWS::ApiGatewayV2::Stage', 1);
    const stage = stack.properties('AWS::ApiGatewayV2::Stage', 'Stage');
    expect(stage).toMatchObject({
      StageName: '$default',
      AutoDeploy: true,
      AccessLogSettings: { DestinationArn: stack.arn('AWS::Logs::LogGroup', 'AccessLog') },
    });
    const { Format: format } = stage['AccessLogSettings'] as { Format: string };
    expect(JSON.parse(format)).toMatchObject({
      requestId: '$context.requestId',
      status: '$context.status',
    });
    expect(format).not.toMatch(/authorization|queryString|\.header/i);
  });

  test('throttles POST /ingest separately, after that route exists', () => {
    const stage = stack.one('AWS::ApiGatewayV2::Stage', 'Stage');
    expect(stage.Properties).toMatchObject({
      DefaultRouteSettings: { ThrottlingRateLimit: 100, ThrottlingBurstLimit: 200 },
      RouteSettings: { 'POST /ingest': { ThrottlingRateLimit: 500, ThrottlingBurstLimit: 1000 } },
    });
    expect(stage.DependsOn).toContain(stack.one('AWS::ApiGatewayV2::Route', 'IngestRoute').id);
  });

  test('logs to a group that needs no entry in the resource policy of the account', () => {
    const nameOf = (synthesized: Synthesized) =>
      synthesized.properties('AWS::Logs::LogGroup', 'AccessLog')['LogGroupName'];
    expect(nameOf(stack)).toBe('/aws/vendedlogs/device-pipeline/device-pipeline/access');
    expect(nameOf(new Synthesized({ stackName: 'trial' }))).toBe(
      '/aws/vendedlogs/device-pipeline/trial/access',
    );
  });
});

describe('the functions', () => {
  test.each([
    ['Ingest', 1024, 29],
    ['Process', 512, 120],
    ['Query', 1024, 29],
    ['Sweep', 1769, 240],
  ])('%s runs on arm64 and Node.js 24 with %d MB and %d s, traced', (name, memory, seconds) => {
    expect(stack.properties(lambda, name)).toMatchObject({
      Architectures: ['arm64'],
      Runtime: 'nodejs24.x',
      Handler: 'index.handler',
      MemorySize: memory,
      Timeout: seconds,
      TracingConfig: { Mode: 'Active' },
    });
  });

  test.each(['Ingest', 'Process', 'Query', 'Sweep'])(
    '%s logs JSON into a group of its own, which is kept for 30 days',
    (name) => {
      expect(stack.properties(lambda, name)).toMatchObject({
        LoggingConfig: {
          LogFormat: 'JSON',
          ApplicationLogLevel: 'INFO',
          LogGroup: stack.ref('AWS::Logs::LogGroup', `${name}Logs`),
        },
      });
      expect(stack.properties('AWS::Logs::LogGroup', `${name}Logs`)).toMatchObject({
        RetentionInDays: 30,
      });
    },
  );

  test('are four, without any further function', () => {
    template.resourceCountIs(lambda, 4);
  });

  test('reserve no concurrency by default, so that a new account can deploy them', () => {
    for (const { Properties } of Object.values(stack.all(lambda))) {
      expect(Properties).not.toHaveProperty('ReservedConcurrentExecutions');
    }
  });

  const environment = (name: string) =>
    (stack.properties(lambda, name)['Environment'] as { Variables: Json }).Variables;
  const counters = { COUNTERS_TABLE: stack.ref(table, 'Counters') };
  const raw = { RAW_BUCKET: stack.ref(bucket, 'RawBucket') };
  const small = { SMALL_BODIES: 'object' };
  const send = { QUEUE_URL: stack.ref(queue, 'Queue') };
  const bury = { DEAD_LETTER_QUEUE_URL: stack.ref(queue, 'DeadLetterQueue') };
  const tokens = { TOKENS_SECRET_ARN: stack.ref('AWS::SecretsManager::Secret', 'Tokens') };
  const common = {
    LEDGER_TABLE: stack.ref(table, 'Ledger'),
    DAY_ZONE: 'as-written',
    KEEP_DAYS: '90',
    POWERTOOLS_SERVICE_NAME: 'device-pipeline',
    POWERTOOLS_METRICS_NAMESPACE: 'DevicePipeline',
    POWERTOOLS_LOG_LEVEL: 'INFO',
  };

  test.each<[string, Json]>([
    [
      'Ingest',
      {
        ...{ ...common, ...counters, ...raw, ...send, ...tokens },
        ...{ ITEMS_PER_MESSAGE: 'packed', MAX_COUNTERS_PER_DAY: '100000', ...small },
      },
    ],
    ['Process', { ...common, ...counters, ...raw, ...send, ...bury, MAX_RECEIVES: '12' }],
    ['Query', { ...common, ...counters, ...raw, ...send, ...bury, ...tokens, ...small }],
    ['Sweep', { ...common, ...counters, ...raw, ...send, ...bury, SWEEP_AFTER_SECONDS: '900' }],
  ])(
    'the environment of %s has exactly the variables that its handler reads',
    (name, variables) => {
      expect(environment(name)).toEqual(variables);
    },
  );
});

describe('the raw bucket', () => {
  const properties = stack.properties(bucket, 'RawBucket');

  test('is private, encrypted and versioned', () => {
    expect(properties).toMatchObject({
      PublicAccessBlockConfiguration: {
        BlockPublicAcls: true,
        BlockPublicPolicy: true,
        IgnorePublicAcls: true,
        RestrictPublicBuckets: true,
      },
      OwnershipControls: { Rules: [{ ObjectOwnership: 'BucketOwnerEnforced' }] },
      BucketEncryption: {
        ServerSideEncryptionConfiguration: [
          { ServerSideEncryptionByDefault: { SSEAlgorithm: 'AES256' } },
        ],
      },
      VersioningConfiguration: { Status: 'Enabled' },
    });
  });

  test('requires TLS', () => {
    const arn = stack.arn(bucket, 'RawBucket');
    expect(stack.properties('AWS::S3::BucketPolicy', 'RawBucketPolicy')).toMatchObject({
      Bucket: stack.ref(bucket, 'RawBucket'),
      PolicyDocument: {
        Statement: [tlsOnly('s3:*', arn, { 'Fn::Join': ['', [arn, '/*']] })],
      },
    });
  });

  test('moves old objects to cheaper classes, and by default expires nothing', () => {
    expect(properties['LifecycleConfiguration']).toEqual({
      Rules: [
        {
          Id: 'RawBodies',
          Status: 'Enabled',
          AbortIncompleteMultipartUpload: { DaysAfterInitiation: 7 },
          NoncurrentVersionExpiration: { NoncurrentDays: 30 },
          Transitions: [
            { StorageClass: 'STANDARD_IA', TransitionInDays: 30 },
            { StorageClass: 'GLACIER_IR', TransitionInDays: 90 },
          ],
        },
        { Id: 'DeleteMarkers', Status: 'Enabled', ExpiredObjectDeleteMarker: true },
      ],
    });
  });
});

describe('the tables', () => {
  test('of counters has the keys date and type_state, and nothing expires in it', () => {
    const properties = stack.properties(table, 'Counters');
    expect(properties).toMatchObject({
      KeySchema: [
        { AttributeName: 'date', KeyType: 'HASH' },
        { AttributeName: 'type_state', KeyType: 'RANGE' },
      ],
      AttributeDefinitions: [
        { AttributeName: 'date', AttributeType: 'S' },
        { AttributeName: 'type_state', AttributeType: 'S' },
      ],
    });
    expect(properties).not.toHaveProperty('TimeToLiveSpecification');
  });

  test('of the ledger has the keys id and entry, and its rows expire', () => {
    expect(stack.properties(table, 'Ledger')).toMatchObject({
      KeySchema: [
        { AttributeName: 'id', KeyType: 'HASH' },
        { AttributeName: 'entry', KeyType: 'RANGE' },
      ],
      AttributeDefinitions: [
        { AttributeName: 'id', AttributeType: 'S' },
        { AttributeName: 'entry', AttributeType: 'S' },
      ],
      TimeToLiveSpecification: { AttributeName: 'expires_at', Enabled: true },
    });
  });

  test.each(['Counters', 'Ledger'])(
    '%s is paid for by use, protected from deletion, and can be restored to any moment',
    (name) => {
      expect(stack.properties(table, name)).toMatchObject({
        BillingMode: 'PAY_PER_REQUEST',
        PointInTimeRecoverySpecification: { PointInTimeRecoveryEnabled: true },
        DeletionProtectionEnabled: true,
      });
    },
  );
});

test('resources with data and the API, which has the address, keep their logical ids: an update replaces what has another', () => {
  expect([
    stack.one(table, 'Counters').id,
    stack.one(table, 'Ledger').id,
    stack.one(bucket, 'RawBucket').id,
    stack.one(queue, 'Queue').id,
    stack.one(queue, 'DeadLetterQueue').id,
    stack.one('AWS::SecretsManager::Secret', 'Tokens').id,
    stack.one('AWS::ApiGatewayV2::Api', 'Api').id,
  ]).toEqual([
    'CountersFDB211E7',
    'LedgerB7379752',
    'RawBucket0C3EE094',
    'Queue4A7E3555',
    'DeadLetterQueue9F481546',
    'Tokens1180AAEA',
    'ApiF70053CD',
  ]);
});

test('resources with data remain when the stack is deleted, and nothing else does', () => {
  const resources = template.toJSON()['Resources'] as Record<string, { DeletionPolicy?: string }>;
  const kept = Object.entries(resources).filter(
    ([, { DeletionPolicy }]) => DeletionPolicy === 'Retain',
  );
  expect(kept.map(([id]) => id).sort()).toEqual(
    [
      stack.one(table, 'Counters').id,
      stack.one(table, 'Ledger').id,
      stack.one(bucket, 'RawBucket').id,
      stack.one('AWS::S3::BucketPolicy', 'RawBucketPolicy').id,
    ].sort(),
  );
  for (const [, resource] of kept) {
    expect(resource).toMatchObject({ UpdateReplacePolicy: 'Retain' });
  }
});

test('uses an existing bucket and existing tables, and creates none', () => {
  const named = new Synthesized({
    rawBucketName: 'old-bodies',
    countersTableName: 'old-counters',
    ledgerTableName: 'old-ledger',
  });
  for (const type of [bucket, 'AWS::S3::BucketPolicy', table]) {
    named.template.resourceCountIs(type, 0);
  }
  const outputs = named.template.findOutputs('*');
  expect(outputs).toMatchObject({
    BucketName: { Value: 'old-bodies' },
    TableName: { Value: 'old-counters' },
    LedgerTableName: { Value: 'old-ledger' },
  });
  expect(Object.keys(outputs)).toEqual(Object.keys(template.findOutputs('*')));
  const others = ({ Resources }: Json) =>
    Object.values(Resources as Record<string, { Type: string }>)
      .map(({ Type }) => Type)
      .filter((type) => ![bucket, 'AWS::S3::BucketPolicy', table].includes(type))
      .sort();
  expect(others(named.template.toJSON())).toEqual(others(template.toJSON()));
});

describe('the queues', () => {
  test.each(['Queue', 'DeadLetterQueue', 'SweepFailures'])(
    '%s keeps messages for 14 days, encrypted, and requires TLS',
    (name) => {
      expect(stack.properties(queue, name)).toMatchObject({
        MessageRetentionPeriod: 14 * 24 * 3600,
        SqsManagedSseEnabled: true,
      });
      const policy = stack.properties('AWS::SQS::QueuePolicy', `${name}Policy`);
      expect(policy['Queues']).toEqual([stack.ref(queue, name)]);
      const { Statement: statements } = policy['PolicyDocument'] as { Statement: unknown[] };
      expect(statements).toContainEqual(tlsOnly('sqs:*', stack.arn(queue, name)));
    },
  );

  test('move a message to the dead-letter queue after twelve deliveries', () => {
    expect(stack.properties(queue, 'Queue')['RedrivePolicy']).toEqual({
      deadLetterTargetArn: stack.arn(queue, 'DeadLetterQueue'),
      maxReceiveCount: 12,
    });
  });

  test('hide a message for six times the timeout of the process function, and the window', () => {
    const { Timeout: seconds } = stack.properties(lambda, 'Process') as { Timeout: number };
    expect(stack.properties(queue, 'Queue')['VisibilityTimeout']).toBe(6 * seconds + 5);
  });
});

describe('the triggers', () => {
  test('pass the process function up to 500 messages, at most two batches at once', () => {
    expect(stack.properties('AWS::Lambda::EventSourceMapping', 'ProcessSource')).toEqual({
      EventSourceArn: stack.arn(queue, 'Queue'),
      FunctionName: stack.ref(lambda, 'Process'),
      BatchSize: 500,
      MaximumBatchingWindowInSeconds: 5,
      ScalingConfig: { MaximumConcurrency: 2 },
      FunctionResponseTypes: ['ReportBatchItemFailures'],
    });
  });

  test('start the sweeper every five minutes, and keep what cannot be delivered', () => {
    expect(stack.properties('AWS::Events::Rule', 'SweepSchedule')).toMatchObject({
      ScheduleExpression: 'rate(5 minutes)',
      State: 'ENABLED',
      Targets: [
        {
          Arn: stack.arn(lambda, 'Sweep'),
          RetryPolicy: { MaximumRetryAttempts: 2, MaximumEventAgeInSeconds: 300 },
          DeadLetterConfig: { Arn: stack.arn(queue, 'SweepFailures') },
        },
      ],
    });
  });

  test('retry a failed sweep once, and then keep the reason', () => {
    expect(stack.properties('AWS::Lambda::EventInvokeConfig', 'SweepInvocations')).toEqual({
      FunctionName: stack.ref(lambda, 'Sweep'),
      Qualifier: '$LATEST',
      MaximumRetryAttempts: 1,
      MaximumEventAgeInSeconds: 600,
      DestinationConfig: { OnFailure: { Destination: stack.arn(queue, 'SweepFailures') } },
    });
  });

  test('leave no time for a sweep to run into the next one', () => {
    expect(stack.properties(lambda, 'Sweep')['Timeout']).toBeLessThan(300);
  });
});

test('CloudFormation generates the first token, long and alphanumeric', () => {
  expect(stack.properties('AWS::SecretsManager::Secret', 'Tokens')).toMatchObject({
    GenerateSecretString: {
      SecretStringTemplate: '{"tokens":[]}',
      GenerateStringKey: 'initial',
      PasswordLength: 48,
      ExcludePunctuation: true,
    },
  });
});

test('the outputs name all resources', () => {
  const outputs = template.findOutputs('*') as Record<string, { Value: unknown }>;
  const values = Object.fromEntries(Object.entries(outputs).map(([name, o]) => [name, o.Value]));
  expect(values).toEqual({
    ...{ ItemsPerMessage: 'packed', DayZone: 'as-written', KeepReceiptsDays: '90' },
    RawExpiryDays: 'never',
    ApiUrl: { 'Fn::GetAtt': [stack.one('AWS::ApiGatewayV2::Api', 'Api').id, 'ApiEndpoint'] },
    BucketName: stack.ref(bucket, 'RawBucket'),
    QueueUrl: stack.ref(queue, 'Queue'),
    TableName: stack.ref(table, 'Counters'),
    LedgerTableName: stack.ref(table, 'Ledger'),
    DeadLetterQueueUrl: stack.ref(queue, 'DeadLetterQueue'),
    TokensSecretArn: stack.ref('AWS::SecretsManager::Secret', 'Tokens'),
  });
});

test('the template names no account and no region', () => {
  const text = JSON.stringify(template.toJSON());
  expect(text).not.toMatch(/\b\d{12}\b/);
  expect(text).not.toMatch(/\b(us|eu|ap|sa|ca|af|me|il)-[a-z]+-\d\b/);
});
