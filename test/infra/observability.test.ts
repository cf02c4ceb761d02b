import { describe, expect, test } from 'vitest';

import { Synthesized, type Json } from './support.ts';

const stack = new Synthesized();
const alarm = 'AWS::CloudWatch::Alarm';

function dimension(name: string, value: unknown): Json {
  return { Dimensions: [{ Name: name, Value: value }] };
}
const queueName = (name: string) => ({
  'Fn::GetAtt': [stack.one('AWS::SQS::Queue', name).id, 'QueueName'],
});
const lambda = (name: string) => stack.ref('AWS::Lambda::Function', name);
const ofFunction = (name: string) => ({
  Namespace: 'DevicePipeline',
  Dimensions: [
    { Name: 'function', Value: name },
    { Name: 'service', Value: 'device-pipeline' },
  ],
});
const own = { Namespace: 'DevicePipeline/device-pipeline', Statistic: 'Sum', Period: 300 };
const mostInAMinute = { Namespace: 'AWS/SQS', Statistic: 'Maximum', Period: 60 };

describe('an alarm is raised', () => {
  test.each<[string, string, Json]>([
    [
      'a message is in the dead-letter queue',
      'DeadLettersPresent',
      {
        ...mostInAMinute,
        MetricName: 'ApproximateNumberOfMessagesVisible',
        ...dimension('QueueName', queueName('DeadLetterQueue')),
        Threshold: 1,
        EvaluationPeriods: 1,
      },
    ],
    [
      'requests are answered with 5xx',
      'ServerErrors',
      {
        Namespace: 'AWS/ApiGateway',
        MetricName: '5xx',
        Statistic: 'Sum',
        Period: 300,
        ...dimension('ApiId', stack.ref('AWS::ApiGatewayV2::Api', 'Api')),
        Threshold: 5,
        EvaluationPeriods: 1,
      },
    ],
    [
      'requests are answered with 429',
      'RequestsThrottledOften',
      { ...own, MetricName: 'RequestsThrottled', Threshold: 10, EvaluationPeriods: 1 },
    ],
    [
      'the sweeper has found orphans',
      'SweepFoundOrphans',
      {
        ...ofFunction('sweep'),
        ...{ MetricName: 'OrphansFound', Statistic: 'Sum', Period: 300 },
        ...{ Threshold: 1, EvaluationPeriods: 1 },
      },
    ],
    [
      'a sweep has failed for good',
      'SweepFailuresPresent',
      {
        ...mostInAMinute,
        MetricName: 'ApproximateNumberOfMessagesVisible',
        ...dimension('QueueName', queueName('SweepFailures')),
        Threshold: 1,
        EvaluationPeriods: 1,
      },
    ],
  ])('when %s', (_, name, properties) => {
    expect(stack.properties(alarm, name)).toMatchObject({
      ...properties,
      ComparisonOperator: 'GreaterThanOrEqualToThreshold',
      TreatMissingData: 'notBreaching',
    });
  });

  test('when the oldest message has waited 15 minutes, according to SQS, the processor or the sweeper', () => {
    const properties = stack.properties(alarm, 'OldestMessageWaits');
    expect(properties).toMatchObject({
      Threshold: 900,
      DatapointsToAlarm: 2,
      EvaluationPeriods: 4,
    });
    const [expression, ...metrics] = properties['Metrics'] as Json[];
    expect(expression).toMatchObject({
      Expression: 'MAX([FILL(queued, 0), FILL(failed, 0), FILL(uncounted, 0)])',
    });
    const stat = (metric: object) => ({
      MetricStat: { Metric: metric, Period: 300, Stat: 'Maximum' },
    });
    expect(metrics).toMatchObject([
      {
        Id: 'queued',
        ...stat({
          MetricName: 'ApproximateAgeOfOldestMessage',
          ...dimension('QueueName', queueName('Queue')),
        }),
      },
      { Id: 'failed', ...stat({ MetricName: 'UncountedSeconds', ...ofFunction('process') }) },
      { Id: 'uncounted', ...stat({ MetricName: 'UncountedSeconds', ...ofFunction('sweep') }) },
    ]);
  });

  test('when no sweep has finished for 20 minutes, also if none was started', () => {
    expect(stack.properties(alarm, 'SweepMissing')).toMatchObject({
      ...ofFunction('sweep'),
      ...{ MetricName: 'SweepsDone', Statistic: 'Sum', Period: 300 },
      ...{ Threshold: 1, EvaluationPeriods: 4 },
      ...{ ComparisonOperator: 'LessThanThreshold', TreatMissingData: 'breaching' },
    });
  });

  test('when the sweeper is an hour behind, or has found expired batches', () => {
    const properties = stack.properties(alarm, 'SweepLags');
    expect(properties).toMatchObject({ Threshold: 1, EvaluationPeriods: 1 });
    const [expression, ...metrics] = properties['Metrics'] as Json[];
    expect(expression).toMatchObject({
      Expression: 'MAX([FILL(behind, 0) / 3600, FILL(forgotten, 0)])',
    });
    const stat = (MetricName: string, Stat: string) => ({
      MetricStat: { Metric: { MetricName, ...ofFunction('sweep') }, Period: 300, Stat },
    });
    expect(metrics).toMatchObject([
      { Id: 'behind', ...stat('SweepBehindSeconds', 'Maximum') },
      { Id: 'forgotten', ...stat('BatchesForgotten', 'Sum') },
    ]);
  });

  test('when Lambda throttles any of the functions, also while others are idle', () => {
    const properties = stack.properties(alarm, 'FunctionsThrottled');
    expect(properties).toMatchObject({ Threshold: 1, EvaluationPeriods: 1 });
    const [expression, ...metrics] = properties['Metrics'] as Json[];
    expect(expression).toMatchObject({
      Expression: 'SUM([FILL(ingest, 0), FILL(process, 0), FILL(query, 0), FILL(sweep, 0)])',
      ReturnData: true,
    });
    expect(metrics).toMatchObject(
      ['Ingest', 'Process', 'Query', 'Sweep'].map((name) => ({
        Id: name.toLowerCase(),
        MetricStat: {
          Metric: { MetricName: 'Throttles', ...dimension('FunctionName', lambda(name)) },
          Period: 300,
          Stat: 'Sum',
        },
      })),
    );
  });

  test('when a request has an unexpected error, or a run of the processor', () => {
    const properties = stack.properties(alarm, 'DefectsMet');
    expect(properties).toMatchObject({ Threshold: 1, EvaluationPeriods: 1 });
    const [expression, ...metrics] = properties['Metrics'] as Json[];
    expect(expression).toMatchObject({
      Expression: 'SUM([FILL(ingest, 0), FILL(process, 0), FILL(query, 0)])',
    });
    const process = { Namespace: 'AWS/Lambda', MetricName: 'Errors' };
    const own = (name: string) => ({ MetricName: 'Problem_internal', ...ofFunction(name) });
    const stat = { Period: 300, Stat: 'Sum' };
    expect(metrics).toMatchObject(
      Object.entries({ ingest: own('ingest'), process, query: own('query') }).map(
        ([Id, Metric]) => ({ Id, MetricStat: { Metric, ...stat } }),
      ),
    );
  });

  test('in no other case, and never without an address', () => {
    expect(Object.keys(stack.all(alarm))).toHaveLength(10);
    for (const { Properties } of Object.values(stack.all(alarm))) {
      expect(Properties).not.toHaveProperty('AlarmActions');
    }
    stack.template.resourceCountIs('AWS::SNS::Topic', 0);
  });
});

