import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { backlog } from './growth/backlog.ts';
import type { Experiment, Figures, Settings } from './growth/experiment.ts';
import { counters, days } from './growth/ingesting.ts';
import { logSize } from './growth/log-size.ts';
import { machine } from './growth/machine.ts';
import { page, query, range } from './growth/queries.ts';
import { drawCharts, markdownOf, type Measured } from './growth/report.ts';

/**
 * How throughput, memory, restart and queries grow. Every round measures each point, in a different order
 * each time, and the counters are checked after it. Usage: npm run bench:growth -- --only
 * counters,days,log,backlog,query,range,page --log-max-gb 10
 */
const { values } = parseArgs({
  options: {
    only: { type: 'string', default: 'counters,days,log,backlog,query,range,page' },
    turns: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '4' },
    connections: { type: 'string', default: '64' },
    'counters-max': { type: 'string', default: '1000000' },
    'log-max-gb': { type: 'string', default: '1' },
    'backlog-max-mib': { type: 'string', default: '1024' },
    plots: { type: 'string', default: join(import.meta.dirname, '../docs/plots') },
    json: { type: 'string' },
  },
});
const settings: Settings = {
  seconds: Number(values.seconds),
  connections: Number(values.connections),
  countersMax: Number(values['counters-max']),
  logGbMax: Number(values['log-max-gb']),
  backlogMibMax: Number(values['backlog-max-mib']),
};
const turns = Number(values.turns);
const known = [counters, days, logSize, backlog, query, range, page].map((make) => make(settings));
const chosen = values.only.split(',').map((name) => {
  const found = known.find((experiment) => experiment.name === name);
  if (found === undefined) throw new Error(`${name} is not one of ${namesOf(known)}`);
  return found;
});

const startedAt = new Date();
const subtitle = `${machine()}, ${startedAt.toISOString().slice(0, 10)}; medians of ${turns} turns`;
process.stdout.write(`${subtitle} of ${settings.seconds} s\n\n`);
const results: Record<string, readonly Measured[]> = {};
for (const experiment of chosen) {
  const measured = await run(experiment);
  results[experiment.name] = measured;
  process.stdout.write(`${markdownOf(experiment, measured)}\n`);
  drawCharts(experiment, measured, values.plots, subtitle);
  if (values.json !== undefined) {
    const report = { machine: machine(), startedAt, turns, settings, results };
    writeFileSync(values.json, `${JSON.stringify(report, null, 2)}\n`);
  }
}

async function run({ name, points, measure, finish }: Experiment): Promise<Measured[]> {
  const measured = points.map((x) => ({ x, turns: [] as Figures[] }));
  try {
    for (let turn = 1; turn <= turns; turn++) {
      for (const point of shuffled(measured)) {
        const figures = await measure(point.x);
        point.turns.push(figures);
        process.stderr.write(`turn ${turn}, ${name} ${point.x}: ${JSON.stringify(figures)}\n`);
      }
    }
  } finally {
    finish?.();
  }
  return measured;
}

/** A drift of the machine then affects all points alike. */
function shuffled<T>(values: readonly T[]): T[] {
  return values
    .map((value) => ({ value, at: Math.random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ value }) => value);
}

function namesOf(experiments: readonly Experiment[]): string {
  return experiments.map(({ name }) => name).join();
}
