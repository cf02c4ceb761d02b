import {
  DescribeTableCommand,
  QueryCommand,
  ScanCommand,
  TransactGetItemsCommand,
  TransactionCanceledException,
  type AttributeValue,
  type DynamoDBClient,
} from '@aws-sdk/client-dynamodb';
import { ListObjectsV2Command, type S3Client } from '@aws-sdk/client-s3';

import type { BatchId } from '../../../domain/batch-id.ts';
import { typeAndStateOf } from '../../../domain/counter.ts';
import { isRetryable } from '../errors.ts';
import { waitForRetry, type Backoff } from '../../../util/backoff.ts';
import { batchGet } from '../ledger/batch-get.ts';
import { inParallel } from '../../../util/in-parallel.ts';
import { batchKey, chunkKey, idempotencyKey, keyItem, type Item } from '../ledger/ledger-table.ts';
import { ledgerRowOf, type ChunkId, type LedgerRow } from '../ledger/ledger-rows.ts';
import { s3RawStore, type S3RawBatch } from '../intake/raw-store.ts';

export interface AuditSourceOptions {
  readonly dynamodb: Pick<DynamoDBClient, 'send'>;
  readonly s3: Pick<S3Client, 'send'>;
  readonly countersTable: string;
  readonly ledgerTable: string;
  readonly rawBucket: string;
  readonly backoff: Backoff;
  /** How many parts of a table are read at the same time. */
  readonly segments: number;
}

/** An object in the bucket, as a listing tells of it. */
export interface RawObject {
  readonly rawKey: string;
  readonly bytes: number;
  /** Changes when the object does. */
  readonly etag: string;
  /** When it was put there, milliseconds since 1970; undefined where that is not told. */
  readonly storedAt: number | undefined;
}

/** A row of the counters' table, whoever wrote it. */
export interface StoredCounter {
  readonly date: string;
  readonly typeState: string;
  /** NaN where it is no number. */
  readonly count: number;
  /** Whether its type and state are those of its key. */
  readonly isNamedRight: boolean;
}

/** A counter by its keys. */
export interface CounterKey {
  readonly date: string;
  readonly typeState: string;
}

/** What a transaction saw at one moment. */
export interface Snapshot {
  /** Undefined where there is no row. */
  readonly counter: StoredCounter | undefined;
  /** Which of the chunks were marked, in their order. */
  readonly marked: readonly boolean[];
}

export interface TableSize {
  readonly items: number;
  readonly bytes: number;
}

/** So many chunks fit beside a counter into one TransactGetItems. */
export const snapshotChunksMax = 99;
const prefix = 'raw/';

/** What a proof reads of a store on AWS. All reads are consistent. */
export class AuditSource {
  readonly #options: AuditSourceOptions;
  readonly #rawStore;

  constructor(options: AuditSourceOptions) {
    this.#options = options;
    this.#rawStore = s3RawStore(options.s3, options.rawBucket);
  }

