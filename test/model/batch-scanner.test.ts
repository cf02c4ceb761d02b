import { describe, expect, it } from 'vitest';

import { readBatch, countEvents } from '../../src/domain/batch.ts';
import { BatchScanner, type ScannedBatch } from '../../src/domain/fast/batch-scanner.ts';
import { CounterTable } from '../../src/domain/fast/counter-table.ts';
import { stopped } from '../../src/domain/fast/item-kernel.ts';
import { scanMemory } from '../../src/domain/fast/scan-memory.ts';
import { rowsOfIncrements, type Increments } from '../../src/domain/counter.ts';
import { dayRule, utcDayRule } from '../../src/domain/day.ts';
import { scanKernel } from '../../src/engines/embedded/store/scan-kernel.ts';
import { seededRandom } from '../support/processes/server-process.ts';
import { tortures } from '../fuzz/torture.ts';
import {
  contractBodies,
  mutate,
  plainBody,
  strangeBody,
  uniformBody,
  withOddValue,
} from './batch-bodies.ts';
import { rounds } from '../support/run/tier.ts';

/*
 * The scanner against the general path: `readBatch` accepts the same bodies with the same events, and
 * rejects no item.
 */

const bodies = rounds({ what: 'bodies scanned', quick: 8_000, nightly: 1_000_000 });
const limits = { countersMax: 4096, keyBytesMax: 256 * 1024 };

/** Two of them behind and ahead of UTC, by half hours and with summer time. */
const zones = ['as-written', 'UTC', 'America/St_Johns', 'Pacific/Auckland'];
const rules = zones.map((zone) => {
  const memory = scanMemory(limits, 1024 * 1024);
  const table = new CounterTable(memory, 42, scanKernel());
  // In TypeScript alone.
  const referenceTable = new CounterTable(scanMemory(limits), 43);
  return {
    ...{ memory, table, scanner: new BatchScanner(table, utcDayRule(zone)), referenceTable },
    reference: new BatchScanner(referenceTable, utcDayRule(zone)),
    dayOf: dayRule(zone),
  };
});
type Rule = (typeof rules)[number];
const [written] = rules as [Rule];

const surroundings = [0x5d, 0x7d, 0x20, 0x22, 0x2c, 0x31, 0x00, 0xff];

/** Scans a copy of the body, and the body in place among others' bytes, as in the ring. */
function scan(rule: Rule, body: Uint8Array, random: () => number): ScannedBatch | undefined {
  const { scanner, memory } = rule;
  const own = scanner.scan(body, 0, body.length)?.items;
  const bytes = new Uint8Array(memory.memory.buffer);
  const free = memory.bodyBytes - body.length;
  const at = memory.bodiesAt + (random() < 0.1 ? free : 1 + Math.floor(random() * 64));
  bytes.fill(
    surroundings[Math.floor(random() * surroundings.length)] ?? 0,
    Math.max(at - 64, memory.bodiesAt),
    Math.min(at + body.length + 64, memory.copyAt),
  );
  bytes.set(body, at);
  const scanned = scanner.scan(bytes, at, at + body.length);
  expect(scanned?.items).toBe(own);
  return scanned;
}

/** Says whether it was plain. */
function compare(body: Uint8Array, random: () => number, rule = written): boolean {
  const { table, dayOf, reference, referenceTable } = rule;
  const scanned = scan(rule, body, random);
  const byReference = reference.scan(body, 0, body.length);
  expect(scanned?.items).toBe(byReference?.items);
  byReference?.count();
  const reading = readBatch(body, dayOf);
  if (scanned === undefined) return false;
  if (!reading.readable) throw new Error(`taken, though it is ${reading.code}: ${reading.detail}`);
  expect(reading.rejected).toBe(0);
  expect(scanned.items).toBe(reading.events.length);
  scanned.count();
  const expected = sorted(countEvents(reading.events));
  expect(sorted(table.increments())).toEqual(expected);
  expect(sorted(referenceTable.increments())).toEqual(expected);
  table.clear();
  referenceTable.clear();
  return true;
}

function sorted(increments: Increments): string[] {
  return [...rowsOfIncrements(increments)].map((row) => JSON.stringify(row)).sort();
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

const knownBodies = [
  '{"id":"a","type":"b","state":"c d","timestamp":"2023-06-16T13:00:00.5Z","n":-10.5e+1,"ok":true}',
  '{"timestamp":"2023-06-16T23:00:00+05:30", "a member of 16 bytes": 0, "type":"x", "state":"y"}',
].map((item) => `{"processed_devices":[${item},${item}]}`);

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

  it(
    'bodies of one layout, whose items WebAssembly scans once it has learned it',
    { timeout: 600_000 },
    () => {
      const kernel = written.table.kernel;
      const count = Math.ceil(bodies / 8);
      let scannedByKernel = 0;
      for (let seed = 1; seed <= count; seed++) {
        const random = seededRandom(seed);
        const body = Buffer.from(uniformBody(random));
        expect(compare(body, random), `seed ${seed}`).toBe(true);
        // The copy is scanned first; then all names and layouts are known, unless there is no item.
        if (kernel.stopped === stopped.afterItem) scannedByKernel++;
      }
      expect(scannedByKernel).toBeGreaterThan(count * 0.9);
    },
  );

  it('bodies of one layout with odd values, or bytes changed', { timeout: 600_000 }, () => {
    const count = Math.ceil(bodies / 2);
    const plain = run('mutated layout', count, (random) => {
      const body = uniformBody(random);
      return random() < 0.5
        ? Buffer.from(withOddValue(body, random))
        : mutate(Buffer.from(body), random);
    });
    expect(plain).toBeGreaterThan(count / 10);
  });

  it('bodies of known layouts and counters with any one byte changed or left out', () => {
    const random = seededRandom(5);
    const values = Buffer.from('09.-+eEtfnuZTz"\\,:{}[] \n\0\x1f\x7f\x80\xff', 'latin1');
    for (const body of knownBodies.map((text) => Buffer.from(text))) {
      for (let at = body.indexOf('[') + 1; at < body.length; at++) {
        // Another layout may have taken the place of this one.
        expect(compare(body, random)).toBe(true);
        compare(Buffer.concat([body.subarray(0, at), body.subarray(at + 1)]), random);
        for (const value of values) {
          const changed = Buffer.from(body);
          changed[at] = value;
          compare(changed, random);
        }
      }
    }
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
