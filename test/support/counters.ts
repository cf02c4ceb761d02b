import type { CounterRow } from '../../src/domain/counter.ts';
import type { CounterQuery, CounterReader, Queries } from '../../src/pipeline/ports.ts';

/** All rows of a query. */
export async function readCounters(
  reader: CounterReader,
  query: CounterQuery,
): Promise<CounterRow[]> {
  const all: CounterRow[] = [];
  await reader.query(query, (rows) => {
    all.push(...rows);
    return true;
  });
  return all;
}

/** All counters of a pipeline, as `/stats` gives them. */
export async function countersOf(queries: Pick<Queries, 'stats'>): Promise<CounterRow[]> {
  const query = { from: '0001-01-01', to: '9999-12-31', types: [], states: [] };
  const answer = await queries.stats({ query, groupBy: undefined, format: 'ndjson' }, []);
  if (answer.kind !== 'whole' && answer.kind !== 'stream') throw new Error(answer.kind);
  const pieces = answer.kind === 'whole' ? [answer.bytes] : await Array.fromAsync(answer.pieces);
  const lines = Buffer.concat(pieces).toString().split('\n').slice(0, -1);
  return lines.map((line) => JSON.parse(line) as CounterRow);
}
