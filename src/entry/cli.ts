#!/usr/bin/env node
import { readFileSync } from 'node:fs';

import { Command, CommanderError } from 'commander';

import { addAdoptCommand } from './verify/adopt-command.ts';
import { addAuditOptions, auditOptions } from './verify/audit-options.ts';
import { addCheckOptions, checkOptions } from './check/check-options.ts';
import {
  addChoiceOptions,
  addDlqOptions,
  chosenDeadLetters,
  dlqOptions,
} from './dlq/dlq-options.ts';
import { dropEmptySettings, dropSettings, unknownSettings } from './cli/environment.ts';
import { errorText } from './cli/error-text.ts';
import { addFeedOptions, feedOptions } from './feed/feed-options.ts';
import { addIngestOptions, ingestOptions } from './ingest/ingest-options.ts';
import { UsageError } from './cli/option-parsers.ts';
import { addStoreOptions, dataDirOption, storePlace } from './cli/common-options.ts';
import { addRawRangeOptions, rawRangeOptions } from './raw/raw-options.ts';
import { addRebuildOptions, rebuildOptions } from './verify/rebuild-options.ts';
import { addReplayOptions, replayOptions } from './replay/replay-options.ts';
import { addServeOptions, serveOptions } from './serve/serve-options.ts';
import { addStatsOptions, statsOptions } from './stats/stats-options.ts';
import { exitOnStandardOutputError } from './cli/standard-streams.ts';
import { addTokenCommand } from './token/token-command.ts';
import { visible } from './cli/terminal-text.ts';

const exitCodes = { done: 0, failed: 1, wrongUsage: 2 };

/** Not where it is the value of an option. */
const isHelp = (argument: string, at: number, all: readonly string[]) =>
  ['--help', '-h'].includes(argument) && all[at - 1]?.startsWith('--') !== true;

function isTooOld(version: string): boolean {
  return Number(version.split('.')[0]) < 24;
}

/** Of this package. */
function packageVersion(): string {
  const { version } = JSON.parse(
    readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
  ) as { version: string };
  return version;
}

function program(): Command {
  const root = new Command('device-pipeline')
    .description(
      'Takes in events from a fleet of devices, keeps every raw byte, and counts them exactly once.',
    )
    .version(packageVersion())
    .exitOverride()
    .showHelpAfterError('(--help says more)')
    .configureOutput({
      outputError: (text, write) => write(text.replace(/^error: /, 'device-pipeline: ')),
    });
  root.addHelpText(
    'after',
    examples('serve', 'feed --batches 1000', 'ingest events.json', 'stats'),
  );
  addServe(root);
  addFeed(root);
  addIngest(root);
  addStats(root);
  addCheck(root);
  addAudit(root);
  addRebuild(root);
  addAdoptCommand(root);
  addBackup(root);
  addReplay(root);
  addRaw(root);
  addDlq(root);
  addTokenCommand(root);
  return root;
}

function examples(...commands: string[]): string {
  return `\nExamples:\n${commands.map((command) => `  npx device-pipeline ${command}\n`).join('')}`;
}

function addServe(root: Command): void {
  const command = root.command('serve').description('start the server on this machine');
  addServeOptions(command);
  command.addHelpText(
    'after',
    examples(
      'serve',
      'serve --port 9000 --data-dir /var/lib/device-pipeline',
      'serve --max-body 16MiB --keep-raw 365',
    ),
  );
  command.action(async () => {
    const options = serveOptions(command, process.env);
    const { serve } = await import('./serve/serve.ts');
    await serve(options, packageVersion());
  });
}

function addFeed(root: Command): void {
  const command = root.command('feed').description('post random, plausible events to a server');
  addFeedOptions(command);
  command.addHelpText(
    'after',
    examples(
      'feed',
      'feed --url http://127.0.0.1:9000 --batches 10000 --concurrency 32',
      'feed --rate 500 --batches 3000 --items 10',
      'feed --seed demo --until 2026-01-31 --days 30',
    ),
  );
  command.action(async (address: string | undefined) => {
    const options = feedOptions(command, address);
    const { feed } = await import('./feed/feed.ts');
    process.exitCode = await feed(options);
  });
}

function addIngest(root: Command): void {
  const command = root.command('ingest').description('post files of events to a server');
  addIngestOptions(command);
  command.addHelpText('after', ingestNotes);
  command.addHelpText(
    'after',
    examples(
      'ingest events.json',
      'ingest --key june day-*.ndjson.gz',
      'ingest --strict --json - < events.json',
      'ingest --format ndjson - < events.log',
    ),
  );
  command.action(async (files: string[]) => {
    const options = ingestOptions(command, files);
    const { ingest } = await import('./ingest/ingest.ts');
    process.exitCode = await ingest(options);
  });
}

