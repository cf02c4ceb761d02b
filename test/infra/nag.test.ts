import { App, Stack, Validations } from 'aws-cdk-lib';
import { Key } from 'aws-cdk-lib/aws-kms';
import { Bucket, type IBucket } from 'aws-cdk-lib/aws-s3';
import { ManagedPolicy, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { AwsSolutionsChecks } from 'cdk-nag';
import type { IConstruct } from 'constructs';
import { describe, expect, test, vi } from 'vitest';

import { DevicePipeline } from '../../infra/construct/index.ts';
import type { Settings } from '../../infra/settings.ts';
import { buildStack, cdkContext, standInBundles, temporaryDirectory } from './support.ts';

const variants: Partial<Settings>[] = [
  {},
  { tokens: 'off', functionUrl: 'on', athena: 'on' },
  { alarmEmail: 'on-call@example.org' },
  { removalPolicy: 'destroy' },
  { rawBucketName: 'old-bodies', countersTableName: 'c-1', ledgerTableName: 'l-1' },
  { ingestConcurrency: 5, sweepConcurrency: 1, rawExpiryDays: 365 },
];

/** Every finding, including accepted ones, as `construct rule`. */
function findings(stack: Stack): string[] {
  const checks = new AwsSolutionsChecks();
  Reflect.set(checks, 'isAcknowledged', () => false);
  return checks
    .validateScope(stack)
    .violations.flatMap(({ ruleName, violatingResources }) =>
      violatingResources.map(({ constructPath }) => `${constructPath ?? ''} ${ruleName}`),
    )
    .map((finding) => finding.replace(`${stack.stackName}/Default/`, ''))
    .sort();
}

/** The accepted findings, with the construct on which each was accepted. */
function accepted(stack: Stack): { construct: IConstruct; rule: string; reason: string }[] {
  return stack.node.findAll().flatMap((construct) =>
    construct.node.metadata
      .filter(({ type }) => type === Validations.ACKNOWLEDGED_RULES_METADATA_KEY)
      .flatMap(({ data }) => Object.entries(data as Record<string, string>))
      .map(([id, reason]) => ({ construct, rule: id.replace(/^annotation::/i, ''), reason })),
  );
}

describe('cdk-nag', () => {
  test.each(variants)('finds nothing with %j', (overrides) => {
    const { stack } = buildStack(overrides);
    expect(new AwsSolutionsChecks().validateScope(stack).violations).toEqual([]);
  });

  test('would find exactly the accepted findings', () => {
    const { stack } = buildStack();
    const rawObjects = findings(stack).find((finding) => finding.includes('raw/*')) ?? '';
    expect(rawObjects).toMatch(
      /AwsSolutions-IAM5\[Resource::<RawBucket[0-9A-F]{8}\.Arn>\/raw\/\*\]$/,
    );
    const rawRule = rawObjects.split(' ')[1] ?? '';
    expect(findings(stack)).toEqual(
      [
        'RawBucket/Resource AwsSolutions-S1',
        'SweepFailures/Resource AwsSolutions-SQS3',
        'Tokens/Resource AwsSolutions-SMG4',
        'IngestRoute/Resource AwsSolutions-APIG4',
        'QueryRoute/Resource AwsSolutions-APIG4',
        ...['Ingest', 'Process', 'Query', 'Sweep'].map(
          (name) => `${name}Role/DefaultPolicy/Resource AwsSolutions-IAM5[Resource::*]`,
        ),
        ...['Ingest', 'Sweep'].flatMap((name) =>
          [rawRule, rawRule.replace('/raw/*', '/excluded/*')].map(
            (rule) => `${name}Role/DefaultPolicy/Resource ${rule}`,
          ),
        ),
        ...['Ingest', 'Process', 'Sweep'].map(
          (name) => `${name}Role/DefaultPolicy/Resource ${rawRule.replace('/raw/*', '/grouped/*')}`,
        ),
      ].sort(),
    );
  });

  test('accepts only existing findings, each on one construct and with a reason', () => {
    const { stack } = buildStack();
    const found = findings(stack);
    for (const { construct, rule, reason } of accepted(stack)) {
      const path = construct.node.path.replace(`${stack.stackName}/Default/`, '');
      expect(
        found.filter((finding) => finding.startsWith(`${path}/`) && finding.endsWith(` ${rule}`)),
      ).toHaveLength(1);
      expect(reason).toMatch(/^[A-Z].{30,}\.$/);
    }
    expect(accepted(stack)).toHaveLength(found.length);
  });
});

describe('cdk-nag finds nothing in an app of others', () => {
  test.each([{}, { account: '111111111111', region: 'eu-west-1' }])(
    'that has the bucket in another stack, and keys of its own: %j',
    (env) => {
      const app = new App({ context: cdkContext, outdir: temporaryDirectory() });
      const data = new Stack(app, 'Data', { env });
      const encryptionKey = new Key(data, 'Key', { enableKeyRotation: true });
      const rawBucket = new Bucket(data, 'Bodies', {
        ...{ encryptionKey, enforceSSL: true, serverAccessLogsPrefix: 'log' },
      }) as IBucket;
      const pipeline = new DevicePipeline(new Stack(app, 'Shop', { env }), 'Events', {
        ...{ rawBucket, bundlesDirectory: standInBundles() },
      });
      Validations.of(app).addPlugins(new AwsSolutionsChecks(app));
      const said = vi.spyOn(console, 'error').mockImplementation(() => undefined);
      expect(() => app.synth()).not.toThrow();
      said.mockRestore();
      expect(pipeline.rawBucket).toBe(rawBucket);
    },
  );
});

describe('synthesis fails', () => {
  function synthesize(plant: (stack: Stack) => void): string {
    const { app, stack } = buildStack();
    plant(stack);
    const said = vi.spyOn(console, 'error').mockImplementation(() => undefined);
    try {
      app.synth();
      return 'synthesised';
    } catch (error) {
      return `${said.mock.calls.join('\n')}\n${(error as Error).message}`;
    } finally {
      said.mockRestore();
    }
  }

  test('not for the stack as it is', () => {
    expect(synthesize(() => undefined)).toBe('synthesised');
  });

  test('for a bucket that can be read without TLS', () => {
    expect(synthesize((stack) => new Bucket(stack, 'Planted'))).toMatch(/AwsSolutions-S10\b/);
  });

  test("for a role with one of AWS's broad policies", () => {
    const outcome = synthesize(
      (stack) =>
        new Role(stack, 'Planted', {
          assumedBy: new ServicePrincipal('lambda.amazonaws.com'),
          managedPolicies: [
            ManagedPolicy.fromAwsManagedPolicyName('service-role/AWSLambdaBasicExecutionRole'),
          ],
        }),
    );
    expect(outcome).toContain('AwsSolutions-IAM4');
  });
});
