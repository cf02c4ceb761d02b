import type { DayOf } from '../../../domain/day.ts';
import { countEvents } from '../../../domain/batch.ts';
import { itemsPerMessageText, recut } from '../../../pipeline/chunks/recut.ts';
import { inParallel } from '../../../util/in-parallel.ts';
import { pagesOf } from '../../../util/pages-of.ts';
import { overLimitText, type ChunkId } from '../ledger/ledger-rows.ts';
import { readRawKey } from '../../../domain/batch-id.ts';
import type { ReceivedRange } from '../../../pipeline/store-admin.ts';
import type { KeyRange } from '../intake/list-objects.ts';
import {
  isNotGrouped,
  type BatchKey,
  type BodyReading,
  type AuditDatabase,
} from './audit-database.ts';
import { bodySha256Of } from './audit-copies.ts';
import { addGroup, readGroup, unreadGroups } from './audit-groups.ts';
import type { AuditSource } from './audit-source.ts';
import {
  OverLimitUnreadable,
  rawPrefix,
  sha256Of,
  startOf,
  type S3RawBatch,
} from '../intake/raw-store.ts';

export interface AuditRules {
  readonly dayOf: DayOf;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** The shortest time for which dedup records were ever kept, in milliseconds. */
  readonly shortestRetentionMs: number;
  /** A younger batch may still be on its way to the counters; milliseconds. */
  readonly inFlightMs: number;
  /** Concurrent requests. */
  readonly width: number;
}

/** How much an audit has to read. */
export interface StoreSize {
  readonly objects: number;
  readonly bytes: number;
  /** The objects that an interrupted run has not read yet. */
  readonly unread: { readonly objects: number; readonly bytes: number };
  /** The sizes of the tables, in bytes. */
  readonly counters: number;
  readonly ledger: number;
}

/** Raw keys of new bodies may be up to this much earlier than the latest known one. */
const recentMs = 60_000;
/** Readers of bodies are fewer than concurrent requests by this factor. */
const readingShare = 4;
/** How many bodies each reader reads before they are added to the audit database. */
const bodiesPerReader = 8;
const dedupRecordsAtOnce = 100;

/**
 * Reads a store on AWS into the audit database: the raw bodies, cut into chunks again, and their
 * ledger rows. It reads the ledger before the last listing: a dedup record is written after its body
 * is stored, so that the listing must have the body of every dedup record.
 */
export class AuditReader {
  readonly #source: AuditSource;
  readonly #database: AuditDatabase;
  readonly #rules: AuditRules;
  #lastKey = '';
  /** When the first batch of the latest known group was received; milliseconds since 1970. */
  #lastGroupAt = 0;
  #received: ReceivedRange | undefined;

  constructor(source: AuditSource, database: AuditDatabase, rules: AuditRules) {
    this.#source = source;
    this.#database = database;
    this.#rules = rules;
  }

