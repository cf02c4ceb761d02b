import {
  ConditionalCheckFailedException,
  DescribeTableCommand,
  GetItemCommand,
  PutItemCommand,
  type DynamoDBClient,
} from '@aws-sdk/client-dynamodb';

import { keyItem, textOf, type Item, type LedgerKey } from './ledger-table.ts';

export interface StoreTables {
  readonly client: Pick<DynamoDBClient, 'send'>;
  readonly countersTable: string;
  readonly ledgerTable: string;
}

/** Whether the ledger tells what is in the counters. */
export type TablePair =
  | { readonly kind: 'recorded' }
  /** The ledger has no record yet, and both tables are as they were made. */
  | { readonly kind: 'new' }
  /** One of the tables, or both, is a copy. */
  | { readonly kind: 'parted'; readonly why: string };

/** The ledger may not tell what is in the counters: what asks it for marks would count again. */
export class TablesParted extends Error {
  override readonly name = 'TablesParted';

  constructor(why: string) {
    // What to do comes first: a log takes 300 characters, and names of tables may be long.
    super(
      `Batches could be counted again. After a restore run audit and rebuild, then \`npx device-pipeline adopt\` (docs/restoring.md): ${why}.`,
    );
  }
}

const pairKey: LedgerKey = { id: 'settings', entry: 'tables' };
/** A deployment makes both tables within seconds. */
const madeTogetherMs = 3_600_000;

/** A table by what no other table has, not even one that is restored under the same name. */
interface TableIdentity {
  readonly id: string;
  readonly createdAt: number;
  readonly isRestored: boolean;
}

/**
 * Compares the tables with the record in the ledger. Point-in-time recovery, backups and imports
 * always make a new table: the copied record then names the tables of before.
 */
export async function findTablePair(tables: StoreTables): Promise<TablePair> {
  return (await look(tables)).pair;
}

/** @throws {TablesParted} */
export async function checkTablePair(tables: StoreTables): Promise<void> {
  const pair = await findTablePair(tables);
  if (pair.kind === 'parted') throw new TablesParted(pair.why);
}

/** As `checkTablePair`, and records new tables. */
export async function holdToTablePair(tables: StoreTables): Promise<void> {
  const { pair, item } = await look(tables);
  if (pair.kind === 'parted') throw new TablesParted(pair.why);
  if (pair.kind === 'recorded') return;
  try {
    const ConditionExpression = 'attribute_not_exists(id)';
    const { client, ledgerTable: TableName } = tables;
    await client.send(new PutItemCommand({ TableName, Item: item, ConditionExpression }));
  } catch (error) {
    if (!(error instanceof ConditionalCheckFailedException)) throw error;
    // Another sweep was first.
    await checkTablePair(tables);
  }
}

/** Records that these two tables belong together. Returns how they stood before. */
export async function adoptTables(tables: StoreTables): Promise<TablePair> {
  const { pair, item } = await look(tables);
  if (pair.kind !== 'parted') return pair;
  await tables.client.send(new PutItemCommand({ TableName: tables.ledgerTable, Item: item }));
  return pair;
}

/** How the tables stand to each other, and the record that names them both. */
async function look(tables: StoreTables): Promise<{ pair: TablePair; item: Item }> {
  const { client, countersTable, ledgerTable } = tables;
  const Key = keyItem(pairKey);
  const [counters, ledger, { Item: record }] = await Promise.all([
    identify(client, countersTable),
    identify(client, ledgerTable),
    client.send(new GetItemCommand({ TableName: ledgerTable, Key, ConsistentRead: true })),
  ]);
  const item = { ...Key, counters_id: { S: counters.id }, ledger_id: { S: ledger.id } };
  const why =
    record === undefined
      ? whyNotNew(tables, counters, ledger)
      : whyNotRecorded(tables, record, item);
  if (why !== undefined) return { pair: { kind: 'parted', why }, item };
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
  if (Math.abs(counters.createdAt - ledger.createdAt) <= madeTogetherMs) return undefined;
  return `the counters table ${countersTable} and the ledger table ${ledgerTable} were not made together`;
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
    // DynamoDB Local gives no ids.
    id: TableId ?? `${TableArn} ${createdAt}`,
    createdAt,
    isRestored: RestoreSummary !== undefined,
  };
}
