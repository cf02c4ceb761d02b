import { Annotations, CfnOutput, Stack, Validations, type App } from 'aws-cdk-lib';
import { AwsSolutionsChecks } from 'cdk-nag';
import type { Construct } from 'constructs';

import { addAlarms, addStackMetrics } from './alarms.ts';
import { addDashboard } from './dashboard.ts';
import { addFunctions } from './functions.ts';
import { addHttpApi, type Api } from './http-api.ts';
import type { Resources } from './permissions.ts';
import { addQueues } from './queues.ts';
import type { Settings } from '../settings.ts';
import { addStorage } from './storage.ts';
import { addTokensSecret } from './tokens.ts';
import { addTriggers } from './triggers.ts';

/**
 * Adds the pipeline's stack to an app, and the cdk-nag checks that synthesis must pass. This file leads
 * the folder: it puts together storage, queues, functions, their triggers and the HTTP API.
 * `bundlesDirectory` holds `<handler>/index.mjs` for each handler. The stack names no account and no
 * region, so that it can be synthesised without either.
 */
export function addPipelineStack(app: App, settings: Settings, bundlesDirectory: string): Stack {
  const stack = new Stack(app, settings.stackName, {
    description:
      'device-pipeline: receives events, stores every raw body, counts each event exactly once',
  });
  const storage = addStorage(stack, settings);
  const queues = addQueues(stack, settings);
  const tokensSecret = addTokensSecret(stack, settings);
  const resources = { ...storage, ...queues, tokensSecret };
  const functions = addFunctions(stack, { settings, resources, bundlesDirectory });
  const api = addHttpApi(stack, settings, functions);
  addTriggers(stack, settings, functions, queues);

  const observed = { functions, queues, api };
  const stackMetrics = addStackMetrics(stack, settings, observed);
  const alarms = addAlarms(stack, settings, observed, stackMetrics);
  addDashboard(stack, { settings, observed, storage, stackMetrics, alarms });

  addOutputs(stack, settings, api, resources);
  warn(stack, settings);
  Validations.of(app).addPlugins(new AwsSolutionsChecks(app));
  return stack;
}

function addOutputs(
  scope: Construct,
  settings: Settings,
  { api }: Api,
  resources: Resources,
): void {
  const output = (name: string, value: string, description: string) =>
    new CfnOutput(scope, name, { value, description });
  output('ApiUrl', api.apiEndpoint, 'Where batches are sent to and counters asked for');
  output('BucketName', resources.rawBucket.bucketName, 'The raw bodies');
  output('QueueUrl', resources.queue.queueUrl, 'What waits to be counted');
  output('TableName', resources.countersTable.tableName, 'The counters');
  output('LedgerTableName', resources.ledgerTable.tableName, 'What has been counted');
  output('DeadLetterQueueUrl', resources.deadLetterQueue.queueUrl, 'What could not be counted');
  // The command line reads these to count and to cut chunks as the functions do.
  output('ItemsPerMessage', String(settings.itemsPerMessage), 'How batches are cut');
  output('DayZone', settings.dayZone, 'On which day an item counts');
  output('KeepReceiptsDays', String(settings.keepReceiptsDays), 'How long the ledger is kept');
  output('RawExpiryDays', String(settings.rawExpiryDays), 'When raw bodies are deleted');
  if (resources.tokensSecret !== undefined) {
    output('TokensSecretArn', resources.tokensSecret.secretArn, 'The bearer tokens');
  }
}

function warn(stack: Stack, settings: Settings): void {
  if (settings.tokens === 'off') {
    Annotations.of(stack).addWarningV2(
      'device-pipeline:tokensOff',
      'tokens is off: anyone who knows the URL of the API can send batches and read counters.',
    );
  }
}
