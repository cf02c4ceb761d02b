import { describe, expect, it } from 'vitest';

import type { Counter } from '../../../src/domain/day-bound.ts';
import { asWritten } from '../../../src/domain/day.ts';
import { CounterAdmission } from '../../../src/engines/embedded/writer/counter-admission.ts';
import type { LogRecord } from '../../../src/engines/embedded/log/frame.ts';
import type { CountersChange } from '../../../src/engines/embedded/store/counter-store.ts';

/* The cache of the admission and its expiry, observed by its results and its calls of the store. */

/** Names of one generation of the cache. */
const generation = 65_536;

function counter(type: string, date = '2023-06-16'): { counter: Counter } {
  return { counter: { date, type, state: 'on' } };
}

function counters(from: number, to: number): { counter: Counter }[] {
  return Array.from({ length: to - from }, (_, at) => counter(`type ${from + at}`));
}

function recordOf(type: string, position: number): LogRecord {
  const item = { type, state: 'on', timestamp: '2023-06-16T13:00:00Z' };
  return {
    ...{ position, syncedThrough: 0, batchId: new Uint8Array(16), receivedAt: 0 },
    ...{ accepted: 1, rejected: 0, encoding: 'identity', caller: '', idempotency: undefined },
    body: Buffer.from(JSON.stringify({ processed_devices: [item] })),
  };
}

/** An admission and the store that it asks, with `rows` of one day or for any name. */
function world(countersPerDayMax: number, rows: Set<string> | 'all' = new Set()) {
  const store = {
    position: 0,
    change: 'none' as CountersChange,
    rows,
    /** How often rows, and the size of a day, were read. */
    lookups: 0,
    sizes: 0,
    forgotten: 0,
  };
  const admission = new CounterAdmission({
    store: {
      get position() {
        return store.position;
      },
      pollChange: () => {
        const { change } = store;
        store.change = 'none';
        return change;
      },
      withoutRow: (entries) => {
        const hasRow = ({ type }: Counter) => store.rows === 'all' || store.rows.has(type);
        if (entries.length > 0) store.lookups++;
        return entries.filter((entry) => !hasRow(entry.counter));
      },
      countersOn: () => {
        store.sizes++;
        return store.rows === 'all' ? 0 : store.rows.size;
      },
    },
    dayZone: asWritten,
    countersPerDayMax,
    onForget: () => store.forgotten++,
    now: () => 0,
  });
  return { store, admission };
}

/** How often the store is read to check the counters. */
function lookupsFor({ store, admission }: ReturnType<typeof world>, ...asked: Counter[]): number {
  const before = store.lookups;
  admission.newCounters(asked.map((each) => ({ counter: each })));
  return store.lookups - before;
}

describe('names that are there', () => {
  it('are looked up once', () => {
    const all = world(10, new Set(['a']));
    expect([lookupsFor(all, counter('a').counter), lookupsFor(all, counter('a').counter)]).toEqual([
      1, 0,
    ]);
  });

  it('are cached from their admission until after they are counted', () => {
    const all = world(10);
    all.admission.addPending([counter('a')], 100);
    all.store.position = 100;
    // From here on it is not pending any more.
    expect(all.admission.hasRoomFor([counter('b')])).toBe(true);
    expect(lookupsFor(all, counter('a').counter)).toBe(0);
  });

  it('are cached for two generations', () => {
    const all = world(10, 'all');
    const { admission } = all;
    admission.newCounters(counters(0, generation));
    admission.newCounters(counters(generation, generation + 1));
    expect(lookupsFor(all, counter('type 0').counter)).toBe(0);
    admission.newCounters(counters(generation + 1, 3 * generation));
    expect(lookupsFor(all, counter('type 1').counter)).toBe(1);
  });
});

describe('a change by another process', () => {
  it.each([
    ['none', 0],
    ['added', 0],
    ['replaced', 1],
  ] as const)('%s: onForget is called %i times', (change, times) => {
    const { store, admission } = world(10);
    store.change = change;
    admission.checkForChanges();
    expect(store.forgotten).toBe(times);
  });

  it('none: nothing is read again', () => {
    const { store, admission } = world(10, new Set(['a']));
    for (let asked = 0; asked < 3; asked++) {
      admission.newCounters([counter('a')]);
      admission.hasRoomFor([counter('b')]);
      admission.checkForChanges();
    }
    expect([store.lookups, store.sizes]).toEqual([1, 1]);
  });

  it('added: the size of a day is read again, names are not', () => {
    const all = world(2, new Set(['a']));
    const { store, admission } = all;
    admission.newCounters([counter('a')]);
    expect(admission.hasRoomFor([counter('b')])).toBe(true);
    store.rows = new Set(['a', 'redriven']);
    store.change = 'added';
    admission.checkForChanges();
    expect(admission.hasRoomFor([counter('b')])).toBe(false);
    expect(lookupsFor(all, counter('a').counter)).toBe(0);
  });

  it('replaced: names are looked up again, those of the generation before too', () => {
    const all = world(10, 'all');
    const { store, admission } = all;
    admission.newCounters(counters(0, generation + 1));
    store.rows = new Set();
    store.change = 'replaced';
    admission.checkForChanges();
    const [old, recent] = [counter('type 0'), counter(`type ${generation}`)];
    expect(admission.newCounters([old, recent])).toEqual([old, recent]);
  });

  it('that has counted what is pending counts it twice until it is counted here', () => {
    const { store, admission } = world(2);
    admission.addPending([counter('a')], 100);
    store.rows = new Set(['a']);
    store.change = 'added';
    admission.checkForChanges();
    expect(admission.hasRoomFor([counter('b')])).toBe(false);
    store.position = 100;
    expect(admission.hasRoomFor([counter('b')])).toBe(true);
    // The size is right from now on, and cached.
    const { sizes } = store;
    admission.addPending([counter('b')], 200);
    store.position = 200;
    expect(admission.hasRoomFor([counter('c')])).toBe(false);
    expect(store.sizes).toBe(sizes);
  });
});

describe('counters that wait to be counted', () => {
  it('are counted once, however often they are taken', () => {
    const { admission } = world(2);
    admission.addPending([counter('a')], 100);
    admission.addPending([counter('a')], 200);
    expect(admission.hasRoomFor([counter('b')])).toBe(true);
  });

  it('are looked up for a piece of the log at a time', () => {
    const { store, admission } = world(10);
    const piece = 1024 * 1024;
    admission.addUncounted({ record: recordOf('a', 0), end: piece });
    expect(store.lookups).toBe(1);
    admission.addUncounted({ record: recordOf('b', piece), end: piece + 100 });
    expect(store.lookups).toBe(1);
    admission.finishUncounted();
    expect(store.lookups).toBe(2);
    expect(admission.newCounters([counter('a'), counter('b')])).toEqual([]);
  });
});

it('the sizes of the most recently used days are cached', () => {
  const { store, admission } = world(1);
  const day = (at: number) => counter('a', `${2000 + at}-01-01`);
  for (let at = 0; at < 4_096; at++) admission.hasRoomFor([day(at)]);
  admission.hasRoomFor([day(0)]);
  expect(store.sizes).toBe(4_096);
  admission.hasRoomFor([day(4_096)]);
  admission.hasRoomFor([day(0)]);
  expect(store.sizes).toBe(4_097);
  admission.hasRoomFor([day(1)]);
  expect(store.sizes).toBe(4_098);
});
