import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import {
  App,
  Aws,
  CfnCondition,
  CfnOutput,
  CfnParameter,
  CfnResource,
  CfnRule,
  DefaultStackSynthesizer,
  Fn,
  Stack,
  Token,
  Validations,
  type CfnParameterProps,
  type IStackSynthesizer,
} from 'aws-cdk-lib';
import { CfnDatabase } from 'aws-cdk-lib/aws-glue';
import { CfnPermission, CfnUrl, type CfnFunction } from 'aws-cdk-lib/aws-lambda';
import type { CfnBucket } from 'aws-cdk-lib/aws-s3';
import { Topic } from 'aws-cdk-lib/aws-sns';

import { bundleHandlers, bundlesDirectory } from '../infra/bundle.ts';
import { DevicePipeline } from '../infra/construct/index.ts';
import { logRetentionDays, settingTable, type Settings } from '../infra/settings.ts';
import { handlerNames } from '../infra/stack/function-specs.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
export const templateName = 'device-pipeline.template.json';

/**
 * The parameters that are numbers, with their bounds. API Gateway and Lambda reject fractions themselves.
 */
export const numberParameters = {
  throttleRate: [1, 100_000, 'POST /ingest: requests per second'],
  throttleBurst: [1, 100_000, 'POST /ingest: requests at once'],
  queryThrottleRate: [1, 100_000, 'All other requests: per second'],
  queryThrottleBurst: [1, 100_000, 'All other requests: at once'],
  batchSize: [10, 10_000, 'The most messages that one invocation counts'],
  processConcurrencyMax: [2, 1000, 'Invocations that count at once'],
} as const satisfies Partial<Record<keyof Settings, readonly [number, number, string]>>;

type NumberName = keyof typeof numberParameters;

const keepReceiptsDaysPattern =
  '[3-9][0-9]|[1-9][0-9]{2}|[12][0-9]{3}|3[0-5][0-9]{2}|36[0-4][0-9]|3650';
const rawExpiryDaysPattern =
  'never|9[1-9]|[1-9][0-9]{2,3}|[12][0-9]{4}|3[0-5][0-9]{3}|36[0-4][0-9]{2}|36500';
const dayZonePattern =
  'as-written|UTC|(Africa|America|Antarctica|Arctic|Asia|Atlantic|Australia|Europe|Indian|Pacific|Etc)/[A-Za-z0-9/_+-]+';

/** The parameters of the template by their settings, as tokens. */
function addParameters(stack: Stack) {
  const parameter = (name: string, props: CfnParameterProps) =>
    new CfnParameter(stack, `${name[0]?.toUpperCase() ?? ''}${name.slice(1)}`, props);
  const numberOf = (name: NumberName) => {
    const [minValue, maxValue, description] = numberParameters[name];
    const value = settingTable[name].default;
    const bounds = { minValue, maxValue, description };
    return parameter(name, { type: 'Number', default: value, ...bounds }).valueAsNumber;
  };
  const numbers = Object.fromEntries(
    Object.keys(numberParameters).map((name) => [name, numberOf(name as NumberName)]),
  ) as Record<NumberName, number>;
  const textOf = (name: string, value: string, allowedPattern: string, description: string) =>
    parameter(name, { default: value, allowedPattern, description });
  const onOrOff = (name: string, description: string) =>
    parameter(name, { default: 'off', allowedValues: ['off', 'on'], description });
  return {
    numbers,
    // CloudFormation accepts fractions as numbers, but the functions need whole ones.
    keepReceiptsDays: textOf(
      ...(['keepReceiptsDays', '90', keepReceiptsDaysPattern] as const),
      'Days for which idempotency keys and receipts are kept: 30 to 3650',
    ),
    maxCountersPerDay: Token.asNumber(
      textOf(
        ...(['maxCountersPerDay', '100000', '[1-9][0-9]{0,5}|1000000'] as const),
        'Distinct counters of a day: 1 to 1000000',
      ).value,
    ),
    dayZone: textOf(
      ...(['dayZone', settingTable.dayZone.default, dayZonePattern] as const),
      'as-written, UTC or a time zone such as Europe/Berlin. Do not change it later',
    ).valueAsString,
    itemsPerMessage: textOf(
      ...(['itemsPerMessage', 'packed', 'packed|[1-9][0-9]{0,3}|10000'] as const),
      'Items in one message of the queue: packed, or 1 to 10000',
    ).valueAsString,
    logRetentionDays: parameter('logRetentionDays', {
      type: 'Number',
      default: settingTable.logRetentionDays.default,
      allowedValues: logRetentionDays.map(String),
      description: 'Days for which logs are kept',
    }).valueAsNumber,
    rawExpiryDays: textOf(
      ...(['rawExpiryDays', 'never', rawExpiryDaysPattern] as const),
      'Days after which raw bodies are deleted: never, or 91 to 36500. Then KeepReceiptsDays is at most 91',
    ),
    alarmTopicArn: textOf(
      ...(['alarmTopicArn', '', '(arn:[a-z-]+:sns:[a-z0-9-]+:[0-9]{12}:.+)?'] as const),
      'An SNS topic that receives the alarms; empty for none',
    ),
    smallBodies: parameter('smallBodies', {
      default: settingTable.smallBodies.default,
      allowedValues: ['object', 'queue'],
      description:
        'Where the body of a small batch is until it is counted: an object of its own, or its message',
    }).valueAsString,
    functionUrl: onOrOff('functionUrl', 'Whether the ingest function has a URL of its own'),
    // Not named after the setting, because a resource has that name.
    athena: onOrOff('athenaTables', 'Whether there are tables of the raw bodies for Athena'),
    codeBucket: parameter('codeBucket', {
      allowedPattern: '[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]',
      description: 'The bucket with the zip files of the functions, in the region of the stack',
    }),
    codePrefix: textOf(
      ...(['codePrefix', '', '(.*/)?'] as const),
      'The prefix of the folder of the zip files in the bucket, with a trailing slash',
    ),
  };
}

