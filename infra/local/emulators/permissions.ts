import type { Permission, StackDescription } from '../template/stack-description.ts';
import type { AwsCall } from './wire-call.ts';

/** The permission that a call needs. */
export interface Need {
  readonly action: string;
  /** An ARN. */
  readonly resource: string;
  /** The prefix of a list of objects. */
  readonly prefix?: string;
}

/** Decides about calls as IAM does, by the policies of the functions' roles. */
export interface Permissions {
  /** The permission that the caller of a call lacks; undefined if it lacks none, or is not a function. */
  refusal(call: AwsCall): string | undefined;
  /** Whether S3 responds that an object does not exist, instead of refusing the call. */
  tellsMissing(call: AwsCall): boolean;
}

/** Lambda polls a queue and sends failures with the role of the function. */
export function permissionsOf(stack: StackDescription): Permissions {
  const granted = new Map<string, readonly Permission[]>(
    stack.functions.map(({ role, permissions }) => [role, permissions]),
  );
  const ofRoles = (roles: readonly { readonly role: string }[]) =>
    roles.flatMap(({ role }) => granted.get(role) ?? []);
  granted.set('eventsource', ofRoles(stack.eventSources));
  granted.set('eventinvoke', ofRoles(stack.schedules));
  const may = (permissions: readonly Permission[], { action, resource, prefix }: Need) =>
    permissions.some(
      ({ actions, resources, prefixes }) =>
        actions.some((pattern) => isLike(action, pattern)) &&
        resources.some((pattern) => isLike(resource, pattern)) &&
        (prefixes === undefined ||
          (prefix !== undefined && prefixes.some((pattern) => isLike(prefix, pattern)))),
    );
  return {
    refusal(call) {
      const permissions = granted.get(call.caller);
      if (permissions === undefined) return undefined;
      const refused = needsOf(call, stack).find((need) => !may(permissions, need));
      if (refused === undefined) return undefined;
      const { action, resource, prefix } = refused;
      const where = prefix === undefined ? resource : `${resource}, prefix ${prefix}`;
      return `${call.caller} is not authorized to perform ${action} on ${where}`;
    },
    tellsMissing(call) {
      const permissions = granted.get(call.caller);
      const [{ resource } = { resource: '' }] = needsOf(call, stack);
      const bucket = resource.split('/')[0] ?? '';
      return (
        permissions === undefined || may(permissions, { action: 's3:ListBucket', resource: bucket })
      );
    },
  };
}

/** All that a call needs permissions for. */
export function needsOf(call: AwsCall, stack: StackDescription): Need[] {
  switch (call.service) {
    case 's3':
      return s3Needs(call);
    case 'sqs':
      return sqsNeeds(call, stack);
    case 'dynamodb':
      return dynamoDbNeeds(call, stack);
  }
}

function s3Needs({ operation, target }: AwsCall): Need[] {
  const { pathname, searchParams } = new URL(target, 'http://s3');
  const [, bucket = '', ...rest] = pathname.split('/').map(decodeURIComponent);
  const resource = `arn:aws:s3:::${bucket}`;
  if (operation.startsWith('ListObjects')) {
    return [{ action: 's3:ListBucket', resource, prefix: searchParams.get('prefix') ?? '' }];
  }
  const object = `${resource}/${rest.join('/')}`;
  const names: Readonly<Record<string, string>> = {
    HeadObject: 'GetObject',
    UploadPart: 'PutObject',
  };
  return [{ action: `s3:${names[operation] ?? operation}`, resource: object }];
}

function sqsNeeds({ operation, requestBody }: AwsCall, { queues }: StackDescription): Need[] {
  const { QueueUrl: url = '' } = JSON.parse(requestBody.toString()) as { QueueUrl?: string };
  const resource = queues.find((queue) => queue.url === url)?.arn ?? url;
  return [{ action: `sqs:${operation.replace(/Batch$/, '')}`, resource }];
}

interface DynamoDbRequest {
  readonly TableName?: string;
  readonly RequestItems?: Readonly<Record<string, unknown>>;
  readonly TransactItems?: readonly Readonly<Record<string, { readonly TableName: string }>>[];
}

/** A transaction needs the permissions of the writes and reads that it contains. */
const partsOfTransactions: Readonly<Record<string, string>> = {
  ConditionCheck: 'ConditionCheckItem',
  Delete: 'DeleteItem',
  Get: 'GetItem',
  Put: 'PutItem',
  Update: 'UpdateItem',
};

function dynamoDbNeeds(
  { operation, requestBody }: AwsCall,
  { region, accountId }: StackDescription,
): Need[] {
  const request = JSON.parse(requestBody.toString()) as DynamoDbRequest;
  const need = (action: string, table = ''): Need => ({
    action: `dynamodb:${action}`,
    resource: `arn:aws:dynamodb:${region}:${accountId}:table/${table}`,
  });
  if (request.TransactItems !== undefined) {
    return request.TransactItems.flatMap((item) =>
      Object.entries(item).map(([part, { TableName }]) =>
        need(partsOfTransactions[part] ?? part, TableName),
      ),
    );
  }
  if (request.RequestItems !== undefined) {
    return Object.keys(request.RequestItems).map((table) => need(operation, table));
  }
  return [need(operation, request.TableName)];
}

/** Whether a text has the form of a pattern with the wildcards of IAM. */
function isLike(text: string, pattern: string): boolean {
  const parts = pattern.split(/([*?])/).map((part) => {
    if (part === '*') return '.*';
    return part === '?' ? '.' : RegExp.escape(part);
  });
  return new RegExp(`^${parts.join('')}$`, 's').test(text);
}
