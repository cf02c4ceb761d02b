import { createHash } from 'node:crypto';

import { dayMs } from '../../domain/timestamp.ts';

/** One item of a request body. */
export interface RandomEvent {
  type: string;
  state: string;
  timestamp: string;
}

/** The input of the generator: equal values give equal bytes. */
export interface RandomFeed {
  seed: string;
  itemsPerBatch: number;
  /** How far back the timestamps go, counted from `untilMs` (milliseconds since 1970). */
  days: number;
  untilMs: number;
}

type Weights = readonly (readonly [value: string, weight: number])[];

/** The states of a machine with data, weighted as in a refurbishing centre. */
const machineStates: Weights = [
  ['erased', 54],
  ['erasure failed', 4],
  ['received', 13],
  ['diagnosed', 9],
  ['diagnostics failed', 2],
  ['graded', 7],
  ['repaired', 3],
  ['locked', 1],
  ['shipped', 5],
  ['recycled', 2],
];

/** Phones and tablets come back locked to an account, and go through more repairs. */
const handheldStates: Weights = [
  ['erased', 50],
  ['erasure failed', 3],
  ['received', 13],
  ['diagnosed', 10],
  ['diagnostics failed', 3],
  ['graded', 8],
  ['repaired', 4],
  ['locked', 5],
  ['shipped', 3],
  ['recycled', 1],
];

/** A drive that cannot be erased is destroyed. */
const driveStates: Weights = [
  ['erased', 66],
  ['erasure failed', 8],
  ['received', 12],
  ['diagnosed', 5],
  ['diagnostics failed', 3],
  ['destroyed', 4],
  ['recycled', 2],
];

const datalessStates: Weights = [
  ['received', 34],
  ['diagnosed', 22],
  ['diagnostics failed', 5],
  ['graded', 18],
  ['repaired', 3],
  ['shipped', 12],
  ['recycled', 6],
];

const types: readonly (readonly [type: string, weight: number, states: Weights])[] = [
  ['laptop', 28, machineStates],
  ['phone', 24, handheldStates],
  ['desktop', 13, machineStates],
  ['tablet', 8, handheldStates],
  ['HDD', 8, driveStates],
  ['SSD', 7, driveStates],
  ['server', 5, machineStates],
  ['NVMe drive', 3, driveStates],
  ['monitor', 3, datalessStates],
  ['printer', 1, machineStates],
];

const pickType = picker(
  types.map(([type, weight, states]) => [{ type, pickState: picker(states) }, weight]),
);

/** Most sites write UTC, the others local time with its offset. */
const pickOffsetMinutes = picker<number>([
  [0, 84],
  [60, 4],
  [120, 5],
  [-300, 4],
  [-480, 1],
  [330, 2],
]);

/** How busy each hour of the day is, from midnight, relative to the busiest. */
const busyHours = [
  0.03, 0.02, 0.02, 0.02, 0.03, 0.06, 0.2, 0.5, 0.9, 1, 1, 0.95, 0.6, 0.9, 1, 0.95, 0.8, 0.5, 0.25,
  0.15, 0.1, 0.08, 0.05, 0.04,
];
const weekendShare = 0.25;
const minuteMs = 60_000;

/** The events of batch `index`. They do not depend on other batches. */
export function randomBatch(feed: RandomFeed, index: number): RandomEvent[] {
  const random = randomSource(`${feed.seed}\n${index}`);
  return Array.from({ length: feed.itemsPerBatch }, () => randomEvent(feed, random));
}

/** The body of the request for batch `index`. */
export function randomBody(feed: RandomFeed, index: number): string {
  return JSON.stringify({ processed_devices: randomBatch(feed, index) });
}

function randomEvent(feed: RandomFeed, random: () => number): RandomEvent {
  const { type, pickState } = pickType(random);
  const state = pickState(random);
  const offsetMinutes = pickOffsetMinutes(random);
  const at = randomMoment(feed, offsetMinutes, random);
  return { type, state, timestamp: write(at, offsetMinutes, random() < 0.1) };
}

/** A moment in likely working hours. The number of tries is limited: a feed may cover only a night. */
function randomMoment(feed: RandomFeed, offsetMinutes: number, random: () => number): number {
  const spanMs = feed.days * dayMs;
  let at = feed.untilMs;
  for (let tries = 0; tries < 20; tries += 1) {
    at = feed.untilMs - Math.floor(random() * spanMs);
    const local = new Date(at + offsetMinutes * minuteMs);
    const isWeekend = local.getUTCDay() % 6 === 0;
    const busyness = (busyHours[local.getUTCHours()] ?? 0) * (isWeekend ? weekendShare : 1);
    if (random() < busyness) break;
  }
  return at;
}

function write(at: number, offsetMinutes: number, withMilliseconds: boolean): string {
  const local = new Date(at + offsetMinutes * minuteMs).toISOString();
  const time = local.slice(0, withMilliseconds ? 23 : 19);
  if (offsetMinutes === 0) return `${time}Z`;
  const minutes = Math.abs(offsetMinutes);
  const two = (number: number) => String(number).padStart(2, '0');
  const sign = offsetMinutes < 0 ? '-' : '+';
  return `${time}${sign}${two(Math.floor(minutes / 60))}:${two(minutes % 60)}`;
}

/** Returns a function that draws a value at random, by weight. */
function picker<Value>(
  weighted: readonly (readonly [value: Value, weight: number])[],
): (random: () => number) => Value {
  const total = weighted.reduce((sum, [, weight]) => sum + weight, 0);
  return (random) => {
    let left = random() * total;
    for (const [value, weight] of weighted) {
      left -= weight;
      if (left < 0) return value;
    }
    throw new Error('nothing to pick from');
  };
}

/**
 * Numbers in [0, 1) from sfc32 (Chris Doty-Humphrey's Small Fast Counter), seeded with a hash of the
 * text.
 */
export function randomSource(text: string): () => number {
  const hash = createHash('sha256').update(text).digest();
  let a = hash.readInt32LE(0);
  let b = hash.readInt32LE(4);
  let c = hash.readInt32LE(8);
  let counter = hash.readInt32LE(12);
  return () => {
    const sum = (a + b + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + sum) | 0;
    return (sum >>> 0) / 4_294_967_296;
  };
}
