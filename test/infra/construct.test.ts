import {
  App,
  Aspects,
  Aws,
  CfnParameter,
  CfnResource,
  NestedStack,
  RemovalPolicies,
  RemovalPolicy,
  Stack,
  Stage,
  Tags,
} from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import { ManagedPolicy, PermissionsBoundary } from 'aws-cdk-lib/aws-iam';
import { Construct, type IConstruct } from 'constructs';
import { describe, expect, test } from 'vitest';

import { DevicePipeline, type DevicePipelineProps } from '../../infra/construct/index.ts';
import { outputsOfPipeline } from '../../src/engines/aws/admin/stack-outputs.ts';
import { cdkContext, standInBundles, temporaryDirectory, type Resource } from './support.ts';

const bundlesDirectory = standInBundles();

function newApp(): App {
  return new App({ context: cdkContext, outdir: temporaryDirectory() });
}

function addPipeline(scope: Construct, id: string, props: DevicePipelineProps = {}) {
  return new DevicePipeline(scope, id, { ...props, bundlesDirectory });
}

function resourcesOf(stack: Stack, type: string): Resource[] {
  return Object.values(Template.fromStack(stack).findResources(type)) as Resource[];
}

/** The keys of a stack's outputs; the values stand for themselves. */
function outputsOf(stack: Stack): Map<string, string> {
  const outputs = Template.fromStack(stack).findOutputs('*') as Record<string, { Value: unknown }>;
  return new Map(Object.entries(outputs).map(([key, { Value }]) => [key, JSON.stringify(Value)]));
}

/** The names that have to be unique in an account and region. */
function physicalNames(...stacks: Stack[]): unknown[] {
  return stacks.flatMap((stack) => [
    ...resourcesOf(stack, 'AWS::Logs::LogGroup').flatMap(
      ({ Properties }) => Properties['LogGroupName'] ?? [],
    ),
    ...resourcesOf(stack, 'AWS::Logs::MetricFilter').map(
      ({ Properties }) =>
        (Properties['MetricTransformations'] as { MetricNamespace: string }[])[0]?.MetricNamespace,
    ),
    ...resourcesOf(stack, 'AWS::ApiGatewayV2::Api').map(({ Properties }) => Properties['Name']),
  ]);
}

/** Resources to which CloudFormation has to give a name. */
const nameOf = {
  'AWS::S3::Bucket': 'BucketName',
  'AWS::DynamoDB::Table': 'TableName',
  'AWS::SQS::Queue': 'QueueName',
  'AWS::Lambda::Function': 'FunctionName',
  'AWS::IAM::Role': 'RoleName',
  'AWS::SecretsManager::Secret': 'Name',
  'AWS::Events::Rule': 'Name',
  'AWS::CloudWatch::Alarm': 'AlarmName',
  'AWS::CloudWatch::Dashboard': 'DashboardName',
};

describe('two pipelines in one stack', () => {
  const stack = new Stack(newApp(), 'Shop');
  const [first, second] = [addPipeline(stack, 'Orders'), addPipeline(stack, 'Returns')];

  test('have all of their resources, with different names', () => {
    const template = Template.fromStack(stack);
    template.resourceCountIs('AWS::Lambda::Function', 8);
    template.resourceCountIs('AWS::DynamoDB::Table', 4);
    template.resourceCountIs('AWS::CloudWatch::Dashboard', 2);
    const names = physicalNames(stack);
    expect(names).toHaveLength(6);
    expect(names).toContain(`/aws/vendedlogs/device-pipeline/${first.pipelineName}/access`);
    expect(first.pipelineName).toMatch(/^Shop-Orders-[0-9A-F]{8}$/);
    expect(second.pipelineName).toMatch(/^Shop-Returns-[0-9A-F]{8}$/);
    expect(new Set(names).size).toBe(6);
    for (const [type, name] of Object.entries(nameOf)) {
      for (const { Properties } of resourcesOf(stack, type)) {
        expect(Properties).not.toHaveProperty(name);
      }
    }
    expect(JSON.stringify(template.findOutputs('*'))).not.toContain('"Export"');
  });

  test('are found by commands, each by its id', () => {
    const outputs = outputsOf(stack);
    const orders = outputsOfPipeline('Shop.Orders', outputs);
    expect(orders('TableName')).toBe(JSON.stringify(stack.resolve(first.countersTable.tableName)));
    const returns = outputsOfPipeline('Shop.Returns', outputs);
    expect(returns('QueueUrl')).toBe(JSON.stringify(stack.resolve(second.queue.queueUrl)));
    expect(() => outputsOfPipeline('Shop', outputs)).toThrow('several pipelines: Orders, Returns');
  });

  test('cannot have the same name, which their metrics would share', () => {
    const other = new Stack(newApp(), 'Shop');
    addPipeline(other, 'Orders', { pipelineName: 'shop' });
    expect(() => addPipeline(other, 'Returns', { pipelineName: 'shop' })).toThrow(
      "DevicePipeline Shop/Returns: pipelineName 'shop' is already used by Shop/Orders; choose another.",
    );
  });
});

