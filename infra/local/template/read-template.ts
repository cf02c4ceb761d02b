import { readPermissions } from './read-permissions.ts';
import { readEventSources, readRoutes, readSchedules } from './read-triggers.ts';
import type {
  FunctionDescription,
  FunctionRole,
  KeyElement,
  QueueDescription,
  StackDescription,
  TableDescription,
} from './stack-description.ts';
import {
  Properties,
  resolver,
  TemplateError,
  type Physical,
  type Resolve,
  type Template,
} from './template.ts';

interface ReadTemplateOptions {
  /** The endpoint of the services, such as the wire's URL; queue URLs start with it. */
  readonly endpoint: string;
  readonly stackName?: string;
  readonly region?: string;
}

/** The account id of fauxqs. */
const accountId = '000000000000';

/** One resource of the template with its references resolved. */
export interface Item extends Physical {
  readonly id: string;
  readonly arn: string;
  readonly properties: Properties;
}

/** Returns the resources of a type. */
export type Items = (type: string) => readonly Item[];

/** Resource types that the local engine emulates. */
const emulated =
  /^AWS::(IAM::(Role|Policy)|DynamoDB::Table|S3::Bucket|SQS::Queue|Lambda::(Function|EventSourceMapping|EventInvokeConfig)|ApiGatewayV2::(Api|Integration|Route|Stage)|Events::Rule)$/;

/** Resource types that the local engine ignores: what may call the functions, logs, monitoring. */
const ignored =
  /^AWS::(Logs::|CloudWatch::|SNS::|KMS::|CDK::Metadata$|S3::BucketPolicy$|SQS::QueuePolicy$|Lambda::Permission$|SecretsManager::Secret$)/;

/** Properties of emulated resources that the local engine does not emulate. */
const unsupported = [
  ...['GlobalSecondaryIndexes', 'LocalSecondaryIndexes', 'FifoQueue', 'FilterCriteria'],
];

/**
 * Reads from a template everything that the local engine runs.
 * @throws TemplateError for unsupported parts that it cannot ignore.
 */
export function readTemplate(template: Template, options: ReadTemplateOptions): StackDescription {
  const { endpoint, stackName = 'local', region = 'us-east-1' } = options;
  const physical = physicalNames(template, { endpoint, stackName, region });
  const resolve = resolver(template, physical, {
    'AWS::Region': region,
    'AWS::AccountId': accountId,
    'AWS::Partition': 'aws',
    'AWS::URLSuffix': 'amazonaws.com',
    'AWS::StackName': stackName,
  });
  const all = [...physical].map(([id, names]) => readItem(template, id, names, resolve));
  const items: Items = (type) => all.filter(({ id }) => template.Resources[id]?.Type === type);
  const [routes, eventSources] = [readRoutes(items), readEventSources(items)];
  const schedules = readSchedules(items);
  const calls = [...routes, ...eventSources, ...schedules];
  const outputs = Object.entries(template.Outputs ?? {}).map(
    ([name, { Value }]) => [name, resolve(Value, `The output ${name}`)] as const,
  );
  return {
    region,
    accountId,
    tables: items('AWS::DynamoDB::Table').map(readTable),
    buckets: items('AWS::S3::Bucket').map(({ ref }) => ref),
    queues: readQueues(items),
    functions: readFunctions(
      items,
      calls.map(([functionArn, { role }]) => [functionArn, role]),
    ),
    routes: routes.map(([, route]) => route),
    eventSources: eventSources.map(([, eventSource]) => eventSource),
    schedules: schedules.map(([, schedule]) => schedule),
    outputs: new Properties('Outputs', Object.fromEntries(outputs)).texts(),
  };
}

function readItem(template: Template, id: string, names: Physical, resolve: Resolve): Item {
  const given = Object.entries(template.Resources[id]?.Properties ?? {});
  const properties = given.map(([name, value]) => [name, resolve(value, `${id}.${name}`)] as const);
  for (const [name, value] of properties) {
    if (unsupported.includes(name) && value !== false) {
      throw new TemplateError(`${id} has ${name}, which the local engine does not support`);
    }
  }
  const arn = names.attributes['Arn'] ?? '';
  return { id, ...names, arn, properties: new Properties(id, Object.fromEntries(properties)) };
}

type Names = Required<ReadTemplateOptions>;

function physicalNames({ Resources }: Template, names: Names): Map<string, Physical> {
  const physical = new Map<string, Physical>();
  for (const [id, { Type }] of Object.entries(Resources)) {
    if (emulated.test(Type)) physical.set(id, physicalOf(id, Type, names));
    else if (!ignored.test(Type)) {
      throw new TemplateError(`The local engine does not support ${id} (${Type})`);
    }
  }
  return physical;
}

