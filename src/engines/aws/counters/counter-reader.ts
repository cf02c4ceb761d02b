import { QueryCommand, type DynamoDBClient } from '@aws-sdk/client-dynamodb';

import {
  addIncrement,
  compareCounters,
  rowsOfIncrements,
  typeAndStateOf,
  type CounterRow,
  type Increments,
} from '../../../domain/counter.ts';
import { datesInRange, type CalendarDate } from '../../../domain/timestamp.ts';
import type { CounterQuery, CounterReader } from '../../../pipeline/ports.ts';
import type { Item } from '../ledger/ledger-table.ts';

/** So many days are asked for ahead of the one that is taken. */
const parallelQueries = 16;

/**
 * Reads the counters, one query a day, including rows that others wrote: those with keys and
 * `count` alone, and several rows of one counter whose keys differ in how they are escaped.
 */
export function dynamodbCounterReader(
  client: Pick<DynamoDBClient, 'send'>,
  countersTable: string,
): CounterReader {
  return {
    async query(query, take) {
      const days = datesInRange(query.from, query.to);
      const read = (date: CalendarDate) => {
        const day = readDay(client, countersTable, date);
        // It is waited for later, or not at all; its failure is told to who waits.
        day.catch(() => undefined);
        return day;
      };
      const ahead = days.slice(0, parallelQueries).map(read);
      let next = ahead.length;
      try {
        for (let day = ahead.shift(); day !== undefined; day = ahead.shift()) {
          const rows = await day;
          const date = days[next++];
          if (date !== undefined) ahead.push(read(date));
          if (!take(selectRows(rows, query))) return false;
        }
        return true;
      } finally {
        // No request goes on behind an answer.
        await Promise.allSettled(ahead);
      }
    },
  };
}

async function readDay(
  client: Pick<DynamoDBClient, 'send'>,
  TableName: string,
  date: CalendarDate,
): Promise<CounterRow[]> {
  const tally: Increments = new Map();
  let ExclusiveStartKey: Item | undefined;
  do {
    const page = await client.send(
      new QueryCommand({
        TableName,
        KeyConditionExpression: '#date = :date',
        ExpressionAttributeNames: { '#date': 'date' },
        ExpressionAttributeValues: { ':date': { S: date } },
        ConsistentRead: true,
        ExclusiveStartKey,
      }),
    );
    for (const item of page.Items ?? []) addItem(tally, date, item);
    ExclusiveStartKey = page.LastEvaluatedKey;
  } while (ExclusiveStartKey !== undefined);
  return [...rowsOfIncrements(tally)].sort(compareCounters);
}

function addItem(tally: Increments, date: CalendarDate, item: Item): void {
  const named = typeAndStateOf(item['type_state']?.S ?? '');
  const type = item['type']?.S ?? named.type;
  const state = item['state']?.S ?? named.state;
  addIncrement(tally, { date, type, state }, Number(item['count']?.N ?? 0));
}

function selectRows(rows: readonly CounterRow[], { types, states }: CounterQuery): CounterRow[] {
  return rows.filter(
    ({ type, state }) =>
      (types.length === 0 || types.includes(type)) &&
      (states.length === 0 || states.includes(state)),
  );
}
