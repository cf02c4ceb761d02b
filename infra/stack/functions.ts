import { join } from 'node:path';

import { Duration, RemovalPolicy, Stack } from 'aws-cdk-lib';
import { ManagedPolicy, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import type { IKey } from 'aws-cdk-lib/aws-kms';
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

import type { DevicePipelineProps } from '../construct/props.ts';
import { acceptFinding } from './accept-finding.ts';
import { environmentOf } from './environment.ts';
import { functionSpecs, handlerNames, type HandlerName } from './function-specs.ts';
import { permissionsOf, type Resources } from './permissions.ts';
import type { PipelineSettings } from '../settings.ts';
import type { Storage } from './storage.ts';

interface PipelineFunction {
  lambda: LambdaFunction;
  logGroup: LogGroup;
}
export type Functions = Record<HandlerName, PipelineFunction>;

interface Parts {
  settings: PipelineSettings;
  resources: Resources;
  network: Pick<DevicePipelineProps, 'vpc' | 'vpcSubnets' | 'securityGroups'>;
  /** The directory with `<handler>/index.mjs` for each handler. */
  bundlesDirectory: string;
}

const logLevels = { info: ApplicationLogLevel.INFO, debug: ApplicationLogLevel.DEBUG };
const ids = { ingest: 'Ingest', process: 'Process', query: 'Query', sweep: 'Sweep' };

export function addFunctions(scope: Construct, parts: Parts): Functions {
  const entries = handlerNames.map((name) => [name, addFunction(scope, name, parts)] as const);
  return Object.fromEntries(entries) as Functions;
}

function addFunction(scope: Construct, name: HandlerName, parts: Parts): PipelineFunction {
  const { settings, resources, bundlesDirectory, network } = parts;
  const spec = functionSpecs[name];
  const concurrency = reservedConcurrency(name, settings);
  const logGroup = new LogGroup(scope, `${ids[name]}Logs`, {
    retention: settings.logRetentionDays,
    removalPolicy: RemovalPolicy.DESTROY,
  });
  const role = addRole(scope, name, logGroup, parts);
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
    // Lambda drops lines below this level.
    applicationLogLevelV2: logLevels[settings.logLevel],
    // Lines for the start and end of each invocation would be most of the log.
    systemLogLevelV2: SystemLogLevel.WARN,
    ...(concurrency !== undefined && { reservedConcurrentExecutions: concurrency }),
    ...networkOf(network),
  });
  acceptFinding(
    role,
    'AwsSolutions-IAM5[Resource::*]',
    'The two X-Ray calls that send traces do not support resources.',
  );
  return { lambda, logGroup };
}

function networkOf({ vpc, vpcSubnets, securityGroups }: Parts['network']) {
  return {
    ...(vpc && { vpc }),
    ...(vpcSubnets && { vpcSubnets }),
    ...(securityGroups && { securityGroups }),
  };
}

const decrypt = ['kms:Decrypt', 'kms:DescribeKey'];
/** Without wildcards, which cdk-nag would report. */
const encrypt = [
  ...[...decrypt, 'kms:Encrypt', 'kms:GenerateDataKey', 'kms:GenerateDataKeyWithoutPlaintext'],
  ...['kms:ReEncryptFrom', 'kms:ReEncryptTo'],
];

/** Grants the customer-managed keys of existing resources; new ones have keys of AWS. */
export function grantKeys(functions: Functions, storage: Storage): void {
  const keys: [IKey | undefined, string[], HandlerName[]][] = [
    // Small bodies are stored by the process function, and those of dead letters by the sweep function.
    [storage.rawBucket.encryptionKey, encrypt, ['ingest', 'process', 'sweep']],
    [storage.countersTable.encryptionKey, encrypt, ['process']],
    [storage.countersTable.encryptionKey, decrypt, ['ingest', 'query']],
    [storage.ledgerTable.encryptionKey, encrypt, ['ingest', 'process', 'sweep']],
    [storage.ledgerTable.encryptionKey, decrypt, ['query']],
  ];
  for (const [key, actions, names] of keys) {
    for (const name of names) key?.grant(functions[name].lambda, ...actions);
  }
}

/**
 * By default no concurrency is reserved. A new AWS account has a limit of 10, all of which must stay
 * unreserved, so reserving any would make the first deployment fail. The event source limits the
 * process function instead, and overlapping sweeps do no harm.
 */
function reservedConcurrency(name: HandlerName, settings: PipelineSettings): number | undefined {
  if (name === 'process') return undefined;
  const concurrency = settings[`${name}Concurrency`];
  return concurrency === 'unreserved' ? undefined : concurrency;
}

function addRole(
  scope: Construct,
  name: HandlerName,
  logGroup: LogGroup,
  { resources, network }: Parts,
): Role {
  const role = new Role(scope, `${ids[name]}Role`, {
    assumedBy: new ServicePrincipal('lambda.amazonaws.com'),
    description: `Permissions of the ${name} function`,
  });
  logGroup.grantWrite(role);
  for (const statement of permissionsOf(name, resources)) role.addToPolicy(statement);
  acceptRawObjects(role, rawFolders[name], resources);
  if (network.vpc !== undefined) allowInterfaces(role);
  return role;
}

/** Lambda connects a function to a VPC with the function's own role. */
function allowInterfaces(role: Role): void {
  const policy = 'service-role/AWSLambdaVPCAccessExecutionRole';
  role.addManagedPolicy(ManagedPolicy.fromAwsManagedPolicyName(policy));
  acceptFinding(
    role,
    `AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/${policy}]`,
    'The policy of AWS names the calls that connect a function to a VPC; they do not support resources.',
  );
}

/** The folders of the bucket in which a function reads or writes objects. */
const rawFolders: Record<HandlerName, readonly string[]> = {
  ingest: ['raw', 'excluded', 'grouped'],
  process: ['grouped'],
  query: [],
  sweep: ['raw', 'excluded', 'grouped'],
};

function acceptRawObjects(role: Role, folders: readonly string[], { rawBucket }: Resources): void {
  const accept = () => {
    const arn = shownArn(Stack.of(role).resolve(rawBucket.bucketArn));
    for (const folder of folders) {
      acceptFinding(
        role,
        `AwsSolutions-IAM5[Resource::${arn}/${folder}/*]`,
        `The names of the objects under ${folder}/ are not known in advance.`,
      );
    }
  };
  if (Stack.of(rawBucket) === Stack.of(role)) accept();
  // Runs at synthesis: only then is known how one stack refers to another.
  else role.node.addValidation({ validate: () => (accept(), []) });
}

/** The form in which cdk-nag shows it in a finding. */
function shownArn(resolved: unknown): string {
  if (typeof resolved === 'string') return resolved;
  const intrinsic = resolved as Record<string, unknown>;
  const { Ref: ref, 'Fn::GetAtt': attribute, 'Fn::ImportValue': imported } = intrinsic;
  const { 'Fn::Join': join } = intrinsic as { 'Fn::Join'?: [string, unknown[]] };
  if (join !== undefined) return join[1].map(shownArn).join(join[0]);
  if (attribute !== undefined) return `<${(attribute as unknown[]).map(shownArn).join('.')}>`;
  if (ref !== undefined) return `<${shownArn(ref)}>`;
  return imported === undefined ? JSON.stringify(resolved) : shownArn(imported);
}
