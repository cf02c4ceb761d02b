import { hash } from 'node:crypto';

import type { DayOf } from '../../../domain/day.ts';
import { countEvents } from '../../../domain/batch.ts';
import { inflateStored } from '../../../pipeline/recount.ts';
import { itemsPerMessageText, recut } from '../../../pipeline/chunks/recut.ts';
import { inParallel } from '../../../util/in-parallel.ts';
import { excludedText, type ChunkId } from '../ledger/ledger-rows.ts';
import { readRawKey } from '../../../domain/batch-id.ts';
import type { BatchKey, BodyReading, AuditDatabase } from './audit-database.ts';
import type { AuditSource, TableSize } from './audit-source.ts';
import { ExcludedUnreadable, sha256Of, startOf, type S3RawBatch } from '../intake/raw-store.ts';

export interface AuditRules {
  readonly dayOf: DayOf;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** The shortest time for which marks were ever kept, in milliseconds. */
  readonly leastKeepMs: number;
  /** A batch that came so recently may still be on its way to the counters. */
  readonly inFlightMs: number;
  /** Requests under way at the same time. */
  readonly width: number;
}

export interface Survey {
  readonly objects: number;
  readonly bytes: number;
  /** Those that an interrupted run has not read yet. */
  readonly unread: { readonly objects: number; readonly bytes: number };
  readonly counters: TableSize;
  readonly ledger: TableSize;
}

export type ReceivedRange = { readonly from: number; readonly to: number } | undefined;

/** Names of what was stored meanwhile begin so much before the last known one. */
const recentMs = 60_000;
const readingShare = 4;
/** So many times as many are read between two notes of them. */
const bodiesPerReader = 8;
const marksAtOnce = 100;

/**
 * Reads a store on AWS into the notes: the raw bodies, cut again, and what the ledger says of them.
 * The ledger is read before the last listing: a chunk is marked after its body is stored, so that
 * every mark must be explained by an object that is listed then.
 */
export class AuditReader {
  readonly #source: AuditSource;
  readonly #scratch: AuditDatabase;
  readonly #rules: AuditRules;
  #lastKey = '';

  constructor(source: AuditSource, scratch: AuditDatabase, rules: AuditRules) {
    this.#source = source;
    this.#scratch = scratch;
    this.#rules = rules;
  }

  /** Lists the bucket, and asks how large the tables are. */
  async survey(received: ReceivedRange): Promise<Survey> {
    await this.list(received);
    if (this.#scratch.isOutdated) {
      this.#scratch.empty();
      await this.list(received);
    }
    const sizes = await this.#source.sizes();
    const objects = this.#scratch.number('SELECT count(*) FROM batches');
    const bytes = this.#scratch.number('SELECT sum(bytes) FROM batches');
    const unread = {
      objects: this.#scratch.number('SELECT count(*) FROM batches WHERE state = 0'),
      bytes: this.#scratch.number('SELECT sum(bytes) FROM batches WHERE state = 0'),
    };
    return { objects, bytes, unread, ...sizes };
  }

  /** Notes what is in the bucket now, all of it or what was received within the range. */
  async list(received?: ReceivedRange): Promise<void> {
    const range =
      received === undefined
        ? {}
        : { after: startOf(received.from), before: startOf(Math.min(received.to, timeMax)) };
    for await (const page of this.#source.objects(range)) this.#addObjects(page);
  }

  /** Notes what was stored lately. */
  async #listRecent(): Promise<void> {
    const receivedAt = readRawKey(this.#lastKey)?.receivedAt;
    const range = receivedAt === undefined ? {} : { after: startOf(receivedAt - recentMs) };
    for await (const page of this.#source.objects(range)) this.#addObjects(page);
  }

  #addObjects(page: Parameters<AuditDatabase['addObjects']>[0]): void {
    this.#scratch.addObjects(page);
    for (const { rawKey } of page) if (rawKey > this.#lastKey) this.#lastKey = rawKey;
  }

  /** Reads the whole ledger, then all bodies. */
  async readAll(onProgress: (bodies: number) => void): Promise<void> {
    await this.#source.ledger((rows) => this.#scratch.addLedger(rows));
    await this.#listRecent();
    await this.#readBodies(onProgress);
    // A mark that nothing explains may be of a body that was stored under an earlier time.
    if (this.#scratch.number(marksWithoutBody) > 0) {
      await this.list();
      await this.#readBodies(onProgress);
    }
    this.#classify();
  }

  /** Reads the bodies that were listed, and what the ledger says of each. */
  async readListed(onProgress: (bodies: number) => void): Promise<void> {
    await this.#readBodies(onProgress);
    const batches = this.#scratch.all<{ batch: string }>('SELECT DISTINCT batch FROM batches');
    await inParallel(this.#rules.width, batches, async ({ batch }) => {
      this.#scratch.addLedger(await this.#source.batchRows(batch));
    });
    this.#classify();
  }

  #classify(): void {
    this.#scratch.classify(this.#rules.now() - this.#rules.leastKeepMs);
  }

