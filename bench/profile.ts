import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { readThreadProfiles, type Share } from './growth/cpu-profile.ts';
import { checkSum, withDataDirectory } from './growth/fill.ts';
import { sendDrawn } from './growth/load.ts';
import { machine } from './growth/machine.ts';
import { untilCounted, whileServing } from './growth/serve.ts';

/**
 * The distribution of time in the hot path: the CPU time of its threads, then `serve` under V8's sampling
 * profiler during a load. Shares are of the time in which the thread does not wait. Usage: npm run
 * bench:profile -- --sizes 1,1000 --seconds 5
 */
const { values } = parseArgs({
  options: {
    sizes: { type: 'string', default: '1,1000' },
    seconds: { type: 'string', default: '5' },
    connections: { type: 'string', default: '64' },
    counters: { type: 'string', default: '1000' },
    rows: { type: 'string', default: '12' },
    /** The time between samples. The shorter, the more time the profiler itself takes. */
    'interval-us': { type: 'string', default: '500' },
    /** The directory in which the profiles are kept, for a viewer. */
    keep: { type: 'string' },
  },
});
const space = { firstDay: '2023-06-30', days: 1, countersPerDay: Number(values.counters) };

process.stdout.write(
  `${machine()}, ${values.connections} connections, ${values.counters} counters, ${values.seconds} s\n`,
);
for (const itemsPerRequest of values.sizes.split(',').map(Number)) {
  await timeThreads(itemsPerRequest);
  await profile(itemsPerRequest);
}

function send(url: string, itemsPerRequest: number) {
  const [connections, seconds] = [Number(values.connections), Number(values.seconds)];
  return sendDrawn({ url, space, itemsPerRequest, connections, seconds });
}

/** Without the profiler, which takes time itself. */
async function timeThreads(itemsPerRequest: number): Promise<void> {
  await withDataDirectory(async (root) => {
    await whileServing({ dataDir: join(root, 'data') }, async (served) => {
      const before = served.threadTimes();
      const { requests } = await send(served.url, itemsPerRequest);
      const after = served.threadTimes();
      const of = (thread: keyof typeof after) =>
        `${thread} ${((after[thread] - before[thread]) / requests).toFixed(1)} µs`;
      const threads = [of('main'), of('writer'), of('others')].join(', ');
      process.stdout.write(
        `\n## ${itemsPerRequest} a request\n\nCPU time of a request: ${threads}\n`,
      );
    });
  });
}

async function profile(itemsPerRequest: number): Promise<void> {
  await withDataDirectory(async (root) => {
    const dataDir = join(root, 'data');
    const profiles = values.keep === undefined ? root : join(values.keep, String(itemsPerRequest));
    mkdirSync(profiles, { recursive: true });
    const nodeOptions = [
      '--cpu-prof',
      `--cpu-prof-dir=${profiles}`,
      `--cpu-prof-interval=${values['interval-us']}`,
    ];
    const load = await whileServing({ dataDir, nodeOptions }, async ({ url }) => {
      const sent = await send(url, itemsPerRequest);
      await untilCounted(url);
      return sent;
    });
    checkSum(dataDir, load.items);
    const rate = Math.round(load.requests / load.seconds).toLocaleString('en');
    process.stdout.write(`\nProfiled, with ${rate} requests/s:\n`);
    for (const { thread, busy, categories, functions } of readThreadProfiles(
      profiles,
      load.fromUs,
      load.toUs,
    )) {
      // The load contains no queries.
      if (thread === 'reader') continue;
      const share = `${Math.round(busy * 100)} % busy`;
      process.stdout.write(`\n${thread} thread, ${share}\n\n${sideBySide(categories, functions)}`);
    }
  });
}

function sideBySide(categories: readonly Share[], functions: readonly Share[]): string {
  const rows = Array.from({ length: Number(values.rows) }, (_, index) => {
    const cells = [...cellsOf(categories[index]), ...cellsOf(functions[index])];
    return `| ${cells.join(' | ')} |\n`;
  });
  return `| category | share | function | share |\n| --- | ---: | --- | ---: |\n${rows.join('')}`;
}

function cellsOf(share: Share | undefined): string[] {
  if (share === undefined) return ['', ''];
  return [share.name, `${(share.share * 100).toFixed(1)} %`];
}