test('in a nested stack, the outputs are those of the outermost one', () => {
  const stack = new Stack(newApp(), 'Shop');
  const nested = new NestedStack(stack, 'Events');
  const pipeline = addPipeline(nested, 'Pipeline');
  expect(pipeline.pipelineName).toMatch(/^Shop-Events-Pipeline-[0-9A-F]{8}$/);
  expect(outputsOf(nested).has('ApiUrl')).toBe(false);
  const found = outputsOfPipeline('Shop.EventsPipeline', outputsOf(stack));
  expect(found('ApiUrl')).toContain('NestedStack');
  expect(found('DayZone')).toBe('"as-written"');
  Template.fromStack(stack).resourceCountIs('AWS::CloudFormation::Stack', 1);
});

test('below ids of any length, the keys of outputs are short enough, and commands find them', () => {
  const stack = new Stack(newApp(), 'Shop');
  const scope = ['a', 'b', 'c', 'd', 'e'].reduce<Construct>(
    (parent, letter) => new Construct(parent, letter.repeat(72)),
    stack,
  );
  addPipeline(scope, 'First');
  addPipeline(scope, 'Second');
  const outputs = outputsOf(stack);
  for (const key of outputs.keys()) expect(key.length).toBeLessThanOrEqual(255);
  const [, listed = ''] =
    /several pipelines: (\w+), /.exec(messageOf(() => outputsOfPipeline('Shop', outputs))) ?? [];
  expect(outputsOfPipeline(`Shop.${listed}`, outputs)('DayZone')).toBe('"as-written"');
  const alone = new Stack(newApp(), 'Shop');
  const ids = ['a', 'b', 'c', 'd'].map((letter) => letter.repeat(72));
  addPipeline(
    ids.reduce<Construct>((parent, id) => new Construct(parent, id), alone),
    'Events',
  );
  const path = [...ids, 'Events'].join('/');
  expect(outputsOfPipeline(`Shop.${path}`, outputsOf(alone))('DayZone')).toBe('"as-written"');
});

function messageOf(act: () => unknown): string {
  try {
    act();
    return '';
  } catch (error) {
    return (error as Error).message;
  }
}

test('in two stages of one account, all names differ', () => {
  const app = newApp();
  const stacks = ['Test', 'Live'].map((name) => {
    const stack = new Stack(new Stage(app, name), 'Shop');
    addPipeline(stack, 'Pipeline');
    return stack;
  });
  expect(new Set(physicalNames(...stacks)).size).toBe(6);
});

test('a stack of another name is another pipeline, although its construct is the same', () => {
  const names = ['ann', 'bob'].map((user) => {
    const stack = new Stack(newApp(), 'Shop', { stackName: `shop-${user}` });
    return addPipeline(stack, 'Pipeline').pipelineName;
  });
  expect(new Set(names).size).toBe(2);
});

