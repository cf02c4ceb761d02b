import { Duration } from 'aws-cdk-lib';
import {
  AlarmStatusWidget,
  Dashboard,
  GraphWidget,
  type IMetric,
} from 'aws-cdk-lib/aws-cloudwatch';
import type { Construct } from 'constructs';

import type { Alarms, Observed, StackMetrics } from './alarms.ts';
import type { MetricName } from '../../../src/entry/lambda/telemetry/telemetry.ts';
import { handlerNames, type HandlerName } from '../function-specs.ts';
import type { Functions } from '../functions.ts';
import { ownMetric, ownMetricsNamed } from './own-metrics.ts';
import type { PipelineSettings } from '../../settings.ts';
import type { Storage } from '../storage.ts';

const period = Duration.minutes(1);
const sum = { statistic: 'Sum', period };
const most = { statistic: 'Maximum', period };

interface Shown {
  settings: PipelineSettings;
  observed: Observed;
  storage: Storage;
  stackMetrics: StackMetrics;
  alarms: Alarms;
}

/** The CloudWatch dashboard: requests, backlog, functions and tables on one page. */
export function addDashboard(
  scope: Construct,
  { settings, observed, storage, stackMetrics, alarms }: Shown,
): Dashboard {
  const { functions, queues, functionUrl } = observed;
  const { api } = observed.api;
  const { queue, deadLetterQueue, sweepFailures } = queues;
  const dashboard = new Dashboard(scope, 'Dashboard', { defaultInterval: Duration.hours(6) });
  dashboard.addWidgets(
    new AlarmStatusWidget({ alarms: Object.values(alarms), width: 24, height: 3 }),
  );
  dashboard.addWidgets(
    graph(
      'Requests',
      ...[api.metricCount(sum), api.metricClientError(sum), api.metricServerError(sum)],
      ...(functionUrl === undefined ? [] : urlMetrics(functions)),
    ),
    graph(
      'Latency',
      api.metricLatency({ statistic: 'p50', period }),
      api.metricLatency({ statistic: 'p99', period }),
    ),
    graph(
      'Waiting',
      queue.metricApproximateNumberOfMessagesVisible(most),
      queue.metricApproximateNumberOfMessagesNotVisible(most),
    ),
    graph('Oldest message, seconds', queue.metricApproximateAgeOfOldestMessage(most)),
  );
  dashboard.addWidgets(...ownGraphs(settings));
  dashboard.addWidgets(
    graph('Duration', ...each(functions, (lambda) => lambda.metricDuration({ period }))),
    graph('Errors', ...each(functions, (lambda) => lambda.metricErrors(sum))),
    graph(
      'Throttled',
      ...each(functions, (lambda) => lambda.metricThrottles(sum)),
      stackMetrics.requestsThrottled,
    ),
    graph(
      'Failures',
      deadLetterQueue.metricApproximateNumberOfMessagesVisible({ ...most, label: 'dead letters' }),
      sweepFailures.metricApproximateNumberOfMessagesVisible({ ...most, label: 'failed sweeps' }),
      stackMetrics.orphans,
    ),
  );
  const tables = [
    [storage.countersTable, { ...sum, label: 'counters' }],
    [storage.ledgerTable, { ...sum, label: 'ledger' }],
  ] as const;
  const writes = tables.map(([table, shown]) => table.metricConsumedWriteCapacityUnits(shown));
  const reads = tables.map(([table, shown]) => table.metricConsumedReadCapacityUnits(shown));
  dashboard.addWidgets(graph('Write units', ...writes), graph('Read units', ...reads));
  return dashboard;
}

/** Metrics that the functions write themselves. */
function ownGraphs(settings: PipelineSettings): GraphWidget[] {
  const of = (...[handler, name, label]: [HandlerName, MetricName, string]) =>
    ownMetric(settings, handler, name, { ...sum, label });
  return [
    graph(
      'Items',
      of('ingest', 'ItemsAccepted', 'accepted'),
      of('ingest', 'ItemsRefused', 'refused'),
      of('process', 'ItemsCounted', 'counted'),
    ),
    graph('Refusals by code', ownMetricsNamed(settings, 'Problem', sum)),
    graph('Errors of items by code', ownMetricsNamed(settings, 'ItemError', sum)),
    graph(
      'Counting',
      of('process', 'ChunksRepeated', 'repeated chunks, not counted again'),
      of('process', 'MessagesLeft', 'messages left for another delivery'),
      of('process', 'DeadLettersParked', 'messages moved to the dead-letter queue'),
      of('sweep', 'MessagesResent', 'messages sent again by the sweeper'),
    ),
  ];
}

function urlMetrics({ ingest }: Functions): IMetric[] {
  return ['UrlRequestCount', 'Url4xxCount', 'Url5xxCount'].map((name) =>
    ingest.lambda.metric(name, sum),
  );
}

function graph(title: string, ...left: IMetric[]): GraphWidget {
  return new GraphWidget({ title, left, width: 6, height: 6 });
}

function each(
  functions: Functions,
  metric: (lambda: Functions['ingest']['lambda']) => { with: (o: { label: string }) => IMetric },
): IMetric[] {
  return handlerNames.map((name) => metric(functions[name].lambda).with({ label: name }));
}
