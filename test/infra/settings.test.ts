import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { describe, expect, test } from 'vitest';

import { checkSettings, readSettings } from '../../infra/read-settings.ts';
import { defaultSettings } from '../../infra/settings.ts';
import { temporaryDirectory } from './support.ts';

function problemsOf(values: Record<string, unknown>): string[] {
  const reading = checkSettings(values);
  return reading.kind === 'wrong' ? reading.problems : [];
}

function settingsOf(values: Record<string, unknown>) {
  const reading = checkSettings(values);
  if (reading.kind === 'wrong') throw new Error(reading.problems.join('\n'));
  return reading.settings;
}

describe('settings', () => {
  test('have defaults that do not contradict each other', () => {
    expect(settingsOf({})).toEqual(defaultSettings);
    expect(settingsOf({ ...defaultSettings })).toEqual(defaultSettings);
  });

  test.each([
    ['stackName', 'trial-2', 'trial-2'],
    ['maxCountersPerDay', '1', 1],
    ['maxCountersPerDay', 1_000_000, 1_000_000],
    ['itemsPerMessage', '1', 1],
    ['itemsPerMessage', 10_000, 10_000],
    ['itemsPerMessage', 'packed', 'packed'],
    ['dayZone', 'UTC', 'UTC'],
    ['dayZone', 'America/Argentina/Buenos_Aires', 'America/Argentina/Buenos_Aires'],
    ['keepReceiptsDays', '30', 30],
    ['keepReceiptsDays', 3650, 3650],
    ['rawExpiryDays', '365', 365],
    ['rawInfrequentAccessDays', 'never', 'never'],
    ['rawGlacierDays', '60', 60],
    ['logRetentionDays', '3653', 3653],
    ['throttleRate', '1', 1],
    ['throttleBurst', '100000', 100_000],
    ['queryThrottleRate', '1', 1],
    ['queryThrottleBurst', '100000', 100_000],
    ['tokens', 'off', 'off'],
    ['corsOrigins', 'https://a.example, http://b:81', 'https://a.example,http://b:81'],
    ['corsOrigins', ['https://a.example', '*'], 'https://a.example,*'],
    ['corsOrigins', 'none', 'none'],
    ['alarmEmail', 'on-call@example.org', 'on-call@example.org'],
    ['batchSize', '10', 10],
    ['batchWindowSeconds', '300', 300],
    ['processConcurrencyMax', '2', 2],
    ['ingestConcurrency', '7', 7],
    ['queryConcurrency', '20', 20],
    ['sweepConcurrency', '1', 1],
    ['removalPolicy', 'destroy', 'destroy'],
    ['rawBucketName', 'old.bodies-1', 'old.bodies-1'],
    ['rawBucketName', 'new', 'new'],
  ])('%s may be %j', (name, given, value) => {
    expect(settingsOf({ [name]: given })).toEqual({ ...defaultSettings, [name]: value });
  });

  const origins = "origins such as 'https://app.example' with commas between, '*', or 'none'";
  const zones = "'as-written', 'UTC' or the name of a time zone such as 'Europe/Berlin'";
  test.each([
    ['stackName', '2-trial', 'letters, digits and hyphens, at most 128, beginning with a letter'],
    ['stackName', '', 'letters, digits and hyphens, at most 128, beginning with a letter'],
    ['maxCountersPerDay', '0', 'a whole number from 1 to 1000000'],
    ['maxCountersPerDay', '1000001', 'a whole number from 1 to 1000000'],
    ['itemsPerMessage', '0', "a whole number from 1 to 10000, or 'packed'"],
    ['itemsPerMessage', '10001', "a whole number from 1 to 10000, or 'packed'"],
    ['itemsPerMessage', 'many', "a whole number from 1 to 10000, or 'packed'"],
    ['dayZone', 'Europe/Atlantis', zones],
    ['dayZone', '+01:00', zones],
    ['dayZone', '', zones],
    ['keepReceiptsDays', '29', 'a whole number from 30 to 3650'],
    ['keepReceiptsDays', '3651', 'a whole number from 30 to 3650'],
    ['keepReceiptsDays', '90.5', 'a whole number from 30 to 3650'],
    ['keepReceiptsDays', '9e1', 'a whole number from 30 to 3650'],
    ['rawExpiryDays', '29', "a whole number from 30 to 36500, or 'never'"],
    ['rawInfrequentAccessDays', '29', "a whole number from 30 to 36500, or 'never'"],
    ['rawGlacierDays', '0', "a whole number from 1 to 36500, or 'never'"],
    ['throttleRate', '0', 'a whole number from 1 to 100000'],
    ['throttleBurst', '-1', 'a whole number from 1 to 100000'],
    ['queryThrottleRate', '0', 'a whole number from 1 to 100000'],
    ['queryThrottleBurst', '100001', 'a whole number from 1 to 100000'],
    ['tokens', 'yes', "'on' or 'off'"],
    ['corsOrigins', 'https://a.example/', origins],
    ['corsOrigins', 'null', origins],
    ['corsOrigins', '', origins],
    ['alarmEmail', 'me', "an e-mail address, or 'none'"],
    ['alarmEmail', 'me@localhost', "an e-mail address, or 'none'"],
    ['batchSize', '9', 'a whole number from 10 to 10000'],
    ['batchWindowSeconds', '301', 'a whole number from 0 to 300'],
    ['processConcurrencyMax', '1', 'a whole number from 2 to 1000'],
    ['ingestConcurrency', '0', "a whole number from 1 to 10000, or 'unreserved'"],
    ['queryConcurrency', '0', "a whole number from 1 to 10000, or 'unreserved'"],
    ['sweepConcurrency', '11', "a whole number from 1 to 10, or 'unreserved'"],
    ['removalPolicy', 'snapshot', "'retain' or 'destroy'"],
    ['rawBucketName', 'Bodies', "the name of a bucket that exists, or 'new'"],
    ['rawBucketName', 'arn:aws:s3:::bodies', "the name of a bucket that exists, or 'new'"],
    ['countersTableName', 'c', "the name of a table that exists, or 'new'"],
    ['ledgerTableName', 'a/b', "the name of a table that exists, or 'new'"],
  ])("%s must not be '%s'", (name, given, allowed) => {
    expect(problemsOf({ [name]: given })).toEqual([`${name} must be ${allowed}, got '${given}'.`]);
  });

  test.each([
    [null, 'null'],
    [true, 'true'],
    [[90], '[90]'],
    [{ days: 90 }, '{"days":90}'],
  ])('may not be %j if a number is needed', (given, shown) => {
    expect(problemsOf({ keepReceiptsDays: given })).toEqual([
      `keepReceiptsDays must be a whole number from 30 to 3650, got ${shown}.`,
    ]);
  });

  test('know the retention times of CloudWatch Logs', () => {
    expect(problemsOf({ logRetentionDays: 31 })).toEqual([
      'logRetentionDays must be one of 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653, got 31.',
    ]);
  });

  test('that do not exist are refused with the nearest name that does', () => {
    expect(problemsOf({ keepReceiptDays: 90, Tokens: 'on' })).toEqual([
      'There is no setting keepReceiptDays; did you mean keepReceiptsDays?',
      'There is no setting Tokens; did you mean tokens?',
    ]);
    expect(problemsOf({ colour: 'red' })).toEqual([
      `There is no setting colour. The settings are ${Object.keys(defaultSettings).join(', ')}.`,
    ]);
    expect(problemsOf({ toString: 1 })).toHaveLength(1);
  });

  test('that are invalid are all reported at once', () => {
    expect(problemsOf({ tokens: 1, batchSize: 1, coulour: 1, dayZone: 1 })).toHaveLength(4);
  });
});

