import { beforeAll, describe, expect, it } from 'vitest';

import { defaultSettings } from '../../../infra/settings.ts';
import { Synthesized } from '../../infra/support.ts';
import { isNightly } from '../../support/run/tier.ts';
import { runScenario, standstills, troubles, type Scenario } from './aws-backlog-scenarios.ts';
import type { Minute } from './timed-pipeline.ts';

const scale = 0.005;
let stack: Synthesized;
beforeAll(() => {
  stack = new Synthesized();
});

type Series = readonly (number | undefined)[];
interface MetricOf {
  readonly MetricName: string;
  readonly Dimensions?: readonly { readonly Name: string; readonly Value: unknown }[];
}
interface AlarmProperties extends MetricOf {
  readonly Metrics?: readonly {
    readonly Id: string;
    readonly Expression?: string;
    readonly MetricStat?: {
      readonly Metric: MetricOf;
      readonly Period: number;
      readonly Stat: string;
    };
  }[];
  readonly Period?: number;
  readonly Statistic?: 'Sum' | 'Maximum';
  readonly Threshold: number;
  readonly EvaluationPeriods: number;
  readonly DatapointsToAlarm?: number;
  readonly ComparisonOperator: string;
  readonly TreatMissingData: 'breaching' | 'notBreaching';
}

/** The metric of each minute that has one, as the services would publish it. */
function seriesOf({ MetricName, Dimensions = [] }: MetricOf, minutes: readonly Minute[]): Series {
  const isOf = (name: string) => JSON.stringify(Dimensions).includes(`"${name}`);
  const orNone = (value: number) => (value === 0 ? undefined : value);
  switch (MetricName) {
    case 'ApproximateAgeOfOldestMessage':
      return minutes.map(({ oldestSeconds }) => oldestSeconds);
    case 'ApproximateNumberOfMessagesVisible':
      return isOf('SweepFailures')
        ? minutes.map(({ minute }) => failuresUntil(minutes, minute))
        : minutes.map(({ deadLetters }) => deadLetters);
    case 'OrphansFound':
      return minutes.map(({ orphans }) => orNone(orphans));
    case 'SweepsDone':
      return minutes.map(({ sweeps }) => orNone(sweeps));
    case 'SweepBehindSeconds':
      return minutes.map(({ sweepBehindSeconds }) => orNone(sweepBehindSeconds));
    case 'UncountedSeconds':
      return minutes.map(({ failedSeconds, uncountedSeconds }) =>
        orNone(isOf('process') ? failedSeconds : uncountedSeconds),
      );
    case 'BatchesForgotten':
      return minutes.map(({ forgotten }) => orNone(forgotten));
    case 'RequestsThrottled':
      return minutes.map(({ offered }) =>
        orNone(Math.max(0, offered - defaultSettings.throttleRate)),
      );
    case 'Errors':
      return minutes.map(({ crashed }) => orNone(crashed));
    // Not simulated: the simulation starts behind the API.
    case '5xx':
    case 'Problem_internal':
    case 'Throttles':
      return minutes.map(() => undefined);
    default:
      throw new Error(`no series of ${MetricName} is simulated`);
  }
}

/** A sweep that fails twice puts a message into the queue of failures, which stays there. */
function failuresUntil(minutes: readonly Minute[], minute: number): number {
  const failed = minutes.filter((each) => each.minute <= minute && each.sweepsFailed > 0).length;
  return Math.floor(failed / 2);
}

/** The values of each period, in order. */
function statOf(series: Series, periodSeconds: number, statistic: string): Series {
  const minutes = Math.max(1, periodSeconds / 60);
  return Array.from({ length: Math.floor(series.length / minutes) }, (_, at) => {
    const figures = series
      .slice(at * minutes, (at + 1) * minutes)
      .filter((each) => each !== undefined);
    if (figures.length === 0) return undefined;
    return statistic === 'Sum' ? figures.reduce((a, b) => a + b, 0) : Math.max(...figures);
  });
}

const expressions: Record<string, (of: (id: string, at: number) => number, at: number) => number> =
  {
    'MAX([FILL(behind, 0) / 3600, FILL(forgotten, 0)])': (of, at) =>
      Math.max(of('behind', at) / 3600, of('forgotten', at)),
    'MAX([FILL(queued, 0), FILL(failed, 0), FILL(uncounted, 0)])': (of, at) =>
      Math.max(of('queued', at), of('failed', at), of('uncounted', at)),
    'SUM([FILL(ingest, 0), FILL(process, 0), FILL(query, 0)])': (of, at) =>
      of('ingest', at) + of('process', at) + of('query', at),
    'SUM([FILL(ingest, 0), FILL(process, 0), FILL(query, 0), FILL(sweep, 0)])': (of, at) =>
      of('ingest', at) + of('process', at) + of('query', at) + of('sweep', at),
  };

/** Whether the alarm is ever raised. */
function isRaised(alarm: AlarmProperties, minutes: readonly Minute[]): boolean {
  const figures = figuresOf(alarm, minutes);
  const isBreaching = (figure: number | undefined) => {
    if (figure === undefined) return alarm.TreatMissingData === 'breaching';
    return alarm.ComparisonOperator === 'LessThanThreshold'
      ? figure < alarm.Threshold
      : figure >= alarm.Threshold;
  };
  const { EvaluationPeriods: outOf, DatapointsToAlarm: periods = outOf } = alarm;
  return figures.some(
    (_, at) =>
      figures.slice(Math.max(0, at + 1 - outOf), at + 1).filter(isBreaching).length >= periods,
  );
}

