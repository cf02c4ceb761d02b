import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite';

import { readRawKey } from '../../../domain/batch-id.ts';
import {
  rowsOfIncrements,
  typeAndStateOf,
  typeStateKey,
  type CounterRow,
  type Increments,
} from '../../../domain/counter.ts';
import { transaction } from '../../../util/sqlite.ts';
import type { ChunkId, KeyRow, LedgerRow } from '../ledger/ledger-rows.ts';
import { noteBody } from './audit-copies.ts';
import {
  batchStates,
  chunkStates,
  emptyAuditDatabase,
  prepareAuditDatabase,
} from './audit-schema.ts';
import type { ListedGroup } from '../intake/body-groups.ts';
import type { RawObject } from '../intake/raw-store.ts';
import type { StoredCounter } from './audit-source.ts';

/** The result of reading a raw body. */
export type BodyReading =
  | {
      readonly kind: 'read';
      readonly accepted: number;
      readonly rejected: number;
      /** The SHA-256 of the uncompressed body. */
      readonly bodySha256: Uint8Array;
      readonly chunks: readonly {
        readonly index: number;
        readonly items: number;
        readonly increments: Increments;
      }[];
      /** Its idempotency key, and the row that the ledger must have for it. */
      readonly key: BatchKey | undefined;
    }
  | { readonly kind: 'damaged'; readonly reason: string }
  /** The object was listed, but is deleted now. */
  | { readonly kind: 'gone' };

export type BatchKey = Omit<KeyRow, 'kind' | 'batchId' | 'expiresAt'>;

export interface OpenChunk extends ChunkId {
  readonly id: number;
}

/**
 * The intermediate results of an audit in an SQLite file: what it read from the raw bodies, the
 * ledger and the counters, so that memory does not grow with the store. One process may open it.
 */
export class AuditDatabase {
  readonly database: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();
  #counterIds = new Map<string, number>();
  #run: number;

