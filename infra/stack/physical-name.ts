import { Names, Stack } from 'aws-cdk-lib';
import type { Construct } from 'constructs';

import type { PipelineSettings } from '../settings.ts';

/** The name of a pipeline without the prop for it: the name of its stack, its ids and a hash of them. */
export function usualName(construct: Construct): string {
  return Names.uniqueResourceName(construct, {
    maxLength: 128,
    separator: '-',
    allowedSpecialCharacters: '-',
  });
}

/**
 * The name of the pipeline, and a hash of its path if that name has none: CloudFormation creates the
 * resources of a renamed construct before it deletes those under the old path.
 */
export function physicalName(scope: Construct, { pipelineName }: PipelineSettings): string {
  const isWholeStack = scope.node.id === 'Default' && Stack.isStack(scope.node.scope);
  if (isWholeStack || pipelineName === usualName(scope)) return pipelineName;
  return `${pipelineName}-${scope.node.addr.slice(2, 10)}`;
}