/**
 * The stack with parameters in place of settings. It needs no bootstrapped account: the code of the
 * functions is in a bucket of the user, below `<CodePrefix>device-pipeline-<version>/`. The version is
 * not a parameter, because an update keeps the values of parameters.
 */
function addPlainStack(app: App, version: string, bundles: string): Stack {
  const stack = new Stack(app, 'device-pipeline', {
    description: `device-pipeline ${version}: receives events from a fleet of devices, keeps every body unchanged, and counts each event exactly once.`,
    synthesizer: new DefaultStackSynthesizer({
      generateBootstrapVersionRule: false,
    }) as IStackSynthesizer,
  });
  const { numbers, ...parameters } = addParameters(stack);
  const { keepReceiptsDays, rawExpiryDays, ...others } = parameters;
  const { alarmTopicArn, codeBucket, codePrefix, functionUrl, athena, ...values } = others;
  const pipeline = new DevicePipeline(stack, 'Default', {
    ...{ ...numbers, ...values, itemsPerMessage: values.itemsPerMessage as 'packed' },
    ...{ smallBodies: values.smallBodies as 'object', functionUrl: true, athena: true },
    keepReceiptsDays: Token.asNumber(keepReceiptsDays.value),
    pipelineName: Aws.STACK_NAME,
    alarmTopic: Topic.fromTopicArn(stack, 'AlarmTopic', optionalArn(stack, alarmTopicArn)),
    bundlesDirectory: bundles,
  });
  // Without a URL, a variable of the function and two metrics without data remain, which have no effect.
  addOnlyIfOn(stack, pipeline, functionUrl, {
    output: 'IngestUrl',
    isOfIt: (resource) => resource instanceof CfnUrl || isForEveryone(resource),
  });
  addOnlyIfOn(stack, pipeline, athena, {
    output: 'AthenaDatabase',
    isOfIt: ({ cfnResourceType }) => cfnResourceType.startsWith('AWS::Glue::'),
  });
  nameDatabase(pipeline);
  expireRawBodies(stack, pipeline, rawExpiryDays);
  keepBodiesOfReceipts(stack, keepReceiptsDays, rawExpiryDays);
  for (const name of handlerNames) {
    const code = pipeline.functions[name].node.defaultChild as CfnFunction;
    const key = `device-pipeline-${version}/${name}.zip`;
    code.code = { s3Bucket: codeBucket.valueAsString, s3Key: `${codePrefix.valueAsString}${key}` };
  }
  return stack;
}

function optionalArn(stack: Stack, parameter: CfnParameter): string {
  const condition = new CfnCondition(stack, 'HasAlarmTopic', {
    expression: Fn.conditionNot(Fn.conditionEquals(parameter.valueAsString, '')),
  });
  Validations.of(stack).acknowledge({
    id: 'CloudFormation-Validate::W1030',
    reason: 'The empty ARN is not used: a condition replaces it.',
  });
  return Fn.conditionIf(condition.logicalId, parameter.valueAsString, Aws.NO_VALUE).toString();
}

