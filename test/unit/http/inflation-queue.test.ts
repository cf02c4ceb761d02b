import { setImmediate as turn } from 'node:timers/promises';

import { expect, it } from 'vitest';

import { InflationQueue } from '../../../src/http/server/inflation-queue.ts';

const [first, second] = [{}, {}];

/** Running work by name; the test ends it. */
function workshop(queue: InflationQueue) {
  const begun: string[] = [];
  const ends = new Map<string, PromiseWithResolvers<string>>();
  const start = (name: string, connection: object, bytes: number) => {
    const end = Promise.withResolvers<string>();
    ends.set(name, end);
    return queue.run(connection, bytes, () => {
      begun.push(name);
      return end.promise;
    });
  };
  const end = async (name: string) => {
    ends.get(name)?.resolve(name);
    await turn();
  };
  return { begun, start, end, fail: (name: string) => ends.get(name)?.reject(new Error(name)) };
}

it('starts bodies whose inflated sizes fit the limit, and the others as it frees', async () => {
  const { begun, start, end } = workshop(new InflationQueue(8_000, 4_000));
  const all = ['a', 'b', 'c', 'd', 'e'].map((name) => start(name, first, 1_000));
  all.push(start('other', second, 1_000));
  await turn();
  expect(begun).toEqual(['a', 'b']);
  await end('a');
  expect(begun).toEqual(['a', 'b', 'c']);
  await end('b');
  expect(begun).toEqual(['a', 'b', 'c', 'other']);
  for (const name of ['c', 'other', 'd', 'e']) await end(name);
  expect(await Promise.all(all)).toEqual(['a', 'b', 'c', 'd', 'e', 'other']);
});

it('counts a small body for what it could be', async () => {
  const { begun, start, end } = workshop(new InflationQueue(4 * 1032, 100_000));
  const all = ['a', 'b', 'c', 'd', 'e'].map((name) => start(name, first, 1));
  await turn();
  expect(begun).toEqual(['a', 'b', 'c', 'd']);
  for (const name of ['a', 'b', 'c', 'd', 'e']) await end(name);
  expect(await Promise.all(all)).toHaveLength(5);
});

it('admits a body above the limit alone, and continues after a failure', async () => {
  const { begun, start, end, fail } = workshop(new InflationQueue(10, 100_000));
  const failing = start('large', first, 50);
  const next = start('next', second, 50);
  await turn();
  expect(begun).toEqual(['large']);
  fail('large');
  await expect(failing).rejects.toThrow('large');
  await turn();
  expect(begun).toEqual(['large', 'next']);
  await end('next');
  expect(await next).toBe('next');
});
