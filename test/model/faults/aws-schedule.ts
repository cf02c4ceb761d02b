import type { StoredDeadLetter } from '../../../src/engines/aws/dead-letters/dead-letter-pass.ts';
import { calm } from './aws-fault-layer.ts';
import { dayMs, type Variant } from './aws-functions.ts';
import { judge } from './aws-oracle.ts';
import {
  AwsSimulation,
  type Backend,
  type SimulationOptions,
} from '../simulated-aws/aws-simulation.ts';
import { foreignItem, garbage, makePosts, type Post } from './aws-traffic.ts';
import { Violation, World } from './aws-world.ts';

export interface ScheduleOptions {
  readonly variant?: Variant;
  readonly isTraced?: boolean;
  readonly makeBackend?: (options: SimulationOptions) => Backend;
  /** Called with the world before the schedule starts. */
  readonly onWorld?: (world: World) => void;
}

const minuteMs = 60_000;
const roundsMax = 24;

/**
 * Draws a schedule from the seed, runs it until everything is at rest, and checks the result.
 * @throws {Violation} if a guarantee did not hold.
 */
export async function runSchedule(seed: number, options: ScheduleOptions = {}): Promise<void> {
  const makeBackend = options.makeBackend ?? ((given) => new AwsSimulation(given));
  const world = new World(seed, makeBackend, options);
  options.onWorld?.(world);
  const { random } = world;
  const posts: Post[] = makePosts(random, 1 + random.below(4));
  const first = posts.filter(({ key }) => key !== undefined && key === posts[0]?.key).length;
  if (random.chance(0.25)) {
    // All batches under one key arrive before the key expires.
    const early = Math.max(first, 1 + random.below(posts.length));
    // Half of them wait on the queue while the time passes.
    const isProcessing = random.chance(0.5);
    await trouble(world, actionsOf(world, posts.slice(0, early)), { isProcessing });
    await leap(world);
    await trouble(world, actionsOf(world, posts.slice(early)), { isProcessing: true });
  } else {
    await trouble(world, actionsOf(world, posts), { isProcessing: true });
  }
  await comeToRest(world);
  await judge(world, posts);
}

export type Action = () => void;

/**
 * Runs clients, the queue and other actors, with randomly drawn faults. Actions may add others.
 */
export async function trouble(
  world: World,
  actions: Action[],
  { isProcessing }: { readonly isProcessing: boolean },
): Promise<void> {
  const { random, scheduler } = world;
  const level = random.pick([0, 0.05, 0.2, 0.5]);
  world.weather = {
    refused: (level * random.next()) / 2,
    replyLost: (level * random.next()) / 2,
    obstructed: level * random.next(),
    killed: random.pick([0, 0.02, 0.08, 0.3]),
    slow: random.pick([0, 0.02, 0.15]),
  };
  const deliver = () => world.deliver(1 + random.below(10));
  const isLeftEarly = random.chance(0.3);
  for (;;) {
    const draw = random.next();
    // Messages queued by then wait for the next phase.
    if (isLeftEarly && actions.length === 0 && draw < 0.2) return;
    if (actions.length > 0 && (draw < 0.1 || !scheduler.isBusy)) {
      const [action] = actions.splice(random.below(actions.length), 1);
      action?.();
      await scheduler.settle();
    } else if (isProcessing && (draw < 0.2 || !scheduler.isBusy) && deliver()) {
      await scheduler.settle();
    } else if (scheduler.isBusy) {
      await world.step();
    } else if (isProcessing && world.backend.queue.messages.size > 0 && draw < 0.8) {
      // Unsettled messages become visible again.
      scheduler.pass(3 * minuteMs);
    } else {
      return;
    }
  }
}

export function actionsOf(world: World, posts: readonly Post[]): Action[] {
  const { random } = world;
  const actions: Action[] = [];
  const times = (count: number, action: Action) => {
    for (let at = 0; at < count; at++) actions.push(action);
  };
  for (const post of posts) {
    const attempt = () => world.post(post, () => actions.push(attempt));
    // Impatient clients send the same batch twice at the same time.
    times(post.key !== undefined && random.chance(0.3) ? 2 : 1, attempt);
  }
  times(random.below(3), () => world.putForeign(foreignItem(random)));
  times(random.chance(0.3) ? 1 : 0, () => world.putGarbage(random.pick(garbage)));
  times(random.below(8), () => {
    const milliseconds = random.pick([
      ...[10_000, minuteMs, 6 * minuteMs, 16 * minuteMs, 3_600_000],
      // At this age an attempt counts as ended: older attempts meet new ones.
      5 * minuteMs - random.below(20_000),
    ]);
    world.note(() => `${milliseconds} ms pass`);
    world.scheduler.pass(milliseconds);
  });
  times(random.below(3), () => {
    for (let sweeps = random.below(2); sweeps >= 0; sweeps--) world.sweep();
  });
  times(random.below(2), () => world.redrive(() => random.chance(0.7)));
  times(random.chance(0.4) ? 1 : 0, () => world.drop(() => random.chance(0.5)));
  times(random.below(3), () => {
    world.itemsPerMessage = random.pick([Number.POSITIVE_INFINITY, 1, 2, 3]);
    if (world.hasBothForms) world.carriesBodies = !world.carriesBodies;
  });
  return actions;
}

/**
 * Lets enough time pass for ledger rows to expire. Everything stored by then has been swept, as on any
 * ordinary day; the queues keep their messages, longer than SQS would.
 */
async function leap(world: World): Promise<void> {
  const { random, scheduler } = world;
  world.weather = calm;
  await finish(world);
  scheduler.pass(16 * minuteMs);
  world.sweep();
  await finish(world);
  const days = 84 + random.below(117);
  scheduler.pass(days * dayMs);
  await world.backend.expire(() => random.chance(0.8));
  world.note(() => `${days} days pass`);
  world.redrive(() => true);
  await finish(world);
}

/** Finishes all work without faults, until nothing changes. */
export async function comeToRest(world: World): Promise<void> {
  world.weather = calm;
  await finish(world);
  for (let round = 0; round < roundsMax; round++) {
    const isLong = round > 0;
    // The sweep checks an orphan again after a day at the latest.
    world.scheduler.pass(isLong ? 25 * 60 * minuteMs : 16 * minuteMs);
    await world.backend.expire(() => true);
    world.sweep();
    await finish(world);
    const isMoving = world.backend.queue.messages.size > 0;
    await drain(world);
    const before = world.backend.deadLetters.messages.size;
    world.redrive((deadLetter) => !isFinal(deadLetter));
    await finish(world);
    const isRedriven = world.backend.deadLetters.messages.size < before;
    if (isLong && !isMoving && !isRedriven) return;
  }
  throw new Violation('it does not come to rest');
}

export async function finish(world: World): Promise<void> {
  await world.scheduler.settle();
  while (world.scheduler.isBusy) await world.step();
}

async function drain(world: World): Promise<void> {
  const { queue } = world.backend;
  while (queue.messages.size > 0) {
    if (!world.deliver(10)) world.scheduler.pass(minuteMs);
    await finish(world);
  }
}

/** Why a dead letter stays: it can never be counted. */
function isFinal({ reason }: StoredDeadLetter): boolean {
  return !reason.startsWith('not_counted');
}
