import { join } from 'node:path';
import { parseArgs } from 'node:util';

import {
  faultsOf,
  fullRate,
  runScenario,
  standstills,
  troubles,
} from '../test/model/backlog/aws-backlog-scenarios.ts';
import type { TimedPipeline, TimedVariant } from '../test/model/backlog/timed-pipeline.ts';
import { lineChart, writeChart } from './plot/plot.ts';

/**
 * How a backlog drains on AWS, in virtual time: the tables and plots of docs/scaling.md.
 * Usage: npm run bench:backlog -- --scale 0.1
 */
const { values } = parseArgs({ options: { scale: { type: 'string', default: '0.1' } } });
const scale = Number(values.scale);

/**
 * The earlier behaviour: everything that is not counted after 15 minutes is sent again, and no dedup
 * records are looked up.
 */
const before: TimedVariant = {
  resendsMax: Number.POSITIVE_INFINITY,
  attemptsMax: 12,
  sweepPorts: (ports) => ({ ...ports, queueDepth: () => Promise.resolve(0) }),
  countingPorts: (ports) => ({ ...ports, known: () => Promise.resolve(new Set()) }),
};
const say = (line: string) => void process.stdout.write(`${line}\n`);
const thousands = (items: number) =>
  `${(items / 1_000).toLocaleString('en', { maximumFractionDigits: 0 })},000`;

/** The minute from which on the backlog is at most what arrives in two minutes; undefined: never. */
function caughtUpAt({ minutes }: TimedPipeline, perSecond: number): number | undefined {
  const shallow = perSecond * 2 * 60;
  const last = minutes.findLastIndex(({ behind }) => behind > shallow);
  return last === minutes.length - 1 ? undefined : last + 1;
}

function outcome(pipeline: TimedPipeline, perSecond: number): string {
  const at = caughtUpAt(pipeline, perSecond);
  if (at !== undefined) return `caught up at minute ${at}`;
  return `${thousands(pipeline.minutes.at(-1)?.behind ?? 0)} behind at minute ${pipeline.minutes.length}`;
}

const rate = await fullRate(scale);
say(`full rate: ${rate.toFixed(0)} items/s\n`);
const curves: { name: string; points: [number, number][] }[] = [];
say('| load | counting is down for | before | now |\n| --- | --- | --- | --- |');
for (const [name, scenario] of Object.entries(standstills)) {
  const { perSecond } = scenario;
  if (typeof perSecond !== 'number') throw new Error(`${name} has no constant rate`);
  const whole = { ...scenario, minutes: 160, drainMinutes: 0 };
  const [old, now] = [
    await runScenario({ ...whole, variant: before }, scale),
    await runScenario(whole, scale),
  ];
  const [, down = ''] = /for (.*)$/.exec(name) ?? [];
  say(`| ${perSecond}/s | ${down} | ${outcome(old, perSecond)} | ${outcome(now, perSecond)} |`);
  if (curves.length > 0) continue;
  const isDown = scenario.outages ?? (() => []);
  const alone = { ...whole, outages: (minute: number) => [...isDown(minute), 'sweeper' as const] };
  const named = [
    ['before', old],
    ['now', now],
    ['without a sweeper', await runScenario(alone, scale)],
  ] as const;
  for (const [series, { minutes }] of named) {
    const points = minutes
      .filter(({ minute }) => minute % 5 === 0)
      .map(({ minute, behind }): [number, number] => [minute, behind / 1e6]);
    curves.push({ name: series, points });
  }
}
writeChart(
  join(import.meta.dirname, '../docs/plots/aws-backlog.svg'),
  lineChart({
    title: 'Items that wait, where counting is down for an hour and 500 come a second',
    subtitle: `in virtual time, ${scale * 100} % of the load; one item a request, 60 ms a transaction`,
    x: { label: 'minutes', scale: 'linear' },
    y: { label: 'million items', scale: 'linear' },
    series: curves,
  }),
);

say('\n| messages that come twice | before | now |\n| --- | --- | --- |');
for (const repeats of [0, 0.01, 0.1, 0.5, 1]) {
  const [old, now] = [
    await fullRate(scale, { repeats, variant: before }),
    await fullRate(scale, { repeats }),
  ];
  say(`| ${repeats * 100} % | ${old.toFixed(0)} messages/s | ${now.toFixed(0)} messages/s |`);
}

say('\n| environments, bodies in messages | items/s |\n| --- | --- |');
for (const environments of [8, 40, 60, 70, 74, 118, 140, 160, 250]) {
  const counted = await fullRate(scale, { areCarried: true, environments });
  say(`| ${environments} | ${counted.toFixed(0)} |`);
}

say('\n| what happens | outcome |\n| --- | --- |');
for (const [name, scenario] of Object.entries(troubles)) {
  const { days, places, partitionUnits } = scenario;
  const full = await fullRate(scale, {
    ...(days !== undefined && { days }),
    ...(places !== undefined && { places }),
    ...(partitionUnits !== undefined && { partitionUnits }),
  });
  const pipeline = await runScenario(scenario, scale);
  const faults = faultsOf(pipeline, scenario, full);
  const sent = pipeline.minutes.reduce((sum, { resent }) => sum + resent, 0);
  say(
    `| ${name} | ${faults.length === 0 ? 'exact, drained' : faults.slice(0, 3).join('; ')}; full rate ${full.toFixed(0)}/s, sent again ${sent.toFixed(0)} |`,
  );
}
