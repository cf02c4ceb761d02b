#!/usr/bin/env node
/**
 * The command line. This file declares the commands with their help; each imports what it runs only
 * when it is called, so that `--help` and `serve` do not load the AWS SDK. `cli/` holds what commands
 * share; each other folder is one family of commands: options, the work, and the text it prints.
 */
import { readFileSync } from 'node:fs';

import { Command, CommanderError } from 'commander';

import { addCommand, addExamples } from './cli/add-command.ts';
import { addArchiveCommand } from './archive/archive-command.ts';
import { addRestoreOptions, restoreOptions } from './archive/archive-options.ts';
import { addAdoptCommand } from './verify/adopt-command.ts';
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
import {
  addAuditOptions,
  addRebuildOptions,
  auditOptions,
  rebuildOptions,
} from './verify/verify-options.ts';
import { addReplayOptions, replayOptions } from './replay/replay-options.ts';
import { addServeOptions, serveOptions } from './serve/serve-options.ts';
import { addStatsOptions, statsOptions } from './stats/stats-options.ts';
import { exitOnStandardOutputError } from './cli/standard-streams.ts';
import { addTokenCommand } from './token/token-command.ts';
import { visible } from './cli/terminal-text.ts';

const exitCodes = { done: 0, failed: 1, wrongUsage: 2 };

/** Whether `--help` or `-h` is an argument of its own and not the value of an option. */
const isHelp = (argument: string, at: number, all: readonly string[]) =>
  ['--help', '-h'].includes(argument) && all[at - 1]?.startsWith('--') !== true;

function isTooOld(version: string): boolean {
  return Number(version.split('.')[0]) < 24;
}

function packageVersion(): string {
  const { version } = JSON.parse(
    readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
  ) as { version: string };
  return version;
}

function program(): Command {
  const root = new Command('device-pipeline')
    .description(
      'Receives events from a fleet of devices, keeps every body unchanged, and counts each event exactly once.',
    )
    .version(packageVersion())
    .exitOverride()
    .showHelpAfterError('(use --help to show the options)')
    .configureOutput({
      outputError: (text, write) => write(text.replace(/^error: /, 'device-pipeline: ')),
    });
  addExamples(root, 'serve', 'feed --batches 1000', 'ingest events.json', 'stats');
  addServe(root);
  addFeed(root);
  addIngest(root);
  addStats(root);
  addCheck(root);
  addAudit(root);
  addRebuild(root);
  addAdoptCommand(root);
  addBackup(root);
  addRestore(root);
  addArchiveCommand(root);
  addReplay(root);
  addRaw(root);
  addDlq(root);
  addTokenCommand(root);
  return root;
}

function addServe(root: Command): void {
  const command = addCommand(root, 'serve', {
    description: 'start the server on this machine',
    examples: [
      'serve',
      'serve --port 9000 --data-dir /var/lib/device-pipeline',
      'serve --max-body 16MiB --keep-raw 365',
    ],
  });
  addServeOptions(command).action(async () => {
    const options = serveOptions(command, process.env);
    const { serve } = await import('./serve/serve.ts');
    await serve(options, packageVersion());
  });
}

function addFeed(root: Command): void {
  const command = addCommand(root, 'feed', {
    description: 'post random, plausible events to a server',
    examples: [
      'feed',
      'feed --url http://127.0.0.1:9000 --batches 10000 --concurrency 32',
      'feed --rate 500 --batches 3000 --items 10',
      'feed --seed demo --until 2026-01-31 --days 30',
    ],
  });
  addFeedOptions(command).action(async (address: string | undefined) => {
    const options = feedOptions(command, address);
    const { feed } = await import('./feed/feed.ts');
    process.exitCode = await feed(options);
  });
}

function addIngest(root: Command): void {
  const command = addCommand(root, 'ingest', {
    description: 'post files of events to a server',
    notes: ingestNotes,
    examples: [
      'ingest events.json',
      'ingest --key june day-*.ndjson.gz',
      'ingest --strict --json - < events.json',
      'ingest --format ndjson - < events.log',
    ],
  });
  addIngestOptions(command).action(async (files: string[]) => {
    const options = ingestOptions(command, files);
    const { ingest } = await import('./ingest/ingest.ts');
    process.exitCode = await ingest(options);
  });
}

