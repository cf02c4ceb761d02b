import { priceTable } from '../prices.ts';
import type { RunResult } from './run.ts';
import { dollarsOf, services, type UsageLine } from './usage.ts';

/** The figures as text: tables in Markdown. */
export function reportOf(results: readonly RunResult[], machine: string): string {
  const { region, currency, date } = priceTable;
  return [
    `${machine}; prices of ${region} in ${currency}, ${date}`,
    '',
    costTable(results),
    '',
    ...results.flatMap((result) => [usageTable(result), '']),
  ].join('\n');
}

/** Dollars for a million events, by service; `naive` is how many times as much the naive way costs. */
function costTable(results: readonly RunResult[]): string {
  const head = [
    'items',
    'requests/s',
    'traffic',
    'mode',
    ...services,
    'total',
    'naive is',
    'without GB-s',
  ];
  const rows = results.map((result) => {
    const perEvents = result.events / 1e6;
    const dollars = dollarsOf(result.usage, perEvents);
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
      ...services.map((service) => dollars[service].toFixed(4)),
      dollars.total.toFixed(4),
      ratio(naive, result, (lines) => lines),
      ratio(naive, result, withoutDuration),
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

/** Durations are this machine's; all else is counted. */
function withoutDuration(lines: readonly UsageLine[]): readonly UsageLine[] {
  return lines.filter(({ price }) => price !== 'lambdaGbSecond');
}

function usageTable(result: RunResult): string {
  const { itemsPerRequest, traffic, mode, events, counters, rawBytes } = result;
  const perMillion = 1e6 / events;
  const rows = (lines: readonly UsageLine[], note: string) =>
    lines.map((line) => [
      line.service,
      line.what + note,
      (line.units * perMillion).toFixed(line.price === 'lambdaGbSecond' ? 1 : 0),
      dollarsOf([line], events / 1e6).total.toFixed(4),
    ]);
  const title = `${itemsPerRequest} a request, ${mode}, ${traffic}: ${counters} counters, ${Math.round(rawBytes / events)} bytes an event`;
  const head = ['service', 'what', 'units a million events', 'dollars'];
  const body = [
    ...rows(result.usage, ''),
    ...rows(result.idle, ', not counted above'),
    ...rows(result.init, ' of starts, not counted above'),
  ];
  return `${title}\n\n${table(head, body)}`;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}
