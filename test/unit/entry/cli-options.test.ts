import { Command } from 'commander';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';

import { addAuditOptions, auditOptions } from '../../../src/entry/verify/verify-options.ts';
import { addCheckOptions, checkOptions } from '../../../src/entry/check/check-options.ts';
import {
  addStoreOptions,
  storePlace,
  type StorePart,
} from '../../../src/entry/cli/common-options.ts';
import { dateRange, lastWeek } from '../../../src/entry/cli/date-range.ts';
import { checkReplayEnds } from '../../../src/entry/cli/check-directories.ts';
import { addFeedOptions, feedOptions } from '../../../src/entry/feed/feed-options.ts';
import { addIngestOptions, ingestOptions } from '../../../src/entry/ingest/ingest-options.ts';
import {
  bodySize,
  date,
  keyName,
  positiveNumber,
  serverUrl,
  size,
  timestamp,
  UsageError,
  wholeNumber,
} from '../../../src/entry/cli/option-parsers.ts';
import { addRebuildOptions, rebuildOptions } from '../../../src/entry/verify/verify-options.ts';
import { addReplayOptions, replayOptions } from '../../../src/entry/replay/replay-options.ts';
import { addServeOptions, serveOptions } from '../../../src/entry/serve/serve-options.ts';
import { addStatsOptions, statsOptions } from '../../../src/entry/stats/stats-options.ts';
import { jsonText, visible } from '../../../src/entry/cli/terminal-text.ts';
import { badAddresses } from '../../support/bad-addresses.ts';

function parseServe(argv: string[], env: Record<string, string> = {}) {
  const command = addServeOptions(new Command('serve').exitOverride());
  return serveOptions(command.parse(argv, { from: 'user' }), env);
}

const corsMessage = (given: string) =>
  `--cors-origin must be an origin such as https://app.example, without a path, or *, got '${given}'`;

const dayZoneMessage = (given: string) =>
  `--day-zone must be as-written, UTC or a time zone such as Europe/Berlin, got '${given}'`;

describe('the ends of a replay', () => {
  function parseReplay(from: string, to: string) {
    const command = addReplayOptions(new Command('replay').exitOverride());
    return replayOptions(command.parse(['--from', from, '--to', to], { from: 'user' }));
  }

  test('are directories, stacks and, as the target, addresses', () => {
    expect(parseReplay('./data', 'HTTP://a:1/')).toMatchObject({
      from: { dataDir: './data' },
      to: { url: 'http://a:1' },
    });
    expect(parseReplay('stack:a', 'data').from).toEqual({ stack: { name: 'a' } });
    expect(parseReplay('s3://bucket/a', 'data').from).toEqual({ archive: 's3://bucket/a' });
    expect(() => parseReplay('data', 'file:///a')).toThrow('--to must not be an archive');
  });

  test.each(['ftp://x', 'htps://x', '://', 'stack://x', 'stack:', 'stack: ', 'http://', ' '])(
    'are not %j',
    (text) => {
      expect(() => parseReplay(text, 'data')).toThrow(UsageError);
      expect(() => parseReplay('data', text)).toThrow(UsageError);
    },
  );

  test('are two places', () => {
    const both =
      ({ from, to }: ReturnType<typeof parseReplay>) =>
      () =>
        checkReplayEnds({ from, to });
    expect(both(parseReplay('stack:a', 'stack:a'))).toThrow('are the same');
    expect(both(parseReplay('./missing', 'missing/'))).toThrow('are the same');
    expect(both(parseReplay('.', process.cwd()))).toThrow('are the same');
    expect(both(parseReplay('stack:a', 'a'))).not.toThrow();
  });

  test('compress nothing on the way to an address if requested', () => {
    const parse = (to: string) => {
      const command = addReplayOptions(new Command('replay').exitOverride());
      const argv = ['--from', 'data', '--to', to, '--no-compress'];
      return replayOptions(command.parse(argv, { from: 'user' }));
    };
    expect(parse('http://a').compress).toBe(false);
    expect(parseReplay('data', 'http://a').compress).toBe(true);
    expect(() => parse('other')).toThrow('--no-compress requires a URL as --to');
  });

  test('are not read from an address', () => {
    expect(() => parseReplay('http://a', 'data')).toThrow(UsageError);
  });
});

