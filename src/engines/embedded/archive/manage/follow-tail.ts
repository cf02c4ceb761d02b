import type { Difference } from '../../../../pipeline/findings.ts';
import type { LogPosition } from '../../log/frame.ts';
import { nameOf, type ArchivedSegment, type Claim, type PieceHeader } from '../archive-objects.ts';
import type { CheckedObject } from './check-object.ts';

interface FollowedTail {
  readonly begin: LogPosition;
  readonly end: LogPosition;
  /** The objects that a restore reads. */
  readonly names: readonly string[];
  readonly findings: readonly Difference[];
}

/**
 * Follows the tail after the merged segments as `readArchive` does, but continues after missing and
 * damaged objects and reports all of them.
 */
export function followTail(
  tail: ReadonlyMap<number, CheckedObject>,
  merged: ArchivedSegment | undefined,
  logId: string,
): FollowedTail {
  const walk = new TailWalk(tail, merged, logId);
  while (walk.step());
  return walk;
}

class TailWalk implements FollowedTail {
  readonly names: string[] = [];
  readonly findings: Difference[] = [];
  readonly #tail: ReadonlyMap<number, CheckedObject>;
  readonly #numbers: readonly number[];
  readonly #logId: string;
  #number: number;
  #begin: LogPosition | undefined;
  #end: LogPosition;
  /** The losses since the last readable object, whose positions are not known yet. */
  #lost: Difference[] = [];

  constructor(
    tail: ReadonlyMap<number, CheckedObject>,
    merged: ArchivedSegment | undefined,
    logId: string,
  ) {
    this.#tail = tail;
    this.#numbers = [...tail.keys()].sort((a, b) => a - b);
    this.#logId = logId;
    this.#number = (merged?.lastNumber ?? -1) + 1;
    this.#begin = merged?.base;
    this.#end = merged?.end ?? 0;
  }

  get begin(): LogPosition {
    return this.#begin ?? 0;
  }

  get end(): LogPosition {
    return this.#end;
  }

  /** Checks the next object. Returns whether there may be another one. */
  step(): boolean {
    const found = this.#tail.get(this.#number);
    if (found === undefined) return this.#skipMissing();
    const name = nameOf('tail', this.#logId, this.#number);
    this.names.push(name);
    if (found.tail === undefined) {
      this.#lost.push({ code: 'raw_damaged', detail: `${name} does not match its checksum` });
      return this.#skipTo(this.#numbers.find((number) => number > this.#number));
    }
    this.#place(found.tail, name);
    this.#number = found.tail.kind === 'claim' ? found.tail.next : this.#number + 1;
    return true;
  }

  #place(found: Claim | PieceHeader, name: string): void {
    const isFirst = this.#begin === undefined;
    this.#begin ??= found.from;
    this.#reportLost(`bytes ${this.#end} to ${found.from} of the log are not in the archive`);
    if (!isFirst && found.from !== this.#end && this.#lost.length === 0) {
      const detail = `${name} begins at byte ${found.from} of the log, but the log before it ends at byte ${this.#end}.`;
      this.findings.push({ code: 'raw_missing', detail });
    }
    this.#lost = [];
    this.#end = found.kind === 'claim' ? found.from : found.to;
  }

  /**
   * Objects after a missing one come from uploads in flight when a server ended, or prove that the
   * missing one existed.
   */
  #skipMissing(): boolean {
    const later = this.#numbers.filter((number) => number > this.#number);
    const witness = later.find((number) => {
      const found = this.#tail.get(number)?.tail;
      return found?.kind === 'claim' || (found?.confirmed ?? 0) > this.#number;
    });
    if (witness === undefined) {
      this.#reportLost(`it held the log from byte ${this.#end} on`);
      return false;
    }
    const [name, other] = [this.#number, witness].map((one) => nameOf('tail', this.#logId, one));
    const detail = `${name} is missing, although it existed when ${other} was created`;
    this.#lost.push({ code: 'raw_missing', detail });
    return this.#skipTo(later[0]);
  }

  #skipTo(number: number | undefined): boolean {
    this.#number = number ?? Number.POSITIVE_INFINITY;
    if (number === undefined) this.#reportLost(`it held the log from byte ${this.#end} on`);
    return number !== undefined;
  }

  #reportLost(held: string): void {
    for (const { code, detail } of this.#lost) {
      this.findings.push({ code, detail: `${detail}: ${held}.` });
    }
  }
}
