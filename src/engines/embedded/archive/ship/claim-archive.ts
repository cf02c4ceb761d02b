import { randomUUID } from 'node:crypto';

import type { LogPosition } from '../../log/frame.ts';
import { listSegments } from '../../log/segment.ts';
import { encodeClaim, nameOf, type Claim } from '../archive-objects.ts';
import type { ArchivePositions } from '../archive-positions.ts';
import type { ArchiverLimits } from './archiver-limits.ts';
import { checkContinues } from './check-continues.ts';
import type { ShippedLog } from './next-piece.ts';
import {
  ArchiveDamaged,
  getTail,
  isInTime,
  readArchive,
  type ArchiveContent,
} from '../read-archive.ts';
import type { Repeater } from './repeater.ts';
import type { ObjectStore } from '../stores/object-store.ts';
import { checkConditionalCreate } from '../stores/open-object-store.ts';

interface NumberedClaim extends Claim {
  readonly number: number;
}

export interface Claiming {
  readonly store: ObjectStore;
  readonly log: ShippedLog;
  readonly positions: ArchivePositions;
  /** The data directory's record of its archive; see `ArchiveState`. */
  readonly claims: {
    read(): readonly string[] | undefined;
    write(claims: readonly string[]): void;
  };
  /** Creates the first object of an archive of a log whose beginning was removed. */
  readonly shipState: (store: ObjectStore, logId: string) => Promise<void>;
  readonly limits: Pick<ArchiverLimits, 'claimGap'>;
  /** The identity of this server, which the message of the server that it takes over from shows. */
  readonly host: string;
  readonly directory: string;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

/**
 * Claims the archive for this server, after it has checked that the log continues the archived one.
 * No earlier server can add anything after that. Returns what the archive held before.
 * @throws {TakenOver}
 */
export async function claimArchive(
  parts: Claiming,
  repeater: Repeater,
): Promise<{ claim: NumberedClaim; content: ArchiveContent }> {
  const { store, log, claims } = parts;
  const logId = log.identity.logId.toString('hex');
  await repeater.repeat(() => checkConditionalCreate(store));
  for (;;) {
    const known = claims.read();
    const content = await repeater.repeat(() => readContinued(parts, logId, known));
    const isFirst = content.claim === undefined;
    const from = isFirst ? beginOf(log) : content.end;
    if (isFirst && from > 0) await repeater.repeat(() => parts.shipState(store, logId));
    const claim = newClaim(parts, content.next, from);
    // Recorded before the claim, whose response may be lost.
    claims.write([...possibleClaims(known, content.claim), claim.id]);
    const number = content.next;
    if (!(await createClaim(parts, repeater, number, claim))) continue;
    if (await repeater.repeat(() => isInTime(store, logId, number))) {
      return { claim: { ...claim, number }, content };
    }
    await repeater.repeat(() => store.remove(nameOf('tail', logId, number)));
  }
}

/** Reads the archive, and checks that this log continues it. @throws {TakenOver | ArchiveDamaged} */
async function readContinued(
  { store, log, positions }: Claiming,
  logId: string,
  known: readonly string[] | undefined,
): Promise<ArchiveContent> {
  try {
    const content = await readArchive(store, logId);
    await checkContinues({ store, log, positions, content, known });
    return content;
  } catch (error) {
    if (!(error instanceof ArchiveDamaged)) throw error;
    const remedy = 'No server can continue this archive: use another prefix, and keep this one.';
    throw new ArchiveDamaged(`${error.message} ${remedy}`, { cause: error });
  }
}

/** Returns whether the object under the number is this claim. */
async function createClaim(
  { store, log }: Pick<Claiming, 'store' | 'log'>,
  repeater: Repeater,
  number: number,
  claim: Claim,
): Promise<boolean> {
  const logId = log.identity.logId.toString('hex');
  const name = nameOf('tail', logId, number);
  const created = await repeater.repeat(() => store.create(name, encodeClaim(claim)));
  if (created === 'created') return true;
  const found = await repeater.repeat(() => getTail(store, logId, number));
  return found?.kind === 'claim' && found.id === claim.id;
}

/**
 * The last claim of the archive, and this directory's later ones, whose uploads may still be in
 * flight.
 */
function possibleClaims(known: readonly string[] = [], last: Claim | undefined): readonly string[] {
  return last === undefined ? known : known.slice(known.indexOf(last.id));
}

function newClaim(
  { host, directory, now, limits }: Claiming,
  number: number,
  from: LogPosition,
): Claim {
  const claimedAt = new Date(now()).toISOString();
  return {
    ...{ kind: 'claim', id: randomUUID(), next: number + limits.claimGap, from },
    ...{ host, directory, claimed_at: claimedAt },
  };
}

function beginOf({ fileSystem, directory }: ShippedLog): LogPosition {
  return listSegments(fileSystem, directory)[0]?.base ?? 0;
}
