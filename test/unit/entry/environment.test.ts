import { execFileSync } from 'node:child_process';
import { join } from 'node:path';

import { Command, Option } from 'commander';
import { describe, expect, test } from 'vitest';

import { dropEmptySettings, unknownSettings } from '../../../src/entry/cli/environment.ts';

describe('settings in the environment', () => {
  const root = new Command('x');
  for (const [command, name] of [
    ['serve', 'PORT'],
    ['serve', 'MAX_BODY'],
    ['feed', 'TOKEN'],
  ] as const) {
    root
      .command(`${command}-${name}`)
      .addOption(new Option('--a <b>').env(`DEVICE_PIPELINE_${name}`));
  }
  const warn = (name: string) => unknownSettings({ [`DEVICE_PIPELINE_${name}`]: '1' }, root);

  test.each([
    ['PROT', 'PORT'],
    ['MAXBODY', 'MAX_BODY'],
    ['MAX_BODY_', 'MAX_BODY'],
    ['TOKNE', 'TOKEN'],
    ['INSECUR', 'INSECURE'],
  ])('%s may be a misspelt %s', (given, nearest) => {
    expect(warn(given)).toEqual([
      `no command reads the environment variable DEVICE_PIPELINE_${given}; did you mean DEVICE_PIPELINE_${nearest}?`,
    ]);
  });

  test('that resemble no setting are reported with the list of settings', () => {
    expect(warn('COLOUR_OF_LOG')).toEqual([
      expect.stringMatching(
        /; known: DEVICE_PIPELINE_DEBUG, .*DEVICE_PIPELINE_MAX_BODY, DEVICE_PIPELINE_PORT, /,
      ),
    ]);
  });

  test.each(['PORT', 'TOKEN', 'DEBUG', 'INSECURE', 'SERVICE_HOST', 'PORT_8080_TCP_ADDR'])(
    '%s is ours, or of Kubernetes',
    (name) => {
      expect(warn(name)).toEqual([]);
    },
  );

  test('that are empty are as if unset', () => {
    const env = { DEVICE_PIPELINE_PORT: '', DEVICE_PIPELINE_HOST: '0', OTHER: '' };
    dropEmptySettings(env);
    expect(env).toEqual({ DEVICE_PIPELINE_HOST: '0', OTHER: '' });
  });
});

test('NO_COLOR keeps colours out of the log on a terminal', () => {
  const log = join(import.meta.dirname, '../../../src/entry/serve/server-log.ts');
  const code = `import('${log}').then(({ openLog }) => openLog({ level: 'info', format: 'text' })).then(({ log }) => log.info('hello'))`;
  const written = (env: Record<string, string>) =>
    execFileSync('script', ['-qec', `"${process.execPath}" -e "${code}"`, '/dev/null'], {
      env: { PATH: process.env['PATH'], TERM: 'xterm', ...env },
      encoding: 'utf8',
    });
  expect(written({})).toContain('\u001b[');
  const plain = written({ NO_COLOR: '1' });
  expect(plain).toContain('hello');
  expect(plain).not.toContain('\u001b[');
});