function figuresOf(alarm: AlarmProperties, minutes: readonly Minute[]): Series {
  const { Metrics, Period = 300, Statistic = 'Sum' } = alarm;
  if (Metrics === undefined) return statOf(seriesOf(alarm, minutes), Period, Statistic);
  const series = new Map(
    Metrics.flatMap(({ Id, MetricStat: stat }) =>
      stat === undefined
        ? []
        : [[Id, statOf(seriesOf(stat.Metric, minutes), stat.Period, stat.Stat)] as const],
    ),
  );
  const text = Metrics.find(({ Expression }) => Expression !== undefined)?.Expression ?? '';
  const expression = expressions[text];
  if (expression === undefined) throw new Error(`the expression ${text} is not known here`);
  const [first = []] = series.values();
  return first.map((_, at) => expression((id, when) => series.get(id)?.[when] ?? 0, at));
}

function raisedIn(minutes: readonly Minute[]): string[] {
  const alarms = Object.entries(stack.all('AWS::CloudWatch::Alarm'));
  return alarms
    .filter(([, { Properties }]) => isRaised(Properties as unknown as AlarmProperties, minutes))
    .map(([id]) => id.replace(/[0-9A-F]{8}$/, ''))
    .sort();
}

const steady: Scenario = { perSecond: 400, minutes: 60, drainMinutes: 0 };
const scenario = (name: string) => ({ ...standstills, ...troubles })[name] as Scenario;

/** The longest. */
const nightly = new Set([
  'it comes steadily',
  'old days are filled in',
  'ten times the rate for ten minutes',
  'a sweep is skipped from time to time',
]);

describe('of the alarms', { timeout: 3_600_000 }, () => {
  const scenarios: [string, Scenario, string[]][] = [
    ['nothing comes', { ...steady, perSecond: 0 }, []],
    ['it comes steadily', steady, []],
    ['old days are filled in', { ...steady, perSecond: 500, days: 28 }, []],
    ['a replay fills the stack', scenario('a replay fills an empty stack'), []],
    [
      'ten times the rate for ten minutes',
      scenario('ten times the rate for ten minutes'),
      ['OldestMessageWaits', 'RequestsThrottledOften'],
    ],
    [
      'counting is down for half an hour',
      { ...steady, outages: (minute) => (minute < 30 ? ['counting'] : []) },
      ['OldestMessageWaits'],
    ],
    [
      'few come, in messages, and DynamoDB refuses to count them',
      {
        ...{ ...steady, perSecond: 2, minutes: 45, areCarried: true },
        outages: (minute) => (minute >= 5 && minute < 40 ? ['denied'] : []),
      },
      ['OldestMessageWaits', 'SweepFailuresPresent', 'SweepMissing'],
    ],
    [
      'a message comes in half an hour, and DynamoDB refuses to count it',
      {
        ...{ ...steady, perSecond: 0.1, minutes: 70, areCarried: true },
        outages: (minute) => (minute >= 5 && minute < 65 ? ['denied'] : []),
      },
      ['OldestMessageWaits', 'SweepFailuresPresent', 'SweepMissing'],
    ],
    [
      'each run of the processor is killed',
      {
        ...{ ...steady, perSecond: 2, minutes: 30, areCarried: true },
        outages: (minute) => (minute >= 5 ? ['crash'] : []),
      },
      ['DefectsMet'],
    ],
    [
      'requests are cut off',
      { ...steady, cutOff: (minute) => (minute < 10 ? 0.05 : 0) },
      ['SweepFoundOrphans'],
    ],
    [
      'the sweeper is not started',
      { ...steady, outages: (minute) => (minute >= 10 && minute < 40 ? ['sweeper'] : []) },
      ['SweepMissing'],
    ],
    [
      'a sweep is skipped from time to time',
      { ...steady, outages: (minute) => (minute % 15 === 0 ? ['sweeper'] : []) },
      [],
    ],
    [
      'DynamoDB fails',
      { ...steady, outages: (minute) => (minute >= 10 && minute < 40 ? ['dynamodb'] : []) },
      ['OldestMessageWaits', 'SweepFailuresPresent', 'SweepFoundOrphans', 'SweepMissing'],
    ],
  ];
  const quickly = scenarios.filter(([name]) => !nightly.has(name));
  it.each(isNightly() ? scenarios : quickly)(
    'where %s, those are raised that should be',
    async (_, scenario, raised) => {
      const { minutes } = await runScenario(scenario, scale);
      expect(raisedIn(minutes)).toEqual(raised);
    },
  );

  it('the one on a lagging sweep is raised if it is behind or finds forgotten batches', async () => {
    const { minutes } = await runScenario({ ...steady, perSecond: 0 }, scale);
    const with_ = (more: Partial<Minute>) =>
      minutes.map((each) => (each.minute === 30 ? { ...each, ...more } : each));
    expect(raisedIn(with_({ sweepBehindSeconds: 3_599 }))).toEqual([]);
    expect(raisedIn(with_({ sweepBehindSeconds: 3_600 }))).toEqual(['SweepLags']);
    expect(raisedIn(with_({ forgotten: 1 }))).toEqual(['SweepLags']);
    expect(raisedIn(with_({ deadLetters: 1 }))).toEqual(['DeadLettersPresent']);
  });
});
