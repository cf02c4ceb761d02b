import { join } from 'node:path';

import { CfnResource, Duration, RemovalPolicy, Stack } from 'aws-cdk-lib';
import { Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import {
  ApplicationLogLevel,
  Architecture,
  Code,
  Function as LambdaFunction,
  LoggingFormat,
  Runtime,
  SystemLogLevel,
  Tracing,
} from 'aws-cdk-lib/aws-lambda';
import { LogGroup } from 'aws-cdk-lib/aws-logs';
import type { Construct } from 'constructs';

import { acceptFinding } from './accept-finding.ts';
import { handlerNames, type HandlerName } from '../bundle.ts';
import { environmentOf } from './environment.ts';
import { functionSpecs } from './function-specs.ts';
import { permissionsOf, type Resources } from './permissions.ts';
import type { Settings } from '../settings.ts';

interface PipelineFunction {
  lambda: LambdaFunction;
  logGroup: LogGroup;
}
export type Functions = Record<HandlerName, PipelineFunction>;

interface Parts {
  settings: Settings;
  resources: Resources;
  /** Holds a directory with index.mjs for each handler. */
  bundlesDirectory: string;
}

const logLevels: Record<Settings['logLevel'], ApplicationLogLevel> = {
  info: ApplicationLogLevel.INFO,
  debug: ApplicationLogLevel.DEBUG,
};

const ids: Record<HandlerName, string> = {
  ingest: 'Ingest',
  process: 'Process',
  query: 'Query',
  sweep: 'Sweep',
};

export function addFunctions(scope: Construct, parts: Parts): Functions {
  const entries = handlerNames.map((name) => [name, addFunction(scope, name, parts)] as const);
  return Object.fromEntries(entries) as Functions;
}

function addFunction(scope: Construct, name: HandlerName, parts: Parts): PipelineFunction {
  const { settings, resources, bundlesDirectory } = parts;
  const spec = functionSpecs[name];
  const concurrency = reservedConcurrency(name, settings);
  const logGroup = new LogGroup(scope, `${ids[name]}Logs`, {
    retention: settings.logRetentionDays,
    removalPolicy: RemovalPolicy.DESTROY,
  });
  const role = addRole(scope, name, logGroup, resources);
  const lambda = new LambdaFunction(scope, ids[name], {
    description: spec.description,
    runtime: Runtime.NODEJS_24_X,
    architecture: Architecture.ARM_64,
    code: Code.fromAsset(join(bundlesDirectory, name)),
    handler: 'index.handler',
    memorySize: spec.memoryMegabytes,
    timeout: Duration.seconds(spec.timeoutSeconds),
    environment: environmentOf(name, settings, resources),
    role,
    tracing: Tracing.ACTIVE,
    logGroup,
    loggingFormat: LoggingFormat.JSON,
    // Lambda takes away what is below, whatever the function would write.
    applicationLogLevelV2: logLevels[settings.logLevel],
    // A line for each start and end of an invocation would be most of the log.
    systemLogLevelV2: SystemLogLevel.WARN,
    ...(concurrency !== undefined && { reservedConcurrentExecutions: concurrency }),
  });
  acceptFinding(
    role,
    'AwsSolutions-IAM5[Resource::*]',
    'The two X-Ray calls that send traces know no resources.',
  );
  return { lambda, logGroup };
}

/**
 * Nothing is reserved by default. A new AWS account may run 10 functions at once, all of which must
 * stay unreserved: reserving a single one would make its first deployment fail. The process
 * function is bounded by its event source instead, and sweeps that overlap do no harm.
 */
function reservedConcurrency(name: HandlerName, settings: Settings): number | undefined {
  const { ingestConcurrency, queryConcurrency, sweepConcurrency } = settings;
  if (name === 'ingest' && ingestConcurrency !== 'unreserved') return ingestConcurrency;
  if (name === 'query' && queryConcurrency !== 'unreserved') return queryConcurrency;
  if (name === 'sweep' && sweepConcurrency !== 'unreserved') return sweepConcurrency;
  return undefined;
}

function addRole(
  scope: Construct,
  name: HandlerName,
  logGroup: LogGroup,
  resources: Resources,
): Role {
  const role = new Role(scope, `${ids[name]}Role`, {
    assumedBy: new ServicePrincipal('lambda.amazonaws.com'),
    description: `What the ${name} function may do`,
  });
  logGroup.grantWrite(role);
  for (const statement of permissionsOf(name, resources)) role.addToPolicy(statement);
  if (name === 'ingest' || name === 'sweep') acceptRawObjects(role, resources);
  return role;
}

function acceptRawObjects(role: Role, { rawBucket }: Resources): void {
  for (const folder of ['raw', 'excluded']) {
    acceptFinding(
      role,
      `AwsSolutions-IAM5[Resource::${arnOf(rawBucket)}/${folder}/*]`,
      `Every batch has an object of its own under ${folder}/, whose name is not known before.`,
    );
  }
}

/** As a finding shows it. */
function arnOf(rawBucket: Resources['rawBucket']): string {
  const { defaultChild: own } = rawBucket.node;
  return CfnResource.isCfnResource(own)
    ? `<${Stack.of(rawBucket).getLogicalId(own)}.Arn>`
    : `arn:<AWS::Partition>:s3:::${rawBucket.bucketName}`;
}
