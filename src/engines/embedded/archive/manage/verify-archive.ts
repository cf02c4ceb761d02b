import type { Difference } from '../../../../pipeline/findings.ts';
import { inParallel } from '../../../../util/in-parallel.ts';
import type { LogPosition } from '../../log/frame.ts';
import { readSegmentName, nameOf, numberIn, type ArchivedSegment } from '../archive-objects.ts';
import { longestOfEach } from '../read-archive.ts';
import type { StoredObject } from '../stores/object-store.ts';
import { checkObject, type CheckedObject, type CheckOptions } from './check-object.ts';
import { followTail } from './follow-tail.ts';

export interface VerifyOptions extends CheckOptions {
  /** Called periodically with the stored bytes read so far, and with the total. */
  readonly onProgress: (bytes: number, total: number) => void;
}

export interface VerifyReport {
  readonly findings: readonly Difference[];
  /** The part of the log that a restore can use. */
  readonly begin: LogPosition;
  readonly end: LogPosition;
  readonly objects: number;
  readonly storedBytes: number;
  readonly batches: number;
  /** Accepted items. */
  readonly items: number;
  /** Batches that cannot be counted; only if bodies are counted. */
  readonly deadLetters: number;
}

const readsAtOnce = 4;
const attemptsMax = 10;

/**
 * Reads every object of a log's archive, and checks each checksum, each record, and that no part is
 * missing; also while a server ships to it. Memory: for each of four readers one object as stored,
 * and a piece, or some MiB of a segment.
 */
export async function verifyArchive(options: VerifyOptions): Promise<VerifyReport> {
  const verification = new Verification(options);
  for (let attempt = 1; ; attempt++) {
    const listed = await verification.list();
    await verification.read(listed);
    const report = verification.report(listed);
    // A merge or retention has removed objects meanwhile; their content is in other objects.
    const isSame = namesOf(await verification.list()) === namesOf(listed);
    if (isSame || report.findings.length === 0 || attempt === attemptsMax) return report;
  }
}

/** The names of the segments: they change whenever objects are removed. */
function namesOf(listed: readonly StoredObject[]): string {
  return listed.flatMap(({ name }) => (name.includes('/log/') ? [name] : [])).join();
}

class Verification {
  readonly #options: VerifyOptions;
  /** By name; an object never changes. */
  readonly #checked = new Map<string, CheckedObject>();
  #readBytes = 0;

  constructor(options: VerifyOptions) {
    this.#options = options;
  }