describe('settings that contradict each other', () => {
  test('a batch of more than 10 messages needs a window', () => {
    expect(problemsOf({ batchSize: 11, batchWindowSeconds: 0 })).toEqual([
      'batchWindowSeconds must be 1 or more if batchSize (11) is above 10, got 0.',
    ]);
    expect(problemsOf({ batchSize: 11, batchWindowSeconds: 1 })).toEqual([]);
    expect(problemsOf({ batchSize: 10, batchWindowSeconds: 0 })).toEqual([]);
  });

  const never = { rawInfrequentAccessDays: 'never', rawGlacierDays: 'never' };

  test('raw bodies live at least as long as receipts', () => {
    expect(problemsOf({ ...never, rawExpiryDays: 89 })).toEqual([
      'rawExpiryDays must be at least keepReceiptsDays (90), got 89: a receipt must not outlive its raw body.',
    ]);
    expect(problemsOf({ ...never, rawExpiryDays: 90 })).toEqual([]);
  });

  test('the storage classes have the order and the distance that S3 requires', () => {
    expect(problemsOf({ rawInfrequentAccessDays: 61 })).toEqual([
      "rawGlacierDays must be at least 30 more than rawInfrequentAccessDays (61), or one of the two 'never', got 90.",
    ]);
    expect(problemsOf({ rawInfrequentAccessDays: 60 })).toEqual([]);
    expect(problemsOf({ rawInfrequentAccessDays: 'never', rawGlacierDays: 1 })).toEqual([]);
  });

  test('raw bodies do not expire before they have moved', () => {
    expect(problemsOf({ rawExpiryDays: 90 })).toEqual([
      "rawExpiryDays must be more than rawGlacierDays (90), got 90; set rawGlacierDays to 'never' to omit that step.",
    ]);
    expect(problemsOf({ rawExpiryDays: 91 })).toEqual([]);
    expect(problemsOf({ rawExpiryDays: 90, rawGlacierDays: 'never' })).toEqual([]);
  });
});

