import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

import { expect, it } from 'vitest';

import { Repeater } from '../../../../src/engines/embedded/archive/ship/repeater.ts';

function repeater(sleep: (milliseconds: number) => Promise<void>): Repeater {
  return new Repeater({
    clock: { now: () => 0, elapsedMs: () => 0, random: () => 1, sleep },
    onProblem: () => undefined,
    hasWorked: () => true,
  });
}

const never = () => new Promise<void>(() => undefined);

it('keeps nothing of a pause that is over, because there may be thousands in a second', async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const idle = repeater(never);
  const pauses = async (count: number) => {
    for (let done = 0; done < count; done++) await idle.pause(1_000, Promise.resolve());
    collect();
    return process.memoryUsage().heapUsed;
  };
  const before = await pauses(1_000);
  const bytesPerPause = ((await pauses(20_000)) - before) / 20_000;
  expect(bytesPerPause).toBeLessThan(50);
  idle.stop(0);
});

it('ends its pauses when it is stopped', async () => {
  const stopped = repeater(never);
  const pause = stopped.pause(1_000);
  stopped.stop(500);
  await expect(pause).resolves.toBeUndefined();
});
