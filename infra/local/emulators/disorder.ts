import { seededRandom } from '../seeded-random.ts';
import type { SqsRecord } from '../functions/sqs-event.ts';

/** Makes rare behaviour of SQS and Lambda frequent. Probabilities are from 0 to 1. */
export interface DisorderOptions {
  readonly seed?: number | undefined;
  /** A message is delivered twice: in the same batch, a concurrent one or a later one. */
  readonly duplicate?: number | undefined;
  /** The messages of a batch are shuffled. */
  readonly reorder?: number | undefined;
  /** The function is killed during an invocation. */
  readonly kill?: number | undefined;
  /** The maximum delay of a repeated message. */
  readonly laterMsMax?: number | undefined;
}

export type Disorder = ReturnType<typeof createDisorder>;

const heldBackMax = 10_000;

/** The seed determines all decisions, in the order of the calls. */
export function createDisorder(options: DisorderOptions = {}) {
  const { seed = 1, duplicate = 0, reorder = 0, kill = 0, laterMsMax = 2_000 } = options;
  const random = seededRandom(seed);
  const heldBack: { record: SqsRecord; due: number }[] = [];
  let typicalMs = 50;
  return {
    /** The copies of the record in this batch; further copies may be held back for another. */
    repeated(record: SqsRecord): SqsRecord[] {
      if (duplicate === 0 || random() >= duplicate) return [record];
      if (random() < 0.5 || heldBack.length >= heldBackMax) return [record, record];
      // Half of them at once, so that two invocations have the same message at the same time.
      const laterMs = random() < 0.5 ? 0 : random() * laterMsMax;
      heldBack.push({ record, due: Date.now() + laterMs });
      return [record];
    },
    /** Returns held-back copies that are due. */
    takeHeldBack(most: number): SqsRecord[] {
      const now = Date.now();
      const isDue = ({ due }: { due: number }) => due <= now;
      const taken = heldBack.filter(isDue).slice(0, most);
      for (const each of taken) heldBack.splice(heldBack.indexOf(each), 1);
      return taken.map(({ record }) => record);
    },
    /** Whether any copies are held back. */
    holdsBack: () => heldBack.length > 0,
    shuffled(records: SqsRecord[]): SqsRecord[] {
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
    /** After how many milliseconds to kill an invocation that starts now; undefined: never. */
    killAfterMs(): number | undefined {
      if (kill === 0 || random() >= kill) return undefined;
      return random() * typicalMs;
    },
    /** Records a duration, so that kills hit the middle of invocations. */
    noteDuration(ms: number): void {
      typicalMs = 0.8 * typicalMs + 0.2 * ms;
    },
  };
}
