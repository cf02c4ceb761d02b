import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';

import type { DynamoDBClient, TransactWriteItem } from '@aws-sdk/client-dynamodb';

import { readRawKey } from '../../../domain/batch-id.ts';
import { countEvents } from '../../../domain/batch.ts';
import type { Difference } from '../../../pipeline/audit.ts';
import { recut } from '../../../pipeline/chunks/recut.ts';
import { differencesOf, prove, type Proof, type AuditOptions } from './audit.ts';
import {
  correct,
  groupCorrections,
  removeZero,
  type Correction,
  type CorrectionTables,
} from '../counters/corrections.ts';
import { dynamodbCounterStore, type LedgerDelivery } from '../counters/counter-store.ts';
import { FencedWrites } from '../ledger/fenced-writes.ts';
import { restoreKeys } from './restore-keys.ts';
import { batchKey, chunkKey, droppedBatchKey, expiry, keyItem } from '../ledger/ledger-table.ts';
import {
  batchesWithoutBody,
  batchRowIssues,
  chunksNotCounted,
  type AuditCounts,
} from './audit-findings.ts';
import { batchStates, chunkStates } from './audit-schema.ts';
import { refuseExpired } from '../intake/raw-expiry.ts';
import { AuditDatabase } from './audit-database.ts';
import type { CounterKey } from './audit-source.ts';
import { s3RawStore } from '../intake/raw-store.ts';
import { removeStrayDedupRecords } from './stray-marks.ts';
import { groupDeliveries } from '../counters/transaction-groups.ts';

export interface RebuildOptions extends Omit<AuditOptions, 'received'> {
  /** One that tries once, for transactions. */
  readonly transactions: Pick<DynamoDBClient, 'send'>;
  readonly dryRun: boolean;
  readonly withoutDamaged: boolean;
  readonly onDifference: (difference: Difference) => void;
}

export interface NotesOptions {
  /** Where notes are kept until the rebuild is finished; an interrupted one goes on with them. */
  readonly workDir: string;
  /** Of the stack: names the notes. */
  readonly name: string;
}

export interface RebuildSummary {
  readonly isSwitched: boolean;
  readonly counts: AuditCounts;
  /** Counters that were corrected, and in how many transactions. */
  readonly corrected: number;
  readonly steps: number;
  /** Chunks that were counted, and rows of the ledger that were written or, where stray, taken away. */
  readonly chunksCounted: number;
  readonly ledgerRows: number;
  /** Batches that are done without. */
  readonly withoutDamaged: number;
  /** Counters that were left as they are, since others wrote to them or they hold no number. */
  readonly left: number;
}

/**
 * Makes the counters what the raw bodies come to, beside a running system: compares as `auditStack`
 * does, then adds to each counter what it is short of. What others add meanwhile stays: sums do not
 * depend on the order.
 * @throws where bodies are damaged or gone, unless told to do without them.
 */
export async function rebuildStack(
  options: RebuildOptions & NotesOptions,
): Promise<RebuildSummary> {
  const { workDir, name } = options;
  mkdirSync(workDir, { recursive: true });
  const path = join(workDir, `${name}.rebuild.db`);
  const scratch = openNotes(path);
  let summary: RebuildSummary;
  try {
    summary = await rebuildWith(options, scratch);
  } finally {
    scratch.close();
  }
  if (summary.isSwitched) removeNotes(path);
  return summary;
}

/** The same with notes that are at hand. */
export async function rebuildWith(
  options: RebuildOptions,
  scratch: AuditDatabase,
): Promise<RebuildSummary> {
  const { store, backoff, transactions: client } = options;
  if (!options.dryRun) refuseExpired(store.rawExpiryMs, options.dates, backoff.now());
  const fence = { client, ledgerTable: store.ledgerTable, backoff };
  const writes = options.dryRun ? undefined : await FencedWrites.takeOver(fence);
  const proof = await prove({ ...options, received: undefined }, scratch);
  for (const difference of differencesOf(proof)) options.onDifference(difference);
  if (!options.withoutDamaged) refuseDamaged(scratch);
  const left = scratch.number(
    `SELECT count(*) FROM verdicts WHERE kind NOT IN ('differs', 'misnamed')`,
  );
  const { counts } = proof;
  const nothing = { corrected: 0, steps: 0, chunksCounted: 0, ledgerRows: 0, withoutDamaged: 0 };
  if (writes === undefined) return { isSwitched: false, counts, ...nothing, left };
  const done = await new Rebuild(options, proof, writes).run();
  return { isSwitched: true, counts, ...done, left };
}

