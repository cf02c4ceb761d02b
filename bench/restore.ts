import { mkdirSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';

import { startNode } from './compare/process.ts';
import { fillLog, withDataDirectory } from './growth/fill.ts';
import { machine } from './growth/machine.ts';
import { peakOf, run } from './growth/run-command.ts';

/**
 * The time and memory for archiving a large log in a directory, and for restoring, counting and auditing
 * it. Usage: npm run bench:restore -- --gibibytes 10
 */
const { values } = parseArgs({
  options: {
    gibibytes: { type: 'string', default: '10' },
    'items-per-batch': { type: 'string', default: '100' },
  },
});
const bytes = Number(values.gibibytes) * 1024 ** 3;
const itemsPerRecord = Number(values['items-per-batch']);
const space = { firstDay: '2023-06-01', days: 30, countersPerDay: 50 };
const commandLine = join(import.meta.dirname, '../src/entry/cli.ts');

process.stdout.write(`${machine()}; ${values.gibibytes} GiB in batches of ${itemsPerRecord}\n\n`);
await withDataDirectory(async (root) => {
  const [dataDir, archive, restored] = ['data', 'archive', 'restored'].map((name) =>
    join(root, name),
  ) as [string, string, string];
  mkdirSync(archive);
  const items = await fillLog(dataDir, { bytes, space, itemsPerRecord, isCounted: true });
  const url = pathToFileURL(archive).href;
  const startedAt = performance.now();
  const server = await startNode(
    commandLine,
    ...['serve', '--port', '0', '--data-dir', dataDir, '--archive', url, '--archive-rate', '1GiB'],
  );
  while ((await lagOf(server.url)) > 0) await delay(200);
  show('archive', (performance.now() - startedAt) / 1000, peakOf(server.pid));
  await server.stop();
  process.stdout.write(`| stored | ${(sizeOf(archive) / 1024 ** 2).toFixed(0)} MiB | |\n`);
  const restore = await run('restore', '--from', url, '--data-dir', restored);
  show('restore', restore.seconds, restore.peakMiB);
  const audit = await run('audit', '--data-dir', restored);
  show('audit', audit.seconds, audit.peakMiB);
  if (restore.exitCode + audit.exitCode > 0) throw new Error(restore.stdout + audit.stdout);
  process.stdout.write(`\n${items} items; ${audit.stdout}\n`);
});

async function lagOf(url: string): Promise<number> {
  const answer = (await (await fetch(`${url}/readyz`)).json()) as {
    archive: { lag_bytes: number };
  };
  return answer.archive.lag_bytes;
}

function sizeOf(directory: string): number {
  const names = readdirSync(directory, { recursive: true, encoding: 'utf8' });
  const sizes = names.map((name) => statSync(join(directory, name)));
  return sizes.reduce((sum, stats) => sum + (stats.isFile() ? stats.size : 0), 0);
}

function show(step: string, seconds: number, peakMiB: number): void {
  const rate = bytes / 1024 ** 2 / seconds;
  process.stdout.write(
    `| ${step} | ${seconds.toFixed(1)} s | ${rate.toFixed(0)} MiB/s of log | ${peakMiB} MiB |\n`,
  );
}
