import type { Command } from 'commander';

import { dayMs } from '../../domain/timestamp.ts';
import { addCommand } from '../cli/add-command.ts';
import { dataDirOption, option } from '../cli/common-options.ts';
import { duration } from '../cli/option-parsers.ts';
import { addTokenCreateOptions, tokenCreateOptions } from './token-options.ts';

/** Adds the command `token` with its subcommands. */
export function addTokenCommand(root: Command): void {
  const token = addCommand(root, 'token', {
    description: 'manage the tokens that allow clients to send and read',
    notes,
    examples: [
      'token create --name gateway-7 --for ingest --expires 90d',
      'token create --name reports --for read',
      'token rotate gateway-7 --overlap 1h',
      'token revoke gateway-7',
    ],
  });
  const create = addTokenCreateOptions(
    token.command('create').description('create a token and print it; it cannot be shown again'),
  );
  create.action(async () => {
    const { tokenCreate } = await import('./token.ts');
    process.exitCode = tokenCreate(tokenCreateOptions(create));
  });
  const list = token
    .command('list')
    .description('list the tokens, without their secret texts')
    .addOption(dataDirOption())
    .option('--json', 'print JSON');
  list.action(async () => {
    const { dataDir, json = false } = list.opts<{ dataDir: string; json?: true }>();
    const { tokenList } = await import('./token.ts');
    process.exitCode = tokenList(dataDir, json);
  });
  const rotate = token
    .command('rotate <name>')
    .description('replace a token with a new one of the same name, and print it')
    .addOption(
      option('--overlap <time>', 'how long the old token remains valid', overlap).default(
        dayMs,
        '24h',
      ),
    )
    .addOption(dataDirOption());
  rotate.action(async (name: string) => {
    const { dataDir, overlap: overlapMs } = rotate.opts<{ dataDir: string; overlap: number }>();
    const { tokenRotate } = await import('./token.ts');
    process.exitCode = tokenRotate({ dataDir, name, overlapMs });
  });
  const revoke = token
    .command('revoke <name>')
    .description('revoke all tokens of a name')
    .addOption(dataDirOption());
  revoke.action(async (name: string) => {
    const { tokenRevoke } = await import('./token.ts');
    process.exitCode = tokenRevoke(revoke.opts<{ dataDir: string }>().dataDir, name);
  });
}

/** As `duration`, but also accepts `0`. */
function overlap(flag: string): (text: string) => number {
  return (text) => (text === '0' ? 0 : duration(flag)(text));
}

const notes = `
A running server applies a change within a second. As soon as a data directory has a token, even an
expired one, its server requires a token on every address. Idempotency keys belong to the name of a
token: rotate a token instead of creating one of another name, or a retry may be counted again.`;
