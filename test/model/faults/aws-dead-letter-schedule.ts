import { judge } from './aws-oracle.ts';
import { dayMs } from './aws-functions.ts';
import { comeToRest, finish, trouble, type Action, type ScheduleOptions } from './aws-schedule.ts';
import { AwsSimulation } from '../simulated-aws/aws-simulation.ts';
import { foreignItem, garbage, makePosts } from './aws-traffic.ts';
import { World } from './aws-world.ts';

const minuteMs = 60_000;

/**
 * All queued messages become dead letters, as if the processor could not count them: chunks of batches,
 * messages of other programs, and unreadable ones; copies of some remain on the queue. Operators then
 * redrive and drop, several at a time, with any faults, concurrently with the processor and the sweep.
 * @throws {Violation} if a guarantee did not hold.
 */
export async function runDeadLetterSchedule(
  seed: number,
  options: ScheduleOptions = {},
): Promise<void> {
  const makeBackend = options.makeBackend ?? ((given) => new AwsSimulation(given));
  const world = new World(seed, makeBackend, options);
  options.onWorld?.(world);
  const { random, scheduler } = world;
  const posts = makePosts(random, 1 + random.below(3));
  if (random.chance(0.3)) world.itemsPerMessage = 2;
  for (const post of posts) world.post(post, () => undefined);
  await finish(world);
  for (let items = random.below(4); items > 0; items--) world.putForeign(foreignItem(random));
  if (random.chance(0.3)) world.putGarbage(random.pick(garbage));
  kill(world);
  if (random.chance(0.15)) {
    scheduler.pass((84 + random.below(20)) * dayMs);
    await world.backend.expire(() => random.chance(0.8));
  }
  await trouble(world, actionsOf(world), { isProcessing: random.chance(0.7) });
  await comeToRest(world);
  await judge(world, posts);
}

function kill(world: World): void {
  const { random } = world;
  const { queue, deadLetters } = world.backend;
  for (const message of [...queue.messages.values()]) {
    if (random.chance(0.2)) continue;
    deadLetters.takeOver(message);
    queue.messages.delete(message.id);
    world.note(() => `${message.id} is dead`);
    // The sweep queues chunks again, under another message id.
    if (message.body.startsWith('{"version":1,') && random.chance(0.6)) queue.put(message.body);
  }
}

function actionsOf(world: World): Action[] {
  const { random } = world;
  const some = (least: number, more: number, action: Action): Action[] =>
    Array.from({ length: least + random.below(more) }, () => action);
  return [
    ...some(1, 3, () => world.redrive(() => random.chance(0.7))),
    ...some(0, 3, () => world.drop(() => random.chance(0.4))),
    ...some(0, 2, () => world.sweep()),
    ...some(1, 4, () => world.scheduler.pass(random.pick([minuteMs, 5 * minuteMs, 16 * minuteMs]))),
  ];
}
