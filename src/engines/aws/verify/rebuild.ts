import { rmSync } from 'node:fs';
import { join } from 'node:path';

import type { DynamoDBClient, TransactWriteItem } from '@aws-sdk/client-dynamodb';

import { readRawKey } from '../../../domain/batch-id.ts';
import { countEvents } from '../../../domain/batch.ts';
import type { Difference } from '../../../pipeline/findings.ts';
import { recut } from '../../../pipeline/chunks/recut.ts';
import { makeDirectories } from '../../../util/directories.ts';
import { isSqliteBusy } from '../../../util/sqlite.ts';
import { differencesOf, runAudit, type AuditOptions, type AuditResult } from './audit.ts';
import {
  correct,
  groupCorrections,
  removeZero,
  type Correction,
  type CorrectionTables,
} from '../counters/corrections.ts';
import {
  dynamodbCounterStore,
  groupDeliveries,
  type LedgerDelivery,
} from '../counters/counter-store.ts';
import { FencedWrites } from '../ledger/fenced-writes.ts';
import { removeStrayDedupRecords, restoreKeys } from './restore-ledger.ts';
import { batchRow } from '../ledger/batch-records.ts';
import { anyRecord, dedupKeyOf, newRecords } from '../ledger/dedup-records.ts';
import { droppedBatchKey, keyItem, type Item } from '../ledger/ledger-table.ts';
import {
  batchesWithoutBody,
  batchRowIssues,
  chunksNotCounted,
  damagedGroups,
  type AuditCounts,
} from './audit-findings.ts';
import { StoredBodies } from './audit-groups.ts';
import { batchStates, chunkStates } from './audit-schema.ts';
import { refuseExpired } from '../intake/raw-expiry.ts';
import { AuditDatabase } from './audit-database.ts';
import type { CounterKey } from './audit-source.ts';

export interface RebuildOptions extends Omit<AuditOptions, 'received'> {
  /** A client that does not retry, for transactions. */
  readonly transactions: Pick<DynamoDBClient, 'send'>;
  readonly dryRun: boolean;
  readonly withoutDamaged: boolean;
  readonly onDifference: (difference: Difference) => void;
}

export interface WorkFileOptions {
  /** The directory of the audit database; an interrupted rebuild continues from it. */
  readonly workDir: string;
  /** The name of the stack, for the file name. */
  readonly name: string;
}

export interface RebuildSummary {
  readonly isSwitched: boolean;
  readonly counts: AuditCounts;
  /** Corrected counters, and the transactions that corrected them. */
  readonly corrected: number;
  readonly steps: number;
  /** Counted chunks, and ledger rows that were written or deleted. */
  readonly chunksCounted: number;
  readonly ledgerRows: number;
  /** Batches that were dropped, since their body is damaged or missing. */
  readonly withoutDamaged: number;
  /** Counters left unchanged, because they changed during every read or hold no number. */
  readonly left: number;
}

/**
 * Rebuilds the counters from the raw bodies while the stack runs: runs the audit, then corrects
 * each counter by its difference. Concurrent increments stay, since sums do not depend on the
 * order.
 * @throws if bodies are damaged or missing, unless `withoutDamaged` is set.
 */
export async function rebuildStack(
  options: RebuildOptions & WorkFileOptions,
): Promise<RebuildSummary> {
  const { workDir, name } = options;
  makeDirectories(workDir, 0o777);
  const path = join(workDir, `${name}.rebuild.db`);
  const database = openDatabase(path);
  let summary: RebuildSummary;
  try {
    summary = await rebuildWith(options, database);
  } finally {
    database.close();
  }
  if (summary.isSwitched) removeDatabase(path);
  return summary;
}

/** Rebuilds with an open audit database. */
export async function rebuildWith(
  options: RebuildOptions,
  database: AuditDatabase,
): Promise<RebuildSummary> {
  const { store, backoff, transactions: client } = options;
  if (!options.dryRun) refuseExpired(store.rawExpiryMs, options.dates, backoff.now());
  const fence = { client, ledgerTable: store.ledgerTable, backoff };
  const writes = options.dryRun ? undefined : await FencedWrites.takeOver(fence);
  const result = await runAudit({ ...options, received: undefined }, database);
  for (const difference of differencesOf(result)) options.onDifference(difference);
  if (!options.withoutDamaged) refuseDamaged(database);
  const left = database.number(
    `SELECT count(*) FROM findings WHERE kind NOT IN ('differs', 'misnamed')`,
  );
  const { counts } = result;
  const nothing = { corrected: 0, steps: 0, chunksCounted: 0, ledgerRows: 0, withoutDamaged: 0 };
  if (writes === undefined) return { isSwitched: false, counts, ...nothing, left };
  const done = await new Rebuild(options, result, writes).run();
  return { isSwitched: true, counts, ...done, left };
}