  /** All objects below `raw/` whose names lie between the bounds, a page at a time. */
  async *objects(range: { after?: string; before?: string } = {}): AsyncGenerator<RawObject[]> {
    const { after = prefix, before } = range;
    let ContinuationToken: string | undefined;
    do {
      const page = await this.#options.s3.send(
        new ListObjectsV2Command({
          Bucket: this.#options.rawBucket,
          Prefix: prefix,
          ...(ContinuationToken === undefined ? { StartAfter: after } : { ContinuationToken }),
        }),
      );
      const objects = (page.Contents ?? []).map(
        ({ Key = '', Size = 0, ETag = '', LastModified }) => ({
          ...{ rawKey: Key, bytes: Size, etag: ETag, storedAt: LastModified?.getTime() },
        }),
      );
      const wanted =
        before === undefined ? objects : objects.filter((each) => each.rawKey < before);
      yield wanted;
      if (wanted.length < objects.length) return;
      ContinuationToken = page.NextContinuationToken;
    } while (ContinuationToken !== undefined);
  }

  body(rawKey: string): Promise<S3RawBatch | undefined> {
    return this.#rawStore.get(rawKey);
  }

  /** Both tables, as DynamoDB knows them from some hours ago. */
  async sizes(): Promise<{ counters: TableSize; ledger: TableSize }> {
    const { countersTable, ledgerTable } = this.#options;
    const [counters, ledger] = await Promise.all(
      [countersTable, ledgerTable].map((name) => this.#size(name)),
    );
    return { counters: counters ?? noSize, ledger: ledger ?? noSize };
  }

  async #size(TableName: string): Promise<TableSize> {
    const { Table } = await this.#options.dynamodb.send(new DescribeTableCommand({ TableName }));
    return { items: Table?.ItemCount ?? 0, bytes: Table?.TableSizeBytes ?? 0 };
  }

  /** Every row of the ledger that says what is counted. */
  ledger(take: (rows: readonly LedgerRow[]) => void): Promise<void> {
    return this.#scan(this.#options.ledgerTable, {}, (items) =>
      take(items.flatMap((item) => ledgerRowOf(item) ?? [])),
    );
  }

  /** The rows of one batch. */
  async batchRows(batchId: BatchId): Promise<LedgerRow[]> {
    const rows: LedgerRow[] = [];
    let ExclusiveStartKey: Item | undefined;
    do {
      const page = await this.#options.dynamodb.send(
        new QueryCommand({
          TableName: this.#options.ledgerTable,
          KeyConditionExpression: 'id = :id',
          ExpressionAttributeValues: { ':id': { S: batchKey(batchId).id } },
          ConsistentRead: true,
          ExclusiveStartKey,
        }),
      );
      rows.push(...(page.Items ?? []).flatMap((item) => ledgerRowOf(item) ?? []));
      ExclusiveStartKey = page.LastEvaluatedKey;
    } while (ExclusiveStartKey !== undefined);
    return rows;
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
      let ExclusiveStartKey: Item | undefined;
      do {
        const page = await dynamodb.send(
          new ScanCommand({
            ...{ TableName, Segment, TotalSegments: segments, ConsistentRead: true },
            ...{ ExclusiveStartKey, ...filter },
          }),
        );
        take(page.Items ?? []);
        ExclusiveStartKey = page.LastEvaluatedKey;
      } while (ExclusiveStartKey !== undefined);
    });
  }

  /** The marks of those chunks that have one. */
  marksOf(chunks: readonly ChunkId[]): Promise<LedgerRow[]> {
    return this.#rowsOf(chunks.map(({ batchId, index }) => keyItem(chunkKey(batchId, index))));
  }

  /** The rows of those idempotency keys that have one. */
  keyRowsOf(keyIds: readonly string[]): Promise<LedgerRow[]> {
    return this.#rowsOf(keyIds.map((keyId) => keyItem(idempotencyKey(keyId))));
  }

  async #rowsOf(keys: readonly Item[]): Promise<LedgerRow[]> {
    const { dynamodb: client, ledgerTable: table, backoff } = this.#options;
    const options = { client, table, isConsistent: true, width: 1, backoff };
    const items = await batchGet(options, keys);
    return items.map(ledgerRowOf).filter((row) => row !== undefined);
  }

  /** A counter and the marks of some chunks, of one moment. */
  async snapshot(key: CounterKey, chunks: readonly ChunkId[]): Promise<Snapshot> {
    const { dynamodb, countersTable, ledgerTable, backoff } = this.#options;
    const Counter = { date: { S: key.date }, type_state: { S: key.typeState } };
    const TransactItems = [
      { Get: { TableName: countersTable, Key: Counter } },
      ...chunks.map(({ batchId, index }) => ({
        Get: { TableName: ledgerTable, Key: keyItem(chunkKey(batchId, index)) },
      })),
    ];
    for (let attempts = 1; ; attempts++) {
      try {
        const { Responses = [] } = await dynamodb.send(
          new TransactGetItemsCommand({ TransactItems }),
        );
        const [counter, ...marks] = Responses.map(({ Item }) => Item);
        return {
          counter: counter === undefined ? undefined : counterOf(counter),
          marked: marks.map((item) => item !== undefined && ledgerRowOf(item)?.kind === 'mark'),
        };
      } catch (error) {
        // Somebody writes one of the rows in this moment.
        const isPassing = error instanceof TransactionCanceledException || isRetryable(error);
        if (!isPassing || !(await waitForRetry(backoff, attempts))) throw error;
      }
    }
  }
}

const noSize: TableSize = { items: 0, bytes: 0 };

function counterOf(item: Record<string, AttributeValue>): StoredCounter {
  const typeState = item['type_state']?.S ?? '';
  const named = typeAndStateOf(typeState);
  // Others may leave the names out: the key has them.
  const { S: type = named.type } = item['type'] ?? {};
  const { S: state = named.state } = item['state'] ?? {};
  const isNamedRight = type === named.type && state === named.state;
  return {
    ...{ date: item['date']?.S ?? '', typeState, isNamedRight },
    count: Number(item['count']?.N),
  };
}
