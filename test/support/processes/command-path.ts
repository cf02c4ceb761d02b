import { fileURLToPath } from 'node:url';

/** The program that tests start: in a run of all files its bundle (global-setup.ts), else its source. */
export const commandPath =
  process.env['TEST_COMMAND'] ??
  fileURLToPath(new URL('../../../src/entry/cli.ts', import.meta.url));
