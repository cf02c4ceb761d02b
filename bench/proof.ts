import { DatabaseSync } from 'node:sqlite';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';

import { dataPaths } from '../src/engines/embedded/data-directory.ts';
import { checkSum, fillLog, withDataDirectory } from './growth/fill.ts';
import { machine } from './growth/machine.ts';
import { run, type Ran } from './growth/run-command.ts';
import { untilCounted, whileServing } from './growth/serve.ts';

/**
 * The time and memory of audit and rebuild on a large store while `feed` sends; the counters are changed
 * by hand before, and checked after. Usage: npm run bench:proof -- --items 10000000
 */
const { values } = parseArgs({
  options: {
    items: { type: 'string', default: '10000000' },
    'items-per-batch': { type: 'string', default: '1000' },
    /** Items per second that `feed` sends meanwhile. */
    rate: { type: 'string', default: '20000' },
  },
});
const items = Number(values.items);
const itemsPerRecord = Number(values['items-per-batch']);
const rate = Number(values.rate);
const space = { firstDay: '2023-06-01', days: 30, countersPerDay: 50 };
/** The approximate bytes of an item in these bodies. */
const bytesPerItem = 72;

function changeByHand(dataDir: string): void {
  const database = new DatabaseSync(dataPaths(dataDir).database, { timeout: 30_000 });
  const one = (order: string) =>
    `(date, type_state) IN (SELECT date, type_state FROM counters ORDER BY ${order} LIMIT 1)`;
  database.exec(`
    UPDATE counters SET count = count + 5 WHERE ${one('date, type_state')};
    DELETE FROM counters WHERE ${one('date DESC, type_state DESC')};
    INSERT INTO counters VALUES ('2023-06-15', 'unknown#sent', 'unknown', 'sent', 3);`);
  database.close();
}

function show(name: string, { seconds, peakMiB, exitCode }: Ran): void {
  process.stdout.write(
    `| ${name} | ${seconds.toFixed(1)} s | ${peakMiB} MiB | exit code ${exitCode} |\n`,
  );
}

function check(isSo: boolean, what: string): void {
  if (!isSo) throw new Error(what);
}

process.stdout.write(`${machine()}; ${items} items in batches of ${itemsPerRecord}\n\n`);
await withDataDirectory(async (dataDir) => {
  const bytes = items * bytesPerItem;
  const filled = await fillLog(dataDir, { bytes, space, itemsPerRecord, isCounted: false });
  let fed = 0;
  await whileServing({ dataDir }, async (served) => {
    const { url } = served;
    await untilCounted(url);
    show('audit, one thread', await run('audit', '--data-dir', dataDir, '--threads', '1'));
    show('audit', await run('audit', '--data-dir', dataDir));
    changeByHand(dataDir);
    const batches = String(Math.ceil((rate / 100) * 60));
    const traffic = ['--rate', String(rate), '--batches', batches, '--items', '100', '--json'];
    const feeding = run('feed', url, ...traffic);
    await delay(1_000);
    const found = await run('audit', '--data-dir', dataDir, '--json');
    show('audit beside feed, counters changed', found);
    const { differences } = JSON.parse(found.stdout) as { differences: { code: string }[] };
    const codes = differences.map(({ code }) => code).sort();
    const expected = ['counter_differs', 'counter_missing', 'counter_unexplained'];
    check(String(codes) === String(expected), `audit found ${codes.join(', ')}`);
    const rebuilt = await run('rebuild', '--data-dir', dataDir, '--json');
    show('rebuild beside feed', rebuilt);
    check(rebuilt.exitCode === 0, 'rebuild failed');
    const feed = await feeding;
    const sent = JSON.parse(feed.stdout) as {
      items: { accepted: number };
      batches: { sent: number; accepted: number };
      retries: number;
    };
    fed = sent.items.accepted;
    const isServed = sent.batches.accepted === sent.batches.sent && sent.retries === 0;
    check(isServed, `requests failed: ${feed.stdout}`);
    process.stdout.write(`| feed | ${sent.batches.sent} batches | ${fed} items | none failed |\n`);
    await untilCounted(url);
    const last = await run('audit', '--data-dir', dataDir);
    show('audit after it', last);
    check(last.exitCode === 0, last.stdout);
    process.stdout.write(`| server | | ${served.peakMiB()} MiB | |\n`);
  });
  checkSum(dataDir, filled + fed);
  process.stdout.write(`\n${filled + fed} items counted, as many as were stored\n`);
});
