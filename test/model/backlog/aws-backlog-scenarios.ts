import { TimedPipeline, type Outage, type TimedOptions } from './timed-pipeline.ts';

/** The load and the faults of a run, and its duration. */
export interface Scenario extends Omit<TimedOptions, 'scale' | 'perSecond'> {
  readonly perSecond: number | ((minute: number) => number);
  /** The minutes with load, */
  readonly minutes: number;
  /** and the further minutes until everything must be counted. */
  readonly drainMinutes: number;
  /** Old batches that a replay brings in at the start. */
  readonly replayed?: number;
  /** Messages that SQS dead-letters, since the processor was killed too often. */
  readonly deadLettersMax?: number;
  /** The fraction of the full rate at which a backlog must be counted; default 0.9. */
  readonly rateShare?: number;
}

const during =
  (from: number, to: number, ...outages: readonly Outage[]) =>
  (minute: number): readonly Outage[] =>
    minute >= from && minute < to ? outages : [];

/** Counting stops for a long time. */
export const standstills: Record<string, Scenario> = Object.fromEntries(
  [
    [500, 60],
    [500, 30],
    [500, 20],
    [800, 30],
    [250, 60],
  ].map(([perSecond = 0, down = 0]) => [
    `${perSecond}/s, counting is down for ${down} min`,
    { perSecond, minutes: 130, drainMinutes: 30, outages: during(0, down, 'counting') },
  ]),
);

/** All other faults and loads. */
export const troubles: Record<string, Scenario> = {
  'DynamoDB fails for an hour': {
    ...{ perSecond: 500, minutes: 120, drainMinutes: 30 },
    outages: during(5, 65, 'dynamodb'),
  },
  'S3 fails for an hour': {
    ...{ perSecond: 500, minutes: 90, drainMinutes: 30 },
    outages: during(5, 65, 's3'),
  },
  'SQS fails for an hour': {
    ...{ perSecond: 500, minutes: 90, drainMinutes: 60 },
    outages: during(5, 65, 'sqs'),
  },
  'DynamoDB refuses everything for an hour': {
    ...{ perSecond: 500, minutes: 120, drainMinutes: 30 },
    outages: during(5, 65, 'denied'),
  },
  'the sweeper is down for two hours': {
    ...{ perSecond: 500, minutes: 150, drainMinutes: 30 },
    outages: during(5, 125, 'sweeper'),
  },
  'a new account, in which the sweeper finds a place every second time': {
    ...{ perSecond: 115, minutes: 60, drainMinutes: 30 },
    outages: (minute) => (minute % 10 === 0 ? ['sweeper'] : []),
  },
  'every invocation is killed at its end for an hour': {
    ...{ perSecond: 500, minutes: 90, drainMinutes: 60 },
    outages: during(5, 65, 'crash'),
  },
  'ten times the rate for ten minutes': {
    perSecond: (minute) => (minute >= 10 && minute < 20 ? 5_000 : 500),
    ...{ minutes: 60, drainMinutes: 60 },
  },
  'items of 30 days': {
    ...{ perSecond: 800, days: 30, minutes: 90, drainMinutes: 30 },
    outages: during(0, 30, 'counting'),
  },
  'items of 30 days, 50 places': {
    ...{ perSecond: 800, days: 30, places: 50, minutes: 90, drainMinutes: 30 },
    outages: during(0, 30, 'counting'),
  },
  'one day, 50 places': {
    ...{ perSecond: 500, places: 50, minutes: 90, drainMinutes: 30 },
    outages: during(0, 30, 'counting'),
  },
  'one day, of whose partition not more is had': {
    ...{ perSecond: 500, partitionUnits: 1_000, minutes: 90, drainMinutes: 30 },
    outages: during(0, 30, 'counting'),
  },
  'one message of a hundred is lost': {
    ...{ perSecond: 500, minutes: 30, drainMinutes: 240 },
    lost: () => 0.01,
  },
  'one request of twenty is cut off': {
    ...{ perSecond: 500, minutes: 60, drainMinutes: 60 },
    cutOff: () => 0.05,
  },
  'every request of an hour is cut off': {
    ...{ perSecond: 500, minutes: 60, drainMinutes: 60 },
    cutOff: (minute) => (minute < 60 ? 1 : 0),
  },
  'the queue is purged after half an hour': {
    ...{ perSecond: 500, minutes: 150, drainMinutes: 30, outages: during(0, 30, 'counting') },
    lost: (minute) => (minute < 30 ? 1 : 0),
    // A sweep sends at most 100,000 of them again.
    rateShare: 0.25,
  },
  'requests are cut off while counting is down': {
    ...{ perSecond: 500, minutes: 90, drainMinutes: 90 },
    cutOff: (minute) => (minute < 30 ? 0.2 : 0),
    outages: during(0, 30, 'counting'),
  },
  'a replay fills an empty stack': {
    ...{ perSecond: 0, minutes: 5, drainMinutes: 60, replayed: 600_000 },
  },
};

