import type { S3Client } from '@aws-sdk/client-s3';

import { readRawKey } from '../../../domain/batch-id.ts';
import type { CarriedBatch } from '../../../pipeline/chunks/carried-batch.ts';
import { isWithin, type ReceivedRange } from '../../../pipeline/store-admin.ts';
import {
  GroupUnreadable,
  rawKeyOfBatch,
  s3BodyGroups,
  type BodyGroups,
  type GroupLine,
} from '../intake/body-groups.ts';
import { s3RawStore, type S3RawBatch, type S3RawStore } from '../intake/raw-store.ts';
import type { ChunkId } from '../ledger/ledger-rows.ts';
import { noteBody } from './audit-copies.ts';
import type { AuditDatabase, BodyReading } from './audit-database.ts';
import { batchStates } from './audit-schema.ts';

/** A group as an audit read it; `lines` is undefined if it was deleted since it was listed. */
interface GroupReading {
  readonly key: string;
  readonly lines: readonly GroupLine[] | undefined;
  /** Why it is not a group. */
  readonly damage?: string;
}

/** The keys of groups that are not read yet. */
export function unreadGroups(database: AuditDatabase, limit: number): string[] {
  const sql = 'SELECT key FROM groups WHERE state = 0 ORDER BY key LIMIT ?';
  return database.all<{ key: string }>(sql, limit).map(({ key }) => key);
}

function setState(database: AuditDatabase, key: string, state: number, reason: string | null) {
  database.run('UPDATE groups SET state = ?, reason = ? WHERE key = ?', state, reason, key);
}

export async function readGroup(groups: BodyGroups, key: string): Promise<GroupReading> {
  try {
    return { key, lines: await groups.read(key) };
  } catch (error) {
    if (!(error instanceof GroupUnreadable)) throw error;
    return { key, lines: [], damage: error.message };
  }
}

/**
 * Adds the bodies of a group that no other object has, as if each had an object of its own: of a batch
 * that is in several groups, a readable copy counts. Returns the new chunks, as `addBodies` does.
 */
export function addGroup(
  database: AuditDatabase,
  { key, lines, damage }: GroupReading,
  received: ReceivedRange | undefined,
  read: (raw: S3RawBatch) => BodyReading,
  touched: Set<number> | undefined,
): ChunkId[] {
  if (lines === undefined) {
    setState(database, key, batchStates.gone, null);
    return [];
  }
  const readings = new Map<string, { readonly bytes: number; readonly reading: BodyReading }>();
  for (const line of lines) {
    const rawKey = rawKeyOfLine(line);
    if (rawKey === undefined || !isWithin(readRawKey(rawKey)?.receivedAt ?? 0, received)) continue;
    const reading: BodyReading =
      'carried' in line
        ? read(rawOfCarried(line.carried))
        : { kind: 'damaged', reason: `${line.reason} (in ${key})` };
    const bytes = 'carried' in line ? line.carried.body.length : 0;
    if (reading.kind === 'read' && 'carried' in line) {
      noteBody(database, line.carried.batchId, reading.bodySha256, key);
    }
    // Within a group, a readable copy wins over an unreadable one.
    if (readings.get(rawKey)?.reading.kind !== 'read') readings.set(rawKey, { bytes, reading });
  }
  const listed = [...readings].map(([rawKey, { bytes }]) => ({ rawKey, bytes }));
  const open = database.listGrouped(key, listed);
  const bodies = [...readings]
    .filter(([rawKey]) => open.has(rawKey))
    .map(([rawKey, { reading }]) => [rawKey, reading] as const);
  const chunks = database.addBodies(bodies, touched);
  const unnamed = lines.find((line) => rawKeyOfLine(line) === undefined);
  const reason = damage ?? (unnamed !== undefined && 'reason' in unnamed ? unnamed.reason : null);
  setState(database, key, reason === null ? batchStates.read : batchStates.damaged, reason);
  return chunks;
}

function rawKeyOfLine(line: GroupLine): string | undefined {
  if ('carried' in line) return rawKeyOfBatch(line.carried);
  return line.rawKey !== undefined && readRawKey(line.rawKey) !== undefined
    ? line.rawKey
    : undefined;
}

/** A carried batch as if it had an object of its own. */
export function rawOfCarried(carried: CarriedBatch): S3RawBatch {
  return { ...carried, itemsPerMessage: Number.POSITIVE_INFINITY };
}

/** Reads bodies of both forms; keeps the latest group, since the next body is often in it, too. */
export class StoredBodies {
  readonly #rawStore: S3RawStore;
  readonly #groups: BodyGroups;
  #latest: { readonly key: string; readonly lines: readonly GroupLine[] } = { key: '', lines: [] };

  constructor(client: Pick<S3Client, 'send'>, bucket: string) {
    this.#rawStore = s3RawStore(client, bucket);
    this.#groups = s3BodyGroups(client, bucket);
  }

  /** `groupKey`: the group that has it, or null. Undefined if it was deleted. */
  async get(rawKey: string, groupKey: string | null): Promise<S3RawBatch | undefined> {
    if (groupKey === null) return await this.#rawStore.get(rawKey);
    if (this.#latest.key !== groupKey) {
      this.#latest = { key: groupKey, lines: (await this.#groups.read(groupKey)) ?? [] };
    }
    for (const line of this.#latest.lines) {
      if ('carried' in line && rawKeyOfBatch(line.carried) === rawKey) {
        return rawOfCarried(line.carried);
      }
    }
    return undefined;
  }
}
