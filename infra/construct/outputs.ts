import { CfnOutput, Names, Stack } from 'aws-cdk-lib';
import type { CfnDatabase } from 'aws-cdk-lib/aws-glue';
import type { FunctionUrl } from 'aws-cdk-lib/aws-lambda';
import { Construct } from 'constructs';

import { pathInKeys } from '../../src/engines/aws/admin/stack-outputs.ts';
import type { PipelineSettings } from '../settings.ts';
import { addressOf } from '../stack/function-url.ts';
import { textOf } from '../stack/environment.ts';
import type { Api } from '../stack/http-api.ts';
import type { Resources } from '../stack/permissions.ts';

interface Described {
  settings: PipelineSettings;
  api: Api;
  functionUrl: FunctionUrl | undefined;
  database: CfnDatabase | undefined;
  resources: Resources;
}

/**
 * The outputs that the commands read (`engines/aws/admin/stack.ts`), in the outermost stack, because a
 * nested one has a name that CloudFormation invents. A pipeline with the id `Default` directly in its
 * stack has plain keys; others have their path before them and a hash behind, so that they differ from
 * those of other pipelines and from the user's outputs.
 */
export function addOutputs(
  pipeline: Construct,
  { settings, api, functionUrl, database, resources }: Described,
): void {
  const outermost = outermostStack(pipeline);
  const ids = idsOf(pipeline, outermost);
  const path = pathInKeys(ids.join(''));
  const hash = ids.length === 0 ? '' : pipeline.node.addr.slice(2, 10);
  const scope =
    outermost === Stack.of(pipeline)
      ? pipeline
      : new Construct(outermost, `Outputs${Names.nodeUniqueId(pipeline.node)}`);
  const output = (name: string, value: string, description: string) => {
    new CfnOutput(scope, name, { value, description }).overrideLogicalId(`${path}${name}${hash}`);
  };
  output('ApiUrl', api.api.apiEndpoint, 'The URL for batches and queries');
  if (functionUrl !== undefined) {
    output('IngestUrl', addressOf(functionUrl), 'The URL for batches without the API');
  }
  output('BucketName', resources.rawBucket.bucketName, 'The raw bodies');
  if (database !== undefined) {
    output('AthenaDatabase', database.ref, 'The tables of the raw bodies');
  }
  output('QueueUrl', resources.queue.queueUrl, 'The messages that wait to be counted');
  output('TableName', resources.countersTable.tableName, 'The counters');
  output('LedgerTableName', resources.ledgerTable.tableName, 'The records of what is counted');
  output(
    'DeadLetterQueueUrl',
    resources.deadLetterQueue.queueUrl,
    'The messages that could not be counted',
  );
  // The command line reads these to count and to cut chunks as the functions do.
  output('ItemsPerMessage', textOf(settings.itemsPerMessage), 'How batches are cut into messages');
  output('DayZone', settings.dayZone, 'The rule for the day on which an item counts');
  output('KeepReceiptsDays', textOf(settings.keepReceiptsDays), 'How long the ledger is kept');
  output('RawExpiryDays', textOf(settings.rawExpiryDays), 'When raw bodies are deleted');
  if (resources.tokensSecret !== undefined) {
    output('TokensSecretArn', resources.tokensSecret.secretArn, 'The bearer tokens');
  }
}

export function outermostStack(construct: Construct): Stack {
  let stack = Stack.of(construct);
  while (stack.nestedStackParent !== undefined) stack = stack.nestedStackParent;
  return stack;
}

/** The ids below the stack, without the ids that logical ids omit. */
function idsOf(pipeline: Construct, stack: Stack): string[] {
  const { scopes } = pipeline.node;
  const ids = scopes.slice(scopes.indexOf(stack) + 1).map(({ node }) => node.id);
  return ids.filter((id) => id !== 'Default');
}
