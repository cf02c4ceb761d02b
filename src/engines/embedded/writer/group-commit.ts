import type { IngestOutcome } from '../../../pipeline/ports.ts';
import { refusal } from '../refusals.ts';
import type { OtherOutcomes, RingConsumer } from './submission-ring.ts';
import type { Writer } from './writer.ts';

/**
 * One turn covers so many bytes, so that clients are answered and send on while the next are
 * read;
 */
const groupBytesMax = 512 * 1024;
/** and so many items: what is parsed of them is held until the sync. */
const groupItemsMax = 20_000;
/** To scan so much takes about as long as a sync: it is worth to do both at once. */
const overlapBytes = 64 * 1024;

interface GroupCommitEvents {
  /** The verdicts on the submissions below `through` stand in the ring, or among the others. */
  readonly onOutcomes: (through: number, others: OtherOutcomes) => void;
  /** What is told to one who met an error that nobody foresaw. */
  readonly onUnexpectedError: (error: unknown) => IngestOutcome;
}

/** The submissions from `first` on, of which one sync covers those below `through`. */
interface CommitGroup {
  readonly first: number;
  readonly through: number;
  readonly bytes: number;
  /** Those that need more than the scanner. */
  readonly others: readonly number[];
}

/** The part of `Writer` that is used here. */
export type GroupCommitWriter = Pick<
  Writer,
  'stagePlain' | 'ingest' | 'commit' | 'startCommit' | 'isCountDue'
>;

/**
 * Takes submissions from the ring in turns, as many at once as one sync is to cover. While a sync
 * is under way the next turn is read, if there is enough of it.
 */
export class GroupCommitter {
  readonly #writer: GroupCommitWriter;
  readonly #ring: RingConsumer;
  readonly #events: GroupCommitEvents;
  #sync: Promise<void> | undefined;

  constructor(writer: GroupCommitWriter, ring: RingConsumer, events: GroupCommitEvents) {
    this.#writer = writer;
    this.#ring = ring;
    this.#events = events;
  }

  /** Whether a sync is under way. */
  get isSyncing(): boolean {
    return this.#sync !== undefined;
  }

  /** Resolves when no sync is under way. */
  async settled(): Promise<void> {
    await this.#sync;
  }

  async commitNext(): Promise<void> {
    const turn = this.#stagePlain();
    await this.#sync;
    const { others } = turn;
    if (others.length === 0 && this.#isMoreWaiting(turn)) {
      this.#sync = this.#writer.startCommit().then((isDurable) => {
        this.#sync = undefined;
        this.#reportOutcomes(turn, isDurable, []);
      });
      return;
    }
    const outcomes = await Promise.all(
      others.map((number) =>
        this.#writer.ingest(this.#ring.submission(number)).catch(this.#events.onUnexpectedError),
      ),
    );
    const isDurable = this.#writer.commit();
    const told = others.map((number, index) => [number, outcomes[index] ?? notStored] as const);
    this.#reportOutcomes(turn, isDurable, told);
  }

  /**
   * Stages the submissions that need no more than the scanner. Those that do come after them in
   * the log, whatever their order in the ring: the counters can so take each kind at one go.
   */
  #stagePlain(): CommitGroup {
    const ring = this.#ring;
    const first = ring.next;
    const available = first + ring.waiting;
    const others: number[] = [];
    let [bytes, items] = [0, 0];
    let through = first;
    for (; through < available && bytes < groupBytesMax && items < groupItemsMax; through++) {
      const length = ring.bodyBytes(through);
      bytes += length;
      const verdict = ring.isPlain(through)
        ? this.#writer.stagePlain(
            ring.bytes,
            ring.bodyAt(through),
            length,
            ring.plainCaller(through),
          )
        : undefined;
      if (verdict === undefined) {
        others.push(through);
        ring.writeOther(through);
      } else {
        items += verdict.enqueued;
        ring.writeAccepted(through, verdict);
      }
    }
    ring.advanceTo(through);
    return { first, through, bytes, others };
  }

  #isMoreWaiting({ first, through, bytes }: CommitGroup): boolean {
    const waitingBytes = (this.#ring.waiting * bytes) / (through - first);
    return waitingBytes >= overlapBytes && !this.#writer.isCountDue;
  }

  /** What was not made durable is told so, but for those who know more. */
  #reportOutcomes(
    { first, through }: CommitGroup,
    isDurable: boolean,
    others: OtherOutcomes,
  ): void {
    if (isDurable) {
      this.#events.onOutcomes(through, others);
      return;
    }
    const known = new Set(others.map(([number]) => number));
    const told = [...others];
    for (let number = first; number < through; number++) {
      if (known.has(number)) continue;
      this.#ring.writeOther(number);
      told.push([number, notStored]);
    }
    this.#events.onOutcomes(through, told);
  }
}

const notStored = refusal('storage_failed');