describe('the options of check', () => {
  const parse = (...argv: string[]) =>
    checkOptions(
      addCheckOptions(new Command('check').exitOverride()).parse(argv, { from: 'user' }),
    );

  test('name a server or a stack', () => {
    expect(parse()).toEqual({ url: 'http://127.0.0.1:8080', maxBody: 4 * 1024 * 1024 });
    expect(parse('--url', 'http://a/', '--max-body', '1MiB')).toEqual({
      ...{ url: 'http://a', maxBody: 1024 * 1024 },
    });
    expect(parse('--stack', 'a').stack).toBe('a');
    expect(() => parse('--stack', 'a', '--url', 'http://a')).toThrow(
      new UsageError('--url and --stack name two servers; give only one'),
    );
  });
});

describe('the options of serve', () => {
  test('have defaults for a server on this machine that keeps everything', () => {
    expect(parseServe([])).toEqual({
      host: '127.0.0.1',
      port: 8080,
      dataDir: './data',
      dayZone: undefined,
      maxBodyBytes: 4 * 1024 * 1024,
      maxBacklogBytes: 128 * 1024 * 1024,
      maxCountersPerDay: 100_000,
      keepReceiptsDays: 90,
      keepRawDays: undefined,
      isOpenWithoutTokens: true,
      rate: undefined,
      allowedHosts: [],
      corsOrigins: [],
      log: { level: 'info', format: 'auto' },
    });
  });

  test('are read from the command line', () => {
    const argv =
      '--host 0.0.0.0 --port 0 --data-dir /srv --day-zone Europe/Berlin --max-body 512KiB --max-backlog 1GiB --max-counters-per-day 500 --keep-receipts 7 --keep-raw 30 --rate-limit 2.5 --cors-origin https://a.example --cors-origin http://b:81,https://c.example --allowed-host pipeline.example --allowed-host b,fd00::1 --log-level warn --log-format text';
    expect(parseServe(argv.split(' '))).toEqual({
      host: '0.0.0.0',
      port: 0,
      dataDir: '/srv',
      dayZone: 'Europe/Berlin',
      maxBodyBytes: 512 * 1024,
      maxBacklogBytes: 1024 ** 3,
      maxCountersPerDay: 500,
      keepReceiptsDays: 7,
      keepRawDays: 30,
      isOpenWithoutTokens: false,
      rate: { perSecond: 2.5, burst: 3 },
      allowedHosts: ['pipeline.example', 'b', 'fd00::1'],
      corsOrigins: ['https://a.example', 'http://b:81', 'https://c.example'],
      log: { level: 'warn', format: 'text' },
    });
  });

  test.each([
    [
      '--allowed-host',
      'a.example:8080',
      "--allowed-host must be a name or an address such as pipeline.example, without a port, got 'a.example:8080'",
    ],
    ['--port', 'x', "--port must be a whole number from 0 to 65535, got 'x'"],
    ['--port', '65536', "--port must be a whole number from 0 to 65535, got '65536'"],
    ['--port', '80.5', "--port must be a whole number from 0 to 65535, got '80.5'"],
    ['--host', ' ', '--host must not be empty'],
    ['--day-zone', 'Mars', dayZoneMessage('Mars')],
    ['--day-zone', '+01:00', dayZoneMessage('+01:00')],
    ['--max-body', '4MB', "--max-body must be a size such as 4MiB, 512KiB or 1048576, got '4MB'"],
    [
      '--log-level',
      'loud',
      "--log-level must be one of debug, info, warn, error, silent, got 'loud'",
    ],
    ['--rate-limit', '0', "--rate-limit must be a number above 0, got '0'"],
    ['--rate-limit', '1000001', "--rate-limit must be at most 1000000, got '1000001'"],
    ['--rate-burst', '5', '--rate-burst requires --rate-limit'],
    ['--cors-origin', 'https://a.example/', corsMessage('https://a.example/')],
    ['--cors-origin', 'null', corsMessage('null')],
    ['--cors-origin', 'https://a.example,ftp://b', corsMessage('ftp://b')],
    [
      '--keep-raw',
      '0',
      "--keep-raw must be a whole number of days from 1 to 36500, or forever, got '0'",
    ],
  ])('%s %s is wrong usage', (flag, value, message) => {
    expect(() => parseServe([flag, value])).toThrow(new UsageError(message));
  });

  test.each(['127.0.0.1', '127.9.9.9', 'localhost', '::1'])(
    '%s can be listened on without tokens',
    (host) => {
      expect(parseServe(['--host', host]).isOpenWithoutTokens).toBe(true);
    },
  );

  test.each(['0.0.0.0', '::', '192.168.0.1', '127.example.com', '::ffff:127.0.0.1'])(
    '%s can be listened on without tokens only with --insecure',
    (host) => {
      expect(parseServe(['--host', host]).isOpenWithoutTokens).toBe(false);
      expect(parseServe(['--host', host, '--insecure']).isOpenWithoutTokens).toBe(true);
    },
  );

  test.each(['1', 'true', 'YES'])('DEVICE_PIPELINE_INSECURE=%s is --insecure', (value) => {
    const env = { DEVICE_PIPELINE_INSECURE: value };
    expect(parseServe(['--host', '0.0.0.0'], env).isOpenWithoutTokens).toBe(true);
  });

  test.each(['0', 'no', 'False', ''])('DEVICE_PIPELINE_INSECURE=%s is not', (value) => {
    const env = { DEVICE_PIPELINE_INSECURE: value };
    expect(parseServe(['--host', '0.0.0.0'], env).isOpenWithoutTokens).toBe(false);
  });

  test('keep raw bodies at least as long as receipts', () => {
    expect(parseServe(['--keep-raw', '90']).keepRawDays).toBe(90);
    expect(() => parseServe(['--keep-raw', '89'])).toThrow(
      new UsageError(
        '--keep-raw 89 is shorter than --keep-receipts 90, but a receipt needs its raw batch. Make --keep-receipts shorter, too.',
      ),
    );
    expect(parseServe(['--keep-raw', '7', '--keep-receipts', '7']).keepRawDays).toBe(7);
    expect(parseServe(['--keep-raw', 'forever']).keepRawDays).toBeUndefined();
  });

  test('keep raw bodies in the archive at least as long as on the machine', () => {
    const raw = ['--keep-receipts', '7', '--keep-raw', '30'];
    const archive = ['--archive', 's3://bucket', '--archive-keep'];
    expect(parseServe([...raw, ...archive, '30']).archive?.keepMs).toBe(30 * 86_400_000);
    expect(parseServe([...raw, ...archive, 'forever']).archive?.keepMs).toBeUndefined();
    const shorter = (days: string) =>
      new UsageError(
        `--archive-keep 29 is shorter than --keep-raw ${days}, but the archive removes only what the data directory has removed before. Make --keep-raw shorter, too.`,
      );
    expect(() => parseServe([...raw, ...archive, '29'])).toThrow(shorter('30'));
    expect(() => parseServe([...archive, '29'])).toThrow(shorter('forever'));
  });

  test('DEVICE_PIPELINE_INSECURE=perhaps is wrong usage', () => {
    expect(() => parseServe([], { DEVICE_PIPELINE_INSECURE: 'perhaps' })).toThrow(UsageError);
  });
});

