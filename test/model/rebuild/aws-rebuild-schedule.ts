import { calm } from '../faults/aws-fault-layer.ts';
import { judge } from '../faults/aws-oracle.ts';
import { RebuildWorld, type Tampering } from './aws-rebuild-world.ts';
import { actionsOf, comeToRest, finish, trouble } from '../faults/aws-schedule.ts';
import { AwsSimulation } from '../simulated-aws/aws-simulation.ts';
import { makePosts } from '../faults/aws-traffic.ts';
import { Violation, World } from '../faults/aws-world.ts';

export interface RebuildScheduleOptions {
  readonly tamper?: Tampering;
  readonly isTraced?: boolean;
  /** Called with the world before the schedule starts. */
  readonly onWorld?: (world: World) => void;
}

const attemptsMax = 30;

/**
 * Traffic, then damage by hand, then rebuilds beside more traffic, with faults at every call:
 * interruptions, lost replies, requests that arrive late. At rest all counts must be exact, and an audit
 * must confirm it. Returns the number of corrected counters.
 * @throws {Violation} otherwise.
 */
export async function runRebuildSchedule(
  seed: number,
  options: RebuildScheduleOptions = {},
): Promise<number> {
  let made: AwsSimulation | undefined;
  const world = new World(seed, (given) => (made = new AwsSimulation(given)), options);
  options.onWorld?.(world);
  if (made === undefined) throw new Error('the world has no simulation');
  const rebuilds = new RebuildWorld(world, made, options.tamper);
  const { random } = world;
  const posts = makePosts(random, 2 + random.below(4));
  const early = 1 + random.below(posts.length - 1);
  await trouble(world, actionsOf(world, posts.slice(0, early)), { isProcessing: true });
  world.isDamaged = true;
  for (let damages = random.below(4); damages >= 0; damages--) rebuilds.damage();

  const attempt = () => rebuilds.rebuild(() => undefined);
  const attempts = Array.from({ length: 1 + random.below(3) }, () => attempt);
  await trouble(world, [...actionsOf(world, posts.slice(early)), ...attempts], {
    isProcessing: true,
  });
  // One rebuild must finish, with faults that allow it.
  const killed = random.pick([0, 0.003, 0.01]);
  world.weather = { refused: 0.02, replyLost: 0.05, obstructed: 0.1, killed, slow: 0.01 };
  for (let tries = 0; rebuilds.done.length === 0; tries++) {
    if (tries === attemptsMax) world.weather = { ...calm };
    if (tries > attemptsMax) throw new Violation('no rebuild completes');
    attempt();
    while (rebuilds.running > 0) await world.step();
  }
  await finish(world);
  await comeToRest(world);
  world.weather = calm;
  if (rebuilds.done.some(({ left }) => left > 0)) {
    attempt();
    await finish(world);
  }
  const differences = await rebuilds.audit();
  if (differences.length > 0) {
    const shown = differences.map(({ code, detail }) => `${code}: ${detail}`);
    throw new Violation(`an audit finds ${shown.join(' ')}`);
  }
  await judge(world, posts);
  return rebuilds.done.reduce((sum, { corrected }) => sum + corrected, 0);
}