  /** Lists the bucket, and reads the sizes of the tables. */
  async measure(received: ReceivedRange | undefined): Promise<StoreSize> {
    await this.list(received);
    if (this.#database.isOutdated) {
      this.#database.empty();
      await this.list(received);
    }
    const sizes = await this.#source.sizes();
    const sum = (what: string, where = '') =>
      this.#database.number(
        `SELECT sum(n) FROM (SELECT ${what} AS n FROM batches b WHERE ${isNotGrouped} ${where}
         UNION ALL SELECT ${what} FROM groups WHERE 1 ${where})`,
      );
    const [objects, bytes] = [sum('count(*)'), sum('sum(bytes)')];
    const open = 'AND state = 0';
    const unread = { objects: sum('count(*)', open), bytes: sum('sum(bytes)', open) };
    return { objects, bytes, unread, ...sizes };
  }

  /** Lists the bucket, or the part received within the range. */
  async list(received?: ReceivedRange): Promise<void> {
    this.#received = received;
    await this.#addGroups(received);
    await this.#addObjects(
      received === undefined
        ? { after: rawPrefix }
        : { after: startOf(received.from), before: startOf(Math.min(received.to, timeMax)) },
    );
  }

  /** Lists the objects that were stored recently. */
  async #listRecent(): Promise<void> {
    const receivedAt = readRawKey(this.#lastKey)?.receivedAt;
    const after = receivedAt === undefined ? rawPrefix : startOf(receivedAt - recentMs);
    const first = this.#lastGroupAt - recentMs;
    await this.#addGroups(first > 0 ? { from: first, to: Number.MAX_SAFE_INTEGER } : undefined);
    await this.#addObjects({ after });
  }

  async #addGroups(range: ReceivedRange | undefined): Promise<void> {
    for await (const page of this.#source.groups.list(range)) {
      this.#database.addGroups(page);
      for (const { first } of page) this.#lastGroupAt = Math.max(this.#lastGroupAt, first);
    }
  }

  async #addObjects(range: KeyRange): Promise<void> {
    for await (const page of this.#source.rawStore.objects(range)) {
      this.#database.addObjects(page);
      for (const { rawKey } of page) if (rawKey > this.#lastKey) this.#lastKey = rawKey;
    }
  }

  /** Reads the whole ledger, then all bodies. */
  async readAll(onProgress: (bodies: number) => void): Promise<void> {
    await this.#source.ledger((rows) => this.#database.addLedger(rows));
    await this.#listRecent();
    await this.#readBodies(onProgress);
    // A dedup record without a body may belong to a body that was stored under an earlier time.
    if (this.#database.number(recordsWithoutBody) > 0) {
      await this.list();
      await this.#readBodies(onProgress);
    }
    this.#classify();
  }

  /** Reads the listed bodies, and the ledger rows of each. */
  async readListed(onProgress: (bodies: number) => void): Promise<void> {
    await this.#readBodies(onProgress);
    const batches = this.#database.all<{ batch: string }>('SELECT DISTINCT batch FROM batches');
    await inParallel(this.#rules.width, batches, async ({ batch }) => {
      this.#database.addLedger(await this.#source.batchRows(batch));
    });
    this.#classify();
  }

  #classify(): void {
    this.#database.classify(this.#rules.now() - this.#rules.shortestRetentionMs);
  }

  async #readBodies(
    onProgress: (bodies: number) => void,
    touched?: Set<number>,
  ): Promise<ChunkId[]> {
    const added: ChunkId[] = [];
    // Bodies are large: hold fewer of them in memory than other requests.
    const width = Math.ceil(this.#rules.width / readingShare);
    let bodies = 0;
    for (;;) {
      const keys = unreadGroups(this.#database, width);
      if (keys.length === 0) break;
      const groups = await inParallel(width, keys, (key) => readGroup(this.#source.groups, key));
      for (const group of groups) {
        const chunks = addGroup(this.#database, group, this.#received, this.#readRaw, touched);
        if (touched !== undefined) added.push(...chunks);
      }
      onProgress((bodies += keys.length));
    }
    for (;;) {
      const rawKeys = this.#database.unread(bodiesPerReader * width);
      if (rawKeys.length === 0) return added;
      const readings = await inParallel(width, rawKeys, (rawKey) => this.#readBody(rawKey));
      const read = rawKeys.map((rawKey, at) => [rawKey, readings[at] ?? gone] as const);
      const chunks = this.#database.addBodies(read, touched);
      if (touched !== undefined) added.push(...chunks);
      onProgress((bodies += rawKeys.length));
    }
  }

  async #readBody(rawKey: string): Promise<BodyReading> {
    const raw = await this.#source.rawStore.get(rawKey).catch((error: unknown) => {
      if (error instanceof OverLimitUnreadable) return error;
      throw error;
    });
    if (raw === undefined) return gone;
    if (raw instanceof OverLimitUnreadable) return { kind: 'damaged', reason: raw.message };
    return this.#readRaw(raw);
  }

  readonly #readRaw = (raw: S3RawBatch): BodyReading => {
    if (raw.sha256 !== undefined && raw.sha256 !== sha256Of(raw.body)) {
      return { kind: 'damaged', reason: 'its SHA-256 differs from the stored one' };
    }
    const cut = recut(raw, this.#rules.dayOf);
    if ('reason' in cut) return { kind: 'damaged', reason: cut.reason };
    const { accepted, rejected } = raw;
    const chunks = cut.chunks.map(({ index, events }) => ({
      ...{ index, items: events.length, increments: countEvents(events) },
    }));
    const bodySha256 = bodySha256Of(raw);
    const key = batchKeyOf(raw, bodySha256);
    return { kind: 'read', accepted, rejected, bodySha256, chunks, key };
  };

  /** Reads the bodies that were stored meanwhile; returns the counters that they increment. */
  async catchUp(isWhole: boolean): Promise<ReadonlySet<number>> {
    await (isWhole ? this.list() : this.#listRecent());
    const touched = new Set<number>();
    const chunks = await this.#readBodies(() => undefined, touched);
    this.#database.addDedupRecords(await this.#source.dedupRecordsOf(chunks));
    return touched;
  }

  /** Reads the dedup records again of chunks that had none. */
  async refreshDedupRecords(): Promise<void> {
    for (let after = 0; ;) {
      const open = this.#database.openChunks(after, dedupRecordsAtOnce * this.#rules.width);
      const last = open.at(-1);
      if (last === undefined) return;
      after = last.id;
      await inParallel(this.#rules.width, pagesOf(open, dedupRecordsAtOnce), async (page) => {
        this.#database.addDedupRecords(await this.#source.dedupRecordsOf(page));
      });
    }
  }

  async addCounters(dates: { from: string; to: string }): Promise<void> {
    await this.#source.counters(dates, (rows) => this.#database.addCounted(rows));
  }
}

function batchKeyOf(raw: S3RawBatch, bodySha256: Uint8Array): BatchKey | undefined {
  const { keyId, receivedAt, replayedAt } = raw;
  if (keyId === undefined) return undefined;
  return {
    ...{ keyId, receivedAt, replayedAt, bodySha256 },
    itemsPerMessage: itemsPerMessageText(raw.itemsPerMessage),
    excluded: overLimitText(raw.excluded),
  };
}

const gone: BodyReading = { kind: 'gone' };
/** The latest time that a raw key can hold. */
const timeMax = Date.UTC(9999, 11, 31);
const recordsWithoutBody = `
  SELECT count(*) FROM dedup_records m WHERE dropped = 0
  AND NOT EXISTS (SELECT 1 FROM batches b WHERE b.batch = m.batch)`;
