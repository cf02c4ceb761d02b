import { RemovalPolicy, Stack, Validations, type App } from 'aws-cdk-lib';
import { Table } from 'aws-cdk-lib/aws-dynamodb';
import { PolicyStatement, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { Bucket } from 'aws-cdk-lib/aws-s3';
import { Topic } from 'aws-cdk-lib/aws-sns';
import { EmailSubscription } from 'aws-cdk-lib/aws-sns-subscriptions';
import { AwsSolutionsChecks } from 'cdk-nag';

import { DevicePipeline, type DevicePipelineProps } from '../construct/index.ts';
import type { Settings } from '../settings.ts';

/**
 * Adds our own stack, which holds one pipeline, to an app, and the cdk-nag checks that synthesis must
 * pass. `bundlesDirectory` holds `<handler>/index.mjs` for each handler. The stack names no account and
 * no region, so that it can be synthesised without either.
 */
export function addPipelineStack(app: App, settings: Settings, bundlesDirectory: string): Stack {
  const stack = new Stack(app, settings.stackName, {
    description:
      'device-pipeline: receives events from a fleet of devices, keeps every body unchanged, and counts each event exactly once',
  });
  // This id keeps the construct out of the logical ids: stacks that exist keep their resources.
  new DevicePipeline(stack, 'Default', { ...propsOf(stack, settings), bundlesDirectory });
  Validations.of(app).addPlugins(new AwsSolutionsChecks(app));
  return stack;
}

/** The settings that are not named here are props of the same name. */
function propsOf(stack: Stack, settings: Settings): DevicePipelineProps {
  const { stackName, alarmEmail, rawBucketName, countersTableName, ledgerTableName, ...others } =
    settings;
  const { tokens, functionUrl, athena, corsOrigins, removalPolicy, ...same } = others;
  return {
    ...same,
    pipelineName: stackName,
    tokens: tokens === 'on',
    functionUrl: functionUrl === 'on',
    athena: athena === 'on',
    corsOrigins: corsOrigins === 'none' ? [] : corsOrigins.split(','),
    removalPolicy: removalPolicy === 'retain' ? RemovalPolicy.RETAIN : RemovalPolicy.DESTROY,
    ...(rawBucketName !== 'new' && {
      rawBucket: Bucket.fromBucketName(stack, 'RawBucket', rawBucketName),
    }),
    ...(countersTableName !== 'new' && {
      countersTable: Table.fromTableName(stack, 'Counters', countersTableName),
    }),
    ...(ledgerTableName !== 'new' && {
      ledgerTable: Table.fromTableName(stack, 'Ledger', ledgerTableName),
    }),
    ...(alarmEmail !== 'none' && { alarmTopic: addTopic(stack, alarmEmail) }),
  };
}

function addTopic(stack: Stack, alarmEmail: string): Topic {
  const topic = new Topic(stack, 'Alarms', { enforceSSL: true });
  topic.addSubscription(new EmailSubscription(alarmEmail));
  // A topic with a policy (enforceSSL adds one) no longer accepts messages of the account's services.
  topic.addToResourcePolicy(
    new PolicyStatement({
      principals: [new ServicePrincipal('cloudwatch.amazonaws.com')],
      actions: ['sns:Publish'],
      resources: [topic.topicArn],
      conditions: { StringEquals: { 'aws:SourceAccount': stack.account } },
    }),
  );
  return topic;
}
