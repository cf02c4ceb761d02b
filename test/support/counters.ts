import type { CounterRow } from '../../src/domain/counter.ts';
import type { CounterQuery, CounterReader } from '../../src/pipeline/ports.ts';

/** All rows of a query; of any date if none is given. */
export async function readCounters(
  reader: CounterReader,
  query: CounterQuery = { from: '0001-01-01', to: '9999-12-31', types: [], states: [] },
): Promise<CounterRow[]> {
  const all: CounterRow[] = [];
  await reader.query(query, (rows) => {
    all.push(...rows);
    return true;
  });
  return all;
}