describe('what applies to a whole scope reaches the pipeline', () => {
  const stack = new Stack(newApp(), 'Shop');
  const pipeline = addPipeline(stack, 'Pipeline');
  Tags.of(pipeline).add('team', 'fleet');
  PermissionsBoundary.of(stack).apply(
    ManagedPolicy.fromManagedPolicyName(stack, 'Boundary', 'boundary'),
  );
  const visited: IConstruct[] = [];
  Aspects.of(stack).add({ visit: (node) => void visited.push(node) });
  const template = Template.fromStack(stack);

  test.each([
    ...['AWS::S3::Bucket', 'AWS::DynamoDB::Table', 'AWS::SQS::Queue', 'AWS::Lambda::Function'],
    ...['AWS::Logs::LogGroup', 'AWS::IAM::Role', 'AWS::SecretsManager::Secret'],
    ...['AWS::CloudWatch::Alarm'],
  ])('tags: %s', (type) => {
    const tagged = template.findResources(type, {
      Properties: { Tags: [{ Key: 'team', Value: 'fleet' }] },
    });
    expect(Object.keys(tagged)).toEqual(Object.keys(template.findResources(type)));
  });

  test('a permissions boundary: every role', () => {
    const bounded = template.findResources('AWS::IAM::Role', {
      Properties: { PermissionsBoundary: {} },
    });
    expect(Object.keys(bounded)).toHaveLength(4);
  });

  test('aspects: every resource', () => {
    const resources = visited.filter((node) => CfnResource.isCfnResource(node));
    expect(resources.length).toBeGreaterThan(50);
  });

  test('removal policies', () => {
    const trial = new Stack(newApp(), 'Trial');
    RemovalPolicies.of(addPipeline(trial, 'Pipeline')).destroy();
    for (const type of ['AWS::S3::Bucket', 'AWS::DynamoDB::Table']) {
      for (const { DeletionPolicy } of resourcesOf(trial, type)) {
        expect(DeletionPolicy).toBe('Delete');
      }
    }
  });

  test.each([
    ['RETAIN', undefined, true],
    ['DESTROY', undefined, false],
    ['RETAIN', 'destroy', false],
    ['RETAIN', 'retainOnUpdateOrDelete', false],
  ] as const)('protects tables by the final policy: %s, then %s', (own, aspect, isProtected) => {
    const app = newApp();
    const trial = new Stack(app, 'Trial');
    addPipeline(trial, 'Pipeline', { removalPolicy: RemovalPolicy[own] });
    if (aspect !== undefined) RemovalPolicies.of(app)[aspect]();
    const tables = resourcesOf(trial, 'AWS::DynamoDB::Table');
    const protections = tables.map(({ Properties }) => Properties['DeletionProtectionEnabled']);
    expect(protections).toEqual([isProtected, isProtected]);
    // Only the prop empties the bucket (docs/cdk.md).
    const emptied = resourcesOf(trial, 'Custom::S3AutoDeleteObjects');
    expect(emptied).toHaveLength(own === 'DESTROY' ? 1 : 0);
  });
});

test('alarms and resources are there as properties', () => {
  const stack = new Stack(newApp(), 'Shop');
  const pipeline = addPipeline(stack, 'Pipeline', { removalPolicy: RemovalPolicy.DESTROY });
  expect(Object.keys(pipeline.alarms)).toHaveLength(10);
  expect(pipeline.alarms.SweepLags.node.id).toBe('SweepLags');
  pipeline.functions.query.addEnvironment('SHOP', 'yes');
  expect(stack.resolve(pipeline.functions.query.functionName)).toHaveProperty('Ref');
  for (const [name, value] of Object.entries(pipeline)) {
    const isOptional = ['domainName', 'functionUrl'].includes(name);
    if (!isOptional) expect([name, value]).not.toEqual([name, undefined]);
  }
});

test('values of parameters pass through', () => {
  const stack = new Stack(newApp(), 'Shop');
  const number = (id: string) => new CfnParameter(stack, id, { type: 'Number', default: 60 });
  addPipeline(stack, 'Pipeline', {
    keepReceiptsDays: number('Keep').valueAsNumber,
    throttleRate: number('Rate').valueAsNumber,
    processConcurrencyMax: number('Processors').valueAsNumber,
    dayZone: Aws.REGION,
  });
  const template = Template.fromStack(stack);
  template.hasResourceProperties('AWS::Lambda::Function', {
    Environment: { Variables: { KEEP_DAYS: { Ref: 'Keep' }, DAY_ZONE: { Ref: 'AWS::Region' } } },
  });
  template.hasResourceProperties('AWS::ApiGatewayV2::Stage', {
    RouteSettings: { 'POST /ingest': { ThrottlingRateLimit: { Ref: 'Rate' } } },
  });
  expect(outputsOfPipeline('Shop', outputsOf(stack))('KeepReceiptsDays')).toContain('"Keep"');
  expect(JSON.stringify(template.toJSON())).not.toMatch(/Token\[|-1\.88/);
});
