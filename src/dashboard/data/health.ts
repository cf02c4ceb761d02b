import { isDay, type Day } from './calendar/days.ts';

/** The state of the pipeline according to `/readyz`. */
export type Health =
  | {
      readonly kind: 'ready';
      readonly pending:
        { readonly amount: number; readonly unit: 'items' | 'messages' } | undefined;
      readonly deadLetters: number | undefined;
      /** The most frequent reasons of dead letters; empty if they are not known. */
      readonly reasons: readonly Reason[];
      /** Milliseconds since 1970, as is the next member. */
      readonly countedThrough: number | undefined;
      readonly lastReceivedAt: number | undefined;
      readonly archive: ArchiveHealth | undefined;
      readonly version: string | undefined;
    }
  | { readonly kind: 'unavailable'; readonly detail: string }
  | { readonly kind: 'unreachable' };

interface Reason {
  readonly reason: string;
  readonly count: number;
}

export interface ArchiveHealth {
  /** The lag of the archive behind the log. */
  readonly lagSeconds: number;
  readonly lagBytes: number;
  /** Why the archive cannot be reached. */
  readonly problem: string | undefined;
}

/** Members may be absent. */
export function readHealth(value: unknown): Health {
  const members = (typeof value === 'object' && value !== null ? value : {}) as Record<
    string,
    unknown
  >;
  const number = (name: string) => {
    const member = members[name];
    return typeof member === 'number' ? member : undefined;
  };
  const time = (name: string) => {
    const parsed = Date.parse(String(members[name]));
    return Number.isNaN(parsed) ? undefined : parsed;
  };
  const items = number('pending_items');
  const messages = number('pending_messages');
  return {
    kind: 'ready',
    pending:
      items !== undefined
        ? { amount: items, unit: 'items' }
        : messages !== undefined
          ? { amount: messages, unit: 'messages' }
          : undefined,
    deadLetters: number('dead_letters'),
    countedThrough: time('counted_through'),
    lastReceivedAt: time('last_received_at'),
    archive: readArchive(members['archive']),
    reasons: readReasons(members['dead_letter_reasons']),
    version: typeof members['version'] === 'string' ? members['version'] : undefined,
  };
}

function readReasons(value: unknown): Reason[] {
  if (!Array.isArray(value)) return [];
  return value.flatMap((each: unknown) => {
    const { reason, count } = (each ?? {}) as Record<string, unknown>;
    return typeof reason === 'string' && typeof count === 'number' ? [{ reason, count }] : [];
  });
}

function readArchive(value: unknown): ArchiveHealth | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { lag_seconds: lag, lag_bytes: bytes, problem } = value as Record<string, unknown>;
  return {
    lagSeconds: typeof lag === 'number' ? lag : 0,
    lagBytes: typeof bytes === 'number' ? bytes : 0,
    problem: typeof problem === 'string' ? problem : undefined,
  };
}

/** The latest date with counts, from the same response; stacks on AWS do not report it. */
export function readLatestDate(value: unknown): Day | undefined {
  const { latest_date: date } = (value ?? {}) as Record<string, unknown>;
  return typeof date === 'string' && isDay(date) ? date : undefined;
}
