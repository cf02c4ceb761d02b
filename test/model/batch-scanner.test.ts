import { describe, expect, it } from 'vitest';

import { readBatch, countEvents } from '../../src/domain/batch.ts';
import { BatchScanner, type ScannedBatch } from '../../src/domain/fast/batch-scanner.ts';
import { CounterTable } from '../../src/domain/fast/counter-table.ts';
import { rowsOfIncrements, type Increments } from '../../src/domain/counter.ts';
import { dayRule, utcDayRule } from '../../src/domain/day.ts';
import { seededRandom } from '../support/processes/server-process.ts';
import { tortures } from '../fuzz/torture.ts';
import { contractBodies, mutate, plainBody, strangeBody } from './batch-bodies.ts';
import { rounds } from '../support/run/tier.ts';

/*
 * The scanner beside the general path: what it takes, `readBatch` takes with the same events, and
 * nothing refused.
 */

const bodies = rounds({ what: 'bodies scanned', quick: 8_000, nightly: 1_000_000 });
const limits = { countersMax: 4096, keyBytesMax: 256 * 1024 };

/** Two of them behind and ahead of UTC, by half hours and with summer time. */
const zones = ['as-written', 'UTC', 'America/St_Johns', 'Pacific/Auckland'];
const rules = zones.map((zone) => {
  const table = new CounterTable(limits, 42);
  return { table, scanner: new BatchScanner(table, utcDayRule(zone)), dayOf: dayRule(zone) };
});
type Rule = (typeof rules)[number];
const [written] = rules as [Rule];

/** Bodies lie in shared memory among others' bytes, as in the ring, and in memory of their own. */
const shared = new Uint8Array(new SharedArrayBuffer(1024 * 1024));
const surroundings = [0x5d, 0x7d, 0x20, 0x22, 0x2c, 0x31, 0x00, 0xff];

function scan({ scanner }: Rule, body: Uint8Array, random: () => number): ScannedBatch | undefined {
  const own = scanner.scan(body, 0, body.length)?.items;
  const at = 1 + Math.floor(random() * 64);
  shared.fill(
    surroundings[Math.floor(random() * surroundings.length)] ?? 0,
    0,
    at + body.length + 64,
  );
  shared.set(body, at);
  const scanned = scanner.scan(shared, at, at + body.length);
  expect(scanned?.items).toBe(own);
  return scanned;
}

/** Says whether it was plain. */
function compare(body: Uint8Array, random: () => number, rule = written): boolean {
  const { table, dayOf } = rule;
  const scanned = scan(rule, body, random);
  const reading = readBatch(body, dayOf);
  if (scanned === undefined) return false;
  if (!reading.readable) throw new Error(`taken, though it is ${reading.code}: ${reading.detail}`);
  expect(reading.rejected).toBe(0);
  expect(scanned.items).toBe(reading.events.length);
  scanned.count();
  expect(sorted(table.increments())).toEqual(sorted(countEvents(reading.events)));
  table.clear();
  return true;
}

function sorted(tally: Increments): string[] {
  return [...rowsOfIncrements(tally)].map((row) => JSON.stringify(row)).sort();
}

function run(
  name: string,
  count: number,
  bodyOf: (random: () => number) => Uint8Array,
  ruleOf = (seed: number) => rules[seed % rules.length] ?? written,
): number {
  let plain = 0;
  for (let seed = 1; seed <= count; seed++) {
    const random = seededRandom(seed);
    const body = bodyOf(random);
    try {
      if (compare(body, random, ruleOf(seed))) plain++;
    } catch (error) {
      const text = Buffer.from(body).toString('latin1');
      throw new Error(`${name}, seed ${seed}: ${JSON.stringify(text)}`, { cause: error });
    }
  }
  return plain;
}

describe('the scanner and the general path agree on', () => {
  it('plain bodies, of which none is handed over', { timeout: 600_000 }, () => {
    const count = Math.ceil(bodies / 4);
    const plainOf = (random: () => number) => Buffer.from(plainBody(random));
    const ruleOf = (seed: number) => rules[seed % 2] ?? written;
    expect(run('plain', count, plainOf, ruleOf)).toBe(count);
  });

  it('plain bodies in a time zone, most of which are not handed over', { timeout: 600_000 }, () => {
    const count = Math.ceil(bodies / 8);
    const plainOf = (random: () => number) => Buffer.from(plainBody(random));
    const plain = run('zoned', count, plainOf, (seed) => rules[2 + (seed % 2)] ?? written);
    // Those of years before 1973 are.
    expect(plain).toBeGreaterThan(count / 2);
  });

  it('strange bodies, some of them plain', { timeout: 600_000 }, () => {
    const count = Math.ceil(bodies / 4);
    const plain = run('strange', count, (random) => Buffer.from(strangeBody(random)));
    expect(plain).toBeGreaterThan(count / 20);
    expect(plain).toBeLessThan(count);
  });

  it('bodies with bytes changed, left out, added or doubled', { timeout: 600_000 }, () => {
    const count = Math.ceil(bodies / 2);
    const plain = run('mutated', count, (random) =>
      mutate(Buffer.from(random() < 0.6 ? plainBody(random) : strangeBody(random)), random),
    );
    expect(plain).toBeGreaterThan(count / 50);
  });

  it.each([...tortures])('a torture: %s', (_, body) => {
    const random = seededRandom(11);
    compare(body, random);
    // The long ones are cut here and there, which says as much.
    const part = body.subarray(0, 2_000);
    for (let times = 0; times < 50; times++) {
      compare(mutate(part, random), random, rules[times % rules.length]);
    }
  });

  it('the bodies of the contract, whole and mutated', () => {
    const all = contractBodies();
    expect(all.length).toBeGreaterThan(40);
    const random = seededRandom(7);
    for (const body of all) {
      for (const rule of rules) compare(body, random, rule);
      for (let times = 0; times < 20; times++) {
        compare(mutate(Buffer.from(body), random), random, rules[times % rules.length]);
      }
    }
  });
});

it('counts each of the thousands of items of a long body', () => {
  const items = Array.from({ length: 3_000 }, (_, at) => ({
    type: `type ${at % 1_000}`,
    state: 'erased',
    timestamp: '2023-06-16T13:00:00Z',
  }));
  const body = Buffer.from(JSON.stringify({ processed_devices: items }));
  expect(compare(body, seededRandom(1))).toBe(true);
});

describe('a body that is not plain', () => {
  it('leaves the counters as they were', () => {
    const random = seededRandom(3);
    const { table } = written;
    const scanned = scan(written, Buffer.from(plainBody(random)), random);
    if (scanned === undefined) expect.unreachable();
    scanned.count();
    const before = sorted(table.increments());
    expect(
      scan(written, Buffer.from(`${plainBody(random).slice(0, -1)},`), random),
    ).toBeUndefined();
    expect(sorted(table.increments())).toEqual(before);
    table.clear();
  });
});
