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
  listOf,
  numberOf,
  propertiesOf,
  resolver,
  TemplateError,
  textOf,
  type Physical,
  type Properties,
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
export interface Item {
  readonly id: string;
  readonly properties: Properties;
}

/** The input of the functions that read single parts. */
export interface Reading {
  readonly template: Template;
  readonly region: string;
  readonly accountId: string;
  readonly resolve: Resolve;
  /** The resources of a type, resolved. */
  items(...types: string[]): Item[];
  physicalOf(id: string): Physical;
}

/** Resource types that the local engine emulates. */
const modelled =
  /^AWS::(DynamoDB::(Table|GlobalTable)|S3::Bucket|SQS::Queue|Lambda::(Function|EventSourceMapping|EventInvokeConfig)|ApiGatewayV2::(Api|Integration|Route|Stage)|Events::Rule|Scheduler::(Schedule|ScheduleGroup))$/;

/** Resource types that the local engine ignores: permissions, logs, monitoring. */
const ignored =
  /^AWS::(IAM::|Logs::|CloudWatch::|SNS::|KMS::|CDK::Metadata$|S3::BucketPolicy$|SQS::QueuePolicy$|Lambda::Permission$|SecretsManager::Secret$)/;

/**
 * Reads from a template everything that the local engine runs.
 * @throws TemplateError for unsupported parts that it cannot ignore.
 */
export function readTemplate(template: Template, options: ReadTemplateOptions): StackDescription {
  const { endpoint, stackName = 'local', region = 'us-east-1' } = options;
  const physical = physicalNames(template, { endpoint, stackName, region });
  const pseudo = {
    'AWS::Region': region,
    'AWS::AccountId': accountId,
    'AWS::Partition': 'aws',
    'AWS::URLSuffix': 'amazonaws.com',
    'AWS::StackName': stackName,
  };
  const resolve = resolver(template, physical, pseudo);
  const reading: Reading = {
    template,
    region,
    accountId,
    resolve,
    items: (...types) =>
      Object.entries(template.Resources)
        .filter(([, { Type }]) => types.includes(Type))
        .map(([id, { Properties = {} }]) => ({ id, properties: Properties })),
    physicalOf(id) {
      const found = physical.get(id);
      if (found === undefined) throw new TemplateError(`The template has no resource ${id}`);
      return found;
    },
  };
  const { functions, roleOf } = readFunctions(reading);
  const buckets = reading.items('AWS::S3::Bucket').map(({ id }) => reading.physicalOf(id).ref);
  const outputs = Object.entries(template.Outputs ?? {}).map(([name, { Value }]) => {
    const where = `The output ${name}`;
    return [name, textOf(resolve(Value, where), where)];
  });
  return {
    region,
    accountId,
    tables: readTables(reading),
    buckets,
    queues: readQueues(reading),
    functions,
    routes: readRoutes(reading, roleOf),
    eventSources: readEventSources(reading, roleOf),
    schedules: readSchedules(reading, roleOf),
    outputs: Object.fromEntries(outputs) as Record<string, string>,
  };
}

function physicalNames(
  { Resources }: Template,
  { endpoint, stackName, region }: Required<ReadTemplateOptions>,
): Map<string, Physical> {
  const arn = (service: string, rest: string) =>
    `arn:aws:${service}:${region}:${accountId}:${rest}`;
  const names = new Map<string, Physical>();
  for (const [id, { Type }] of Object.entries(Resources)) {
    if (!modelled.test(Type)) {
      if (ignored.test(Type)) continue;
      throw new TemplateError(`The local engine does not support ${id} (${Type})`);
    }
    const name = `${stackName}-${id}`;
    const physical = (ref: string, attributes: Record<string, string> = {}) =>
      names.set(id, { ref, attributes });
    switch (Type.split('::').slice(1).join('::')) {
      case 'DynamoDB::Table':
      case 'DynamoDB::GlobalTable':
        physical(name, { Arn: arn('dynamodb', `table/${name}`) });
        break;
      case 'S3::Bucket': {
        const bucket = name.toLowerCase().slice(0, 63);
        physical(bucket, { Arn: `arn:aws:s3:::${bucket}` });
        break;
      }
      case 'SQS::Queue': {
        const url = `${endpoint}/${accountId}/${name}`;
        physical(url, { Arn: arn('sqs', name), QueueName: name, QueueUrl: url });
        break;
      }
      case 'Lambda::Function':
        physical(name, { Arn: arn('lambda', `function:${name}`) });
        break;
      case 'ApiGatewayV2::Api':
        physical(id, {
          ApiId: id,
          ApiEndpoint: `https://${id}.execute-api.${region}.amazonaws.com`,
        });
        break;
      case 'Events::Rule':
        physical(name, { Arn: arn('events', `rule/${name}`) });
        break;
      case 'Scheduler::Schedule':
        physical(name, { Arn: arn('scheduler', `schedule/default/${name}`) });
        break;
      default:
        physical(id);
    }
  }
  return names;
}

