import { MathExpression, Metric, type MetricProps } from 'aws-cdk-lib/aws-cloudwatch';

import type { MetricName } from '../../../src/entry/lambda/telemetry/telemetry.ts';
import type { HandlerName } from '../function-specs.ts';
import type { PipelineSettings } from '../../settings.ts';

/** The namespace of the metrics that the functions write, shared by all stacks of an account. */
export const ownNamespace = 'DevicePipeline';

type OwnName = MetricName | 'Duration' | 'ColdStart';
type Statistic = Pick<MetricProps, 'statistic' | 'period' | 'label'>;

/** A metric that a function of this stack writes. It has no data while there is nothing to count. */
export function ownMetric(
  { pipelineName }: PipelineSettings,
  handler: HandlerName,
  metricName: OwnName,
  statistic: Statistic,
): Metric {
  const dimensionsMap = { service: pipelineName, function: handler };
  return new Metric({ namespace: ownNamespace, metricName, dimensionsMap, ...statistic });
}

/** All existing metrics of the stack with this name prefix; for graphs only. */
export function ownMetricsNamed(
  { pipelineName }: PipelineSettings,
  beginning: 'Problem' | 'ItemError',
  { period, statistic }: Required<Pick<Statistic, 'statistic' | 'period'>>,
): MathExpression {
  const schema = `{${ownNamespace},function,service}`;
  return new MathExpression({
    expression: `SEARCH('${schema} service="${pipelineName}" ${beginning}', '${statistic}', ${period.toSeconds()})`,
    usingMetrics: {},
    // An empty label shows the names of the metrics.
    label: '',
    period,
  });
}
