import {
  DescribeTableCommand,
  TransactGetItemsCommand,
  TransactionCanceledException,
  type AttributeValue,
  type DynamoDBClient,
} from '@aws-sdk/client-dynamodb';
import type { S3Client } from '@aws-sdk/client-s3';

import type { BatchId } from '../../../domain/batch-id.ts';
import { typeAndStateOf } from '../../../domain/counter.ts';
import { isRetryable } from '../errors.ts';
import { withRetries, type Backoff } from '../../../util/backoff.ts';
import { inParallel } from '../../../util/in-parallel.ts';
import { dedupKeyOf, dedupStateIn, readDedupRows, rowTextOf } from '../ledger/dedup-records.ts';
import { batchKey, idempotencyKey, keyItem, type Item } from '../ledger/ledger-table.ts';
import { chunkRowOf, ledgerRowsOf, type ChunkId, type LedgerRow } from '../ledger/ledger-rows.ts';
import { batchGet, rowPages, scanPages } from '../ledger/items.ts';
import { s3BodyGroups, type BodyGroups } from '../intake/body-groups.ts';
import { s3RawStore, type S3RawStore } from '../intake/raw-store.ts';

interface AuditSourceOptions {
  readonly dynamodb: Pick<DynamoDBClient, 'send'>;
  readonly s3: Pick<S3Client, 'send'>;
  readonly countersTable: string;
  readonly ledgerTable: string;
  readonly rawBucket: string;
  readonly backoff: Backoff;
  /** How many segments of a table to scan concurrently. */
  readonly segments: number;
}

/** A row of the counters table, perhaps of another program. */
export interface StoredCounter {
  readonly date: string;
  readonly typeState: string;
  /** NaN if the row has no number. */
  readonly count: number;
  /** Whether its type and state are those of its key. */
  readonly isNamedRight: boolean;
}

/** A counter by its keys. */
export interface CounterKey {
  readonly date: string;
  readonly typeState: string;
}

/** The result of one transaction. */
export interface Snapshot {
  /** Undefined if there is no row. */
  readonly counter: StoredCounter | undefined;
  /** Whether each of the chunks had a dedup record, in their order. */
  readonly recorded: readonly boolean[];
}

/** How many chunks fit beside a counter into one TransactGetItems. */
export const snapshotChunksMax = 99;

/** The reads of an audit of a store on AWS. All reads are consistent. */
export class AuditSource {
  readonly #options: AuditSourceOptions;
  readonly rawStore: S3RawStore;
  readonly groups: BodyGroups;

  constructor(options: AuditSourceOptions) {
    this.#options = options;
    this.rawStore = s3RawStore(options.s3, options.rawBucket);
    this.groups = s3BodyGroups(options.s3, options.rawBucket);
  }

  /** The sizes of both tables in bytes; DynamoDB updates them every few hours. */
  async sizes(): Promise<{ counters: number; ledger: number }> {
    const { countersTable, ledgerTable } = this.#options;
    const [counters, ledger] = await Promise.all([
      this.#size(countersTable),
      this.#size(ledgerTable),
    ]);
    return { counters, ledger };
  }

