import type { IngestOutcome } from '../../../pipeline/ports.ts';
import { refusal } from '../refusals.ts';
import type { OtherOutcomes, RingConsumer } from './submission-ring.ts';
import type { Writer } from './writer.ts';

/**
 * One turn covers so many bytes, so that clients are answered and send on while the next are
 * read;
 */
const turnBytesMax = 512 * 1024;
/** and so many items: what is parsed of them is held until the sync. */
const turnItemsMax = 20_000;
/** To scan so much takes about as long as a sync: it is worth to do both at once. */
const overlapBytes = 64 * 1024;

interface GroupCommitEvents {
  /** The verdicts on the submissions below `through` stand in the ring, or among the others. */
  readonly onVerdicts: (through: number, others: OtherOutcomes) => void;
  /** What is told to one who met an error that nobody foresaw. */
  readonly onDefect: (error: unknown) => IngestOutcome;
}

/** The submissions from `first` on, of which one sync covers those below `through`. */
interface Turn {
  readonly first: number;
  readonly through: number;
  readonly bytes: number;
  /** Those that need more than the scanner. */
  readonly others: readonly number[];
}

/** The part of `Writer` that is used here. */
export type GroupCommitWriter = Pick<
  Writer,
  'takePlain' | 'ingest' | 'commit' | 'startCommit' | 'isCountDue'
>;

/**
 * Takes submissions from the ring in turns, as many at once as one sync is to cover. While a sync
 * is under way the next turn is read, if there is enough of it.
 */
export class GroupCommits {
  readonly #writer: GroupCommitWriter;
  readonly #ring: RingConsumer;
  readonly #events: GroupCommitEvents;
  #underway: Promise<void> | undefined;

  constructor(writer: GroupCommitWriter, ring: RingConsumer, events: GroupCommitEvents) {
    this.#writer = writer;
    this.#ring = ring;
    this.#events = events;
  }

  /** Whether a sync is under way. */
  get isSyncing(): boolean {
    return this.#underway !== undefined;
  }

  /** Resolves when no sync is under way. */
  async settled(): Promise<void> {
    await this.#underway;
  }

  async next(): Promise<void> {
    const turn = this.#stagePlain();
    await this.#underway;
    const { others } = turn;
    if (others.length === 0 && this.#isMoreWaiting(turn)) {
      this.#underway = this.#writer.startCommit().then((isDurable) => {
        this.#underway = undefined;
        this.#tell(turn, isDurable, []);
      });
      return;
    }
    const outcomes = await Promise.all(
      others.map((number) =>
        this.#writer.ingest(this.#ring.submission(number)).catch(this.#events.onDefect),
      ),
    );
    const isDurable = this.#writer.commit();
    const told = others.map((number, index) => [number, outcomes[index] ?? lost] as const);
    this.#tell(turn, isDurable, told);
  }

  /**
   * Stages the submissions that need no more than the scanner. Those that do come after them in
   * the log, whatever their order in the ring: the counters can so take each kind at one go.
   */
  #stagePlain(): Turn {
    const ring = this.#ring;
    const first = ring.taken;
    const available = first + ring.waiting;
    const others: number[] = [];
    let [bytes, items] = [0, 0];
    let through = first;
    for (; through < available && bytes < turnBytesMax && items < turnItemsMax; through++) {
      const length = ring.bodyBytes(through);
      bytes += length;
      const verdict = ring.isPlain(through)
        ? this.#writer.takePlain(
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
    ring.take(through);
    return { first, through, bytes, others };
  }

  #isMoreWaiting({ first, through, bytes }: Turn): boolean {
    const waitingBytes = (this.#ring.waiting * bytes) / (through - first);
    return waitingBytes >= overlapBytes && !this.#writer.isCountDue;
  }

  /** What was not made durable is told so, but for those who know more. */
  #tell({ first, through }: Turn, isDurable: boolean, others: OtherOutcomes): void {
    if (isDurable) {
      this.#events.onVerdicts(through, others);
      return;
    }
    const known = new Set(others.map(([number]) => number));
    const told = [...others];
    for (let number = first; number < through; number++) {
      if (known.has(number)) continue;
      this.#ring.writeOther(number);
      told.push([number, lost]);
    }
    this.#events.onVerdicts(through, told);
  }
}

const lost = refusal('storage_failed');
