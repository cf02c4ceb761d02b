import { MathExpression, Metric, type MetricProps } from 'aws-cdk-lib/aws-cloudwatch';

import type { MetricName } from '../../src/entry/lambda/telemetry/telemetry.ts';
import type { HandlerName } from '../bundle.ts';
import type { Settings } from '../settings.ts';

/** Of the metrics that the functions write; all stacks of an account share it. */
export const ownNamespace = 'DevicePipeline';

type OwnName = MetricName | 'Duration' | 'ColdStart';
type Statistic = Pick<MetricProps, 'statistic' | 'period' | 'label'>;

/** A metric that a function of this stack writes. It has no figure where there was nothing to count. */
export function ownMetric(
  { stackName }: Settings,
  handler: HandlerName,
  metricName: OwnName,
  statistic: Statistic,
): Metric {
  const dimensionsMap = { service: stackName, function: handler };
  return new Metric({ namespace: ownNamespace, metricName, dimensionsMap, ...statistic });
}

/** All metrics of the stack whose names begin so, as far as there are any; for graphs only. */
export function ownMetricsNamed(
  { stackName }: Settings,
  beginning: 'Problem' | 'ItemError',
  { period, statistic }: Required<Pick<Statistic, 'statistic' | 'period'>>,
): MathExpression {
  const schema = `{${ownNamespace},function,service}`;
  return new MathExpression({
    expression: `SEARCH('${schema} service="${stackName}" ${beginning}', '${statistic}', ${period.toSeconds()})`,
    usingMetrics: {},
    // The names of what is found are shown.
    label: '',
    period,
  });
}
