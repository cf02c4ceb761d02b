import {
  ConditionalCheckFailedException,
  DescribeTableCommand,
  GetItemCommand,
  PutItemCommand,
  type TableDescription,
} from '@aws-sdk/client-dynamodb';
import { describe, expect, it } from 'vitest';

import { safeError } from '../../../src/entry/cli/error-text.ts';
import type { Item } from '../../../src/engines/aws/ledger/ledger-table.ts';
import {
  adoptTables,
  checkTablePair,
  findTablePair,
  ensureTablePair,
  TablesMismatched,
} from '../../../src/engines/aws/ledger/table-pair.ts';

const at = Date.UTC(2026, 0, 31, 12);
const hour = 3_600_000;
const table = (TableId: string, more: TableDescription = {}): TableDescription => ({
  ...{ TableId, CreationDateTime: new Date(at) },
  ...more,
});
const restored: TableDescription = {
  RestoreSummary: { RestoreDateTime: new Date(at), RestoreInProgress: false },
};

/** Two tables; it simulates only the record of the pair. */
class Tables {
  record: Item | undefined;
  counters: TableDescription;
  ledger: TableDescription;
  readonly countersTable = 'C';
  readonly ledgerTable = 'L';
  /** Runs before the next write. */
  meanwhile: (() => void) | undefined;

  constructor(counters = table('c1'), ledger = table('l1')) {
    this.counters = counters;
    this.ledger = ledger;
  }

  readonly client = {
    send: (command: unknown) => Promise.resolve(this.#answer(command)) as Promise<never>,
  };

  #answer(command: unknown): object {
    if (command instanceof DescribeTableCommand) {
      return { Table: command.input.TableName === 'C' ? this.counters : this.ledger };
    }
    if (command instanceof GetItemCommand) return { Item: this.record };
    if (!(command instanceof PutItemCommand)) throw new Error('another command');
    this.meanwhile?.();
    if (command.input.ConditionExpression !== undefined && this.record !== undefined) {
      throw new ConditionalCheckFailedException({ message: '', $metadata: {} });
    }
    this.record = command.input.Item;
    return {};
  }
}

async function recorded(): Promise<Tables> {
  const tables = new Tables();
  await ensureTablePair(tables);
  expect(tables.record).toBeDefined();
  return tables;
}

describe('the pair of tables', () => {
  it('is recorded if both tables are new', async () => {
    const tables = await recorded();
    const { record } = tables;
    await ensureTablePair(tables);
    await checkTablePair(tables);
    expect(tables.record).toEqual(record);
  });

  it('is not recorded by a check', async () => {
    const tables = new Tables();
    await checkTablePair(tables);
    expect(await findTablePair(tables)).toEqual({ kind: 'new' });
    expect(tables.record).toBeUndefined();
  });

  it.each([
    ['counters', table('c2'), table('l1'), 'the counters table C is not the one that the ledger L'],
    ['ledger', table('c1'), table('l2'), 'the ledger table L is a copy of an earlier one'],
    ['both', table('c2'), table('l2'), 'the tables C and L are copies'],
  ])(
    'is parted where there is another table under the name: %s',
    async (_, counters, ledger, why) => {
      const tables = await recorded();
      Object.assign(tables, { counters, ledger });
      const { record } = tables;
      await expect(checkTablePair(tables)).rejects.toThrow(TablesMismatched);
      await expect(ensureTablePair(tables)).rejects.toThrow(why);
      expect(tables.record).toEqual(record);

      expect(await adoptTables(tables)).toMatchObject({ kind: 'mismatched' });
      await ensureTablePair(tables);
      expect(await adoptTables(tables)).toEqual({ kind: 'recorded' });
    },
  );

  it.each([
    [table('c1', restored), table('l1'), 'restored from a backup: the counters table C.'],
    [table('c1'), table('l1', restored), 'restored from a backup: the ledger table L.'],
    [
      table('c1', restored),
      table('l1', restored),
      'restored from a backup: the counters table C and the ledger table L.',
    ],
    [
      table('c1'),
      table('l1', { CreationDateTime: new Date(at + 2 * hour) }),
      'the counters table C and the ledger table L were not created together.',
    ],
  ])('is not treated as new: case %#', async (counters, ledger, why) => {
    const tables = new Tables(counters, ledger);
    await expect(ensureTablePair(tables)).rejects.toThrow(why);
    expect(tables.record).toBeUndefined();
    await adoptTables(tables);
    await ensureTablePair(tables);
  });

  it('respects a concurrent record of another sweep', async () => {
    const tables = new Tables();
    const other = await recorded();
    tables.meanwhile = () => (tables.record = other.record);
    await ensureTablePair(tables);

    const late = new Tables(table('c2'));
    late.meanwhile = () => (late.record = other.record);
    await expect(ensureTablePair(late)).rejects.toThrow(TablesMismatched);
  });

  it('names the remedy in a log line, however long the table names are', () => {
    const { error } = safeError(new TablesMismatched(`the table ${'x'.repeat(255)} is a copy`));
    expect(error).toMatch(
      /^TablesMismatched: .*`npx device-pipeline adopt` \(docs\/restoring\.md\): /,
    );
  });
});