function openNotes(path: string): AuditDatabase {
  try {
    return new AuditDatabase(path);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    if (message.includes('locked')) {
      throw new Error(`Another rebuild is at work with ${path}. Wait for it, or end it.`, {
        cause: error,
      });
    }
    throw new Error(
      `The notes of a rebuild in ${path} cannot be used (${message}). Delete the file: it can be made anew.`,
      { cause: error },
    );
  }
}

function removeNotes(path: string): void {
  for (const suffix of ['', '-wal', '-shm']) rmSync(path + suffix, { force: true });
}

const damagedBatches = `
  SELECT DISTINCT b.batch FROM batches b WHERE b.state = ${batchStates.damaged}
  AND NOT EXISTS (SELECT 1 FROM dropped d WHERE d.batch = b.batch)
  UNION SELECT batch FROM (${batchesWithoutBody})`;

function refuseDamaged(scratch: AuditDatabase): void {
  const damaged = scratch.number(`SELECT count(*) FROM (${damagedBatches})`);
  if (damaged === 0) return;
  throw new Error(
    `The raw bodies of ${damaged} batches are damaged or gone, and what they counted cannot be counted again. Restore them, or do without them: --without-damaged. Nothing was changed.`,
  );
}

type Done = Omit<RebuildSummary, 'isSwitched' | 'counts' | 'left'>;

class Rebuild {
  readonly #options: RebuildOptions;
  readonly #proof: Proof;
  readonly #scratch: AuditDatabase;
  readonly #writes: FencedWrites;
  #ledgerRows = 0;

  constructor(options: RebuildOptions, proof: Proof, writes: FencedWrites) {
    this.#options = options;
    this.#proof = proof;
    this.#scratch = proof.scratch;
    this.#writes = writes;
  }

  /** Each step is whole in itself: after any of them another rebuild may begin from what is there. */
  async run(): Promise<Done> {
    const withoutDamaged = await this.#doWithoutDamaged();
    await this.#markUnmarked();
    const { corrected, steps } = await this.#correct();
    const chunksCounted = await this.#countMissing();
    await this.#writeRows();
    const { store } = this.#options;
    this.#ledgerRows += await removeStrayDedupRecords(
      this.#scratch,
      this.#writes,
      store.ledgerTable,
    );
    this.#ledgerRows += await restoreKeys(this.#scratch, this.#writes, store);
    return { corrected, steps, chunksCounted, ledgerRows: this.#ledgerRows, withoutDamaged };
  }