  list(): Promise<StoredObject[]> {
    return Array.fromAsync(this.#options.store.list(`${this.#options.logId}/`));
  }

  /** Reads the objects that were not read before. */
  async read(listed: readonly StoredObject[]): Promise<void> {
    const unread = listed.filter(({ name }) => this.#checked.get(name)?.isMissing !== false);
    const total = unread.reduce((sum, { bytes }) => sum + bytes, this.#readBytes);
    await inParallel(readsAtOnce, unread, async (object) => {
      this.#checked.set(object.name, await checkObject(this.#options, object));
      this.#readBytes += object.bytes;
      this.#options.onProgress(this.#readBytes, total);
    });
  }

  report(listed: readonly StoredObject[]): VerifyReport {
    const archived = listed.flatMap(({ name, bytes }) => readSegmentName(name, bytes) ?? []);
    const { segments } = longestOfEach(archived);
    const last = segments.at(-1);
    const after = this.#tailAfter(listed, last);
    const tail = followTail(after, last, this.#options.logId);
    const begin = segments[0]?.base ?? tail.begin;
    // Others, such as late pieces of a server that had a successor, are no part of the log.
    const used = new Set([...segments.map(({ name }) => name), ...tail.names]);
    const sum = (of: 'batches' | 'items' | 'deadLetters') =>
      [...used].reduce((total, name) => total + (this.#checked.get(name)?.[of] ?? 0), 0);
    return {
      findings: [
        ...listed.flatMap((object) => this.#findingsOf(object, segments)),
        ...[...used].flatMap((name) => this.#checked.get(name)?.findings ?? []),
        ...gapsBetween(segments),
        ...tail.findings,
        ...this.#missingClaim(last, after),
        ...missingState(this.#readable(listed), begin, tail.end),
      ],
      ...{ begin, end: tail.end, objects: listed.length },
      storedBytes: listed.reduce((total, { bytes }) => total + bytes, 0),
      ...{ batches: sum('batches'), items: sum('items'), deadLetters: sum('deadLetters') },
    };
  }

  #readable(listed: readonly StoredObject[]): StoredObject[] {
    return listed.filter(({ name }) => {
      const checked = this.#checked.get(name);
      return checked !== undefined && !checked.isMissing && !checked.isUnreadable;
    });
  }

  #tailAfter(listed: readonly StoredObject[], last: ArchivedSegment | undefined) {
    const tail = new Map<number, CheckedObject>();
    for (const { name } of listed) {
      const number = numberIn('tail', name);
      const checked = this.#checked.get(name);
      if (number === undefined || checked === undefined || checked.isMissing) continue;
      if (number > (last?.lastNumber ?? -1)) tail.set(number, checked);
    }
    return tail;
  }

  /** Without the last claim, no server can continue the archive. */
  #missingClaim(
    last: ArchivedSegment | undefined,
    tail: ReadonlyMap<number, CheckedObject>,
  ): Difference[] {
    if (last === undefined || [...tail.values()].some((one) => one.tail?.kind === 'claim'))
      return [];
    const name = nameOf('tail', this.#options.logId, last.claimNumber);
    if (this.#checked.get(name)?.isMissing === false) return [];
    const detail = `${name} is missing, which is the claim of the server that created ${last.name}: a restore works, but no server can continue this archive.`;
    return [{ code: 'raw_missing', detail }];
  }

  /** Checks whether one object is readable; `followTail` checks the order of the tail. */
  #findingsOf({ name, bytes }: StoredObject, segments: readonly ArchivedSegment[]): Difference[] {
    const last = segments.at(-1);
    const checked = this.#checked.get(name);
    const segment = readSegmentName(name, bytes);
    const held = segment ? `: it held bytes ${segment.base} to ${segment.end} of the log` : '';
    // `followTail` checks the tail after it.
    const isMerged = (numberIn('tail', name) ?? -1) <= (last?.lastNumber ?? -1);
    if (checked === undefined) return [];
    if (checked.isMissing) {
      // Others may have been removed since they were listed, because they are not needed.
      if (!segments.some((one) => one.name === name)) return [];
      return [{ code: 'raw_missing', detail: `${name} is listed, but missing${held}.` }];
    }
    if (checked.isUnreadable && isMerged) {
      const detail = `${name} does not match its checksum${held}.`;
      return [{ code: 'raw_damaged', detail }];
    }
    return [];
  }
}

function gapsBetween(segments: readonly ArchivedSegment[]): Difference[] {
  return segments.flatMap(({ end, name }, index): Difference[] => {
    const next = segments[index + 1];
    if (next === undefined || next.base === end) return [];
    const detail = `No object holds bytes ${end} to ${next.base} of the log, between ${name} and ${next.name}.`;
    return [{ code: 'raw_missing', detail }];
  });
}

function missingState(
  listed: readonly StoredObject[],
  begin: LogPosition,
  end: LogPosition,
): Difference[] {
  const isUsable = ({ name }: StoredObject) => {
    const position = numberIn('state', name);
    return position !== undefined && position >= begin && position <= end;
  };
  if (begin === 0 || listed.some(isUsable)) return [];
  const detail = `The archive begins at byte ${begin} of the log, and no object holds the counts of the part before that.`;
  return [{ code: 'ledger_missing', detail }];
}
