import { Duration } from 'aws-cdk-lib';
import {
  Alarm,
  ComparisonOperator,
  MathExpression,
  TreatMissingData,
  type IMetric,
  type Metric,
} from 'aws-cdk-lib/aws-cloudwatch';
import { SnsAction } from 'aws-cdk-lib/aws-cloudwatch-actions';
import { ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import type { FunctionUrl } from 'aws-cdk-lib/aws-lambda';
import { FilterPattern, MetricFilter } from 'aws-cdk-lib/aws-logs';
import type { ITopic } from 'aws-cdk-lib/aws-sns';
import type { Construct } from 'constructs';

import { handlerNames } from '../function-specs.ts';
import type { AlarmName } from '../../construct/props.ts';
import type { Functions } from '../functions.ts';
import type { Api } from '../http-api.ts';
import { ownMetric, ownNamespace } from './own-metrics.ts';
import type { Queues } from '../queues.ts';
import type { PipelineSettings } from '../../settings.ts';

export interface Observed {
  functions: Functions;
  queues: Queues;
  api: Api;
  functionUrl: FunctionUrl | undefined;
}

interface AlarmSpec {
  id: AlarmName;
  description: string;
  metric: IMetric;
  atLeast: number;
  /** Raises the alarm below `atLeast`, and if there is no data. */
  isLeast?: boolean;
  /** The number of periods of the metric that must breach; default 1. */
  periods?: number;
  /** The number of consecutive periods among which they are; default: the same number. */
  outOf?: number;
}

const fiveMinutes = Duration.minutes(5);
const sum = { statistic: 'Sum', period: fiveMinutes };
const largest = { statistic: 'Maximum', period: fiveMinutes };
const most = { statistic: 'Maximum', period: Duration.minutes(1) };

/** Metrics that the functions write themselves, of this stack only. */
export interface StackMetrics {
  orphans: Metric;
  sweeps: Metric;
  waiting: MathExpression;
  sweepLag: MathExpression;
  defects: MathExpression;
  requestsThrottled: Metric;
}

export function addStackMetrics(
  scope: Construct,
  settings: PipelineSettings,
  { api, functions, queues }: Observed,
): StackMetrics {
  return {
    orphans: ownMetric(settings, 'sweep', 'OrphansFound', sum),
    // The age metric of SQS omits messages that were received three times. The processor reports those
    // that it could not count, and the sweeper batches with objects of their own.
    waiting: computed('MAX([FILL(queued, 0), FILL(failed, 0), FILL(uncounted, 0)])', 'seconds', {
      queued: queues.queue.metricApproximateAgeOfOldestMessage(largest),
      failed: ownMetric(settings, 'process', 'UncountedSeconds', largest),
      uncounted: ownMetric(settings, 'sweep', 'UncountedSeconds', largest),
    }),
    sweeps: ownMetric(settings, 'sweep', 'SweepsDone', sum),
    sweepLag: computed(
      'MAX([FILL(behind, 0) / 3600, FILL(forgotten, 0)])',
      'hours behind, or batches forgotten',
      {
        behind: ownMetric(settings, 'sweep', 'SweepBehindSeconds', largest),
        forgotten: ownMetric(settings, 'sweep', 'BatchesForgotten', sum),
      },
    ),
    // An invocation of the processor that fails or is killed reports nothing itself.
    defects: computed('SUM([FILL(ingest, 0), FILL(process, 0), FILL(query, 0)])', 'defects', {
      ingest: ownMetric(settings, 'ingest', 'Problem_internal', sum),
      process: functions.process.lambda.metricErrors(sum),
      query: ownMetric(settings, 'query', 'Problem_internal', sum),
    }),
    // API Gateway has no metric for this.
    requestsThrottled: new MetricFilter(scope, 'RequestsThrottled', {
      logGroup: api.accessLog,
      metricNamespace: `${ownNamespace}/${settings.pipelineName}`,
      metricName: 'RequestsThrottled',
      filterPattern: FilterPattern.stringValue('$.status', '=', '429'),
      metricValue: '1',
    }).metric(sum),
  };
}

function computed(
  expression: string,
  label: string,
  usingMetrics: Record<string, IMetric>,
): MathExpression {
  return new MathExpression({ expression, usingMetrics, label, period: fiveMinutes });
}

export type Alarms = Record<AlarmName, Alarm>;

/** Alarms on problems that need a person. The topic, if there is one, receives alarms and recoveries. */
export function addAlarms(
  scope: Construct,
  { pipelineName }: PipelineSettings,
  watched: { observed: Observed; stackMetrics: StackMetrics; topic: ITopic | undefined },
): Alarms {
  const { observed, stackMetrics, topic } = watched;
  // Imported keys stay as they are.
  topic?.masterKey?.grant(
    new ServicePrincipal('cloudwatch.amazonaws.com'),
    ...['kms:Decrypt', 'kms:GenerateDataKey'],
  );
  const alarms = alarmSpecs(observed, stackMetrics).map((spec) => {
    const {
      id,
      description,
      metric,
      atLeast,
      isLeast = false,
      periods = 1,
      outOf = periods,
    } = spec;
    const alarm = new Alarm(scope, id, {
      alarmDescription: `${pipelineName}: ${description}`,
      metric,
      threshold: atLeast,
      comparisonOperator: isLeast
        ? ComparisonOperator.LESS_THAN_THRESHOLD
        : ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
      evaluationPeriods: outOf,
      ...(outOf > periods && { datapointsToAlarm: periods }),
      // AWS services report no data while they are idle.
      treatMissingData: isLeast ? TreatMissingData.BREACHING : TreatMissingData.NOT_BREACHING,
    });
    if (topic !== undefined) {
      alarm.addAlarmAction(new SnsAction(topic));
      alarm.addOkAction(new SnsAction(topic));
    }
    return [id, alarm] as const;
  });
  return Object.fromEntries(alarms) as Alarms;
}

function alarmSpecs(observed: Observed, stackMetrics: StackMetrics): AlarmSpec[] {
  const { functions, queues } = observed;
  const { deadLetterQueue, sweepFailures } = queues;
  return [
    {
      id: 'DeadLettersPresent',
      description: 'the dead-letter queue contains messages, which are not counted.',
      metric: deadLetterQueue.metricApproximateNumberOfMessagesVisible(most),
      atLeast: 1,
    },
    {
      id: 'OldestMessageWaits',
      description: 'batches wait to be counted for 15 minutes or longer.',
      metric: stackMetrics.waiting,
      atLeast: 900,
      // A message that fails again and again is delivered, and so reported, every 8 to 12 minutes.
      periods: 2,
      outOf: 4,
    },
    {
      id: 'ServerErrors',
      description: 'requests get 5xx responses.',
      metric: serverErrors(observed),
      atLeast: 5,
    },
    {
      id: 'DefectsMet',
      description: 'an unexpected error occurred in a function; see its log.',
      metric: stackMetrics.defects,
      atLeast: 1,
    },
    {
      id: 'FunctionsThrottled',
      description:
        'Lambda throttles functions, because the concurrency limit of the account is reached.',
      metric: functionsThrottled(functions),
      atLeast: 1,
    },
    {
      id: 'RequestsThrottledOften',
      description:
        'requests get 429 responses. Consider raising throttleRate and throttleBurst (POST /ingest), or queryThrottleRate and queryThrottleBurst (other routes).',
      metric: stackMetrics.requestsThrottled,
      atLeast: 10,
    },
    {
      id: 'SweepFoundOrphans',
      description: 'the sweeper completed batches whose intake was interrupted.',
      metric: stackMetrics.orphans,
      atLeast: 1,
    },
    {
      id: 'SweepMissing',
      description: 'no sweep has finished for 20 minutes.',
      metric: stackMetrics.sweeps,
      atLeast: 1,
      isLeast: true,
      periods: 4,
    },
    {
      id: 'SweepLags',
      description:
        'the sweeper is an hour behind, or found batches whose ledger rows have expired.',
      metric: stackMetrics.sweepLag,
      atLeast: 1,
    },
    {
      id: 'SweepFailuresPresent',
      description: 'sweeps failed after all retries; the queue SweepFailures contains the reasons.',
      metric: sweepFailures.metricApproximateNumberOfMessagesVisible(most),
      atLeast: 1,
    },
  ];
}

function serverErrors({ api, functions, functionUrl }: Observed): IMetric {
  const ofApi = api.api.metricServerError(sum);
  if (functionUrl === undefined) return ofApi;
  const ofUrl = functions.ingest.lambda.metric('Url5xxCount', sum);
  return computed('SUM([FILL(api, 0), FILL(url, 0)])', 'errors', { api: ofApi, url: ofUrl });
}

function functionsThrottled(functions: Functions): MathExpression {
  const metrics = handlerNames.map(
    (name) => [name, functions[name].lambda.metricThrottles(sum)] as const,
  );
  // FILL: a function without invocations has no data, and a sum with missing data is missing, too.
  const filled = handlerNames.map((name) => `FILL(${name}, 0)`);
  return computed(`SUM([${filled.join(', ')}])`, 'throttled', Object.fromEntries(metrics));
}