describe('parsers', () => {
  test.each([
    ['1', 1],
    ['700B', 700],
    ['512KiB', 524_288],
    ['4MiB', 4_194_304],
    ['1GiB', 1_073_741_824],
  ])('%s is %i bytes', (text, bytes) => {
    expect(size('--size')(text)).toBe(bytes);
  });

  test.each(['', '0', '-1', '4mib', '4 MiB', 'MiB', '1e6', '0x10', '999999999999999GiB'])(
    "'%s' is no size",
    (text) => {
      expect(() => size('--size')(text)).toThrow(UsageError);
    },
  );

  test('a request body has room for an item', () => {
    expect(bodySize('--max-body')('1KiB')).toBe(1024);
    expect(() => bodySize('--max-body')('1023')).toThrow(UsageError);
  });

  test.each(['', ' 1', '1 ', '+1', '-1', '1e1', '1.0', '101', 'NaN', '9'.repeat(30)])(
    "'%s' is no whole number from 1 to 100",
    (text) => {
      expect(() => wholeNumber(1, 100)('--items')(text)).toThrow(UsageError);
    },
  );

  test('a rate may have decimals and is above 0', () => {
    expect(positiveNumber('--rate')('0.5')).toBe(0.5);
    expect(() => positiveNumber('--rate')('0')).toThrow(UsageError);
    expect(() => positiveNumber('--rate')('Infinity')).toThrow(UsageError);
  });

  test('the calendar of dates is checked', () => {
    expect(date('--date')('2024-02-29')).toBe('2024-02-29');
    expect(() => date('--date')('2023-02-29')).toThrow(UsageError);
    expect(() => date('--date')('2023-2-9')).toThrow(UsageError);
  });

  test('a timestamp has a zone or is a date, which begins at midnight in UTC', () => {
    expect(timestamp('--until')('2024-02-29')).toBe(Date.UTC(2024, 1, 29));
    expect(timestamp('--until')('2024-02-29t01:00:00+01:00')).toBe(Date.UTC(2024, 1, 29));
    expect(() => timestamp('--until')('2024-02-29T01:00:00')).toThrow(UsageError);
    expect(() => timestamp('--until')('2023-02-30T01:00:00Z')).toThrow(UsageError);
    expect(() => timestamp('--until')('yesterday')).toThrow(UsageError);
  });

  test('an address keeps its path and loses the slash at its end', () => {
    expect(serverUrl('url')('http://localhost:8080')).toBe('http://localhost:8080');
    expect(serverUrl('url')('https://a.example/prod/')).toBe('https://a.example/prod');
  });

  test.each(badAddresses)("'%s' is no address of a server", (text) => {
    expect(() => serverUrl('url')(text)).toThrow(UsageError);
  });

  test('key names can stand in a header', () => {
    expect(keyName('--key')('june/2026')).toBe('june/2026');
    expect(() => keyName('--key')('juni ü')).toThrow(UsageError);
    expect(() => keyName('--key')('x'.repeat(129))).toThrow(UsageError);
  });
});