  async #size(TableName: string): Promise<number> {
    const { Table } = await this.#options.dynamodb.send(new DescribeTableCommand({ TableName }));
    return Table?.TableSizeBytes ?? 0;
  }

  /** Every ledger row about counted batches, chunks or messages. */
  ledger(take: (rows: readonly LedgerRow[]) => void): Promise<void> {
    return this.#scan(this.#options.ledgerTable, {}, (items) => take(rowsOf(items)));
  }

  /** The rows of one batch. */
  async batchRows(batchId: BatchId): Promise<LedgerRow[]> {
    const { dynamodb, ledgerTable } = this.#options;
    const pages = await Array.fromAsync(rowPages(dynamodb, ledgerTable, batchKey(batchId).id));
    const chunk = { batchId, index: 0 };
    const isInBlock = dedupKeyOf(batchId, 0).number !== undefined;
    return [...rowsOf(pages.flat()), ...(isInBlock ? await this.dedupRecordsOf([chunk]) : [])];
  }

  /** Every counter of the days from `from` to `to`, both included. */
  counters(
    { from, to }: { from: string; to: string },
    take: (rows: readonly StoredCounter[]) => void,
  ): Promise<void> {
    const range = {
      FilterExpression: '#date BETWEEN :from AND :to',
      ExpressionAttributeNames: { '#date': 'date' },
      ExpressionAttributeValues: { ':from': { S: from }, ':to': { S: to } },
    };
    return this.#scan(this.#options.countersTable, range, (items) => take(items.map(counterOf)));
  }

  async #scan(TableName: string, filter: object, take: (items: readonly Item[]) => void) {
    const { segments, dynamodb } = this.#options;
    const all = Array.from({ length: segments }, (_, segment) => segment);
    await inParallel(segments, all, async (Segment) => {
      const pages = scanPages(dynamodb, { TableName, Segment, TotalSegments: segments, ...filter });
      for await (const page of pages) take(page);
    });
  }

  /** The existing dedup records of the chunks. */
  async dedupRecordsOf(chunks: readonly ChunkId[]): Promise<LedgerRow[]> {
    const keys = chunks.map(({ batchId, index }) => dedupKeyOf(batchId, index));
    const rowOf = await readDedupRows(this.#reads(), keys);
    return chunks.flatMap((chunk) => {
      const key = dedupKeyOf(chunk.batchId, chunk.index);
      return chunkRowOf(rowOf(key), chunk) ?? [];
    });
  }

  /** The existing rows of the idempotency keys. */
  async keyRowsOf(keyIds: readonly string[]): Promise<LedgerRow[]> {
    const keys = keyIds.map((keyId) => keyItem(idempotencyKey(keyId)));
    return rowsOf(await batchGet(this.#reads(), keys));
  }

  #reads() {
    const { dynamodb: client, ledgerTable: table, backoff } = this.#options;
    return { client, table, isConsistent: true, width: 1, backoff };
  }

  /** Reads a counter and the dedup records of some chunks at one moment. */
  async snapshot(key: CounterKey, chunks: readonly ChunkId[]): Promise<Snapshot> {
    const { dynamodb, countersTable, ledgerTable, backoff } = this.#options;
    const Counter = { date: { S: key.date }, type_state: { S: key.typeState } };
    const keys = chunks.map(({ batchId, index }) => dedupKeyOf(batchId, index));
    const rows = new Map(keys.map((dedupKey) => [rowTextOf(dedupKey), keyItem(dedupKey)]));
    const TransactItems = [
      { Get: { TableName: countersTable, Key: Counter } },
      ...[...rows.values()].map((Key) => ({ Get: { TableName: ledgerTable, Key } })),
    ];
    // Another transaction may be writing one of the rows.
    const mayPass = (error: unknown) =>
      error instanceof TransactionCanceledException || isRetryable(error);
    const { Responses = [] } = await withRetries(backoff, mayPass, () =>
      dynamodb.send(new TransactGetItemsCommand({ TransactItems })),
    );
    const [counter, ...items] = Responses.map(({ Item }) => Item);
    const found = new Map([...rows.keys()].map((name, at) => [name, items[at]]));
    return {
      counter: counter === undefined ? undefined : counterOf(counter),
      recorded: keys.map((each) => dedupStateIn(found.get(rowTextOf(each)), each) === 'counted'),
    };
  }
}

function rowsOf(items: readonly Item[]): LedgerRow[] {
  return items.flatMap(ledgerRowsOf);
}

function counterOf(item: Record<string, AttributeValue>): StoredCounter {
  const typeState = item['type_state']?.S ?? '';
  const named = typeAndStateOf(typeState);
  // Rows of other programs may have the names only in the key.
  const { S: type = named.type } = item['type'] ?? {};
  const { S: state = named.state } = item['state'] ?? {};
  const isNamedRight = type === named.type && state === named.state;
  return {
    ...{ date: item['date']?.S ?? '', typeState, isNamedRight },
    count: Number(item['count']?.N),
  };
}