const ingestNotes = `
A JSON file is {"processed_devices":[…]}, a list of items, or a single item. A document that fits in a
request is sent byte for byte as it is; a larger one is cut into requests of as many items as --items
and --max-body allow. NDJSON has one item, or one such document, on each line. A bad line is named by
its number, and the others are sent; refused items are named by their line and their number in the
file, from 1. The exit code is then 1. With --strict nothing is sent unless all lines and items of all
files are good: they are read twice, standard input from a temporary copy (in TMPDIR).

Lines from a pipe (tail -f events.ndjson | npx device-pipeline ingest -) are sent after a second at the
latest. With --key they wait until a request is full, so that the same input makes the same requests;
keep --items and --max-body as they were, too.`;

function addStats(root: Command): void {
  const command = root
    .command('stats')
    .description('print the counters, of the data directory or of a server');
  addStatsOptions(command);
  command.addHelpText(
    'after',
    examples(
      'stats',
      'stats --date 2026-01-31 --type laptop --type phone',
      'stats --from 2026-01-01 --to 2026-01-31 --json',
      'stats --from 2026-01-01 --group-by type,state',
      'stats --url http://127.0.0.1:8080',
    ),
  );
  command.action(async () => {
    const options = statsOptions(command);
    const { stats } = await import('./stats/stats.ts');
    process.exitCode = await stats(options);
  });
}

function addCheck(root: Command): void {
  const command = root
    .command('check')
    .description('check that a server, or a deployed stack, takes batches and can be read');
  addCheckOptions(command);
  command.addHelpText('after', checkNotes);
  command.addHelpText(
    'after',
    examples(
      'check --url http://127.0.0.1:8080',
      'check --stack device-pipeline',
      'check --url https://pipeline.example --max-body 16MiB',
    ),
  );
  command.action(async () => {
    const options = checkOptions(command);
    const { check } = await import('./check/check.ts');
    process.exitCode = await check(options, process.env);
  });
}

const checkNotes = `
It sends batches without items: plain, repeated, compressed and too large. They change no count, so
that counting itself is not tried, and the raw bodies of those that are taken stay. Then it reads a receipt and the counters. The exit code
is 0 where all of it works, also where a gateway in front of the server makes compressed batches
unreadable and the same batch uncompressed is taken. It needs a token that may ingest and read.`;

function addAudit(root: Command): void {
  const command = root
    .command('audit')
    .description('count the raw batches again and compare with the counters');
  addAuditOptions(command);
  command.addHelpText('after', auditNotes);
  command.addHelpText(
    'after',
    examples(
      'audit',
      'audit --from 2026-01-01 --to 2026-01-31',
      'audit --json',
      'audit --stack device-pipeline',
    ),
  );
  command.action(async () => {
    const options = auditOptions(command);
    const { audit } = await import('./verify/audit.ts');
    process.exitCode = await audit(options);
  });
}

const auditNotes = `
It may run beside the server. The exit code is 0 where everything agrees, 1 where something differs.
Of a stack it says first what it will read and about what that costs; the exit code is 3 where
nothing differs and some counters were written to so often that they could not be compared.`;

function addRebuild(root: Command): void {
  const command = root
    .command('rebuild')
    .description('make the counters anew from the raw batches, beside a running server');
  addRebuildOptions(command);
  command.addHelpText('after', rebuildNotes);
  command.addHelpText(
    'after',
    examples(
      'rebuild --dry-run',
      'rebuild',
      'rebuild --drop-old',
      'rebuild --stack device-pipeline',
    ),
  );
  command.action(async () => {
    const options = rebuildOptions(command);
    const { rebuild } = await import('./verify/rebuild.ts');
    process.exitCode = await rebuild(options);
  });
}

const rebuildNotes = `
Until the new counters are complete, the old ones answer. They are then kept beside them, as the
table counters_before, until --drop-old. An interrupted rebuild goes on where it stopped. Of a stack,
the counters are corrected where they stand, a date's at a time; what they were is kept in the ledger
until --drop-old, and --restore-old brings it back.`;

function addBackup(root: Command): void {
  const command = root
    .command('backup <directory>')
    .description('copy the data directory, beside a running server, into a new one')
    .addOption(dataDirOption());
  command.addHelpText('after', backupNotes);
  command.addHelpText('after', examples('backup /mnt/backups/2026-01-31'));
  command.action(async (directory: string) => {
    const { dataDir } = command.opts<{ dataDir: string }>();
    const { backupDirectory } = await import('./verify/backup.ts');
    process.exitCode = await backupDirectory(dataDir, directory);
  });
}