function readTables(reading: Reading): TableDescription[] {
  const items = reading.items('AWS::DynamoDB::Table', 'AWS::DynamoDB::GlobalTable');
  return items.map(({ id, properties }) => {
    for (const name of ['GlobalSecondaryIndexes', 'LocalSecondaryIndexes']) {
      if (name in properties) {
        throw new TemplateError(`${id} has ${name}, which the local engine does not create`);
      }
    }
    const timeToLive = propertiesOf(properties['TimeToLiveSpecification'], id);
    return {
      name: reading.physicalOf(id).ref,
      keys: listOf(properties['KeySchema'], id) as KeyElement[],
      attributes: listOf(properties['AttributeDefinitions'], id) as TableDescription['attributes'],
      timeToLiveAttribute:
        timeToLive['Enabled'] === true ? textOf(timeToLive['AttributeName'], id) : undefined,
    };
  });
}

/** Properties that CreateQueue has under the same name. */
const queueAttributes = [
  'VisibilityTimeout',
  'MessageRetentionPeriod',
  'DelaySeconds',
  'MaximumMessageSize',
  'ReceiveMessageWaitTimeSeconds',
];

function readQueues(reading: Reading): QueueDescription[] {
  const queues = reading.items('AWS::SQS::Queue').map(({ id, properties }) => {
    const { ref: url, attributes: physical } = reading.physicalOf(id);
    if (properties['FifoQueue'] === true) {
      throw new TemplateError(`${id} is a FIFO queue, which the local engine does not poll`);
    }
    const attributes: Record<string, string> = {};
    for (const name of queueAttributes) {
      const value = properties[name];
      if (value !== undefined) {
        attributes[name] = textOf(value, `${id}.${name}`);
      }
    }
    const where = `${id}.RedrivePolicy`;
    const redrive = propertiesOf(reading.resolve(properties['RedrivePolicy'], where), where);
    const target = redrive['deadLetterTargetArn'];
    if (target !== undefined) attributes['RedrivePolicy'] = JSON.stringify(redrive);
    return {
      name: physical['QueueName'] ?? '',
      arn: physical['Arn'] ?? '',
      url,
      attributes,
      deadLetterQueueArn: target === undefined ? undefined : textOf(target, where),
    };
  });
  const isLast = ({ deadLetterQueueArn }: QueueDescription) => deadLetterQueueArn === undefined;
  return [...queues.filter(isLast), ...queues.filter((queue) => !isLast(queue))];
}

/** The role of the function with an ARN; `where` is named in errors. */
type RoleOf = (functionArn: unknown, where: string) => FunctionRole;

function readFunctions(reading: Reading): {
  functions: FunctionDescription[];
  roleOf: RoleOf;
} {
  const roles = functionRoles(reading);
  const roleOf: RoleOf = (functionArn, where) => {
    const role = roles.get(textOf(functionArn, where));
    if (role !== undefined) return role;
    throw new TemplateError(
      `${where} calls ${String(functionArn)}, which is not a function of the template`,
    );
  };
  const functions = reading.items('AWS::Lambda::Function').map(({ id, properties }) => {
    const where = `${id}.Environment`;
    const { ref: name, attributes } = reading.physicalOf(id);
    const arn = attributes['Arn'] ?? '';
    const role = roles.get(arn);
    if (role === undefined) {
      throw new TemplateError(
        `No route, event source or schedule calls ${id}, so its bundle is unknown`,
      );
    }
    const environment = propertiesOf(properties['Environment'], where);
    const variables = propertiesOf(reading.resolve(environment['Variables'], where), where);
    const texts = Object.entries(variables).map(([key, value]) => [key, textOf(value, where)]);
    const reserved = properties['ReservedConcurrentExecutions'];
    return {
      role,
      name,
      arn,
      handler: textOf(properties['Handler'], `${id}.Handler`),
      timeoutMs: numberOf(properties['Timeout'], 3, `${id}.Timeout`) * 1000,
      memoryMb: numberOf(properties['MemorySize'], 128, `${id}.MemorySize`),
      environment: Object.fromEntries(texts) as Record<string, string>,
      reservedConcurrency:
        reserved === undefined ? undefined : numberOf(reserved, 1, `${id}.Concurrency`),
    };
  });
  return { functions, roleOf };
}

/** Identifies functions by what calls them, because the CDK generates their names and assets. */
function functionRoles(reading: Reading): Map<string, FunctionRole> {
  const roles = new Map<string, FunctionRole>();
  const note = (functionArn: unknown, where: string, role: FunctionRole) => {
    const arn = textOf(functionArn, where);
    const known = roles.get(arn);
    if (known !== undefined && known !== role) {
      throw new TemplateError(`${where} would make ${arn} both ${known} and ${role}`);
    }
    roles.set(arn, role);
  };
  readRoutes(reading, (arn, where, routeKey) => {
    const role = routeKey === 'POST /ingest' ? 'ingest' : 'query';
    note(arn, where, role);
    return role;
  });
  readEventSources(reading, (arn, where) => {
    note(arn, where, 'process');
    return 'process';
  });
  readSchedules(reading, (arn, where) => {
    note(arn, where, 'sweep');
    return 'sweep';
  });
  return roles;
}
