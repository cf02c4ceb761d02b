import { Agent, request } from 'node:http';

import type { Store } from '../front.ts';

const agent = new Agent({ keepAlive: true, maxSockets: 4 });

/**
 * The items as rows, summed by a view; the bodies in a table of their own. No transaction covers both. An
 * insert is acknowledged when it is written, not when it is synced.
 */
export async function openClickHouse(address: string): Promise<Store> {
  await query(address, 'CREATE TABLE raw (body String) ENGINE = MergeTree ORDER BY tuple()');
  await query(
    address,
    `CREATE TABLE events (type String, state String, timestamp String,
      date Date DEFAULT toDate(substring(timestamp, 1, 10)))
     ENGINE = MergeTree PARTITION BY toYYYYMM(date) ORDER BY (date, type, state)`,
  );
  await query(
    address,
    `CREATE MATERIALIZED VIEW counters
     ENGINE = SummingMergeTree PARTITION BY toYYYYMM(date) ORDER BY (date, type, state)
     AS SELECT date, type, state, count() AS count FROM events GROUP BY date, type, state`,
  );
  return {
    async write(bodies) {
      const rows = Buffer.concat(bodies.flatMap((body) => [itemsIn(body), newline]));
      await Promise.all([
        query(
          address,
          'INSERT INTO raw FORMAT RowBinary',
          Buffer.concat(bodies.flatMap(withLength)),
        ),
        query(
          address,
          'INSERT INTO events (type, state, timestamp) FORMAT JSONEachRow',
          rows,
          '&input_format_skip_unknown_fields=1',
        ),
      ]);
    },
    async countedItems() {
      return Number(await query(address, 'SELECT sum(count) FROM counters'));
    },
    close() {
      agent.destroy();
      return Promise.resolve();
    },
  };
}

const newline = Buffer.from('\n');

/** The text between the list's brackets: rows with commas between them, which it reads. */
function itemsIn(body: Buffer): Buffer {
  return body.subarray(body.indexOf('[') + 1, body.lastIndexOf(']'));
}

function withLength(body: Buffer): Buffer[] {
  const length: number[] = [];
  let rest = body.length;
  for (; rest > 0x7f; rest >>>= 7) length.push((rest & 0x7f) | 0x80);
  return [Buffer.from([...length, rest]), body];
}

function query(address: string, sql: string, data?: Buffer, settings = ''): Promise<string> {
  const url =
    data === undefined ? `${address}/` : `${address}/?query=${encodeURIComponent(sql)}${settings}`;
  return new Promise((resolve, reject) => {
    const sent = request(url, { method: 'POST', agent }, (response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => void (text += chunk.toString()));
      response.on('end', () => {
        if (response.statusCode === 200) resolve(text.trim());
        else reject(new Error(`ClickHouse answered ${response.statusCode}: ${text}`));
      });
    });
    sent.on('error', reject);
    sent.end(data ?? sql);
  });
}