describe('a metric', () => {
  test('counts the requests that the access log shows as throttled', () => {
    expect(stack.properties('AWS::Logs::MetricFilter', 'RequestsThrottled')).toEqual({
      LogGroupName: stack.ref('AWS::Logs::LogGroup', 'AccessLog'),
      FilterPattern: '{ $.status = "429" }',
      MetricTransformations: [
        {
          MetricNamespace: 'DevicePipeline/device-pipeline',
          MetricName: 'RequestsThrottled',
          MetricValue: '1',
        },
      ],
    });
  });
});

test('the dashboard shows the alarms, the requests, the queues, the functions and the tables', () => {
  const body = JSON.stringify(stack.properties('AWS::CloudWatch::Dashboard', 'Dashboard'));
  const ids = [
    ...Object.keys(stack.all(alarm)),
    ...Object.keys(stack.all('AWS::Lambda::Function')),
    ...Object.keys(stack.all('AWS::SQS::Queue')),
    ...Object.keys(stack.all('AWS::DynamoDB::Table')),
    ...Object.keys(stack.all('AWS::ApiGatewayV2::Api')),
  ];
  expect(ids.filter((id) => !body.includes(`"${id}"`))).toEqual([]);
  const drawn = ['OrphansFound', 'ItemsAccepted', 'ItemsCounted', 'DeadLettersParked'];
  expect(drawn.filter((name) => !body.includes(name))).toEqual([]);
  const search = (name: string) =>
    `SEARCH('{DevicePipeline,function,service} service=\\\\\\"device-pipeline\\\\\\" ${name}', 'Sum', 60)`;
  expect(body).toContain(search('Problem'));
  expect(body).toContain(search('ItemError'));
});

test('CloudWatch may publish to the topic if there is an address, over TLS only', () => {
  const told = new Synthesized({ alarmEmail: 'on-call@example.org' });
  const topic = told.ref('AWS::SNS::Topic', 'Alarms');
  const [policy] = Object.values(told.all('AWS::SNS::TopicPolicy'));
  expect(policy?.Properties['Topics']).toEqual([topic]);
  const document = policy?.Properties['PolicyDocument'] as Json | undefined;
  expect(document?.['Statement']).toMatchObject([
    { Effect: 'Deny', Condition: { Bool: { 'aws:SecureTransport': 'false' } }, Resource: topic },
    {
      Effect: 'Allow',
      Action: 'sns:Publish',
      Principal: { Service: 'cloudwatch.amazonaws.com' },
      Resource: topic,
      Condition: { StringEquals: { 'aws:SourceAccount': { Ref: 'AWS::AccountId' } } },
    },
  ]);
});
