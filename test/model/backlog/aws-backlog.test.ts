import { describe, expect, it } from 'vitest';

import { isNightly, rounds } from '../../support/run/tier.ts';
import {
  faultsOf,
  fullRate,
  runScenario,
  standstills,
  troubles,
  type Scenario,
} from './aws-backlog-scenarios.ts';
import type { TimedVariant } from './timed-pipeline.ts';

/** Fractions of the real size; the ratios are the same in each. */
const percent = rounds({
  what: 'percent of the load of a stack in virtual time',
  ...{ quick: 0.25, nightly: 10 },
});
const scale = percent / 100;
const timeout = 3_600_000;

const quickly = new Set([
  '500/s, counting is down for 60 min',
  'requests are cut off while counting is down',
  'a replay fills an empty stack',
]);
const scenarios = Object.entries({ ...standstills, ...troubles }).filter(
  ([name]) => isNightly() || quickly.has(name),
);

/** Waiting or replayed batches are hardly ever sent again, and are no orphans. */
const unsent = new Set([...Object.keys(standstills), 'a replay fills an empty stack']);

/** The rate of a stack with the scenario's settings, without faults; measured once for each. */
const rates = new Map<string, Promise<number>>();
function rateOf({ days, places, partitionUnits, areCarried }: Partial<Scenario>): Promise<number> {
  const options = {
    ...(areCarried !== undefined && { areCarried }),
    ...(days !== undefined && { days }),
    ...(places !== undefined && { places }),
    ...(partitionUnits !== undefined && { partitionUnits }),
  };
  const name = JSON.stringify(options);
  const rate = rates.get(name) ?? fullRate(scale, options);
  rates.set(name, rate);
  return rate;
}

describe('a stack in virtual time', { timeout }, () => {
  it.each(scenarios)('counts exactly and catches up: %s', async (name, scenario) => {
    const pipeline = await runScenario(scenario, scale);
    if (unsent.has(name)) {
      // Except for the end of a backlog: in a shallow queue some messages are hidden for minutes.
      const { minutes, batches } = pipeline;
      const sent = minutes.reduce((sum, { resent }) => sum + resent, 0);
      const most = name in standstills ? 0.02 * (batches.size / scale) : 0;
      expect(sent).toBeLessThanOrEqual(most);
      expect(minutes.filter(({ orphans }) => orphans > 0)).toEqual([]);
    }
    expect(faultsOf(pipeline, scenario, await rateOf(scenario))).toEqual([]);
  });

  it.each(isNightly() ? [0.01, 0.1, 0.5, 1] : [0.1, 1])(
    'is through with messages as fast where %d of them come twice',
    async (repeats) => {
      expect(await fullRate(scale, { repeats })).toBeGreaterThan(0.9 * (await rateOf({})));
    },
  );
});

/** Without lost messages, replays and interrupted intakes: a carried batch has one step. */
const carriedScenarios = [
  ...['500/s, counting is down for 60 min', 'S3 fails for an hour', 'SQS fails for an hour'],
  ...['DynamoDB fails for an hour', 'every invocation is killed at its end for an hour'],
  ...['ten times the rate for ten minutes', 'items of 30 days'],
].filter((_, at) => isNightly() || at === 0);

describe('a stack in virtual time whose messages carry bodies', { timeout }, () => {
  it.each(carriedScenarios)('counts exactly and catches up as fast: %s', async (name) => {
    const scenario = { ...standstills, ...troubles }[name] ?? expect.fail(name);
    const pipeline = await runScenario({ ...scenario, areCarried: true }, scale);
    // Items of one day are faster than in the other form; those of many days meet at dedup blocks.
    const rates = [await rateOf(scenario), await rateOf({ ...scenario, areCarried: true })];
    expect(faultsOf(pipeline, scenario, Math.min(...rates))).toEqual([]);
    expect(pipeline.minutes.filter(({ orphans, resent }) => orphans + resent > 0)).toEqual([]);
  });
});

const standstill = standstills['500/s, counting is down for 60 min'] as Scenario;

/** A sweep that sends again everything uncounted after 15 minutes; each repeat costs a transaction. */
const resendsWaitingMessages: TimedVariant = {
  resendsMax: Number.POSITIVE_INFINITY,
  sweepPorts: (ports) => ({ ...ports, queueDepth: () => Promise.resolve(0) }),
};
const looksNothingUp: TimedVariant = {
  countingPorts: (ports) => ({ ...ports, known: () => Promise.resolve(new Set()) }),
};

describe('a stack in virtual time that', { timeout }, () => {
  it('sends waiting messages again without lookups is caught: it never catches up', async () => {
    const variant = { ...resendsWaitingMessages, ...looksNothingUp };
    const scenario = { ...standstill, minutes: isNightly() ? 130 : 80, drainMinutes: 0, variant };
    const faults = faultsOf(await runScenario(scenario, scale), scenario, await rateOf(scenario));
    expect(faults).toContainEqual(expect.stringMatching(/^\d+\/s from minute/));
  });

  it('makes no lookups is caught: repeats slow it down', async () => {
    const slow = await fullRate(scale, { repeats: 0.1, variant: looksNothingUp });
    expect(slow).toBeLessThan(0.9 * (await rateOf({})));
  });
});