function openDatabase(path: string): AuditDatabase {
  try {
    return new AuditDatabase(path);
  } catch (error) {
    if (isSqliteBusy(error)) {
      throw new Error(`Another rebuild is using ${path}. Wait for it to end, or stop it.`, {
        cause: error,
      });
    }
    const message = error instanceof Error ? error.message : String(error);
    throw new Error(
      `The audit database ${path} cannot be opened (${message}). Delete the file and run rebuild again.`,
      { cause: error },
    );
  }
}

function removeDatabase(path: string): void {
  for (const suffix of ['', '-wal', '-shm']) rmSync(path + suffix, { force: true });
}

const damagedBatches = `
  SELECT DISTINCT b.batch FROM batches b WHERE b.state = ${batchStates.damaged}
  AND NOT EXISTS (SELECT 1 FROM dropped d WHERE d.batch = b.batch)
  UNION SELECT batch FROM (${batchesWithoutBody})`;

function refuseDamaged(database: AuditDatabase): void {
  const groups = damagedGroups(database).length;
  const damaged = database.number(`SELECT count(*) FROM (${damagedBatches})`);
  if (damaged === 0 && groups > 0) {
    throw new Error(
      `${groups} groups of raw bodies are damaged, and their batches are unknown. Restore them, or skip them with --without-damaged. Nothing was changed.`,
    );
  }
  if (damaged === 0) return;
  throw new Error(
    `The raw bodies of ${damaged} batches are damaged or missing and cannot be counted again. Restore them, or skip them with --without-damaged. Nothing was changed.`,
  );
}

type Done = Omit<RebuildSummary, 'isSwitched' | 'counts' | 'left'>;

class Rebuild {
  readonly #options: RebuildOptions;
  readonly #result: AuditResult;
  readonly #database: AuditDatabase;
  readonly #writes: FencedWrites;
  #ledgerRows = 0;

  constructor(options: RebuildOptions, result: AuditResult, writes: FencedWrites) {
    this.#options = options;
    this.#result = result;
    this.#database = result.database;
    this.#writes = writes;
  }

  /** Each step is complete in itself: after an interruption another rebuild can start. */
  async run(): Promise<Done> {
    const withoutDamaged = await this.#dropDamaged();
    await this.#restoreDedupRecords();
    const { corrected, steps } = await this.#correct();
    const chunksCounted = await this.#countMissing();
    await this.#writeRows();
    const { store } = this.#options;
    this.#ledgerRows += await removeStrayDedupRecords(this.#database, this.#writes, store);
    this.#ledgerRows += await restoreKeys(this.#database, this.#writes, store);
    return { corrected, steps, chunksCounted, ledgerRows: this.#ledgerRows, withoutDamaged };
  }

  async #dropDamaged(): Promise<number> {
    const batches = this.#database.all<{ batch: string }>(damagedBatches);
    for (const { batch } of batches) {
      await this.#putRow({
        ...keyItem(droppedBatchKey(batch)),
        dropped_at: { N: String(this.#options.backoff.now()) },
        reason: { S: 'its raw body is damaged or missing' },
      });
    }
    return batches.length;
  }