  async #readBodies(
    onProgress: (bodies: number) => void,
    touched?: Set<number>,
  ): Promise<ChunkId[]> {
    const added: ChunkId[] = [];
    // Bodies are held in memory: fewer at a time than the requests that are small.
    const width = Math.ceil(this.#rules.width / readingShare);
    for (let bodies = 0; ;) {
      const rawKeys = this.#scratch.unread(bodiesPerReader * width);
      if (rawKeys.length === 0) return added;
      const readings = await inParallel(width, rawKeys, (rawKey) => this.#readBody(rawKey));
      const noted = rawKeys.map((rawKey, at) => [rawKey, readings[at] ?? gone] as const);
      const chunks = this.#scratch.addBodies(noted, touched);
      if (touched !== undefined) added.push(...chunks);
      onProgress((bodies += rawKeys.length));
    }
  }

  async #readBody(rawKey: string): Promise<BodyReading> {
    const raw = await this.#source.body(rawKey).catch((error: unknown) => {
      if (error instanceof ExcludedUnreadable) return error;
      throw error;
    });
    if (raw === undefined) return gone;
    if (raw instanceof ExcludedUnreadable) return { kind: 'damaged', reason: raw.message };
    if (raw.sha256 !== undefined && raw.sha256 !== sha256Of(raw.body)) {
      return { kind: 'damaged', reason: 'its bytes are not those that were stored' };
    }
    const cut = recut(raw, this.#rules.dayOf);
    if ('reason' in cut) return { kind: 'damaged', reason: cut.reason };
    const { accepted, rejected } = raw;
    const chunks = cut.chunks.map(({ index, events }) => ({
      ...{ index, items: events.length, tally: countEvents(events) },
    }));
    return { kind: 'read', accepted, rejected, chunks, key: batchKeyOf(raw) };
  }

  /** Takes in what came meanwhile; returns the counters that it adds to. */
  async catchUp(isWhole: boolean): Promise<ReadonlySet<number>> {
    await (isWhole ? this.list() : this.#listRecent());
    const touched = new Set<number>();
    const chunks = await this.#readBodies(() => undefined, touched);
    this.#scratch.addMarks(await this.#source.marksOf(chunks));
    return touched;
  }

  /** Looks again whether chunks are marked that were not. */
  async refreshMarks(): Promise<void> {
    for (let after = 0; ;) {
      const open = this.#scratch.openChunks(after, marksAtOnce * this.#rules.width);
      const last = open.at(-1);
      if (last === undefined) return;
      after = last.id;
      const pages: ChunkId[][] = [];
      for (let at = 0; at < open.length; at += marksAtOnce) {
        pages.push(open.slice(at, at + marksAtOnce));
      }
      await inParallel(this.#rules.width, pages, async (page) => {
        this.#scratch.addMarks(await this.#source.marksOf(page));
      });
    }
  }

  async addCounters(dates: { from: string; to: string }): Promise<void> {
    await this.#source.counters(dates, (rows) => this.#scratch.addCounted(rows));
  }
}

function batchKeyOf(raw: S3RawBatch): BatchKey | undefined {
  const { keyId, receivedAt, replayedAt } = raw;
  if (keyId === undefined) return undefined;
  const inflated = inflateStored(raw);
  if (inflated.code !== undefined) return undefined;
  return {
    ...{ keyId, receivedAt, replayedAt, bodySha256: hash('sha256', inflated.body, 'buffer') },
    itemsPerMessage: itemsPerMessageText(raw.itemsPerMessage),
    excluded: excludedText(raw.excluded),
  };
}

const gone: BodyReading = { kind: 'gone' };
/** The last moment that a raw key can name. */
const timeMax = Date.UTC(9999, 11, 31);
const marksWithoutBody = `
  SELECT count(*) FROM marks m WHERE dropped = 0
  AND NOT EXISTS (SELECT 1 FROM batches b WHERE b.batch = m.batch)`;
