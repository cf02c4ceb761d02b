import { TakenOver } from '../../../src/engines/embedded/archive/ship/taken-over.ts';
import {
  decodeTail,
  readSegmentName,
  numberIn,
} from '../../../src/engines/embedded/archive/archive-objects.ts';
import type { KnownRecord } from './archived-log.ts';
import type { Effect, SimulatedBucket } from './simulated-bucket.ts';
import type { SimulatedProcess } from './simulated-time.ts';

/** Something that must never happen. */
export class Violation extends Error {
  override readonly name = 'Violation';
}

export function assert(condition: boolean, otherwise: () => string): asserts condition {
  if (!condition) throw new Violation(otherwise());
}

/** The oracle's record of a data directory; each process of it is an owner. */
export interface KnownDirectory {
  readonly name: string;
  /** All records that ever were durable in it, also the ones that retention removed. */
  history: KnownRecord[];
  /** How often the tail had changed when it was restored. */
  readonly restoredAt: number;
}

/** An object of the tail that was made. */
interface Made {
  readonly directory: KnownDirectory | undefined;
  /** False for a claim that was written too late, and was removed again. */
  isClaim: boolean;
}

/** Records what was acknowledged, and computes what must and what may be in a restored log. */
export class ArchiveOracle {
  readonly directories: KnownDirectory[] = [];
  /** Records that a server has seen in the archive, by id. */
  readonly acknowledged = new Map<string, KnownRecord>();
  /** Called with each change of the archive. */
  onEffect: (effect: Effect) => void = () => undefined;
  readonly #bucket: SimulatedBucket;
  readonly #owners = new Map<SimulatedProcess, KnownDirectory>();
  readonly #acknowledgedEnd = new Map<KnownDirectory, number>();
  readonly #made: Made[] = [];
  readonly #claims = new Map<string, Made>();

  constructor(bucket: SimulatedBucket) {
    this.#bucket = bucket;
    bucket.onEffect = (effect) => this.#note(effect);
  }

  /** The number of effects on the tail so far. */
  get effects(): number {
    return this.#made.length;
  }

  addDirectory(history: KnownRecord[], restoredAt: number): KnownDirectory {
    const name = `directory ${this.directories.length}`;
    const directory = { name, history, restoredAt };
    this.directories.push(directory);
    return directory;
  }

  own(process: SimulatedProcess, directory: KnownDirectory): void {
    this.#owners.set(process, directory);
  }

  /** A server reports that the archive holds its log up to a position. */
  noteArchived(directory: KnownDirectory, archivedEnd: number): void {
    const before = this.#acknowledgedEnd.get(directory) ?? 0;
    if (archivedEnd === before) return;
    this.#acknowledgedEnd.set(directory, archivedEnd);
    for (const record of directory.history) {
      if (record.end > before && record.end <= archivedEnd) {
        this.acknowledged.set(record.id, record);
      }
    }
  }

  /** @param acknowledged those of the time when the restore began. */
  judgeRestored(records: readonly KnownRecord[], acknowledged: readonly KnownRecord[]): void {
    const byId = new Map(records.map((record) => [record.id, record]));
    assert(byId.size === records.length, () => 'a record was restored twice');
    for (const { id, position, body } of acknowledged) {
      const found = byId.get(id);
      const isSame = found?.position === position && found.body === body;
      assert(isSame, () => `the acknowledged record at byte ${position} was not restored`);
    }
    const isPrefix = this.directories.some(({ history }) =>
      records.every(({ id }, index) => history[index]?.id === id),
    );
    assert(isPrefix, () => `${records.length} restored records are no prefix of any log`);
  }

  /** Judges the end of an archiver that was not stopped. */
  judgeEnd(directory: KnownDirectory, error: unknown): void {
    assert(error instanceof TakenOver, () => `${directory.name} gave up: ${String(error)}`);
    const ownClaim = this.#made.findLastIndex(
      (made) => made.directory === directory && made.isClaim,
    );
    const isSucceeded = this.#made
      .slice(Math.max(directory.restoredAt, ownClaim))
      .some((made) => made.directory !== directory && (made.isClaim || ownClaim < 0));
    assert(isSucceeded, () => `${directory.name} has no successor: ${error.message}`);
  }

  #note(effect: Effect): void {
    this.onEffect(effect);
    const number = numberIn('tail', effect.name);
    if (effect.kind === 'remove') this.#judgeRemoval(effect, number);
    else if (number !== undefined) this.#noteMade(effect);
  }

  #noteMade({ process, name, bytes }: Effect): void {
    const isClaim = decodeTail(bytes).kind === 'claim';
    const made = { directory: this.#owners.get(process), isClaim };
    this.#made.push(made);
    if (isClaim) this.#claims.set(name, made);
  }

  /** Every removed object must be covered by an object that each restore finds. */
  #judgeRemoval({ name }: Effect, number: number | undefined): void {
    const claim = this.#claims.get(name);
    if (claim !== undefined) claim.isClaim = false;
    const removed = readSegmentName(name, 0);
    if (removed === undefined && number === undefined) return;
    const isKept = [...this.#bucket.objects.keys()].some((other) => {
      const segment = readSegmentName(other, 0);
      if (segment === undefined || other === name || !this.#bucket.isListed(other)) return false;
      if (removed === undefined) return segment.lastNumber >= (number ?? 0);
      return segment.base === removed.base && segment.end >= removed.end;
    });
    assert(isKept, () => `${name} was removed, and is in no other object`);
  }
}
