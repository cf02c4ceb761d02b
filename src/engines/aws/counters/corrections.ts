import {
  DeleteItemCommand,
  type AttributeValue,
  type DynamoDBClient,
  type TransactWriteItem,
} from '@aws-sdk/client-dynamodb';

import type { CounterRow } from '../../../domain/counter.ts';
import { increment } from './counter-store.ts';
import { fencedWritesMax, type FencedWrites } from '../ledger/fenced-writes.ts';
import {
  keyItem,
  rebuildRunKey,
  rebuildStepKey,
  rebuildStepPrefix,
  textOf,
} from '../ledger/ledger-table.ts';
import { ifNew, rowPages } from '../ledger/items.ts';

/** `count`: the counter before the correction; `change`: what to add. */
export interface Correction extends CounterRow {
  /** The sort key of the counter's row. */
  readonly typeState: string;
  readonly change: number;
}

export interface CorrectionTables {
  readonly client: Pick<DynamoDBClient, 'send'>;
  readonly countersTable: string;
  readonly ledgerTable: string;
}

/** One write of each transaction is the step's own row. */
const correctionsMax = fencedWritesMax - 1;

/**
 * Groups corrections of one date, as many as fit into a transaction: those of a group take effect
 * together.
 */
export function groupCorrections(corrections: readonly Correction[]): Correction[][] {
  const groups: Correction[][] = [];
  for (const correction of corrections) {
    const open = groups.at(-1);
    const isRoom = open !== undefined && open.length < correctionsMax;
    if (isRoom && open[0]?.date === correction.date) open.push(correction);
    else groups.push([correction]);
  }
  return groups;
}

/** Makes the corrections in one transaction, and records the previous counts in the ledger. */
export async function correct(
  { countersTable, ledgerTable }: CorrectionTables,
  writes: FencedWrites,
  step: number,
  corrections: readonly Correction[],
): Promise<void> {
  await writes.write([
    {
      Put: {
        TableName: ledgerTable,
        Item: {
          ...keyItem(rebuildStepKey(writes.runId, step)),
          corrections: { L: corrections.map(itemOf) },
        },
        // A repeat after the token has expired has no effect.
        ...ifNew,
      },
    },
    ...corrections.map((each) =>
      increment(countersTable, { ...each, count: each.change }, each.typeState),
    ),
  ]);
}

/** Deletes the row of a counter that is still 0. */
export async function removeZero(
  { client, countersTable }: CorrectionTables,
  { date, typeState }: { date: string; typeState: string },
): Promise<void> {
  try {
    await client.send(
      new DeleteItemCommand({
        TableName: countersTable,
        Key: { date: { S: date }, type_state: { S: typeState } },
        ConditionExpression: '#count = :zero',
        ExpressionAttributeNames: { '#count': 'count' },
        ExpressionAttributeValues: { ':zero': { N: '0' } },
      }),
    );
  } catch (error) {
    if (!(error instanceof Error) || error.name !== 'ConditionalCheckFailedException') throw error;
  }
}

/** Undoes the corrections of rebuilds, the last first. Returns the number of counters. */
export async function restoreReplaced(
  tables: CorrectionTables,
  writes: FencedWrites,
): Promise<number> {
  let restored = 0;
  const steps = await readSteps(tables);
  for (const { entry, corrections } of steps.reverse()) {
    const step: TransactWriteItem = {
      Delete: {
        TableName: tables.ledgerTable,
        Key: keyItem({ id: rebuildRunKey.id, entry }),
        // Undoes a step once.
        ConditionExpression: 'attribute_exists(id)',
      },
    };
    const undone = corrections.map((each) =>
      increment(tables.countersTable, { ...each, count: -each.change }, each.typeState),
    );
    if ((await writes.write([step, ...undone])) === 'done') restored += corrections.length;
  }
  return restored;
}

/** Deletes the recorded corrections. Returns the number of counters. */
export async function dropReplaced(tables: CorrectionTables): Promise<number> {
  const steps = await readSteps(tables);
  for (const { entry } of steps) {
    const Key = keyItem({ id: rebuildRunKey.id, entry });
    await tables.client.send(new DeleteItemCommand({ TableName: tables.ledgerTable, Key }));
  }
  return steps.reduce((sum, { corrections }) => sum + corrections.length, 0);
}

interface Step {
  readonly entry: string;
  readonly corrections: readonly Correction[];
}

/** The recorded steps, in order. */
async function readSteps({ client, ledgerTable }: CorrectionTables): Promise<Step[]> {
  const steps: Step[] = [];
  const pages = rowPages(client, ledgerTable, rebuildRunKey.id, rebuildStepPrefix);
  for await (const page of pages) {
    for (const item of page) {
      const corrections = (item['corrections']?.L ?? []).map(correctionOf);
      steps.push({ entry: textOf(item, 'entry'), corrections });
    }
  }
  return steps;
}

function itemOf({ date, typeState, type, state, count, change }: Correction): AttributeValue {
  const texts = {
    date: { S: date },
    type: { S: type },
    state: { S: state },
    type_state: { S: typeState },
  };
  return { M: { ...texts, before: { N: String(count) }, change: { N: String(change) } } };
}

function correctionOf({ M: item = {} }: AttributeValue): Correction {
  return {
    ...{ date: textOf(item, 'date'), type: textOf(item, 'type'), state: textOf(item, 'state') },
    typeState: textOf(item, 'type_state'),
    ...{ count: Number(item['before']?.N), change: Number(item['change']?.N) },
  };
}
