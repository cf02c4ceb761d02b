import pg from 'pg';

import { compareCounters, rowsOfIncrements, type Increments } from '../../../src/domain/counter.ts';
import type { Store } from '../front.ts';

/** One statement stores the bodies and adds to the counters: a transaction in one round trip. */
export async function openPostgres(directory: string): Promise<Store> {
  // One at a time if batches are written in groups.
  const client = new pg.Pool({ host: directory, user: 'bench', database: 'postgres', max: 16 });
  await client.query(`
    CREATE TABLE raw (id bigserial PRIMARY KEY, received_at timestamptz NOT NULL DEFAULT now(),
      body bytea NOT NULL);
    ALTER TABLE raw ALTER COLUMN body SET STORAGE EXTERNAL;
    CREATE TABLE counters (date date, type text, state text, count bigint NOT NULL,
      PRIMARY KEY (date, type, state)) WITH (fillfactor = 50)`);
  return {
    async write(bodies, tally) {
      const counters = columnsOf(tally);
      await client.query({
        name: `write ${bodies.length}`,
        text: statementFor(bodies.length),
        values: [...counters, ...bodies],
      });
    },
    async countedItems() {
      const { rows } = await client.query<{ sum: string }>('SELECT sum(count) FROM counters');
      return Number(rows[0]?.sum);
    },
    close: () => client.end(),
  };
}

function columnsOf(tally: Increments): unknown[][] {
  // In one order, so that transactions that run at the same time do not wait for each other.
  const rows = [...rowsOfIncrements(tally)].sort(compareCounters);
  return [
    rows.map(({ date }) => date),
    rows.map(({ type }) => type),
    rows.map(({ state }) => state),
    rows.map(({ count }) => count),
  ];
}

function statementFor(bodies: number): string {
  const values = Array.from({ length: bodies }, (_, index) => `($${index + 5}::bytea)`);
  return `WITH kept AS (INSERT INTO raw (body) VALUES ${values.join()})
    INSERT INTO counters
    SELECT * FROM unnest($1::date[], $2::text[], $3::text[], $4::bigint[])
    ON CONFLICT (date, type, state) DO UPDATE SET count = counters.count + excluded.count`;
}
