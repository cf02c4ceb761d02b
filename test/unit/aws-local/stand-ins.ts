import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { onTestFinished } from 'vitest';

import type { Template } from '../../../infra/local/template/template.ts';

/** A directory that is gone after the test. */
export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'device-pipeline-local-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** Writes bundles, each from the source of its module; returns where they are. */
export function bundles(sources: Readonly<Record<string, string>>): string {
  const directory = temporaryDirectory();
  for (const [name, source] of Object.entries(sources)) {
    mkdirSync(join(directory, name));
    writeFileSync(join(directory, name, 'index.mjs'), source);
  }
  return directory;
}

/** The URL by which a module anywhere can import a package of this project. */
export function packageUrl(name: string): string {
  return import.meta.resolve(name);
}

/** Looks again and again until it holds; fails after `msMax`. */
export async function eventually(holds: () => boolean | Promise<boolean>, msMax = 500_000) {
  const deadline = Date.now() + msMax;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`waited in vain for ${holds.toString()}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

type Resources = Template['Resources'];

/** A stack such as the CDK writes it: two routes, an event source, a schedule. */
export function standInTemplate(changes: Resources = {}): Template {
  // On a busy machine a function may take seconds.
  const lambda = (variables: Record<string, unknown>, Timeout = 30) => ({
    Type: 'AWS::Lambda::Function',
    Properties: {
      Handler: 'index.handler',
      Role: { 'Fn::GetAtt': ['Role', 'Arn'] },
      ...{ Timeout, MemorySize: 256 },
      Environment: { Variables: variables },
    },
  });
  const allow = (Action: string, ...Resource: unknown[]) => ({ Effect: 'Allow', Action, Resource });
  const integration = (id: string) => ({
    Type: 'AWS::ApiGatewayV2::Integration',
    Properties: {
      IntegrationUri: { 'Fn::GetAtt': [id, 'Arn'] },
      PayloadFormatVersion: '2.0',
    },
  });
  const route = (RouteKey: string, id: string) => ({
    Type: 'AWS::ApiGatewayV2::Route',
    Properties: { RouteKey, Target: { 'Fn::Join': ['', ['integrations/', { Ref: id }]] } },
  });
  const Resources: Resources = {
    Table: {
      Type: 'AWS::DynamoDB::Table',
      Properties: {
        KeySchema: [
          { AttributeName: 'id', KeyType: 'HASH' },
          { AttributeName: 'entry', KeyType: 'RANGE' },
        ],
        AttributeDefinitions: [
          { AttributeName: 'id', AttributeType: 'S' },
          { AttributeName: 'entry', AttributeType: 'S' },
        ],
        TimeToLiveSpecification: { AttributeName: 'expires_at', Enabled: true },
      },
    },
    Bucket: { Type: 'AWS::S3::Bucket' },
    Queue: {
      Type: 'AWS::SQS::Queue',
      Properties: {
        VisibilityTimeout: 1,
        RedrivePolicy: {
          deadLetterTargetArn: { 'Fn::GetAtt': ['DeadLetters', 'Arn'] },
          maxReceiveCount: 2,
        },
      },
    },
    DeadLetters: { Type: 'AWS::SQS::Queue', Properties: { MessageRetentionPeriod: 1_209_600 } },
    Failures: { Type: 'AWS::SQS::Queue' },
    Role: { Type: 'AWS::IAM::Role' },
    Policy: {
      Type: 'AWS::IAM::Policy',
      Properties: {
        Roles: [{ Ref: 'Role' }],
        PolicyDocument: {
          Statement: [
            allow('dynamodb:*', { 'Fn::GetAtt': ['Table', 'Arn'] }),
            allow('s3:PutObject', {
              'Fn::Join': ['', [{ 'Fn::GetAtt': ['Bucket', 'Arn'] }, '/raw/*']],
            }),
            allow('sqs:*', ...['Queue', 'Failures'].map((id) => ({ 'Fn::GetAtt': [id, 'Arn'] }))),
            // What does not run here is not read.
            allow('logs:PutLogEvents', { 'Fn::GetAtt': ['Logs', 'Arn'] }),
          ],
        },
      },
    },
    Ingest: lambda({ QUEUE_URL: { Ref: 'Queue' }, RAW_BUCKET: { Ref: 'Bucket' } }),
    Process: lambda({ LEDGER_TABLE: { Ref: 'Table' }, PLACE: { Ref: 'AWS::Region' } }),
    Query: lambda({ LEDGER_TABLE: { Ref: 'Table' } }),
    Sweep: lambda({ QUEUE_URL: { Ref: 'Queue' }, SWEEP_AFTER_SECONDS: '900' }),
    SweepConfig: {
      Type: 'AWS::Lambda::EventInvokeConfig',
      Properties: {
        FunctionName: { Ref: 'Sweep' },
        MaximumRetryAttempts: 1,
        DestinationConfig: {
          OnFailure: { Destination: { 'Fn::GetAtt': ['Failures', 'Arn'] } },
        },
      },
    },
    Api: { Type: 'AWS::ApiGatewayV2::Api' },
    Stage: {
      Type: 'AWS::ApiGatewayV2::Stage',
      Properties: {
        DefaultRouteSettings: { ThrottlingRateLimit: 100, ThrottlingBurstLimit: 200 },
        RouteSettings: {
          'POST /ingest': { ThrottlingRateLimit: 500, ThrottlingBurstLimit: 1000 },
        },
      },
    },
    IngestIntegration: integration('Ingest'),
    QueryIntegration: integration('Query'),
    IngestRoute: route('POST /ingest', 'IngestIntegration'),
    QueryRoute: route('$default', 'QueryIntegration'),
    Mapping: {
      Type: 'AWS::Lambda::EventSourceMapping',
      Properties: {
        BatchSize: 500,
        MaximumBatchingWindowInSeconds: 0,
        EventSourceArn: { 'Fn::GetAtt': ['Queue', 'Arn'] },
        FunctionName: { Ref: 'Process' },
        FunctionResponseTypes: ['ReportBatchItemFailures'],
        ScalingConfig: { MaximumConcurrency: 2 },
      },
    },
    Rule: {
      Type: 'AWS::Events::Rule',
      Properties: {
        ScheduleExpression: 'rate(5 minutes)',
        Targets: [{ Arn: { 'Fn::GetAtt': ['Sweep', 'Arn'] }, Id: 'Target0' }],
      },
    },
    Logs: { Type: 'AWS::Logs::LogGroup' },
    ...changes,
  };
  return { Resources, Outputs: { QueueUrl: { Value: { Ref: 'Queue' } } } };
}