  async #doWithoutDamaged(): Promise<number> {
    const batches = this.#scratch.all<{ batch: string }>(damagedBatches);
    for (const { batch } of batches) {
      await this.#putRow({
        ...keyItem(droppedBatchKey(batch)),
        dropped_at: { N: String(this.#options.backoff.now()) },
        reason: { S: 'its raw body is damaged or gone' },
      });
    }
    return batches.length;
  }

  /** The counters have these chunks. Where a mark stands by now, they were counted twice. */
  async #markUnmarked(): Promise<void> {
    const chunks = this.#scratch.all<{ id: number; batch: string; chunk: number; items: number }>(
      `SELECT id, batch, chunk, items FROM chunks WHERE state = ${chunkStates.unmarked} ORDER BY id`,
    );
    for (const { id, batch, chunk, items } of chunks) {
      const mark = this.#markOf(batch, chunk, items);
      const put = this.#put(mark, 'attribute_not_exists(id)');
      const outcome = await this.#writes.write([put]);
      if (outcome === 'done') this.#ledgerRows++;
      else this.#addExcess(id);
    }
  }

  #addExcess(chunk: number): void {
    this.#scratch.run(
      `INSERT INTO verdicts
       SELECT o.counter, 'differs', coalesce(n.count, 0), coalesce(n.count, 0) - o.count, o.count
       FROM open_increments o LEFT JOIN counted n ON n.counter = o.counter WHERE o.chunk = ?
       ON CONFLICT DO UPDATE SET excess = verdicts.excess + excluded.excess`,
      chunk,
    );
  }

  #markOf(batch: string, chunk: number, items: number) {
    const now = this.#options.backoff.now();
    return {
      ...keyItem(chunkKey(batch, chunk)),
      items: { N: String(items) },
      counted_at: { N: String(now) },
      expires_at: expiry(now + this.#options.store.keepMs),
    };
  }

  async #correct(): Promise<{ corrected: number; steps: number }> {
    const rows = this.#scratch.all<Correction>(
      `SELECT c.date, c.type_state AS typeState, c.type, c.state, v.counted AS count,
         -v.excess AS change
       FROM verdicts v JOIN counters c ON c.id = v.counter
       WHERE v.kind IN ('differs', 'misnamed') ORDER BY c.date, c.type_state`,
    );
    const groups = groupCorrections(rows);
    const tables = this.#tables();
    for (const [step, group] of groups.entries()) await correct(tables, this.#writes, step, group);
    await this.#removeZeros(tables);
    return { corrected: rows.length, steps: groups.length };
  }

  /** Rows that nothing in the raw store explains: somebody made them. */
  async #removeZeros(tables: CorrectionTables): Promise<void> {
    const zeros = this.#scratch.all<CounterKey>(
      `SELECT c.date, c.type_state AS typeState FROM counters c
       JOIN counted n ON n.counter = c.id LEFT JOIN verdicts v ON v.counter = c.id
       WHERE coalesce(v.kind, 'differs') = 'differs' AND n.count - coalesce(v.excess, 0) = 0
       AND NOT EXISTS (SELECT 1 FROM expected e WHERE e.counter = c.id AND e.count <> 0)`,
    );
    for (const zero of zeros) await removeZero(tables, zero);
  }

  #tables(): CorrectionTables {
    const { dynamodb, countersTable, ledgerTable } = this.#options.store;
    return { client: dynamodb, countersTable, ledgerTable };
  }

  /**
   * Counts what is not counted, as the processor would: its own delivery then counts nothing. What
   * came lately too: whether anybody is to deliver it is not known where its mark was taken away.
   */
  async #countMissing(): Promise<number> {
    const { store, backoff, transactions } = this.#options;
    const { countersTable, ledgerTable, keepMs, dayOf } = store;
    const counterStore = dynamodbCounterStore({
      ...{ client: transactions, countersTable, ledgerTable, keepMs, backoff },
    });
    const rawStore = s3RawStore(store.s3, store.rawBucket);
    const missing = new Map<string, Set<number>>();
    for (const { batch, chunk } of chunksNotCounted(this.#scratch, Infinity)) {
      missing.set(batch, (missing.get(batch) ?? new Set()).add(chunk));
    }
    let counted = 0;
    for (const [batch, indexes] of missing) {
      const [found] = this.#scratch.all<{ raw_key: string }>(
        `SELECT raw_key FROM batches WHERE batch = ? AND state = ${batchStates.read}`,
        batch,
      );
      const raw = found === undefined ? undefined : await rawStore.get(found.raw_key);
      const cut = raw === undefined ? undefined : recut(raw, dayOf);
      if (cut === undefined || 'reason' in cut) continue;
      const deliveries = cut.chunks
        .filter(({ index }) => indexes.has(index))
        .map(({ index, events }): LedgerDelivery => ({
          ...{
            dedupKey: chunkKey(batch, index),
            increments: countEvents(events),
            items: events.length,
          },
        }));
      for (const group of groupDeliveries(deliveries)) {
        counted += (await counterStore.apply(group)).counted.length;
      }
    }
    return counted;
  }

  async #writeRows(): Promise<void> {
    const { inFlightBefore, rowsSince } = this.#proof;
    const { keepMs } = this.#options.store;
    for (const row of batchRowIssues(this.#scratch, inFlightBefore, rowsSince)) {
      const receivedAt = readRawKey(row.raw_key)?.receivedAt ?? 0;
      await this.#putRow({
        ...keyItem(batchKey(row.batch)),
        received_at: { N: String(receivedAt) },
        accepted: { N: String(row.accepted) },
        rejected: { N: String(row.rejected) },
        chunks: { N: String(row.chunks) },
        expires_at: expiry(receivedAt + keepMs),
      });
    }
    const marks = this.#scratch.all<{ batch: string; chunk: number; items: number }>(
      `SELECT c.batch, c.chunk, c.items FROM chunks c
       JOIN marks m ON m.batch = c.batch AND m.chunk = c.chunk
       WHERE m.dropped = 0 AND m.items IS NOT c.items AND c.state = ${chunkStates.marked}`,
    );
    for (const { batch, chunk, items } of marks)
      await this.#putRow(this.#markOf(batch, chunk, items));
  }

  async #putRow(item: NonNullable<TransactWriteItem['Put']>['Item']): Promise<void> {
    await this.#writes.write([this.#put(item)]);
    this.#ledgerRows++;
  }

  #put(Item: NonNullable<TransactWriteItem['Put']>['Item'], condition?: string): TransactWriteItem {
    const { ledgerTable: TableName } = this.#options.store;
    return {
      Put: { TableName, Item, ...(condition !== undefined && { ConditionExpression: condition }) },
    };
  }
}