describe('settings that name tables', () => {
  test('name two tables, neither of which is new', () => {
    expect(problemsOf({ countersTableName: 'c-1' })).toEqual([
      "countersTableName and ledgerTableName must both be 'new' or both name a table, got 'c-1' and 'new'. The outputs TableName and LedgerTableName of a stack give the names of its tables.",
    ]);
    expect(problemsOf({ ledgerTableName: 'l-1' })).toHaveLength(1);
    expect(problemsOf({ countersTableName: 'c-1', ledgerTableName: 'c-1' })).toEqual([
      "countersTableName and ledgerTableName must name two different tables, got 'c-1' for both.",
    ]);
    const named = { countersTableName: 'c-1', ledgerTableName: 'l-1' };
    expect(settingsOf(named)).toEqual({ ...defaultSettings, ...named });
  });
});

describe('settings are read', () => {
  function fileWith(text: string, name = 'pipeline.settings.json'): string {
    const directory = temporaryDirectory();
    writeFileSync(join(directory, name), text);
    return directory;
  }

  test('from nowhere if none are given', () => {
    expect(readSettings({}, temporaryDirectory())).toEqual({
      kind: 'read',
      settings: defaultSettings,
    });
  });

  test('from pipeline.settings.json, overridden by -c name=value', () => {
    const directory = fileWith('{"keepReceiptsDays": 60, "throttleRate": 7}');
    expect(readSettings({ throttleRate: '8' }, directory)).toEqual({
      kind: 'read',
      settings: { ...defaultSettings, keepReceiptsDays: 60, throttleRate: 8 },
    });
  });

  test('from the file that -c settings=FILE names', () => {
    const directory = fileWith('{"tokens": "off"}', 'trial.json');
    expect(readSettings({ settings: 'trial.json' }, directory)).toMatchObject({
      kind: 'read',
      settings: { tokens: 'off' },
    });
  });

  test('beside what the CDK has put into the context', () => {
    const context = {
      '@aws-cdk/core:checkSecretUsage': true,
      'aws:cdk:enable-path-metadata': true,
      'availability-zones:account=1:region=eu-west-1': ['a'],
      'cli-telemetry': false,
    };
    expect(readSettings(context, temporaryDirectory())).toMatchObject({ kind: 'read' });
  });

  test.each([
    ['{"tokens": ', /^The settings file pipeline\.settings\.json is not JSON: /],
    ['[]', /^The settings file pipeline\.settings\.json must hold a JSON object such as /],
    ['null', /^The settings file pipeline\.settings\.json must hold a JSON object such as /],
  ])('not from a file that contains %j', (text, problem) => {
    expect(readSettings({}, fileWith(text))).toEqual({
      kind: 'wrong',
      problems: [expect.stringMatching(problem)],
    });
  });

  test('not from a named file that is missing, nor from a directory', () => {
    const directory = temporaryDirectory();
    expect(readSettings({ settings: 'trial.json' }, directory)).toEqual({
      kind: 'wrong',
      problems: ['The settings file trial.json does not exist.'],
    });
    expect(readSettings({ settings: '.' }, directory)).toEqual({
      kind: 'wrong',
      problems: ['The settings file . cannot be read (EISDIR).'],
    });
    expect(readSettings({ settings: '' }, directory)).toEqual({
      kind: 'wrong',
      problems: ["settings must be the name of a JSON file, got ''."],
    });
  });
});

describe('an unknown setting', () => {
  test.each([
    ['batchSiez', 'batchSize'],
    ['BATCHSIZE', 'batchSize'],
    ['token', 'tokens'],
    ['batchWindow', 'batchWindowSeconds'],
  ])('%s is refused, with the hint %s', (name, nearest) => {
    expect(problemsOf({ [name]: 1 })).toEqual([
      `There is no setting ${name}; did you mean ${nearest}?`,
    ]);
  });

  test('that resembles no setting is refused with the list of settings', () => {
    expect(problemsOf({ x: 1 })[0]).toMatch(
      /^There is no setting x\. The settings are stackName, /,
    );
  });
});
