import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';

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
import { queryPages } from '../ledger/items.ts';

/** The reader queries these days ahead of the one it hands over. */
const parallelQueries = 16;

/**
 * Reads the counters, one query a day. It also reads rows that other programs wrote: rows that have
 * only the key and `count`, and several rows of one counter whose keys are escaped differently.
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
        // The loop below awaits it later, or never: do not report an unhandled rejection.
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
        // No request outlives the response.
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
  const increments: Increments = new Map();
  const pages = queryPages(client, {
    TableName,
    KeyConditionExpression: '#date = :date',
    ExpressionAttributeNames: { '#date': 'date' },
    ExpressionAttributeValues: { ':date': { S: date } },
  });
  for await (const page of pages) for (const item of page) addItem(increments, date, item);
  return [...rowsOfIncrements(increments)].sort(compareCounters);
}

function addItem(increments: Increments, date: CalendarDate, item: Item): void {
  const named = typeAndStateOf(item['type_state']?.S ?? '');
  const type = item['type']?.S ?? named.type;
  const state = item['state']?.S ?? named.state;
  addIncrement(increments, { date, type, state }, Number(item['count']?.N ?? 0));
}

function selectRows(rows: readonly CounterRow[], { types, states }: CounterQuery): CounterRow[] {
  return rows.filter(
    ({ type, state }) =>
      (types.length === 0 || types.includes(type)) &&
      (states.length === 0 || states.includes(state)),
  );
}
