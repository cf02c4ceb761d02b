import { priceTable, type PriceName } from '../prices.ts';
import type { Template } from '../../infra/local/template/template.ts';
import {
  fixedMonth,
  idleSweepsMonth,
  monthDollars,
  secretReadsMonth,
  type MonthLine,
} from './month.ts';
import type { RunResult } from './run.ts';
import { besideServices, dollarsOf, requestServices, type UsageLine } from './usage.ts';

/** The figures as text: tables in Markdown. */
export function reportOf(
  results: readonly RunResult[],
  machine: string,
  template: Template,
): string {
  const { region, currency, date } = priceTable;
  return [
    `${machine}; prices of ${region} in ${currency}, ${date}`,
    '',
    costTable(results),
    '',
    ...results.flatMap((result) => [usageTable(result), '']),
    ...idleTables(results, template),
  ].join('\n');
}

/**
 * Dollars for a million events, by service; `naive` is the cost of the naive mode as a multiple. It
 * writes no log and has no ledger, so only requests are compared.
 */
function costTable(results: readonly RunResult[]): string {
  const head = [
    'items',
    'requests/s',
    'traffic',
    'mode',
    ...requestServices,
    'requests',
    'naive is',
    'without GB-s',
    ...besideServices,
    'all',
  ];
  const rows = results.map((result) => {
    const perEvents = result.events / 1e6;
    const dollars = dollarsOf(result.usage, perEvents);
    const besides = dollarsOf(result.besides, perEvents);
    const naive = results.find(
      ({ mode, itemsPerRequest, traffic }) =>
        mode === 'naive' &&
        itemsPerRequest === result.itemsPerRequest &&
        traffic === result.traffic,
    );
    return [
      String(result.itemsPerRequest),
      (result.requests / result.postedSeconds).toFixed(0),
      result.traffic,
      result.mode,
      ...requestServices.map((service) => dollars[service].toFixed(4)),
      dollars.total.toFixed(4),
      ratio(naive, result, (lines) => lines),
      ratio(naive, result, withoutDuration),
      ...besideServices.map((service) => besides[service].toFixed(4)),
      (dollars.total + besides.total).toFixed(4),
    ];
  });
  return table(head, rows);
}

function ratio(
  naive: RunResult | undefined,
  ours: RunResult,
  select: (lines: readonly UsageLine[]) => readonly UsageLine[],
): string {
  if (naive === undefined) return '';
  const total = ({ usage, events }: RunResult) => dollarsOf(select(usage), events).total;
  return `${(total(naive) / total(ours)).toFixed(1)} ×`;
}

/** Durations are those of this machine; everything else is counted. */
function withoutDuration(lines: readonly UsageLine[]): readonly UsageLine[] {
  return lines.filter(({ price }) => price !== 'lambdaGbSecond');
}

const inFractions = new Set<PriceName>([
  'lambdaGbSecond',
  'logGb',
  's3GbMonth',
  'dynamodbGbMonth',
  'dynamodbRecoveryGbMonth',
]);

function usageTable(result: RunResult): string {
  const { itemsPerRequest, traffic, mode, events, counters, rawBytes } = result;
  const perMillion = 1e6 / events;
  const rows = (lines: readonly UsageLine[], note: string) =>
    lines.map((line) => [
      line.service,
      line.what + note,
      (line.units * perMillion).toFixed(inFractions.has(line.price) ? 3 : 0),
      dollarsOf([line], events / 1e6).total.toFixed(4),
    ]);
  const title = `${itemsPerRequest} a request, ${mode}, ${traffic}: ${counters} counters, ${Math.round(rawBytes / events)} bytes an event`;
  const head = ['service', 'what', 'units a million events', 'dollars'];
  const body = [
    ...rows(result.usage, ''),
    ...rows(result.besides, ''),
    ...rows(result.idle, ', not counted above'),
    ...rows(result.init, ' of starts, not counted above'),
  ];
  return `${title}\n\n${table(head, body)}`;
}

/** The monthly cost of an idle stack, and the additional cost of one in use. */
function idleTables(results: readonly RunResult[], template: Template): string[] {
  const swept = results.find(({ idleSweep }) => idleSweep.length > 0);
  if (swept === undefined) return [];
  const { idleSweep, idleSweepMetrics, metrics } = swept;
  const row = (line: MonthLine) => [
    line.what,
    line.units.toFixed(inFractions.has(line.price) ? 3 : 0),
    monthDollars([line]).toFixed(3),
  ];
  const lines = [
    ...fixedMonth(template),
    ...idleSweepsMonth(template, idleSweep, idleSweepMetrics),
  ];
  const inUse: MonthLine = { what: 'metrics in use', price: 'metricMonth', units: metrics };
  const head = ['a month', 'units', 'dollars'];
  return [
    'An idle stack:',
    '',
    table(head, [...lines.map(row), ['all', '', monthDollars(lines).toFixed(2)]]),
    '',
    'A stack in use, besides:',
    '',
    table(head, [inUse, secretReadsMonth].map(row)),
    '',
  ];
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}