const ingestNotes = `
A JSON file is {"processed_devices":[…]}, a list of items, or a single item. A document that fits in a
request is sent unchanged; a larger one is split into requests within --items and --max-body. NDJSON
has one item, or one such document, on each line. Malformed lines are reported by line number and the
other lines are sent; rejected items are reported by line and by item number, counted from 1. The exit
code is then 1. With --strict nothing is sent unless all lines and items of all files are valid: files
are read twice, standard input from a temporary copy in TMPDIR.

Lines from a pipe (tail -f events.ndjson | npx device-pipeline ingest -) are sent within a second. With
--key they are sent only when a request is full, so that the same input gives the same requests; when
you repeat the command, keep --items and --max-body unchanged, too.`;

function addStats(root: Command): void {
  const command = addCommand(root, 'stats', {
    description: 'print the counters of a data directory, a server or a stack',
    examples: [
      'stats',
      'stats --date 2026-01-31 --type laptop --type phone',
      'stats --from 2026-01-01 --to 2026-01-31 --json',
      'stats --from 2026-01-01 --group-by type,state',
      'stats --url http://127.0.0.1:8080',
    ],
  });
  addStatsOptions(command).action(async () => {
    const options = statsOptions(command);
    const { stats } = await import('./stats/stats.ts');
    process.exitCode = await stats(options);
  });
}

function addCheck(root: Command): void {
  const command = addCommand(root, 'check', {
    description: 'check that a server or a deployed stack accepts batches and answers queries',
    notes: checkNotes,
    examples: [
      'check --url http://127.0.0.1:8080',
      'check --stack device-pipeline',
      'check --url https://pipeline.example --max-body 16MiB',
    ],
  });
  addCheckOptions(command).action(async () => {
    const options = checkOptions(command);
    const { check } = await import('./check/check.ts');
    process.exitCode = await check(options, process.env);
  });
}

const checkNotes = `
Sends batches without items (plain, repeated, compressed, too large), then reads a receipt and the
counters. The batches change no counter, so counting itself is not tested; the raw bodies of accepted
batches remain. The exit code is 0 if every step passes. A gateway that breaks compressed bodies is a
warning only, if the same batch is accepted uncompressed. Needs a token with the scopes ingest and read.`;

function addAudit(root: Command): void {
  const command = addCommand(root, 'audit', {
    description: 'recount the raw batches and compare the result with the counters',
    notes: auditNotes,
    examples: [
      'audit',
      'audit --from 2026-01-01 --to 2026-01-31',
      'audit --json',
      'audit --archive s3://my-bucket/pipeline',
      'audit --stack device-pipeline',
    ],
  });
  addAuditOptions(command).action(async () => {
    const options = auditOptions(command);
    const { audit } = await import('./verify/audit.ts');
    process.exitCode = await audit(options);
  });
}

const auditNotes = `
May run while the server runs. The exit code is 0 if everything agrees and 1 if there are findings.
With --archive it also checks every object of the archive, and compares each byte that both have; what
a server has not shipped yet is no finding. To check an archive alone, use archive verify.
For a stack it first prints how much it will read and the estimated cost; the exit code is 3 if
nothing differs, but some counters changed too often to be compared.`;

function addRebuild(root: Command): void {
  const command = addCommand(root, 'rebuild', {
    description: 'rebuild the counters from the raw batches, while the server runs',
    notes: rebuildNotes,
    examples: [
      'rebuild --dry-run',
      'rebuild',
      'rebuild --drop-old',
      'rebuild --stack device-pipeline',
    ],
  });
  addRebuildOptions(command).action(async () => {
    const options = rebuildOptions(command);
    const { rebuild } = await import('./verify/rebuild.ts');
    process.exitCode = await rebuild(options);
  });
}

const rebuildNotes = `
Queries use the old counters until the new ones are complete. The old ones are then kept in the table
counters_before until --drop-old. An interrupted rebuild continues where it stopped. On a stack, the
counters are corrected in place, one date at a time; the old counts are kept in the ledger until
--drop-old, and --restore-old restores them.`;

function addBackup(root: Command): void {
  const command = addCommand(root, 'backup <directory>', {
    description: 'copy the data directory into a new one, while the server runs',
    notes: backupNotes,
    examples: ['backup /mnt/backups/2026-01-31'],
  });
  command.addOption(dataDirOption()).action(async (directory: string) => {
    const { dataDir } = command.opts<{ dataDir: string }>();
    const { backupDirectory } = await import('./verify/backup.ts');
    process.exitCode = await backupDirectory(dataDir, directory);
  });
}

const backupNotes = `
The copy is consistent: the counters, at least all raw batches that they count, and the hashes of the
tokens. Check it with audit --data-dir; serve can start on it. An interrupted backup holds log.part
instead of log: remove the directory and start again.`;