/** The service in the ARN of a resource type, and what precedes the name. */
const arnForms: Readonly<Record<string, string>> = {
  'AWS::DynamoDB::Table': 'dynamodb table/',
  'AWS::Lambda::Function': 'lambda function:',
  'AWS::SQS::Queue': 'sqs ',
  'AWS::Events::Rule': 'events rule/',
  'AWS::IAM::Role': 'iam role/',
};

function physicalOf(id: string, type: string, { endpoint, stackName, region }: Names): Physical {
  const name = `${stackName}-${id}`;
  const [service, kind = ''] = arnForms[type]?.split(' ') ?? [];
  const Arn = `arn:aws:${service ?? ''}:${region}:${accountId}:${kind}${name}`;
  switch (type) {
    case 'AWS::S3::Bucket': {
      const bucket = name.toLowerCase().slice(0, 63);
      return { ref: bucket, attributes: { Arn: `arn:aws:s3:::${bucket}` } };
    }
    case 'AWS::SQS::Queue': {
      const url = `${endpoint}/${accountId}/${name}`;
      return { ref: url, attributes: { Arn, QueueName: name, QueueUrl: url } };
    }
    case 'AWS::ApiGatewayV2::Api': {
      const ApiEndpoint = `https://${id}.execute-api.${region}.amazonaws.com`;
      return { ref: id, attributes: { ApiId: id, ApiEndpoint } };
    }
    default:
      return service === undefined
        ? { ref: id, attributes: {} }
        : { ref: name, attributes: { Arn } };
  }
}

function readTable({ ref: name, properties }: Item): TableDescription {
  const timeToLive = properties.part('TimeToLiveSpecification');
  return {
    name,
    keys: properties.list('KeySchema') as KeyElement[],
    attributes: properties.list('AttributeDefinitions') as TableDescription['attributes'],
    timeToLiveAttribute:
      timeToLive.text('Enabled', 'false') === 'true' ? timeToLive.text('AttributeName') : undefined,
  };
}

function readQueues(items: Items): QueueDescription[] {
  const queues = items('AWS::SQS::Queue').map(({ ref: url, arn, attributes, properties }) => {
    const redrive = properties.part('RedrivePolicy');
    const hasTarget = redrive.has('deadLetterTargetArn');
    const deadLetterQueueArn = hasTarget ? redrive.text('deadLetterTargetArn') : undefined;
    const given = ['VisibilityTimeout', 'MessageRetentionPeriod'].filter((name) =>
      properties.has(name),
    );
    return {
      name: attributes['QueueName'] ?? '',
      arn,
      url,
      attributes: {
        ...Object.fromEntries(given.map((name) => [name, properties.text(name)])),
        ...(hasTarget && { RedrivePolicy: JSON.stringify(redrive) }),
      },
      deadLetterQueueArn,
    };
  });
  const isLast = ({ deadLetterQueueArn }: QueueDescription) => deadLetterQueueArn === undefined;
  return [...queues.filter(isLast), ...queues.filter((queue) => !isLast(queue))];
}

/**
 * Identifies functions by what calls them, because the CDK generates their names and assets.
 * @param calls the ARNs of the functions that are called, and the function that each caller expects
 */
function readFunctions(
  items: Items,
  calls: readonly (readonly [functionArn: string, role: FunctionRole])[],
): FunctionDescription[] {
  const functions = items('AWS::Lambda::Function');
  const roleNames = new Map(items('AWS::IAM::Role').map(({ arn, ref }) => [arn, ref]));
  for (const [called, role] of calls) {
    if (functions.some(({ arn }) => arn === called)) continue;
    const what = `${called}, which is not a function of the template`;
    throw new TemplateError(`What calls the ${role} function calls ${what}`);
  }
  return functions.map(({ id, ref: name, arn, properties }) => {
    const [role, other] = new Set(
      calls.flatMap(([called, role]) => (called === arn ? [role] : [])),
    );
    if (role === undefined) {
      throw new TemplateError(
        `No route, event source or schedule calls ${id}, so its bundle is unknown`,
      );
    }
    if (other !== undefined) throw new TemplateError(`${id} would be both ${role} and ${other}`);
    const reserved = 'ReservedConcurrentExecutions';
    return {
      role,
      name,
      arn,
      handler: properties.text('Handler'),
      timeoutMs: properties.number('Timeout', 3) * 1000,
      memoryMb: properties.number('MemorySize', 128),
      environment: properties.part('Environment').part('Variables').texts(),
      reservedConcurrency: properties.has(reserved) ? properties.number(reserved, 1) : undefined,
      permissions: readPermissions(items, roleNames.get(properties.text('Role')) ?? ''),
    };
  });
}
