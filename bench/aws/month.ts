import { priceTable, type PriceName } from '../prices.ts';
import type { Template } from '../../infra/local/template/template.ts';
import { refreshMs } from '../../src/entry/lambda/tokens-secret.ts';
import type { UsageLine } from './usage.ts';

/** An item with a monthly price. */
export interface MonthLine {
  readonly what: string;
  readonly price: PriceName;
  readonly units: number;
}

const daysInMonth = 30;
const minutesInMonth = daysInMonth * 24 * 60;
/** Lambda polls a queue with five concurrent requests; each poll of an empty queue takes 20 seconds. */
const emptyPollsInMonth = (5 * (minutesInMonth * 60)) / 20;

/** The monthly cost of a template's stack that does not depend on traffic, without its sweeps. */
export function fixedMonth({ Resources }: Template): MonthLine[] {
  const all = (type: string) =>
    Object.values(Resources)
      .filter(({ Type }) => Type === type)
      .map(({ Properties = {} }) => Properties);
  const alarms = all('AWS::CloudWatch::Alarm');
  const alarmMetrics = alarms.reduce((sum, alarm) => sum + metricsOf(alarm), 0);
  const sources = all('AWS::Lambda::EventSourceMapping').length;
  const lines: MonthLine[] = [
    { what: `metrics of ${alarms.length} alarms`, price: 'alarmMetricMonth', units: alarmMetrics },
    { what: 'dashboard', price: 'dashboardMonth', units: all('AWS::CloudWatch::Dashboard').length },
    { what: 'secret', price: 'secretMonth', units: all('AWS::SecretsManager::Secret').length },
    { what: 'polls of the empty queue', price: 'sqsRequest', units: sources * emptyPollsInMonth },
  ];
  return lines.filter(({ units }) => units > 0);
}

/** An alarm on an expression is billed for each metric in it. */
function metricsOf(alarm: Readonly<Record<string, unknown>>): number {
  const { Metrics: metrics } = alarm as { Metrics?: readonly object[] };
  return metrics?.filter((metric) => 'MetricStat' in metric).length ?? 1;
}

/**
 * The monthly cost of sweeps that find nothing, from the usage of one, and of the metrics that they
 * write.
 */
export function idleSweepsMonth(
  { Resources }: Template,
  sweep: readonly UsageLine[],
  metrics: number,
): MonthLine[] {
  const rules = Object.values(Resources).filter(({ Type }) => Type === 'AWS::Events::Rule');
  const sweeps = rules.reduce((sum, { Properties = {} }) => {
    const expression = Properties['ScheduleExpression'];
    const [, minutes] = /^rate\((\d+) minutes\)$/.exec(String(expression)) ?? [];
    if (minutes === undefined) throw new Error(`${String(expression)} is not understood here.`);
    return sum + minutesInMonth / Number(minutes);
  }, 0);
  return [
    ...sweep.map(({ what, price, units }) => ({ what, price, units: units * sweeps })),
    { what: 'metrics of the sweeper', price: 'metricMonth', units: metrics },
  ];
}

/** How often a warm environment of ingest or query reads the secret per month. */
export const secretReadsMonth: MonthLine = {
  what: 'reads of the secret, for each environment that stays warm',
  price: 'secretRead',
  units: (minutesInMonth * 60_000) / refreshMs,
};

export function monthDollars(lines: readonly MonthLine[]): number {
  return lines.reduce((sum, { price, units }) => sum + priceTable.units[price] * units, 0);
}
