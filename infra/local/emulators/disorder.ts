import { seededRandom } from '../seeded-random.ts';
import type { SqsRecord } from '../functions/sqs-event.ts';

/** What SQS and Lambda may do at any time, made frequent. Chances are from 0 to 1. */
export interface DisorderOptions {
  readonly seed?: number | undefined;
  /** A message is delivered once more: in the same batch, or in another one beside it or later. */
  readonly duplicate?: number | undefined;
  /** The messages of a batch come in any order. */
  readonly reorder?: number | undefined;
  /** The function is killed in the middle of an invocation. */
  readonly kill?: number | undefined;
  /** How much later a repeated message comes, at the most. */
  readonly laterMsMax?: number | undefined;
}

export interface Disorder {
  /** The record as often as it is to be in this batch; a copy may be held back for another. */
  repeated(record: SqsRecord): SqsRecord[];
  /** Copies that are due now. */
  takeHeldBack(most: number): SqsRecord[];
  /** Whether there are copies that are due, or will be. */
  holdsBack(): boolean;
  shuffled(records: SqsRecord[]): SqsRecord[];
  /** When to kill an invocation that starts now; undefined for not at all. */
  killAfterMs(): number | undefined;
  /** Kills fall in the middle of invocations only if it is known how long those take. */
  noteDuration(ms: number): void;
}

const heldBackMax = 10_000;

/** All decisions are drawn from the seed, in the order in which they are asked for. */
export function createDisorder(options: DisorderOptions = {}): Disorder {
  const { seed = 1, duplicate = 0, reorder = 0, kill = 0, laterMsMax = 2_000 } = options;
  const random = seededRandom(seed);
  const heldBack: { record: SqsRecord; due: number }[] = [];
  let typicalMs = 50;
  return {
    repeated(record) {
      if (duplicate === 0 || random() >= duplicate) return [record];
      if (random() < 0.5 || heldBack.length >= heldBackMax) return [record, record];
      // Half of them at once, so that two invocations have the same message at the same time.
      const laterMs = random() < 0.5 ? 0 : random() * laterMsMax;
      heldBack.push({ record, due: Date.now() + laterMs });
      return [record];
    },
    takeHeldBack(most) {
      const now = Date.now();
      const isDue = ({ due }: { due: number }) => due <= now;
      const taken = heldBack.filter(isDue).slice(0, most);
      for (const each of taken) heldBack.splice(heldBack.indexOf(each), 1);
      return taken.map(({ record }) => record);
    },
    holdsBack: () => heldBack.length > 0,
    shuffled(records) {
      if (reorder === 0 || random() >= reorder) return records;
      for (let index = records.length - 1; index > 0; index--) {
        const other = Math.floor(random() * (index + 1));
        const [first, second] = [records[index], records[other]];
        if (first !== undefined && second !== undefined) {
          [records[index], records[other]] = [second, first];
        }
      }
      return records;
    },
    killAfterMs() {
      if (kill === 0 || random() >= kill) return undefined;
      return random() * typicalMs;
    },
    noteDuration(ms) {
      typicalMs = 0.8 * typicalMs + 0.2 * ms;
    },
  };
}
