import type { Command } from 'commander';

import { addCommand } from '../cli/add-command.ts';
import { nonEmpty } from '../cli/option-parsers.ts';
import { option } from '../cli/common-options.ts';
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
}

function addStatus(archive: Command): void {
  const status = addArchivePlace(archive.command('status'))
    .description('print what the archive holds of each log, and which server ships to it')
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

const notes = `
A server may ship to the archive meanwhile. status, list and verify only read. verify reads every
object and checks every batch; the exit code is 1 if something is missing or damaged.`;
