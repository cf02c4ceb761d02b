import type { Command } from 'commander';

import { addCommand } from '../cli/add-command.ts';
import { nonEmpty, wholeNumber } from '../cli/option-parsers.ts';
import { option } from '../cli/common-options.ts';
import type { PruneOptions } from './archive-prune.ts';
import { addArchivePlace, type ArchivePlace } from './archive-options.ts';

/** Adds the command `archive` with its subcommands. */
export function addArchiveCommand(root: Command): void {
  const archive = addCommand(root, 'archive', {
    description: 'show, check and prune the archive of a log (serve --archive)',
    notes,
    examples: [
      'archive status --from s3://my-bucket/pipeline',
      'archive verify --from s3://my-bucket/pipeline',
      'archive prune --from file:///mnt/backup/pipeline --dry-run',
    ],
  });
  addStatus(archive);
  addList(archive);
  addVerify(archive);
  addPrune(archive);
}

function addStatus(archive: Command): void {
  const status = addArchivePlace(archive.command('status'))
    .description('print how much of each log the archive holds, and which server ships to it')
    .addOption(
      option('--data-dir <directory>', 'print how far this data directory is ahead', nonEmpty),
    )
    .option('--json', 'print JSON');
  status.action(async () => {
    const { archiveStatus } = await import('./archive-status.ts');
    process.exitCode = await archiveStatus(status.opts<ArchivePlace & StatusValues>());
  });
}

interface StatusValues {
  readonly dataDir?: string;
  readonly json?: true;
}

function addList(archive: Command): void {
  const list = addArchivePlace(archive.command('list')).description(
    'list the objects of the archive, one line of JSON each',
  );
  list.action(async () => {
    const { archiveList } = await import('./archive-list.ts');
    process.exitCode = await archiveList(list.opts<ArchivePlace>());
  });
}

function addVerify(archive: Command): void {
  const verify = addArchivePlace(archive.command('verify'))
    .description('read every object, check every batch, and report missing or damaged ones')
    .option('--count', 'count the items of all bodies again, too')
    .option('--json', 'print JSON');
  verify.action(async () => {
    const { archiveVerify } = await import('./archive-verify.ts');
    process.exitCode = await archiveVerify(verify.opts<ArchivePlace & VerifyValues>());
  });
}

interface VerifyValues {
  readonly count?: true;
  readonly json?: true;
}

function addPrune(archive: Command): void {
  const prune = addArchivePlace(archive.command('prune'))
    .description('remove objects that no restore needs, and with --keep old segments')
    .addOption(
      option(
        '--keep <days>',
        'remove segments that are older and that the data directory has removed, too',
        wholeNumber(1, 36_500),
      ),
    )
    .addOption(
      option('--data-dir <directory>', 'the data directory that ships to the archive', nonEmpty),
    )
    .option('--dry-run', 'only print what would be removed')
    .option('--json', 'print JSON');
  prune.action(async () => {
    const { archivePrune } = await import('./archive-prune.ts');
    process.exitCode = await archivePrune(prune.opts<PruneOptions>());
  });
}

const notes = `
A server may ship to the archive meanwhile. status, list and verify only read. verify reads every
object and checks every batch; the exit code is 1 if something is missing or damaged. prune
never removes a part of the log that a restore could use, unless --keep says so. With --keep, age is
counted as for serve --archive-keep, in the running time of servers.`;
