import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { addIncrement, type CounterRow, type Increments } from '../../../src/domain/counter.ts';
import type { CounterStore, Delivery } from '../../../src/pipeline/ports.ts';
import { rounds } from '../../support/run/tier.ts';
import { sortedRows } from './intake-contract.ts';

export interface CounterStoreHarness<Key, D extends Delivery<Key>> {
  readonly store: CounterStore<Key, D>;
  /** Deliveries of these increments as the queue would make them, in order, after the last ones. */
  deliveriesOf(all: readonly Increments[]): readonly D[];
  /** All counters, in order. */
  counters(): Promise<readonly CounterRow[]>;
  /** Lets transactions fail, in the way of that name, until the function returned is called. */
  obstruct(fault: string): () => void;
  /** Ends the engine as a crash would and starts it again. */
  reopen(): Promise<void>;
  close(): Promise<void>;
}

const disorders = rounds({ what: 'disorders of deliveries', quick: 15, nightly: 60 });

/** Names between which a careless join or order would find no difference. */
const names = ['a', 'b', 'a#b', 'b#c', 'a%23b', '%', 'ä', '\u{1f98a}', '\uff5e', 'A'];

const increments: fc.Arbitrary<Increments> = fc
  .array(
    fc.record({
      date: fc.constantFrom('2023-06-16', '2023-06-17', '0001-01-01'),
      type: fc.constantFrom(...names),
      state: fc.constantFrom(...names),
      count: fc.oneof(fc.integer({ min: 1, max: 9 }), fc.constant(2 ** 31)),
    }),
    { maxLength: 6 },
  )
  .map((rows) => {
    const sum: Increments = new Map();
    for (const { count, ...counter } of rows) addIncrement(sum, counter, count);
    return sum;
  });

function one(type: string, count = 1): Increments {
  return new Map([['2023-06-16', new Map([[type, new Map([['ready', count]])]])]]);
}

