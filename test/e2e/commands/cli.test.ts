import { describe, expect, test } from 'vitest';

import { run } from '../../support/processes/command-line.ts';

describe('the command line', () => {
  test.each([
    ['', /serve[^]*feed[^]*ingest[^]*stats[^]*Examples:/],
    ['serve', /--max-backlog <size>[^]*DEVICE_PIPELINE_MAX_BACKLOG[^]*Examples:/],
    ['feed', /--concurrency <number>[^]*Examples:/],
    ['ingest', /--strict[^]*Examples:/],
    ['stats', /--from <date>[^]*Examples:/],
  ])("'%s --help' explains itself", async (command, help) => {
    const outcome = await run([...command.split(' ').filter(Boolean), '--help']);
    expect(outcome).toMatchObject({ code: 0, stderr: '' });
    expect(outcome.stdout).toMatch(help);
  });

  test.each([
    [[], /Usage:/],
    [['bogus'], /unknown command 'bogus'/],
    [['feed', '--bogus'], /unknown option '--bogus'/],
    [['feed', 'localhost'], /url must be a URL such as/],
    [['feed', '--concurrency', '257'], /--concurrency must be a whole number from 1 to 256/],
    [['serve', '--port', 'x'], /--port must be a whole number from 0 to 65535, got 'x'/],
    [
      ['serve', '--host', '0.0.0.0'],
      /^device-pipeline: 0\.0\.0\.0 can be reached .* token create .* --insecure/,
    ],
    [['token', 'create', '--name', 'a'], /--for <scope>' not specified/],
    [['token', 'create', '--name', 'é', '--for', 'read'], /printable ASCII/],
    [
      ['token', 'create', '--name', 'a', '--for', 'write'],
      /--for must be one of ingest, read, replay/,
    ],
    [['token', 'create', '--name', 'a', '--for', 'read', '--expires', '2020-01-01'], /future/],
    [
      ['token', 'create', '--name', 'a', '--for', 'read', '--burst', '2'],
      /--burst requires --rate/,
    ],
    [['serve', '--keep-raw', '1'], /--keep-raw 1 is shorter than --keep-receipts 90, /],
    [['feed', '--secret', 'x'], /unknown option '--secret'/],
    [['feed', '--token', 'two words'], /--token must be visible ASCII, without spaces/],
    [['dlq'], /^Usage: device-pipeline dlq /],
    [['raw'], /^Usage: device-pipeline raw /],
    [['token'], /^Usage: device-pipeline token /],
    [['ingest'], /missing required argument 'file'/],
    [['ingest', '-', '-'], /standard input \(-\) is given twice/],
    [['ingest', '--format', 'xml', 'a'], /Allowed choices are auto, json, ndjson/],
    [['stats', '--date', '2023-02-30'], /--date must be a date/],
    [['stats', '--url', 'http://a', '--data-dir', 'b'], /give only one/],
  ])('%j is wrong usage and exits 2', async (args, message) => {
    const outcome = await run(args);
    expect(outcome).toMatchObject({ code: 2, stdout: '' });
    expect(outcome.stderr).toMatch(message);
  });

  test('the environment warns of settings that no command reads, and an empty one is unset', async () => {
    const env = {
      DEVICE_PIPELINE_PROT: '1',
      DEVICE_PIPELINE_DATA_DIR: '',
      DEVICE_PIPELINE_URL: '',
    };
    const outcome = await run(['dlq', 'list'], '', env);
    expect(outcome.code).toBe(1);
    expect(outcome.stderr).toMatch(
      /^device-pipeline: no command reads the environment variable DEVICE_PIPELINE_PROT; did you mean DEVICE_PIPELINE_PORT\?\ndevice-pipeline: There is no pipeline at \S+\/data\//,
    );
  });

  test('--help explains settings although they are wrong', async () => {
    const env = { DEVICE_PIPELINE_PORT: 'x', DEVICE_PIPELINE_URL: 'x', DEVICE_PIPELINE_TOKEN: ' ' };
    for (const command of ['serve', 'ingest', 'stats', 'feed']) {
      expect(await run([command, '--help'], '', env)).toMatchObject({ code: 0, stderr: '' });
    }
    expect(await run(['stats'], '', env)).toMatchObject({ code: 2 });
  });

  test('an unexpected error is one line and exits 1', async () => {
    const outcome = await run(['ingest', '/no/such\nfile']);
    expect(outcome.code).toBe(1);
    expect(outcome.stderr).toMatch(/^device-pipeline: .*such\\u\{a\}file.*\n$/);
  });
});
