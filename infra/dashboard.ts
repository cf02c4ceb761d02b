import { Duration } from 'aws-cdk-lib';
import {
  AlarmStatusWidget,
  Dashboard,
  GraphWidget,
  type Alarm,
  type IMetric,
} from 'aws-cdk-lib/aws-cloudwatch';
import type { Construct } from 'constructs';

import type { LogMetrics, Observed } from './alarms.ts';
import { handlerNames } from './bundle.ts';
import type { Functions } from './functions.ts';
import type { Storage } from './storage.ts';

const period = Duration.minutes(1);

/** One page: what comes in, what waits, what the functions do, what the tables take. */
export function addDashboard(
  scope: Construct,
  { functions, queues, api: { api } }: Observed,
  storage: Storage,
  logMetrics: LogMetrics,
  alarms: Alarm[],
): void {
  const sum = { statistic: 'Sum', period };
  const most = { statistic: 'Maximum', period };
  const { queue, deadLetterQueue, sweepFailures } = queues;
  const dashboard = new Dashboard(scope, 'Dashboard', { defaultInterval: Duration.hours(6) });
  dashboard.addWidgets(new AlarmStatusWidget({ alarms, width: 24, height: 3 }));
  dashboard.addWidgets(
    graph('Requests', api.metricCount(sum), api.metricClientError(sum), api.metricServerError(sum)),
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
  dashboard.addWidgets(
    graph('Duration', ...each(functions, (lambda) => lambda.metricDuration({ period }))),
    graph('Errors', ...each(functions, (lambda) => lambda.metricErrors(sum))),
    graph(
      'Throttled',
      ...each(functions, (lambda) => lambda.metricThrottles(sum)),
      logMetrics.requestsThrottled,
    ),
    graph(
      'Failures',
      deadLetterQueue.metricApproximateNumberOfMessagesVisible({ ...most, label: 'dead letters' }),
      sweepFailures.metricApproximateNumberOfMessagesVisible({ ...most, label: 'failed sweeps' }),
      logMetrics.orphans,
    ),
  );
  const { countersTable, ledgerTable } = storage;
  dashboard.addWidgets(
    graph(
      'Write units',
      countersTable.metricConsumedWriteCapacityUnits({ ...sum, label: 'counters' }),
      ledgerTable.metricConsumedWriteCapacityUnits({ ...sum, label: 'ledger' }),
    ),
    graph(
      'Read units',
      countersTable.metricConsumedReadCapacityUnits({ ...sum, label: 'counters' }),
      ledgerTable.metricConsumedReadCapacityUnits({ ...sum, label: 'ledger' }),
    ),
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