  /** Restores missing dedup records. If a record exists by now, the chunk was counted twice. */
  async #restoreDedupRecords(): Promise<void> {
    const chunks = this.#database.all<{ id: number; batch: string; chunk: number; items: number }>(
      `SELECT id, batch, chunk, items FROM chunks WHERE state = ${chunkStates.unrecorded} ORDER BY id`,
    );
    for (const { id, batch, chunk, items } of chunks) {
      const outcome = await this.#write(this.#dedupRecord(newRecord, batch, chunk, items));
      if (outcome === 'refused') this.#addExcess(id);
    }
  }

  #addExcess(chunk: number): void {
    this.#database.run(
      `INSERT INTO findings
       SELECT o.counter, 'differs', coalesce(n.count, 0), coalesce(n.count, 0) - o.count, o.count
       FROM open_increments o LEFT JOIN counted n ON n.counter = o.counter WHERE o.chunk = ?
       ON CONFLICT DO UPDATE SET excess = findings.excess + excluded.excess`,
      chunk,
    );
  }

  #dedupRecord(
    writeOf: typeof anyRecord,
    batch: string,
    chunk: number,
    items: number,
  ): TransactWriteItem {
    const { backoff, store } = this.#options;
    const record = { key: dedupKeyOf(batch, chunk), items };
    return writeOf(store.ledgerTable, record, { now: backoff.now(), keepMs: store.keepMs });
  }

  async #correct(): Promise<{ corrected: number; steps: number }> {
    const rows = this.#database.all<Correction>(
      `SELECT c.date, c.type_state AS typeState, c.type, c.state, v.counted AS count,
         -v.excess AS change
       FROM findings v JOIN counters c ON c.id = v.counter
       WHERE v.kind IN ('differs', 'misnamed') ORDER BY c.date, c.type_state`,
    );
    const groups = groupCorrections(rows);
    const { dynamodb: client, countersTable, ledgerTable } = this.#options.store;
    const tables = { client, countersTable, ledgerTable };
    for (const [step, group] of groups.entries()) await correct(tables, this.#writes, step, group);
    await this.#removeZeros(tables);
    return { corrected: rows.length, steps: groups.length };
  }

  /** Deletes corrected counters that no raw body increments. */
  async #removeZeros(tables: CorrectionTables): Promise<void> {
    const zeros = this.#database.all<CounterKey>(
      `SELECT c.date, c.type_state AS typeState FROM counters c
       JOIN counted n ON n.counter = c.id LEFT JOIN findings v ON v.counter = c.id
       WHERE coalesce(v.kind, 'differs') = 'differs' AND n.count - coalesce(v.excess, 0) = 0
       AND NOT EXISTS (SELECT 1 FROM expected e WHERE e.counter = c.id AND e.count <> 0)`,
    );
    for (const zero of zeros) await removeZero(tables, zero);
  }

  /**
   * Counts the uncounted chunks, as the processor would: a later delivery then counts nothing. This
   * includes young batches, whose messages may be lost.
   */
  async #countMissing(): Promise<number> {
    const { store, backoff, transactions } = this.#options;
    const { countersTable, ledgerTable, keepMs, dayOf } = store;
    const counterStore = dynamodbCounterStore({
      ...{ client: transactions, countersTable, ledgerTable, keepMs, backoff },
    });
    const bodies = new StoredBodies(store.s3, store.rawBucket);
    const missing = new Map<string, Set<number>>();
    for (const { batch, chunk } of chunksNotCounted(this.#database, Infinity)) {
      missing.set(batch, (missing.get(batch) ?? new Set()).add(chunk));
    }
    let counted = 0;
    for (const [batch, indexes] of missing) {
      const [found] = this.#database.all<{ raw_key: string; group_key: string | null }>(
        `SELECT raw_key, group_key FROM batches LEFT JOIN grouped USING (raw_key)
         WHERE batch = ? AND state = ${batchStates.read} ORDER BY raw_key`,
        batch,
      );
      const raw = found && (await bodies.get(found.raw_key, found.group_key));
      const cut = raw === undefined ? undefined : recut(raw, dayOf);
      if (cut === undefined || 'reason' in cut) continue;
      const deliveries = cut.chunks
        .filter(({ index }) => indexes.has(index))
        .map(({ index, events }): LedgerDelivery => ({
          dedupKey: dedupKeyOf(batch, index),
          increments: countEvents(events),
          items: events.length,
        }));
      for (const group of groupDeliveries(deliveries)) {
        counted += (await counterStore.apply(group)).counted.length;
      }
    }
    return counted;
  }

  async #writeRows(): Promise<void> {
    const { inFlightBefore, rowsSince } = this.#result;
    const { keepMs } = this.#options.store;
    for (const row of batchRowIssues(this.#database, inFlightBefore, rowsSince)) {
      const receivedAt = readRawKey(row.raw_key)?.receivedAt ?? 0;
      await this.#putRow(batchRow({ ...row, batchId: row.batch, receivedAt }, keepMs));
    }
    const records = this.#database.all<{ batch: string; chunk: number; items: number }>(
      `SELECT c.batch, c.chunk, c.items FROM chunks c
       JOIN dedup_records m ON m.batch = c.batch AND m.chunk = c.chunk
       WHERE m.dropped = 0 AND m.items IS NOT c.items AND c.state = ${chunkStates.recorded}`,
    );
    for (const { batch, chunk, items } of records)
      await this.#write(this.#dedupRecord(anyRecord, batch, chunk, items));
  }

  async #putRow(Item: Item): Promise<void> {
    await this.#write({ Put: { TableName: this.#options.store.ledgerTable, Item } });
  }

  /** Writes a ledger row. `refused`: the condition does not hold. */
  async #write(write: TransactWriteItem): Promise<'done' | 'refused'> {
    const outcome = await this.#writes.write([write]);
    if (outcome === 'done') this.#ledgerRows++;
    return outcome;
  }
}

const newRecord: typeof anyRecord = (table, record, kept) => newRecords(table, [record], kept);
