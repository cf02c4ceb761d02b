import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { isNaive, modes, stackOf, type Mode } from './aws/modes.ts';
import { reportOf } from './aws/report.ts';
import { run, type RunResult } from './aws/run.ts';
import { traffics, type Traffic } from './aws/traffic.ts';
import { dollarsOf } from './aws/usage.ts';
import { priceTable } from './prices.ts';
import { synthesizedTemplate } from '../infra/local/template/synthesized-template.ts';

/**
 * The cost of a million events on AWS: sends events through the emulated stack, meters what AWS would
 * bill, and computes the price. Usage: npm run bench:aws -- --events 100000 --sizes 100,1000 --modes
 * packed,naive
 */
const { values } = parseArgs({
  options: {
    events: { type: 'string', default: '100000' },
    sizes: { type: 'string', default: '1,100,1000' },
    modes: { type: 'string', default: modes.join() },
    traffic: { type: 'string', default: 'live' },
    /** The most requests per second: a low rate leaves fewer batches to merge. */
    rate: { type: 'string', default: 'Infinity' },
    /** Starts counting after everything is sent, so that each invocation is full, as at a high rate. */
    gathered: { type: 'boolean', default: false },
    /** The environments of the ingest function: as many as the machine has cores. */
    environments: { type: 'string', default: '2' },
    /** Settings of the stack as JSON; they override the settings file. */
    settings: { type: 'string', default: '{}' },
    /** The events of the naive mode. Its cost is proportional to them, so fewer give the same result. */
    'naive-events': { type: 'string' },
    /** Sends an Idempotency-Key with each request, as our own clients do: this adds a row for each. */
    keys: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});

function listOf<Name extends string>(text: string, known: readonly Name[]): Name[] {
  return text.split(',').map((name) => {
    const found = known.find((each) => each === name);
    if (found === undefined) throw new Error(`${name} is not one of ${known.join()}`);
    return found;
  });
}

// Lambda functions run in UTC; here they are threads, which have the time zone of the process.
process.env['TZ'] = 'UTC';
const directory = mkdtempSync(join(tmpdir(), 'device-pipeline-bench-'));
const results: RunResult[] = [];

async function measure(mode: Mode, traffic: Traffic, itemsPerRequest: number): Promise<void> {
  const same = results.find((each) => each.itemsPerRequest === 1 && each.traffic === traffic);
  // If a request has one item, packing also gives one item per message.
  if (mode === 'per-item' && itemsPerRequest === 1 && same?.mode === 'packed') {
    results.push({ ...same, mode });
    return;
  }
  const stack = await stackOf(mode, synthesized, directory);
  const naiveEvents = values['naive-events'] ?? values.events;
  const events = Number(isNaive(mode) ? naiveEvents : values.events);
  const ratePerSecond = Number(values.rate);
  const result = await run({
    ...{ mode, traffic, itemsPerRequest, events, ratePerSecond, stack },
    ...{ hasKeys: values.keys, isGathered: values.gathered },
    environments: Number(values.environments),
  });
  results.push(result);
  process.stderr.write(
    `${itemsPerRequest} a request, ${mode}, ${traffic}: sent in ${result.postedSeconds.toFixed(0)} s, counted after ${result.countedSeconds.toFixed(0)} s\n`,
  );
}

const settings = JSON.parse(values.settings) as Record<string, unknown>;
const synthesized = await synthesizedTemplate(settings);
/** The template as deployed: with the secret, which the emulated stack does not have. */
const { template: deployed } = await synthesizedTemplate({ tokens: 'on', ...settings });
try {
  for (const traffic of listOf(values.traffic, Object.keys(traffics) as Traffic[])) {
    for (const size of values.sizes.split(',').map(Number)) {
      for (const mode of listOf(values.modes, modes)) await measure(mode, traffic, size);
    }
  }
} finally {
  rmSync(directory, { recursive: true });
}
const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: import.meta.dirname });
const machine = `${cpus().length} × ${cpus()[0]?.model ?? '?'}, Node ${process.version}, commit ${commit.toString().trim()}`;
const priced = results.map((result) => ({
  ...result,
  dollarsPerMillionEvents: dollarsOf([...result.usage, ...result.besides], result.events / 1e6),
}));
process.stdout.write(
  values.json
    ? `${JSON.stringify({ machine, prices: priceTable, results: priced })}\n`
    : reportOf(results, machine, deployed),
);
