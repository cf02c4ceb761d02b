import type { Command } from 'commander';

import { addPartOptions, stackOption, stackPlace } from '../cli/common-options.ts';
import { UsageError } from '../cli/option-parsers.ts';

/** Adds `adopt`. */
export function addAdoptCommand(root: Command): void {
  const command = root
    .command('adopt')
    .description('state that two tables on AWS belong together, after a restore');
  addPartOptions(command.addOption(stackOption()), ['table', 'ledger']);
  command.option('--json', 'print the result as JSON').addHelpText('after', notes);
  command.action(async () => {
    const place = stackPlace(command, 'table', 'ledger');
    if (place === undefined) {
      throw new UsageError('name the stack with --stack, or its tables with --table and --ledger');
    }
    const { adopt } = await import('./adopt.ts');
    process.exitCode = await adopt(place, command.opts<{ json?: true }>().json ?? false);
  });
}

const notes = `
The ledger has a record of the two tables that belong together. Where one of them was restored, the
sweeper refuses to work: a ledger that is older than the counters would have it count again. Run audit,
and rebuild where something differs, and then this; docs/restoring.md has all steps.

Examples:
  npx device-pipeline adopt --stack device-pipeline
`;