describe('a range of dates', () => {
  const now = Date.UTC(2026, 5, 17, 23, 59);

  test.each([
    ['2026-01-01', undefined, undefined, { from: '2026-01-01', to: '2026-01-01' }],
    [undefined, '2026-01-01', '2026-01-02', { from: '2026-01-01', to: '2026-01-02' }],
    [undefined, '2026-01-01', undefined, { from: '2026-01-01', to: '2026-06-18' }],
    [undefined, undefined, '2026-01-01', { from: '0000-01-01', to: '2026-01-01' }],
    [undefined, undefined, undefined, undefined],
  ])('of date %s, from %s, to %s', (day, from, to, range) => {
    expect(dateRange(day, from, to, now)).toEqual(range);
  });

  test.each([
    ['2026-01-01', '2026-01-01', undefined, 'give either --date, or --from and --to'],
    [undefined, '2026-01-02', '2026-01-01', '--from 2026-01-02 is after --to 2026-01-01'],
    [
      undefined,
      '2026-06-19',
      undefined,
      '--from 2026-06-19 is in the future (today is at most 2026-06-18 in any time zone)',
    ],
  ])('date %s, from %s, to %s is wrong usage', (day, from, to, message) => {
    expect(() => dateRange(day, from, to, now)).toThrow(message);
  });

  test('is the last week by default', () => {
    const morning = Date.UTC(2026, 5, 17, 9, 59);
    expect(lastWeek(morning)).toEqual({ from: '2026-06-11', to: '2026-06-17' });
    // Tomorrow has begun in Kiritimati, at UTC+14.
    const evening = Date.UTC(2026, 5, 17, 10);
    expect(lastWeek(evening)).toEqual({ from: '2026-06-11', to: '2026-06-18' });
  });

  test('may have one end in audit and rebuild', () => {
    const audit = addAuditOptions(new Command('audit').exitOverride());
    audit.parse(['--to', '2026-01-01'], { from: 'user' });
    expect(auditOptions(audit).dates).toEqual({ from: '0000-01-01', to: '2026-01-01' });
    const rebuild = addRebuildOptions(new Command('rebuild').exitOverride());
    rebuild.parse(['--stack', 'a', '--from', '2026-01-01'], { from: 'user' });
    const today = new Date(Date.now() + 14 * 3_600_000).toISOString().slice(0, 10);
    expect(rebuildOptions(rebuild).dates).toEqual({ from: '2026-01-01', to: today });
  });
});

