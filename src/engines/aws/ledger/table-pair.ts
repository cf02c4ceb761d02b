import { DescribeTableCommand, type DynamoDBClient } from '@aws-sdk/client-dynamodb';

import { getRow, ifNew, putRow } from './items.ts';
import { keyItem, textOf, type Item, type LedgerKey } from './ledger-table.ts';

interface StoreTables {
  readonly client: Pick<DynamoDBClient, 'send'>;
  readonly countersTable: string;
  readonly ledgerTable: string;
}

/** Whether the ledger's dedup records match the counters. */
export type TablePair =
  | { readonly kind: 'recorded' }
  /** The ledger names no tables yet, and neither table was restored. */
  | { readonly kind: 'new' }
  /** A table, or both, is a restored copy. */
  | { readonly kind: 'mismatched'; readonly why: string };

/** The ledger may lack dedup records of counted chunks, which would be counted again. */
export class TablesMismatched extends Error {
  override readonly name = 'TablesMismatched';

  constructor(why: string) {
    // The advice comes first: logs cut messages at 300 characters, and table names may be long.
    super(
      `Batches could be counted again. After a restore run audit and rebuild, then \`npx device-pipeline adopt\` (docs/restoring.md): ${why}.`,
    );
  }
}

const pairKey: LedgerKey = { id: 'settings', entry: 'tables' };
/** A deployment creates both tables within seconds. */
const createdTogetherMs = 3_600_000;

/** Distinguishes a table from any other, even from one that was restored under the same name. */
interface TableIdentity {
  readonly id: string;
  readonly createdAt: number;
  readonly isRestored: boolean;
}

/**
 * Compares the tables with the record in the ledger. Point-in-time recovery, backups and imports
 * always create a new table: the record in a restored copy names the original tables.
 */
export async function findTablePair(tables: StoreTables): Promise<TablePair> {
  return (await inspect(tables)).pair;
}

/** @throws {TablesMismatched} */
export async function checkTablePair(tables: StoreTables): Promise<void> {
  const pair = await findTablePair(tables);
  if (pair.kind === 'mismatched') throw new TablesMismatched(pair.why);
}

/** Like `checkTablePair`; also records new tables. */
export async function ensureTablePair(tables: StoreTables): Promise<void> {
  const { pair, item } = await inspect(tables);
  if (pair.kind === 'mismatched') throw new TablesMismatched(pair.why);
  if (pair.kind === 'recorded') return;
  const isWritten = await putRow(tables.client, tables.ledgerTable, item, ifNew);
  // Another sweep was first.
  if (!isWritten) await checkTablePair(tables);
}

/** Records that these two tables belong together. Returns the state before. */
export async function adoptTables(tables: StoreTables): Promise<TablePair> {
  const { pair, item } = await inspect(tables);
  if (pair.kind !== 'mismatched') return pair;
  await putRow(tables.client, tables.ledgerTable, item);
  return pair;
}

/** The state of the tables, and the record that names them both. */
async function inspect(tables: StoreTables): Promise<{ pair: TablePair; item: Item }> {
  const { client, countersTable, ledgerTable } = tables;
  const [counters, ledger, record] = await Promise.all([
    identify(client, countersTable),
    identify(client, ledgerTable),
    getRow(client, ledgerTable, pairKey),
  ]);
  const item = {
    ...keyItem(pairKey),
    counters_id: { S: counters.id },
    ledger_id: { S: ledger.id },
  };
  const why =
    record === undefined
      ? whyNotNew(tables, counters, ledger)
      : whyNotRecorded(tables, record, item);
  if (why !== undefined) return { pair: { kind: 'mismatched', why }, item };
  return { pair: { kind: record === undefined ? 'new' : 'recorded' }, item };
}

function whyNotNew(
  { countersTable, ledgerTable }: StoreTables,
  counters: TableIdentity,
  ledger: TableIdentity,
): string | undefined {
  const restored = [
    ...(counters.isRestored ? [`the counters table ${countersTable}`] : []),
    ...(ledger.isRestored ? [`the ledger table ${ledgerTable}`] : []),
  ];
  if (restored.length > 0) return `restored from a backup: ${restored.join(' and ')}`;
  if (Math.abs(counters.createdAt - ledger.createdAt) <= createdTogetherMs) return undefined;
  return `the counters table ${countersTable} and the ledger table ${ledgerTable} were not created together`;
}

function whyNotRecorded(
  { countersTable, ledgerTable }: StoreTables,
  record: Item,
  item: Item,
): string | undefined {
  const isOther = (name: string) => textOf(record, name) !== textOf(item, name);
  const [hasOtherCounters, isOtherLedger] = [isOther('counters_id'), isOther('ledger_id')];
  if (hasOtherCounters && isOtherLedger) {
    return `the tables ${countersTable} and ${ledgerTable} are copies`;
  }
  if (isOtherLedger) return `the ledger table ${ledgerTable} is a copy of an earlier one`;
  if (!hasOtherCounters) return undefined;
  return `the counters table ${countersTable} is not the one that the ledger ${ledgerTable} belongs to`;
}

async function identify(client: StoreTables['client'], TableName: string): Promise<TableIdentity> {
  const { Table } = await client.send(new DescribeTableCommand({ TableName }));
  const { TableId, TableArn = TableName, CreationDateTime, RestoreSummary } = Table ?? {};
  const createdAt = CreationDateTime?.getTime() ?? 0;
  return {
    // DynamoDB Local has no table ids.
    id: TableId ?? `${TableArn} ${createdAt}`,
    createdAt,
    isRestored: RestoreSummary !== undefined,
  };
}
