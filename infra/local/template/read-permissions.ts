import type { Items } from './read-template.ts';
import type { Permission } from './stack-description.ts';
import { TemplateError, type Properties } from './template.ts';

/** Actions of the services that the local engine emulates. */
const emulated = /^(dynamodb|s3|sqs):/;

/**
 * The permissions of the policies of a role for the emulated services.
 * @param roleName the value of the role's `Ref`
 * @throws TemplateError for parts of a policy that the local engine does not support.
 */
export function readPermissions(items: Items, roleName: string): Permission[] {
  return items('AWS::IAM::Policy').flatMap(({ properties }) =>
    properties.list('Roles').includes(roleName)
      ? properties.part('PolicyDocument').parts('Statement').flatMap(readStatement)
      : [],
  );
}

function readStatement(statement: Properties): Permission[] {
  const actions = statement.textOrList('Action').filter((action) => emulated.test(action));
  if (actions.length === 0) return [];
  if (statement.text('Effect') !== 'Allow') {
    throw new TemplateError(
      `A policy denies ${actions.join(', ')}, which the local engine does not support`,
    );
  }
  return [
    { actions, resources: statement.textOrList('Resource'), prefixes: prefixesOf(statement) },
  ];
}

/** The only condition that the local engine supports is one on the keys that may be listed. */
function prefixesOf(statement: Properties): string[] | undefined {
  if (!statement.has('Condition')) return undefined;
  const condition = statement.part('Condition');
  const isOfKeys =
    isOnly(condition, 'StringLike') && isOnly(condition.part('StringLike'), 's3:prefix');
  if (isOfKeys) return condition.part('StringLike').textOrList('s3:prefix');
  const text = JSON.stringify(condition);
  throw new TemplateError(
    `A policy has the condition ${text}, which the local engine does not support`,
  );
}

function isOnly(properties: Properties, name: string): boolean {
  return Object.keys(properties.toJSON()).join() === name;
}