/** Runs a scenario to its end, and returns its metrics. */
export async function runScenario(scenario: Scenario, scale: number): Promise<TimedPipeline> {
  const { perSecond, minutes, drainMinutes, replayed = 0, ...others } = scenario;
  const rateIn = typeof perSecond === 'number' ? () => perSecond : perSecond;
  const pipeline = new TimedPipeline({
    ...{ ...others, scale },
    perSecond: (minute) => (minute < minutes ? rateIn(minute) : 0),
  });
  pipeline.replay(replayed * scale, Date.UTC(2025, 10, 1));
  await pipeline.run(minutes + drainMinutes);
  return pipeline;
}

/** Items counted per second from a backlog without faults. */
export async function fullRate(
  scale: number,
  options: Omit<TimedOptions, 'scale' | 'perSecond'> = {},
): Promise<number> {
  const perSecond = options.areCarried === true ? 12_000 : 4_000;
  const pipeline = new TimedPipeline({ ...options, scale, perSecond: () => perSecond });
  await pipeline.run(15);
  return meanOf(pipeline.minutes.slice(3).map(({ done }) => done));
}

const windowMinutes = 10;
/** A sweep runs every five minutes and checks an interrupted intake after 15 minutes. */
const sweptWithinMinutes = 20;

function isAllCutOff({ cutOff }: Scenario, from: number, to: number): boolean {
  for (let minute = from; minute <= to; minute++) if (cutOff?.(minute) === 1) return true;
  return false;
}

/**
 * The violations in the run of a scenario, in words. `rate`: the full rate of such a stack, in items per
 * second. A backlog that takes longer than minutes must be counted at nine tenths of it.
 */
export function faultsOf(pipeline: TimedPipeline, scenario: Scenario, rate: number): string[] {
  const { minutes } = pipeline;
  const faults = [...pipeline.differences()];
  const isBusy = minutes.map(
    ({ behind, minute }) =>
      behind > rate * 5 * 60 &&
      (scenario.outages?.(minute) ?? []).length === 0 &&
      !isAllCutOff(scenario, minute - sweptWithinMinutes, minute),
  );
  for (let from = 0; from + windowMinutes <= minutes.length; from++) {
    const window = minutes.slice(from, from + windowMinutes);
    if (isBusy.slice(from, from + windowMinutes).some((busy) => !busy)) continue;
    const counted = meanOf(window.map(({ counted }) => counted));
    if (counted >= (scenario.rateShare ?? 0.9) * rate) continue;
    faults.push(`${counted.toFixed(0)}/s from minute ${from} on, and ${rate.toFixed(0)} is full`);
    break;
  }
  const last = minutes.at(-1);
  if (pipeline.behind !== 0) faults.push(`${pipeline.behind} items are not counted`);
  // Checked after 15 minutes, by sweeps every five.
  if (!(Number(last?.throughMinutes) <= 21)) {
    faults.push(`counted_through is ${last?.throughMinutes} minutes behind`);
  }
  const dead = last?.deadLetters ?? 0;
  if (dead > (scenario.deadLettersMax ?? 0)) faults.push(`${dead} messages are dead`);
  return faults;
}

export function meanOf(numbers: readonly number[]): number {
  return numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
}
