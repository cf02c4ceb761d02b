import type { IngestOutcome } from '../../../pipeline/ports.ts';
import { refusal } from '../unavailable-texts.ts';
import type { OtherOutcomes, RingConsumer } from './submission-ring.ts';
import type { Writer } from './writer.ts';

/**
 * Maximum bytes of a commit, so that its clients are answered, and send more, while the next
 * submissions are read.
 */
const groupBytesMax = 512 * 1024;
/** Maximum items of a commit, since parsed items stay in memory until the sync. */
const groupItemsMax = 20_000;
/** Scanning this many bytes takes about as long as a sync, so doing both at once is worthwhile. */
const overlapBytes = 64 * 1024;

interface GroupCommitEvents {
  /** The outcomes of the submissions below `through` are in the ring, or in `others`. */
  readonly onOutcomes: (through: number, others: OtherOutcomes) => void;
  /** Reports an unexpected error and returns the outcome of its submission. */
  readonly onUnexpectedError: (error: unknown) => IngestOutcome;
}

/** The submissions from `first` up to, not including, `through`, which one sync covers. */
interface CommitGroup {
  readonly first: number;
  readonly through: number;
  readonly bytes: number;
  /** The submissions that the fast path cannot handle. */
  readonly others: readonly number[];
}

/** The part of `Writer` that group commits use. */
export type GroupCommitWriter = Pick<
  Writer,
  'stagePlain' | 'ingest' | 'commit' | 'startCommit' | 'isCountDue'
>;

/**
 * Reads submissions from the ring and commits them in groups, each with one sync. During a sync it
 * already reads the next group, if enough submissions wait.
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

  /** Whether a background sync is running. */
  get isSyncing(): boolean {
    return this.#sync !== undefined;
  }

  /** Resolves when no background sync is running. */
  async settled(): Promise<void> {
    await this.#sync;
  }

  async commitNext(): Promise<void> {
    const group = this.#stagePlain();
    await this.#sync;
    const { others } = group;
    if (others.length === 0 && this.#isMoreWaiting(group)) {
      this.#sync = this.#writer.startCommit().then((isDurable) => {
        this.#sync = undefined;
        this.#reportOutcomes(group, isDurable, []);
      });
      return;
    }
    const outcomes = await Promise.all(
      others.map((number) =>
        this.#writer.ingest(this.#ring.submission(number)).catch(this.#events.onUnexpectedError),
      ),
    );
    const isDurable = this.#writer.commit();
    const ownOutcomes = others.map(
      (number, index) => [number, outcomes[index] ?? notStored] as const,
    );
    this.#reportOutcomes(group, isDurable, ownOutcomes);
  }

  /**
   * Stages the submissions that the fast path can handle. The others follow them in the log, whatever
   * their order in the ring, so that each kind is counted in one go.
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
      const accepted = ring.isPlain(through)
        ? this.#writer.stagePlain(
            ring.bytes,
            ring.bodyAt(through),
            length,
            ring.plainCaller(through),
          )
        : undefined;
      if (accepted === undefined) {
        others.push(through);
        ring.writeOther(through);
      } else {
        items += accepted.enqueued;
        ring.writeAccepted(through, accepted);
      }
    }
    ring.advanceTo(through);
    return { first, through, bytes, others };
  }

  #isMoreWaiting({ first, through, bytes }: CommitGroup): boolean {
    const waitingBytes = (this.#ring.waiting * bytes) / (through - first);
    return waitingBytes >= overlapBytes && !this.#writer.isCountDue;
  }

  /** Reports the outcomes. If the sync failed, those without an outcome of their own were not stored. */
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
    const outcomes = [...others];
    for (let number = first; number < through; number++) {
      if (known.has(number)) continue;
      this.#ring.writeOther(number);
      outcomes.push([number, notStored]);
    }
    this.#events.onOutcomes(through, outcomes);
  }
}

const notStored = refusal('storage_failed');
