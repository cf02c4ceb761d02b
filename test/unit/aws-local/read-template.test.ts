import { describe, expect, it } from 'vitest';

import { readTemplate } from '../../../infra/local/template/read-template.ts';
import type { Template } from '../../../infra/local/template/template.ts';
import { standInTemplate } from './stand-ins.ts';

const endpoint = 'http://127.0.0.1:4566';
const read = (template: Template = standInTemplate()) => readTemplate(template, { endpoint });
const queueUrl = `${endpoint}/000000000000/local-Queue`;

describe('what a template says', () => {
  it('has tables with their keys and the attribute that they expire by', () => {
    expect(read().tables).toEqual([
      expect.objectContaining({
        name: 'local-Table',
        keys: [
          { AttributeName: 'id', KeyType: 'HASH' },
          { AttributeName: 'entry', KeyType: 'RANGE' },
        ],
        timeToLiveAttribute: 'expires_at',
      }),
    ]);
  });

  it('has dead-letter queues before the queues that name them', () => {
    const { queues } = read();
    expect(queues.map(({ name }) => name)).toEqual([
      'local-DeadLetters',
      'local-Failures',
      'local-Queue',
    ]);
    expect(queues[2]?.attributes).toEqual({
      VisibilityTimeout: '1',
      RedrivePolicy:
        '{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:local-DeadLetters","maxReceiveCount":2}',
    });
  });

  it('identifies the functions by what calls them, and resolves their variables', () => {
    const byRole = Object.fromEntries(read().functions.map((each) => [each.role, each]));
    expect(Object.keys(byRole).sort()).toEqual(['ingest', 'process', 'query', 'sweep']);
    expect(byRole['ingest']?.environment).toEqual({
      QUEUE_URL: queueUrl,
      RAW_BUCKET: 'local-bucket',
    });
    expect(byRole['process']).toMatchObject({
      timeoutMs: 30_000,
      memoryMb: 256,
      environment: { LEDGER_TABLE: 'local-Table', PLACE: 'us-east-1' },
    });
  });

  it('has routes, throttling, event source, schedule and outputs', () => {
    const { routes, eventSources, schedules, outputs } = read();
    expect(routes).toEqual([
      {
        ...{ routeKey: 'POST /ingest', role: 'ingest' },
        throttle: { ratePerSecond: 500, burst: 1000 },
      },
      { routeKey: '$default', role: 'query', throttle: { ratePerSecond: 100, burst: 200 } },
    ]);
    expect(eventSources).toEqual([
      expect.objectContaining({
        ...{ role: 'process', queueUrl, batchSize: 500, windowMs: 0, concurrencyMax: 2 },
        reportsItemFailures: true,
      }),
    ]);
    expect(schedules).toEqual([
      expect.objectContaining({
        ...{ role: 'sweep', everyMs: 300_000, retriesMax: 1 },
        failureQueueUrl: `${endpoint}/000000000000/local-Failures`,
      }),
    ]);
    expect(outputs).toEqual({ QueueUrl: queueUrl });
  });
});

describe('the local engine rejects unsupported parts by name', () => {
  const withVariable = (value: unknown) => {
    const template = standInTemplate();
    const { Query } = template.Resources;
    const Properties = { ...Query?.Properties, Environment: { Variables: { X: value } } };
    return standInTemplate({ Query: { Type: 'AWS::Lambda::Function', Properties } });
  };

  it.each([
    [
      'an intrinsic function',
      withVariable({ 'Fn::If': ['A', 'b', 'c'] }),
      'Query.Environment uses Fn::If',
    ],
    [
      'a resource that is not there',
      withVariable({ Ref: 'Nothing' }),
      'refers to Nothing, which is not a resource',
    ],
    [
      'an attribute of something that does not run here',
      withVariable({ 'Fn::GetAtt': ['Logs', 'Arn'] }),
      'refers to Arn of Logs (AWS::Logs::LogGroup)',
    ],
    [
      'a kind of resource',
      standInTemplate({ Cluster: { Type: 'AWS::ECS::Cluster' } }),
      'does not support Cluster (AWS::ECS::Cluster)',
    ],
    [
      'a function that nothing calls',
      standInTemplate({ Lonely: { Type: 'AWS::Lambda::Function', Properties: {} } }),
      'calls Lonely',
    ],
    [
      'a schedule by cron',
      standInTemplate({
        Rule: {
          Type: 'AWS::Events::Rule',
          Properties: {
            ScheduleExpression: 'cron(0 12 * * ? *)',
            Targets: [{ Arn: { 'Fn::GetAtt': ['Sweep', 'Arn'] } }],
          },
        },
      }),
      'Rule is due at cron(0 12 * * ? *)',
    ],
  ])('%s', (_, template, message) => {
    expect(() => read(template)).toThrow(message);
  });

  it('a secret, with what to do', () => {
    const template = withVariable({ Ref: 'Secret' });
    const Resources = {
      ...template.Resources,
      Secret: { Type: 'AWS::SecretsManager::Secret' },
    };
    expect(() => read({ Resources })).toThrow('synthesise the stack with tokens off');
  });
});