/** The permissions to call a function by its URL. */
function isForEveryone(resource: CfnResource): boolean {
  return resource instanceof CfnPermission && resource.principal === '*';
}

/** Adds a condition to resources of the pipeline, and to the output that names them. */
function addOnlyIfOn(
  stack: Stack,
  pipeline: DevicePipeline,
  parameter: CfnParameter,
  option: { readonly output: string; readonly isOfIt: (resource: CfnResource) => boolean },
): void {
  const condition = new CfnCondition(stack, `Has${parameter.node.id}`, {
    expression: Fn.conditionEquals(parameter.valueAsString, 'on'),
  });
  for (const each of pipeline.node.findAll()) {
    const isOutput = each instanceof CfnOutput && each.node.id === option.output;
    if (isOutput) each.condition = condition;
    if (each instanceof CfnResource && option.isOfIt(each)) each.cfnOptions.condition = condition;
  }
}

/**
 * Named after the stack, without hyphens, which Athena does not allow. Glue converts capital letters to
 * small ones.
 */
function nameDatabase(pipeline: DevicePipeline): void {
  const name = Fn.join('_', Fn.split('-', Aws.STACK_NAME));
  for (const each of pipeline.node.findAll()) {
    if (each instanceof CfnDatabase) each.addPropertyOverride('DatabaseInput.Name', name);
  }
}

function expireRawBodies(stack: Stack, pipeline: DevicePipeline, parameter: CfnParameter): void {
  const { logicalId } = new CfnCondition(stack, 'RawBodiesExpire', {
    expression: Fn.conditionNot(Fn.conditionEquals(parameter.valueAsString, 'never')),
  });
  const bucket = pipeline.rawBucket.node.defaultChild as CfnBucket;
  bucket.addPropertyOverride(
    'LifecycleConfiguration.Rules.0.ExpirationInDays',
    Fn.conditionIf(logicalId, parameter.valueAsString, Aws.NO_VALUE),
  );
  const output = pipeline.node.findChild('RawExpiryDays');
  if (output instanceof CfnOutput) output.value = parameter.valueAsString;
}

/** A receipt must not outlive its raw body. The rules of CloudFormation cannot compare numbers. */
function keepBodiesOfReceipts(stack: Stack, kept: CfnParameter, expiry: CfnParameter): void {
  const days = Array.from({ length: 91 - 30 + 1 }, (_, at) => String(30 + at));
  new CfnRule(stack, 'ReceiptsExpireFirst', {
    ruleCondition: Fn.conditionNot(Fn.conditionEquals(expiry.valueAsString, 'never')),
    assertions: [
      {
        assert: Fn.conditionContains(days, kept.valueAsString),
        assertDescription:
          'If RawExpiryDays is not never, KeepReceiptsDays must be at most 91: a receipt must not outlive its raw body.',
      },
    ],
  });
}

/** Synthesises the template, without what only the CDK reads. */
export function plainTemplate(version: string, bundles: string, outdir: string): unknown {
  const app = new App({
    outdir,
    analyticsReporting: false,
    context: {
      'aws:cdk:enable-path-metadata': false,
      'aws:cdk:enable-asset-metadata': false,
    },
  });
  const stack = addPlainStack(app, version, bundles);
  return (app.synth().getStackArtifact(stack.artifactId) as { template: unknown }).template;
}

/** Writes the template and a zip file for each function into a directory. */
export async function buildTemplate(directory: string): Promise<void> {
  const manifest = await readFile(join(root, 'package.json'), 'utf8');
  const { version } = JSON.parse(manifest) as { version: string };
  await mkdir(directory, { recursive: true });
  await bundleHandlers();
  const outdir = await mkdtemp(join(tmpdir(), 'device-pipeline-template-'));
  const template = plainTemplate(version, bundlesDirectory, outdir);
  await rm(outdir, { recursive: true });
  // Not indented: without a bucket for the template, CloudFormation accepts at most 51,200 bytes.
  await writeFile(join(directory, templateName), JSON.stringify(template));
  for (const name of handlerNames) {
    const zip = resolve(directory, `${name}.zip`);
    // zip would add to a file that exists.
    await rm(zip, { force: true });
    const cwd = join(bundlesDirectory, name);
    await promisify(execFile)('zip', ['-X', '-D', '-q', '-r', zip, '.'], { cwd });
  }
}

if (import.meta.main) await buildTemplate(process.argv[2] ?? join(root, 'dist/template'));