  /** An empty path creates a temporary file that is deleted with the process. */
  constructor(path: string) {
    this.database = new DatabaseSync(path);
    prepareAuditDatabase(this.database);
    this.#run = this.number(
      'SELECT max(run) + 1 FROM (SELECT 0 AS run UNION SELECT run FROM batches UNION SELECT run FROM groups)',
    );
  }

  close(): void {
    this.database.close();
  }

  transaction<T>(act: () => T): T {
    return transaction(this.database, 'BEGIN', act);
  }

  run(sql: string, ...values: SQLInputValue[]): void {
    this.#statement(sql).run(...values);
  }

  all<Row>(sql: string, ...values: SQLInputValue[]): Row[] {
    return this.#statement(sql).all(...values) as unknown as Row[];
  }

  /** Runs a query with named parameters, `:name`. */
  named<Row>(sql: string, values: Record<string, SQLInputValue>): Row[] {
    return this.#statement(sql).all(values) as unknown as Row[];
  }

  /** Writes a whole row, and replaces one with the same key. */
  replace(table: string, ...values: SQLInputValue[]): void {
    const places = values.map(() => '?').join(', ');
    this.run(`INSERT OR REPLACE INTO ${table} VALUES (${places})`, ...values);
  }

  /** Yields the rows one by one; the caller must not write meanwhile. */
  each<Row>(sql: string, ...values: SQLInputValue[]): Iterable<Row> {
    return this.database.prepare(sql).iterate(...values) as unknown as Iterable<Row>;
  }

  /** The first column of the first row; 0 if there is no row. */
  number(sql: string, ...values: SQLInputValue[]): number {
    const row = this.#statement(sql).get(...values);
    return row === undefined ? 0 : Number(Object.values(row)[0] ?? 0);
  }

  /** Adds listed objects, except those of other programs. */
  addObjects(objects: readonly RawObject[]): void {
    this.transaction(() => {
      for (const { rawKey, bytes, etag, storedAt = 0 } of objects) {
        const identity = readRawKey(rawKey);
        if (identity === undefined) continue;
        const { batchId, receivedAt } = identity;
        this.run(
          `INSERT INTO batches (raw_key, batch, since, bytes, etag, run) VALUES (?, ?, ?, ?, ?, ?)
           ON CONFLICT (raw_key) DO UPDATE SET run = excluded.run,
             etag = CASE WHEN etag = excluded.etag THEN etag ELSE '' END`,
          ...[rawKey, batchId, Math.max(receivedAt, storedAt), bytes, etag, this.#run],
        );
      }
    });
  }

  /** Adds listed groups. */
  addGroups(groups: readonly ListedGroup[]): void {
    this.transaction(() => {
      for (const { key, bytes, etag, last, storedAt = last } of groups) {
        this.run(
          `INSERT INTO groups (key, since, bytes, etag, run) VALUES (?, ?, ?, ?, ?)
           ON CONFLICT (key) DO UPDATE SET run = excluded.run,
             etag = CASE WHEN etag = excluded.etag THEN etag ELSE '' END`,
          ...[key, storedAt, bytes, etag, this.#run],
        );
      }
    });
  }

  /** Whether objects that an earlier run read have changed or are deleted. */
  get isOutdated(): boolean {
    const changed = 'state <> 0 AND (run < :run OR etag = :none)';
    const [row] = this.named<{ count: number }>(
      `SELECT (SELECT count(*) FROM groups WHERE ${changed}) + (SELECT count(*) FROM batches b
         WHERE ${changed} AND NOT EXISTS (SELECT 1 FROM grouped g WHERE g.raw_key = b.raw_key)) AS count`,
      { run: this.#run, none: '' },
    );
    return (row?.count ?? 0) > 0;
  }

  empty(): void {
    this.#statements.clear();
    this.#counterIds.clear();
    emptyAuditDatabase(this.database);
  }

  unread(limit: number): string[] {
    const sql = `SELECT raw_key FROM batches b WHERE state = 0 AND ${isNotGrouped} ORDER BY raw_key LIMIT ?`;
    return this.all<{ raw_key: string }>(sql, limit).map(({ raw_key }) => raw_key);
  }

  /** Lists the batches of a group that no other object has readable; returns their raw keys. */
  listGrouped(key: string, lines: readonly { rawKey: string; bytes: number }[]): Set<string> {
    const open = new Set<string>();
    const since = this.number('SELECT since FROM groups WHERE key = ?', key);
    this.transaction(() => {
      for (const { rawKey, bytes } of lines) {
        const identity = readRawKey(rawKey);
        if (identity === undefined) continue;
        const { batchId, receivedAt } = identity;
        const added = this.number(
          'INSERT INTO batches (raw_key, batch, since, bytes, etag, run) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING 1',
          ...[rawKey, batchId, Math.max(receivedAt, since), bytes, '', this.#run],
        );
        if (added > 0) this.replace('grouped', rawKey, key);
        const isOpen = `SELECT count(*) FROM batches b WHERE raw_key = ? AND state IN (${batchStates.unread}, ${batchStates.damaged}) AND NOT ${isNotGrouped}`;
        if (this.number(isOpen, rawKey) > 0) open.add(rawKey);
      }
    });
    return open;
  }

  /** Returns the new chunks; adds the counters that they increment to `touched`. */
  addBodies(
    bodies: readonly (readonly [string, BodyReading])[],
    touched: Set<number> = new Set(),
  ): ChunkId[] {
    const added: ChunkId[] = [];
    this.transaction(() => {
      for (const [rawKey, body] of bodies) this.#addBody(rawKey, body, added, touched);
    });
    return added;
  }

  #addBody(rawKey: string, body: BodyReading, added: ChunkId[], touched: Set<number>): void {
    const update = 'UPDATE batches SET state = ?, reason = ? WHERE raw_key = ?';
    if (body.kind === 'gone') {
      this.run(update, batchStates.gone, null, rawKey);
      return;
    }
    if (body.kind === 'damaged') {
      this.run(update, batchStates.damaged, body.reason, rawKey);
      return;
    }
    const { accepted, rejected, chunks, key } = body;
    this.run(
      'UPDATE batches SET state = ?, accepted = ?, rejected = ?, chunks = ? WHERE raw_key = ?',
      ...[batchStates.read, accepted, rejected, chunks.length, rawKey],
    );
    const batchId = readRawKey(rawKey)?.batchId ?? '';
    noteBody(this, batchId, body.bodySha256, rawKey);
    if (key !== undefined) {
      const { keyId, receivedAt, replayedAt = null, bodySha256 } = key;
      this.run(
        'INSERT OR IGNORE INTO batch_keys VALUES (?, ?, ?, ?, ?, ?, ?)',
        ...[batchId, keyId, receivedAt, replayedAt, bodySha256, key.itemsPerMessage, key.excluded],
      );
    }
    for (const { index, items, increments } of chunks) {
      const chunk = this.number(
        'INSERT INTO chunks (batch, chunk, items) VALUES (?, ?, ?) ON CONFLICT DO NOTHING RETURNING id',
        ...[batchId, index, items],
      );
      // Another copy of the batch, under another raw key: the batch is counted once.
      if (chunk === 0) continue;
      added.push({ batchId, index });
      for (const row of rowsOfIncrements(increments)) {
        const counter = this.counterId(row);
        touched.add(counter);
        this.run('INSERT INTO increments VALUES (?, ?, ?)', counter, chunk, row.count);
        this.run('INSERT INTO open_increments VALUES (?, ?, ?)', counter, chunk, row.count);
      }
    }
  }

  addLedger(rows: readonly LedgerRow[]): void {
    this.transaction(() => {
      for (const row of rows) this.#addLedgerRow(row);
    });
  }

  #addLedgerRow(row: LedgerRow): void {
    switch (row.kind) {
      case 'dedup_record':
        this.replace('dedup_records', row.batchId, row.index, row.items, 0);
        break;
      case 'dropped_chunk':
        this.replace('dedup_records', row.batchId, row.index, 0, 1);
        break;
      case 'dropped_batch':
        this.replace('dropped', row.batchId);
        break;
      case 'batch':
        this.replace('batch_rows', row.batchId, row.accepted, row.rejected, row.chunks);
        break;
      case 'key': {
        const { keyId, receivedAt, replayedAt = null, bodySha256, itemsPerMessage } = row;
        this.replace(
          ...(['key_rows', keyId, row.batchId, receivedAt, replayedAt] as const),
          ...[bodySha256, itemsPerMessage, row.excluded, row.expiresAt],
        );
        break;
      }
      case 'foreign_message': {
        const counter = row.counter === undefined ? 0 : this.counterId(row.counter);
        this.run(
          'INSERT INTO foreign_messages VALUES (?, 1) ON CONFLICT DO UPDATE SET count = count + 1',
          counter,
        );
        break;
      }
    }
  }

  addDead(chunks: readonly ChunkId[]): void {
    this.transaction(() => {
      for (const { batchId, index } of chunks) this.replace('dead', batchId, index);
    });
  }

  addCounted(rows: readonly StoredCounter[]): void {
    this.transaction(() => {
      for (const row of rows) {
        const { type, state } = typeAndStateOf(row.typeState);
        this.setCounted(this.#idOf(row.date, row.typeState, type, state), row);
      }
    });
  }

  setCounted(counter: number, row: StoredCounter | undefined): void {
    if (row === undefined) this.run('DELETE FROM counted WHERE counter = ?', counter);
    else this.replace('counted', counter, row.count, row.isNamedRight ? 1 : 0);
  }

  /** Sets the state of every chunk, and computes the expected counters. */
  classify(forgottenBefore: number): void {
    const { open, recorded, forgotten, dropped } = chunkStates;
    this.transaction(() => {
      this.run(
        `UPDATE chunks SET state = CASE
           WHEN EXISTS (SELECT 1 FROM dropped d WHERE d.batch = chunks.batch) THEN ${dropped}
           ELSE coalesce(
             (SELECT iif(m.dropped, ${dropped}, ${recorded}) FROM dedup_records m
               WHERE m.batch = chunks.batch AND m.chunk = chunks.chunk),
             (SELECT ${open} FROM dead d WHERE d.batch = chunks.batch AND d.chunk = chunks.chunk),
             iif((SELECT max(since) FROM batches b WHERE b.batch = chunks.batch) < ?, ${forgotten}, ${open}))
         END`,
        forgottenBefore,
      );
      const isCounted = `c.state IN (${recorded}, ${forgotten})`;
      this.run('DELETE FROM expected');
      this.run('DELETE FROM open_increments');
      this.run(
        `INSERT INTO expected SELECT i.counter, sum(i.count) FROM increments i
         JOIN chunks c ON c.id = i.chunk WHERE ${isCounted} GROUP BY i.counter`,
      );
      this.run(
        `INSERT INTO expected SELECT counter, count FROM foreign_messages WHERE counter <> 0
         ON CONFLICT DO UPDATE SET count = count + excluded.count`,
      );
      this.run(
        `INSERT INTO open_increments SELECT i.* FROM increments i
         JOIN chunks c ON c.id = i.chunk WHERE c.state = ${open}`,
      );
    });
  }

  /** The chunks of a counter that had no dedup record at the last reading. */
  openChunksOf(counter: number): OpenChunk[] {
    return this.all(
      `SELECT c.id, c.batch AS batchId, c.chunk AS "index" FROM open_increments o
       JOIN chunks c ON c.id = o.chunk WHERE o.counter = ?`,
      counter,
    );
  }

  /** A page of all such chunks, after this id. */
  openChunks(after: number, limit: number): OpenChunk[] {
    return this.all(
      `SELECT id, batch AS batchId, chunk AS "index" FROM chunks
       WHERE state = ${chunkStates.open} AND id > ? ORDER BY id LIMIT ?`,
      ...[after, limit],
    );
  }

  /** Adds dedup records that exist by now, and their increments to the expected counters. */
  addDedupRecords(rows: readonly LedgerRow[]): void {
    this.transaction(() => {
      for (const row of rows) {
        if (row.kind !== 'dedup_record' && row.kind !== 'dropped_chunk') continue;
        this.#addLedgerRow(row);
        const sql = `SELECT id FROM chunks WHERE batch = ? AND chunk = ? AND state = ${chunkStates.open}`;
        const chunk = this.number(sql, row.batchId, row.index);
        if (chunk === 0) continue;
        if (row.kind === 'dedup_record') {
          this.run(
            `INSERT INTO expected SELECT counter, count FROM open_increments WHERE chunk = ?
             ON CONFLICT DO UPDATE SET count = count + excluded.count`,
            chunk,
          );
        }
        this.run('DELETE FROM open_increments WHERE chunk = ?', chunk);
        const state = row.kind === 'dedup_record' ? chunkStates.recorded : chunkStates.dropped;
        this.run('UPDATE chunks SET state = ? WHERE id = ?', state, chunk);
      }
    });
  }

  counterId({ date, type, state }: Omit<CounterRow, 'count'>): number {
    return this.#idOf(date, typeStateKey(type, state), type, state);
  }

  #idOf(date: string, typeState: string, type: string, state: string): number {
    const key = `${date}${typeState}`;
    const known = this.#counterIds.get(key);
    if (known !== undefined) return known;
    const find = 'SELECT id FROM counters WHERE date = ? AND type_state = ?';
    const insert =
      'INSERT INTO counters (date, type_state, type, state) VALUES (?, ?, ?, ?) RETURNING id';
    const found = this.number(find, date, typeState);
    const id = found > 0 ? found : this.number(insert, date, typeState, type, state);
    if (this.#counterIds.size >= counterIdsMax) this.#counterIds.clear();
    this.#counterIds.set(key, id);
    return id;
  }

  #statement(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (statement === undefined)
      this.#statements.set(sql, (statement = this.database.prepare(sql)));
    return statement;
  }
}

/** SQL: whether a batch `b` has an object of its own. */
export const isNotGrouped = 'NOT EXISTS (SELECT 1 FROM grouped g WHERE g.raw_key = b.raw_key)';

/** The cached counter ids; names are long, and a lookup costs only microseconds. */
const counterIdsMax = 50_000;
