import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { describe, expect, test } from 'vitest';

import { settingTable } from '../../infra/settings.ts';
import {
  buildTemplate,
  numberParameters,
  plainTemplate,
  templateName,
} from '../../tools/build-template.ts';
import { needs } from '../support/run/needs.ts';
import { isNightly } from '../support/run/tier.ts';
import { Synthesized, standInBundles, temporaryDirectory, type Json } from './support.ts';

interface Template {
  Parameters: Record<
    string,
    { Default?: string | number; AllowedPattern?: string; AllowedValues?: string[] }
  >;
  Conditions: Json;
  Rules: Record<string, { Assertions: { Assert: { 'Fn::Contains': [string[], unknown] } }[] }>;
  Resources: Record<
    string,
    { Type: string; Properties: Json; Condition?: string; DeletionPolicy?: string }
  >;
  Outputs: Record<string, { Value: unknown; Condition?: string }>;
}

/** CloudFormation's own rules check the template. */
process.env['CDK_VALIDATION'] = 'true';
const template = plainTemplate('1.2.3', standInBundles(), temporaryDirectory()) as Template;
process.env['CDK_VALIDATION'] = 'false';
const text = JSON.stringify(template);

describe('the template for those without the CDK', () => {
  test('is small enough to be passed without a bucket', () => {
    expect(text.length).toBeLessThan(51_200);
  });

  test('has the resources and the outputs of the stack, and no others', () => {
    for (const [functionUrl, athena] of [
      ['on', 'on'],
      ['on', 'off'],
      ['off', 'on'],
      ['off', 'off'],
    ] as const) {
      const settings = { alarmEmail: 'none', smallBodies: 'queue', functionUrl, athena } as const;
      const own = new Synthesized(settings).template.toJSON() as Template;
      const isOn: Record<string, boolean> = {
        HasFunctionUrl: functionUrl === 'on',
        HasAthenaTables: athena === 'on',
      };
      const existing = (all: Record<string, { Condition?: string }>) =>
        Object.keys(all).filter((id) => isOn[all[id]?.Condition ?? ''] ?? true);
      expect(existing(template.Resources).sort()).toEqual(Object.keys(own.Resources).sort());
      expect(existing(template.Outputs).sort()).toEqual(Object.keys(own.Outputs).sort());
    }
  });

  test('names no parameter as a resource, which CloudFormation refuses', () => {
    const names = Object.keys(template.Parameters);
    expect(names.filter((name) => name in template.Resources)).toEqual([]);
  });

  test('has no reference to what a condition may leave out, except in what it leaves out, too', () => {
    for (const condition of ['HasFunctionUrl', 'HasAthenaTables']) {
      const entries = [...Object.entries(template.Resources), ...Object.entries(template.Outputs)];
      const optional = Object.keys(template.Resources).filter(
        (id) => template.Resources[id]?.Condition === condition,
      );
      expect(optional).toHaveLength(3);
      const others = entries.filter(([, each]) => each.Condition !== condition);
      for (const id of optional) expect(JSON.stringify(others)).not.toContain(`"${id}"`);
    }
  });

  test('takes small bodies in messages, and keeps the queues that may have the only copy', () => {
    const { AllowedValues, Default } = template.Parameters['SmallBodies'] ?? {};
    expect([AllowedValues, Default]).toEqual([['object', 'queue'], 'object']);
    expect(text.split('"SMALL_BODIES":{"Ref":"SmallBodies"}')).toHaveLength(3);
    const kept = Object.entries(template.Resources).filter(
      ([, { Type, DeletionPolicy }]) => Type === 'AWS::SQS::Queue' && DeletionPolicy === 'Retain',
    );
    expect(kept.map(([id]) => id.replace(/[0-9A-F]{8}$/, '')).sort()).toEqual([
      ...['DeadLetterQueue', 'Queue'],
    ]);
  });

  test('needs no bootstrapped account: the code is in a bucket that a parameter names', () => {
    expect(text).not.toMatch(/cdk-|Bootstrap|aws:cdk|Token\[|-1\.88/);
    const functions = Object.values(template.Resources).filter(
      ({ Type }) => Type === 'AWS::Lambda::Function',
    );
    expect(functions.map(({ Properties }) => JSON.stringify(Properties['Code'])).sort()).toEqual(
      ['ingest', 'process', 'query', 'sweep'].map((name) =>
        JSON.stringify({
          S3Bucket: { Ref: 'CodeBucket' },
          S3Key: {
            'Fn::Join': ['', [{ Ref: 'CodePrefix' }, `device-pipeline-1.2.3/${name}.zip`]],
          },
        }),
      ),
    );
  });

  test('uses every parameter; only the bucket has no default, and defaults are allowed', () => {
    for (const [name, { Default, AllowedPattern = '.*' }] of Object.entries(template.Parameters)) {
      expect(text).toContain(`{"Ref":"${name}"}`);
      if (name !== 'CodeBucket')
        expect(String(Default)).toMatch(new RegExp(`^(${AllowedPattern})$`));
    }
    expect(template.Parameters['CodeBucket']).not.toHaveProperty('Default');
    expect(template.Parameters['RawExpiryDays']?.Default).toBe('never');
  });

  test('has the bounds of the settings', () => {
    for (const [name, [least, most]] of Object.entries(numberParameters)) {
      const { parse } = settingTable[name as keyof typeof numberParameters];
      const isAllowed = [least - 1, least, most, most + 1].map((value) => 'value' in parse(value));
      expect([name, isAllowed]).toEqual([name, [false, true, true, false]]);
    }
  });

  test('accepts only values that the construct accepts, alone and together', () => {
    const isAllowed = (name: string, value: string) =>
      new RegExp(`^(${template.Parameters[name]?.AllowedPattern ?? ''})$`).test(value);
    const numbers = ['1', '29', '30', '30.5', '90', '91', '99', '999', '1000', '3599', '3650'];
    const larger = ['3651', '9999', '10000', '35999', '36500', '36501', '40000', '1000000'];
    const words = ['', 'never', 'packed', 'UTC', 'as-written', 'Mars', '+01:00', '1000001'];
    for (const name of ['keepReceiptsDays', 'maxCountersPerDay', 'itemsPerMessage'] as const) {
      const parameter = `${name[0]?.toUpperCase() ?? ''}${name.slice(1)}`;
      for (const value of [...numbers, ...larger, ...words]) {
        const expected = 'value' in settingTable[name].parse(value);
        expect([name, value, isAllowed(parameter, value)]).toEqual([name, value, expected]);
      }
    }
    for (const value of [...numbers, ...larger, ...words]) {
      // Bodies move to another class after 90 days.
      const expected = value === 'never' || (Number(value) > 90 && Number(value) <= 36_500);
      if (value !== '') {
        const isWhole = !value.includes('.');
        expect([value, isAllowed('RawExpiryDays', value)]).toEqual([value, expected && isWhole]);
      }
      const isZone = ['UTC', 'as-written'].includes(value);
      expect([value, isAllowed('DayZone', value)]).toEqual([value, isZone]);
    }
    for (const zone of Intl.supportedValuesOf('timeZone')) {
      if (zone !== 'UTC') expect(isAllowed('DayZone', zone)).toBe(true);
    }
    const [kept] = template.Rules['ReceiptsExpireFirst']?.Assertions ?? [];
    const [days, of] = kept?.Assert['Fn::Contains'] ?? [[]];
    expect(of).toEqual({ Ref: 'KeepReceiptsDays' });
    expect([days[0], days.at(-1), days.length]).toEqual(['30', '91', 62]);
    expect(isAllowed('RawExpiryDays', '90')).toBe(false);
    expect(isAllowed('AlarmTopicArn', 'arn:aws:sns:eu-west-1:111111111111:on-call')).toBe(true);
    expect(isAllowed('AlarmTopicArn', 'arn:aws:sqs:eu-west-1:111111111111:on-call')).toBe(false);
    expect(isAllowed('CodeBucket', 'https://bucket')).toBe(false);
  });

  test('names all after its stack, so that an account can have several', () => {
    expect(text).toContain(
      '["/aws/vendedlogs/device-pipeline/",{"Ref":"AWS::StackName"},"/access"]',
    );
    const ofFunction = Object.values(template.Resources).find(
      ({ Type }) => Type === 'AWS::Lambda::Function',
    );
    const environment = ofFunction?.Properties['Environment'];
    expect(environment).toMatchObject({
      Variables: { POWERTOOLS_SERVICE_NAME: { Ref: 'AWS::StackName' } },
    });
    const name = { 'Fn::Join': ['_', { 'Fn::Split': ['-', { Ref: 'AWS::StackName' }] }] };
    expect(template.Resources['Athena']?.Properties['DatabaseInput']).toMatchObject({ Name: name });
  });

  test('notifies a topic and expires bodies only if parameters say so', () => {
    const arn = { 'Fn::If': ['HasAlarmTopic', { Ref: 'AlarmTopicArn' }, { Ref: 'AWS::NoValue' }] };
    expect(text).toContain(`"AlarmActions":[${JSON.stringify(arn)}]`);
    const days = {
      'Fn::If': ['RawBodiesExpire', { Ref: 'RawExpiryDays' }, { Ref: 'AWS::NoValue' }],
    };
    expect(text).toContain(`"ExpirationInDays":${JSON.stringify(days)}`);
    expect(template.Outputs['RawExpiryDays']?.Value).toEqual({ Ref: 'RawExpiryDays' });
    expect(Object.keys(template.Conditions)).toEqual([
      ...['HasAlarmTopic', 'HasFunctionUrl', 'HasAthenaTables', 'RawBodiesExpire'],
    ]);
  });
});

/** It bundles and compresses all functions. */
const checkRelease = async () => {
  const directory = temporaryDirectory();
  await buildTemplate(directory);
  const { Resources } = JSON.parse(readFileSync(join(directory, templateName), 'utf8')) as Template;
  expect(Object.keys(Resources).length).toBeGreaterThan(50);
  const list = (name: string) =>
    execFileSync('zip', ['-sf', join(directory, name)], { encoding: 'utf8' })
      .split('\n')
      .filter((line) => line.startsWith('  '))
      .map((line) => line.trim());
  for (const name of ['ingest', 'process', 'sweep']) {
    expect(list(`${name}.zip`)).toEqual(['index.mjs']);
  }
  expect(list('query.zip')).toEqual(expect.arrayContaining(['index.mjs', 'dashboard/index.html']));
};
if (isNightly())
  needs('zip').it('the release has it with a zip file for each function', checkRelease);
