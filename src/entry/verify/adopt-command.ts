import type { Command } from 'commander';

import { addPartOptions, stackOption, stackPlace } from '../cli/common-options.ts';
import { UsageError } from '../cli/option-parsers.ts';

/** Adds the command `adopt`. */
export function addAdoptCommand(root: Command): void {
  const command = root
    .command('adopt')
    .description('record that two tables on AWS belong together, after a restore');
  addPartOptions(command.addOption(stackOption()), ['table', 'ledger']);
  command.option('--json', 'print the result as JSON').addHelpText('after', notes);
  command.action(async () => {
    const place = stackPlace(command, 'table', 'ledger');
    if (place === undefined) {
      throw new UsageError('give the stack with --stack, or its tables with --table and --ledger');
    }
    const { adopt } = await import('./adopt.ts');
    process.exitCode = await adopt(place, command.opts<{ json?: true }>().json ?? false);
  });
}

const notes = `
The ledger records which two tables belong together. After one of them was restored, the sweeper
refuses to work: with a ledger older than the counters it would count batches again. Run audit, then
rebuild if there are findings, then adopt; docs/restoring.md has all steps.

Examples:
  npx device-pipeline adopt --stack device-pipeline
`;
