import {
  DeleteItemCommand,
  QueryCommand,
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
  type Item,
} from '../ledger/ledger-table.ts';

/** A counter's `count` is what was counted, `change` is what is added to it. */
export interface Correction extends CounterRow {
  /** The sort key of its row. */
  readonly typeState: string;
  readonly change: number;
}

export interface CorrectionTables {
  readonly client: Pick<DynamoDBClient, 'send'>;
  readonly countersTable: string;
  readonly ledgerTable: string;
}

/** One row of the transaction is the step's own. */
const correctionsMax = fencedWritesMax - 1;

/**
 * Puts corrections of the same date together, as many as a transaction takes: these are made at the
 * same moment.
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

/** Makes the corrections in one step, and keeps what was before in a row of the ledger. */
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
        // Sent again after its token is forgotten, it does not take effect again.
        ConditionExpression: 'attribute_not_exists(id)',
      },
    },
    ...corrections.map((each) =>
      increment(countersTable, { ...each, count: each.change }, each.typeState),
    ),
  ]);
}

/** Removes the row of a counter that is 0, unless something was added to it since. */
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

/** Takes back what rebuilds corrected, the last first. Returns how many counters that were. */
export async function restoreReplaced(
  tables: CorrectionTables,
  writes: FencedWrites,
): Promise<number> {
  let restored = 0;
  const steps = await readSteps(tables);
  for (const { entry, corrections } of steps.reverse()) {
    const taken: TransactWriteItem = {
      Delete: {
        TableName: tables.ledgerTable,
        Key: keyItem({ id: rebuildRunKey.id, entry }),
        // A step is taken back once.
        ConditionExpression: 'attribute_exists(id)',
      },
    };
    const back = corrections.map((each) =>
      increment(tables.countersTable, { ...each, count: -each.change }, each.typeState),
    );
    if ((await writes.write([taken, ...back])) === 'done') restored += corrections.length;
  }
  return restored;
}

/** Forgets what was before. Returns how many counters that were of. */
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

/** In the order in which they were made. */
async function readSteps({ client, ledgerTable }: CorrectionTables): Promise<Step[]> {
  const steps: Step[] = [];
  let ExclusiveStartKey: Item | undefined;
  do {
    const page = await client.send(
      new QueryCommand({
        TableName: ledgerTable,
        KeyConditionExpression: 'id = :id AND begins_with(entry, :step)',
        ExpressionAttributeValues: {
          ':id': { S: rebuildRunKey.id },
          ':step': { S: rebuildStepPrefix },
        },
        ConsistentRead: true,
        ExclusiveStartKey,
      }),
    );
    for (const item of page.Items ?? []) {
      const corrections = (item['corrections']?.L ?? []).map(correctionOf);
      steps.push({ entry: textOf(item, 'entry'), corrections });
    }
    ExclusiveStartKey = page.LastEvaluatedKey;
  } while (ExclusiveStartKey !== undefined);
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