/** What every `CounterStore` promises. */
export function describeCounterStore<Key, D extends Delivery<Key>>(
  name: string,
  faults: readonly string[],
  open: () => Promise<CounterStoreHarness<Key, D>>,
): void {
  type Harness = CounterStoreHarness<Key, D>;

  async function withStore(use: (harness: Harness) => Promise<void>): Promise<void> {
    const harness = await open();
    try {
      await use(harness);
    } finally {
      await harness.close();
    }
  }

  describe(`${name} as a counter store`, () => {
    it('adds the increments and says which deliveries were new', () =>
      withStore(async (harness) => {
        const all = [one('a'), one('b', 3), one('a', 2)];
        const deliveries = harness.deliveriesOf(all);
        const result = await harness.store.apply(deliveries);
        expect(result).toEqual({ counted: deliveries, repeated: [] });
        expect(await harness.counters()).toEqual(sortedRows(...all));
      }));

    it('does nothing where there is nothing to do', () =>
      withStore(async (harness) => {
        expect(await harness.store.apply([])).toEqual({ counted: [], repeated: [] });
        const empty = harness.deliveriesOf([new Map() as Increments]);
        expect((await harness.store.apply(empty)).counted).toEqual(empty);
        expect((await harness.store.apply(empty)).repeated).toEqual(empty);
        expect(await harness.counters()).toEqual([]);
      }));

    it('counts a delivery once that comes twice at the same time', () =>
      withStore(async (harness) => {
        const [delivery] = harness.deliveriesOf([one('a')]);
        if (delivery === undefined) throw new Error('no delivery');
        const { counted, repeated } = await harness.store.apply([
          delivery,
          structuredClone(delivery),
        ]);
        expect([counted.length, repeated.length]).toEqual([1, 1]);
        expect(await harness.counters()).toEqual(sortedRows(one('a')));
      }));

    it('counts each delivery once, however they are repeated, mixed up and held up', async () => {
      await fc.assert(
        fc.asyncProperty(
          fc.array(increments, { minLength: 1, maxLength: 8 }),
          fc.array(fc.array(fc.nat(), { maxLength: 12 }), { maxLength: 8 }),
          fc.nat(),
          (all, offers, reopenBefore) =>
            withStore(async (harness) => {
              const deliveries = harness.deliveriesOf(all);
              const done = new Set<D['dedupKey']>();
              /** Returns the deliveries that are not counted: all of them, or none. */
              const offer = async (offered: readonly D[]) => {
                const result = await harness.store
                  .apply(offered.map((each) => structuredClone(each)))
                  // A store that counts in order refuses a delivery before its turn.
                  .catch(() => undefined);
                if (result !== undefined) checkResult(offered, result, done);
                const sum = sortedRows(
                  ...deliveries
                    .filter(({ dedupKey: key }) => isIn(done, key))
                    .map((each) => each.increments),
                );
                expect(await harness.counters()).toEqual(sum);
                return result === undefined ? offered : [];
              };
              for (const [index, offered] of offers.entries()) {
                if (index === reopenBefore % offers.length) await harness.reopen();
                await offer(offered.map((at) => deliveries[at % deliveries.length] as D));
              }
              // In the end all come, first backwards.
              const left = await offer([...deliveries].reverse());
              if (left.length > 0) expect(await offer(deliveries)).toEqual([]);
              expect(await harness.counters()).toEqual(sortedRows(...all));
              expect(await offer(deliveries)).toEqual([]);
            }),
        ),
        { numRuns: disorders },
      );
    });

    it('has after a restart the record of counted deliveries', () =>
      withStore(async (harness) => {
        const deliveries = harness.deliveriesOf([one('a'), one('b'), one('c')]);
        await harness.store.apply(deliveries.slice(0, 2));
        await harness.reopen();
        expect(await harness.store.apply(deliveries)).toEqual({
          counted: deliveries.slice(2),
          repeated: deliveries.slice(0, 2),
        });
        expect(await harness.counters()).toEqual(sortedRows(one('a'), one('b'), one('c')));
      }));

    it.each(faults)('counts and records nothing where the transaction fails: %s', (fault) =>
      withStore(async (harness) => {
        const before = harness.deliveriesOf([one('a')]);
        await harness.store.apply(before);
        const deliveries = harness.deliveriesOf([
          one('a', 2),
          one('b'),
          one('obstructed'),
          one('c'),
        ]);

        const clear = harness.obstruct(fault);
        for (let attempt = 0; attempt < 3; attempt++) {
          await expect(harness.store.apply([...before, ...deliveries])).rejects.toThrow();
          expect(await harness.counters()).toEqual(sortedRows(one('a')));
        }
        clear();

        expect((await harness.store.apply([...before, ...deliveries])).counted).toEqual(deliveries);
        const all = sortedRows(one('a', 3), one('b'), one('obstructed'), one('c'));
        expect(await harness.counters()).toEqual(all);
        await harness.reopen();
        expect((await harness.store.apply(deliveries)).repeated).toEqual(deliveries);
        expect(await harness.counters()).toEqual(all);
      }),
    );
  });
}

function isIn<Key>(keys: ReadonlySet<Key>, key: Key): boolean {
  return [...keys].some((each) => JSON.stringify(each) === JSON.stringify(key));
}

/** Every delivery offered is in the result, and one that is counted was not counted before. */
function checkResult<Key>(
  offered: readonly Delivery<Key>[],
  result: Record<'counted' | 'repeated', readonly Delivery<Key>[]>,
  done: Set<Key>,
): void {
  const keys = (deliveries: readonly Delivery<Key>[]) =>
    deliveries.map(({ dedupKey: key }) => JSON.stringify(key)).sort();
  const { counted, repeated } = result;
  expect(keys([...counted, ...repeated])).toEqual(keys(offered));
  for (const { dedupKey: key } of counted) {
    expect(isIn(done, key)).toBe(false);
    done.add(key);
  }
  for (const { dedupKey: key } of repeated) expect(isIn(done, key)).toBe(true);
}