describe('where stats, feed and ingest ask', () => {
  const settings = { DEVICE_PIPELINE_URL: 'http://a:1', DEVICE_PIPELINE_DATA_DIR: '/srv' };

  beforeEach(() => {
    for (const [name, value] of Object.entries(settings)) vi.stubEnv(name, value);
  });
  afterEach(() => {
    vi.unstubAllEnvs();
  });

  const stats = (...argv: string[]) => {
    const command = addStatsOptions(new Command('stats').exitOverride());
    return statsOptions(command.parse(argv, { from: 'user' }));
  };
  const feed = (...argv: string[]) => {
    const command = addFeedOptions(new Command('feed').exitOverride());
    return feedOptions(command.parse(argv, { from: 'user' }), command.args[0]).url;
  };

  test('is the address in the environment', () => {
    expect(stats().source).toEqual({ url: 'http://a:1', token: undefined });
    expect(feed()).toBe('http://a:1');
    const ingest = addIngestOptions(new Command('ingest').exitOverride());
    expect(ingestOptions(ingest.parse(['x'], { from: 'user' }), ['x']).url).toBe('http://a:1');
  });

  test('is what is typed, before that', () => {
    expect(stats('--data-dir', './d').source).toEqual({ dataDir: './d' });
    expect(stats('--url', 'http://b').source).toEqual({ url: 'http://b', token: undefined });
    expect(stats('--table', 'c').source).toEqual({ stack: { table: 'c' } });
    expect(feed('--url', 'http://b')).toBe('http://b');
    expect(feed('http://c/')).toBe('http://c/');
  });

  test('is one place', () => {
    expect(() => stats('--url', 'http://b', '--data-dir', './d')).toThrow(UsageError);
    expect(() => stats('--table', 'c', '--data-dir', './d')).toThrow(UsageError);
    expect(() => stats('--stack', 's', '--url', 'http://b')).toThrow(UsageError);
    expect(() => feed('http://c', '--url', 'http://b')).toThrow(UsageError);
  });

  test('is queried for a range with two ends, if it is a server', () => {
    expect(() => stats('--to', '2026-01-01')).toThrow('give --from, too');
    expect(() => stats('--to', '2026-01-01', '--stack', 's')).toThrow('give --from, too');
    expect(stats('--to', '2026-01-01', '--data-dir', 'd').range?.from).toBe('0000-01-01');
  });

  test('is queried for sums by columns in their order, given one by one or with commas', () => {
    expect(stats('--group-by', 'state,date').groupBy).toEqual(['date', 'state']);
    expect(stats('--group-by', 'state', '--group-by', 'type').groupBy).toEqual(['type', 'state']);
    expect(() => stats('--group-by', 'day')).toThrow(
      "--group-by must be one of date, type, state, got 'day'",
    );
  });
});

describe('text for a terminal', () => {
  const hostile = '\u001b[31mred\u009b\u007f\u202egnp\u2066\u200d\ufeff\u00ad\u2028\r\n\ud800';

  test('shows what could act on the terminal', () => {
    expect(visible(hostile)).toBe(
      '\\u{1b}[31mred\\u{9b}\\u{7f}\\u{202e}gnp\\u{2066}\\u{200d}\\u{feff}\\u{ad}\\u{2028}\\u{d}\\u{a}\\u{d800}',
    );
  });

  test('leaves every script and emoji as they are', () => {
    const harmless = 'laptop Ünï código 電腦 محمول 💻 e\u0301';
    expect(visible(harmless)).toBe(harmless);
  });

  test('as JSON shows nothing either, and reads back the same', () => {
    const text = jsonText({ [hostile]: [hostile, '\u{e0001}tag'] });
    expect(text).toMatch(/^[\x20-\x7e]+$/);
    expect(JSON.parse(text)).toEqual({ [hostile]: [hostile, '\u{e0001}tag'] });
  });
});

describe('the store that a command works on', () => {
  const parse = (argv: string[], ...needed: StorePart[]) =>
    storePlace(
      addStoreOptions(new Command('x').exitOverride(), 'bucket', 'table', 'ledger').parse(argv, {
        from: 'user',
      }),
      ...needed,
    );

  test('is the data directory, unless a stack is named', () => {
    expect(parse([])).toEqual({ dataDir: './data' });
    expect(parse(['--data-dir', '/srv'])).toEqual({ dataDir: '/srv' });
    expect(parse(['--stack', 'prod'])).toEqual({ stack: { name: 'prod' } });
  });

  test('may have parts that are not those of the stack', () => {
    expect(parse(['--stack', 'prod', '--ledger', 'l2'], 'table', 'ledger')).toEqual({
      stack: { name: 'prod', ledger: 'l2' },
    });
  });

  test('is known by its parts where all that are needed are named', () => {
    expect(parse(['--table', 'c', '--ledger', 'l'], 'table', 'ledger')).toEqual({
      stack: { table: 'c', ledger: 'l' },
    });
    expect(() => parse(['--table', 'c'], 'bucket', 'table', 'ledger')).toThrow(
      new UsageError(
        '--table alone does not identify the store; also give --bucket and --ledger, or --stack',
      ),
    );
    expect(() => parse(['--ledger', 'l'])).toThrow(
      new UsageError('--ledger alone does not identify the store; also give --stack'),
    );
  });

  test('is one of them', () => {
    expect(() => parse(['--stack', 'prod', '--data-dir', '/srv'])).toThrow(UsageError);
    expect(() => parse(['--bucket', 'b', '--data-dir', '/srv'], 'bucket')).toThrow(
      'the names of a store on AWS and --data-dir name two stores; give only one',
    );
    expect(() => parse(['--stack', ' '])).toThrow('--stack must not be empty');
    expect(() => parse(['--table', ' '])).toThrow('--table must not be empty');
  });
});
