import { countersPerDayMaxDefault } from '../../domain/day-bound.ts';
import { asWritten, dayRule, type DayOf } from '../../domain/day.ts';
import { dayMs } from '../../domain/timestamp.ts';
import { readItemsPerMessage } from '../../pipeline/chunks/recut.ts';

/**
 * The environment variables of a function. This folder holds the four Lambda functions (ingest, process,
 * query, sweep): each reads its settings here, builds the AWS engine's parts and reports telemetry.
 */
export interface Environment {
  /** @throws if it is not set. */
  text(name: string): string;
  optional(name: string): string | undefined;
  /** A whole number of at least `least`. @throws for anything else. */
  number(name: string, least: number): number;
}

export function readEnvironment(env: Record<string, string | undefined>): Environment {
  const optional = (name: string) => (env[name] === '' ? undefined : env[name]);
  const text = (name: string) => {
    const value = optional(name);
    if (value === undefined) throw new Error(`The environment variable ${name} is not set.`);
    return value;
  };
  return {
    optional,
    text,
    number(name, least) {
      const value = Number(text(name));
      if (Number.isInteger(value) && value >= least) return value;
      throw new Error(`${name} must be a whole number of at least ${least}, got '${text(name)}'.`);
    },
  };
}

export const bodyBytesMax = 4 * 1024 * 1024;

interface StoreRules {
  readonly dayZone: string;
  readonly dayOf: DayOf;
  /** The lifetime of ledger rows, in milliseconds. */
  readonly keepMs: number;
}

/** The settings on which all functions of a store must agree. */
export function storeRules(environment: Environment): StoreRules {
  const dayZone = environment.optional('DAY_ZONE') ?? asWritten;
  const keepMs = environment.number('KEEP_DAYS', 8) * dayMs;
  return { dayZone, dayOf: dayRule(dayZone), keepMs };
}

/** The limit of distinct counters of a day. */
export function countersPerDayMax(environment: Environment): number {
  const isSet = environment.optional('MAX_COUNTERS_PER_DAY') !== undefined;
  return isSet ? environment.number('MAX_COUNTERS_PER_DAY', 1) : countersPerDayMaxDefault;
}

/** Whether the messages of small batches carry their bodies. */
export function carriesBodies(environment: Environment): boolean {
  const smallBodies = environment.optional('SMALL_BODIES') ?? 'object';
  if (smallBodies === 'queue' || smallBodies === 'object') return smallBodies === 'queue';
  throw new Error(`SMALL_BODIES must be object or queue, got '${smallBodies}'.`);
}

export function itemsPerMessage(environment: Environment): number {
  return readItemsPerMessage(environment.optional('ITEMS_PER_MESSAGE') ?? 'packed');
}