function addRestore(root: Command): void {
  const command = addCommand(root, 'restore', {
    description: 'create a data directory from an archive (serve --archive)',
    notes: restoreNotes,
    examples: [
      'restore --from s3://my-bucket/pipeline --data-dir ./restored',
      'restore --from file:///mnt/backup/pipeline --until 2026-01-31T12:00:00Z',
    ],
  });
  addRestoreOptions(command).action(async () => {
    const { restoreDirectory } = await import('./archive/restore.ts');
    process.exitCode = await restoreDirectory(restoreOptions(command));
  });
}

const restoreNotes = `
Checks every object and every batch, and counts the log again. An interrupted restore continues when
you repeat it. The archive may be one that a server is writing. To let a server on the restored
directory take over, stop the old server for good and start serve with the same --archive. With
--until, archive the restored directory to another prefix.`;

function addReplay(root: Command): void {
  const command = addCommand(root, 'replay', {
    description: 'copy raw batches into another installation, with their batch ids',
    notes: replayNotes,
    examples: [
      'replay --from ./data --to stack:device-pipeline',
      'replay --from ./data --to http://127.0.0.1:9000 --since 2026-01-01',
      'replay --from ./copy --to ./data2',
    ],
  });
  addReplayOptions(command).action(async () => {
    const options = replayOptions(command);
    const { replayBatches } = await import('./replay/replay.ts');
    process.exitCode = await replayBatches(options);
  });
}

const replayNotes = `
Batches keep their ids, and a batch that the target already has is not counted again: you may
interrupt the command and repeat it. A server may run on a source directory, but not on a target
directory. A stack is accessed directly, with your AWS permissions. A server that requires tokens
needs one with the scope replay.`;

function addRaw(root: Command): void {
  const raw = addCommand(root, 'raw', {
    description: 'read the raw batches, byte for byte as received',
    examples: [
      'raw list --since 2026-01-31',
      'raw get raw/….json > body.json',
      'raw export ./copy',
    ],
  });
  const list = raw.command('list').description('list batches, one line of JSON each');
  addRawRangeOptions(list).action(async () => {
    const { rawList } = await import('./raw/raw.ts');
    process.exitCode = await rawList(rawRangeOptions(list));
  });
  const get = addStoreOptions(raw.command('get <name>'), 'bucket', 'ledger').description(
    'write the body of a batch to standard output; <name> is a raw key or a batch id',
  );
  get.action(async (name: string) => {
    const { rawGet } = await import('./raw/raw.ts');
    process.exitCode = await rawGet(storePlace(get, 'bucket'), name);
  });
  const all = raw
    .command('export <directory>')
    .description('write batches as files, in the layout of the bucket on AWS');
  addRawRangeOptions(all).action(async (directory: string) => {
    const { rawExport } = await import('./raw/raw.ts');
    process.exitCode = await rawExport(rawRangeOptions(all), directory);
  });
}

function addDlq(root: Command): void {
  const dlq = addCommand(root, 'dlq', {
    description: 'list, redrive or drop dead letters: batches that could not be counted',
    examples: ['dlq list', 'dlq redrive --all --stack device-pipeline', 'dlq drop <batch-id>'],
  });
  const list = addDlqOptions(dlq.command('list'));
  list.description('list dead letters with their reasons').action(async () => {
    const { dlqList } = await import('./dlq/dlq.ts');
    process.exitCode = await dlqList(dlqOptions(list));
  });
  const redrive = addChoiceOptions(dlq.command('redrive [ids...]'));
  redrive.description('try again to count dead letters').action(async (ids: string[]) => {
    const { dlqRedrive } = await import('./dlq/dlq.ts');
    process.exitCode = await dlqRedrive(chosenDeadLetters(redrive, ids));
  });
  const drop = addChoiceOptions(dlq.command('drop [ids...]'));
  drop.description('give dead letters up: they are never counted, but stay on record');
  drop.action(async (ids: string[]) => {
    const { dlqDrop } = await import('./dlq/dlq.ts');
    process.exitCode = await dlqDrop(chosenDeadLetters(drop, ids));
  });
}

function reportError(error: unknown): number {
  // commander has already printed its errors; help and version are "errors" with exit code 0.
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
      `device-pipeline needs Node.js 24 or later, and this is ${process.versions.node}.\n`,
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
  // commander would report an invalid variable before it shows the help that explains it.
  if (argv.some(isHelp)) dropSettings(env);
  try {
    await root.parseAsync();
  } catch (error) {
    process.exitCode = reportError(error);
  }
}

await main();
