import { describe, expect, it } from 'vitest';

import { AwsSimulation } from '../simulated-aws/aws-simulation.ts';
import { makePosts } from './aws-traffic.ts';
import { World } from './aws-world.ts';
import { rounds } from '../../support/run/tier.ts';

const seeds = rounds({ what: 'late retries', quick: 300, nightly: 20_000 });
const minuteMs = 60_000;

/**
 * A first attempt is killed somewhere; two concurrent retries arrive about the time at which it counts
 * as ended. The general schedules hardly ever contain this.
 */
async function retryLate(seed: number): Promise<World> {
  const world = new World(seed, (options) => new AwsSimulation(options), { isTraced: true });
  const { random, scheduler } = world;
  const [first] = makePosts(random, 1);
  if (first === undefined) throw new Error('no post');
  const post = { ...first, key: 'k' };
  const stepsOf = async (most: number) => {
    for (let steps = random.below(most); steps > 0 && scheduler.isBusy; steps--) await world.step();
  };
  const send = async () => {
    world.post(post, () => undefined);
    await scheduler.settle();
  };
  await send();
  await stepsOf(6);
  for (const invocation of [...scheduler.running]) scheduler.kill(invocation);
  scheduler.pass(random.pick([3, 5]) * minuteMs - random.below(400));
  await send();
  await stepsOf(6);
  scheduler.pass(random.below(400));
  await send();
  while (scheduler.isBusy) await world.step();
  return world;
}

describe('retries that arrive when the first attempt counts as ended', () => {
  it('still make one batch', async () => {
    for (let seed = 0; seed < seeds; seed++) {
      const world = await retryLate(seed);
      const keys = [...(await world.backend.objects()).keys()];
      const stored = keys.filter((key) => key.startsWith('raw/')).length;
      expect(stored, `seed ${seed}\n${world.trace.join('\n')}`).toBeLessThanOrEqual(1);
    }
  });
});