const backupNotes = `
The copy is consistent: the counters, the raw batches at least as far as they are counted, and the
tokens' hashes. audit --data-dir proves it, and serve starts on it. An interrupted backup holds
log.part in place of log: remove it and begin again.`;

function addReplay(root: Command): void {
  const command = root
    .command('replay')
    .description('bring raw batches into another installation, each as the batch that it is');
  addReplayOptions(command);
  command.addHelpText('after', replayNotes);
  command.addHelpText(
    'after',
    examples(
      'replay --from ./data --to stack:device-pipeline',
      'replay --from ./data --to http://127.0.0.1:9000 --since 2026-01-01',
      'replay --from ./copy --to ./data2',
    ),
  );
  command.action(async () => {
    const options = replayOptions(command);
    const { replayBatches } = await import('./replay/replay.ts');
    process.exitCode = await replayBatches(options, process.env);
  });
}

const replayNotes = `
Batches keep their ids: what is in the target already counts nothing, so that this may be
interrupted and repeated. A data directory may have a server running on it as the source, not as
the target; a stack is worked on directly, with your rights. A server with tokens asks for one
made for replay.`;

function addRaw(root: Command): void {
  const raw = root.command('raw').description('give back the raw batches exactly as they came');
  raw.addHelpText(
    'after',
    examples('raw list --since 2026-01-31', 'raw get raw/….json > body.json', 'raw export ./copy'),
  );
  const list = raw.command('list').description('list them, a line of JSON each');
  addRawRangeOptions(list).action(async () => {
    const { rawList } = await import('./raw/raw.ts');
    process.exitCode = await rawList(rawRangeOptions(list));
  });
  const get = addStoreOptions(raw.command('get <name>'), 'bucket', 'ledger').description(
    'write the body of one to standard output; <name> is a raw key or a batch id',
  );
  get.action(async (name: string) => {
    const { rawGet } = await import('./raw/raw.ts');
    process.exitCode = await rawGet(storePlace(get, 'bucket'), name);
  });
  const all = raw
    .command('export <directory>')
    .description('write them as files, in the layout of the bucket on AWS');
  addRawRangeOptions(all).action(async (directory: string) => {
    const { rawExport } = await import('./raw/raw.ts');
    process.exitCode = await rawExport(rawRangeOptions(all), directory);
  });
}

function addDlq(root: Command): void {
  const dlq = root.command('dlq').description('the dead letters: what is not counted');
  dlq.addHelpText(
    'after',
    examples('dlq list', 'dlq redrive --all --stack device-pipeline', 'dlq drop <batch-id>'),
  );
  const list = addDlqOptions(dlq.command('list'));
  list.description('list them, with the reason of each').action(async () => {
    const { dlqList } = await import('./dlq/dlq.ts');
    process.exitCode = await dlqList(dlqOptions(list));
  });
  const redrive = addChoiceOptions(dlq.command('redrive [ids...]'));
  redrive.description('count those that can be counted now').action(async (ids: string[]) => {
    const { dlqRedrive } = await import('./dlq/dlq.ts');
    process.exitCode = await dlqRedrive(chosenDeadLetters(redrive, ids));
  });
  const drop = addChoiceOptions(dlq.command('drop [ids...]'));
  drop.description('never count them; they stay on record').action(async (ids: string[]) => {
    const { dlqDrop } = await import('./dlq/dlq.ts');
    process.exitCode = await dlqDrop(chosenDeadLetters(drop, ids));
  });
}

function reportError(error: unknown): number {
  // commander has printed its own errors, and help and version are among them.
  if (error instanceof CommanderError) {
    return error.exitCode === 0 ? exitCodes.done : exitCodes.wrongUsage;
  }
  process.stderr.write(`device-pipeline: ${visible(errorText(error))}\n`);
  if (error instanceof UsageError) return exitCodes.wrongUsage;
  if (process.env['DEVICE_PIPELINE_DEBUG'] === '1' && error instanceof Error) {
    process.stderr.write(`${error.stack ?? ''}\n`);
  }
  return exitCodes.failed;
}

async function main(): Promise<void> {
  if (isTooOld(process.versions.node)) {
    process.stderr.write(
      `device-pipeline needs Node 24 or later, and this is ${process.versions.node}\n`,
    );
    process.exitCode = exitCodes.failed;
    return;
  }
  exitOnStandardOutputError();
  const { env, argv } = process;
  dropEmptySettings(env);
  const root = program();
  for (const warning of unknownSettings(env, root)) {
    process.stderr.write(`device-pipeline: ${visible(warning)}\n`);
  }
  // commander would refuse a bad setting before it shows the help that explains it.
  if (argv.some(isHelp)) dropSettings(env);
  try {
    await root.parseAsync();
  } catch (error) {
    process.exitCode = reportError(error);
  }
}

await main();
