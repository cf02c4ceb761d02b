import { Stack, Stage, Token, type IResource } from 'aws-cdk-lib';
import type { IDomainName } from 'aws-cdk-lib/aws-apigatewayv2';
import type { Construct, IConstruct } from 'constructs';

import type { Storage } from '../stack/storage.ts';
import { outermostStack } from './outputs.ts';
import type { PipelineDomain } from './props.ts';

/** By app: the keys of resources that only one pipeline may use, with the path of that pipeline. */
const claimed = new WeakMap<object, Map<string, string>>();

/** Returns the path of the pipeline that has claimed this before, if there is one. */
function claim(pipeline: IConstruct, key: string): string | undefined {
  const { root, path } = pipeline.node;
  const claims = claimed.get(root) ?? new Map<string, string>();
  claimed.set(root, claims);
  const other = claims.get(key);
  if (other === undefined) claims.set(key, path);
  return other;
}

/** Two pipelines of one name would have the same metrics. */
export function claimName(pipeline: Construct, pipelineName: string): string[] {
  const stack = outermostStack(pipeline);
  // A token is unique only in its stack, such as the name of the stack.
  const scope = Token.isUnresolved(pipelineName) ? stack.node.path : placeKey(stack);
  const other = claim(pipeline, `name ${scope} ${pipelineName}`);
  if (other === undefined) return [];
  return [`pipelineName '${pipelineName}' is already used by ${other}; choose another.`];
}

/** The sweeper of a pipeline treats everything in its bucket and its tables as its own. */
export function claimStorage(
  pipeline: IConstruct,
  { rawBucket, countersTable, ledgerTable }: Storage,
): string[] {
  const keys = {
    // Bucket names are unique in all regions and accounts.
    rawBucket: identityOf(rawBucket, rawBucket.bucketName),
    countersTable: `${placeKey(countersTable)} ${identityOf(countersTable, countersTable.tableName)}`,
    ledgerTable: `${placeKey(ledgerTable)} ${identityOf(ledgerTable, ledgerTable.tableName)}`,
  };
  return Object.entries(keys).flatMap(([name, key]) => {
    const kind = name === 'rawBucket' ? 'bucket' : 'table';
    const other = claim(pipeline, `${kind} ${key}`);
    if (other === undefined) return [];
    return [`${name} is already used by ${other}; each pipeline needs its own.`];
  });
}

/** A name becomes one `DomainName`; several pipelines share that, each with a base path of its own. */
export function claimDomain(
  pipeline: IConstruct,
  { domainName, basePath = '' }: PipelineDomain,
): string[] {
  if (typeof domainName === 'string') {
    const other = claim(pipeline, `domain ${placeKey(pipeline)} ${domainName}`);
    if (other === undefined) return [];
    return [
      `domain.domainName '${domainName}' is already used by ${other}; give the property domainName of that pipeline in place of the name, and a basePath.`,
    ];
  }
  return claimMapping(pipeline, domainName, basePath);
}

export function claimMapping(
  pipeline: IConstruct,
  domainName: IDomainName,
  basePath: string,
): string[] {
  const key = identityOf(domainName, domainName.name);
  const other = claim(pipeline, `mapping ${key} ${basePath}`);
  if (other === undefined) return [];
  return [
    basePath === ''
      ? `domain.basePath is missing, and ${other} uses the domain without one; each pipeline of a domain needs its own.`
      : `domain.basePath '${basePath}' is already used by ${other}; each pipeline of a domain needs its own.`,
  ];
}

/** The account and region, or the stage if these are chosen at deployment. */
function placeKey(construct: IConstruct): string {
  const { account, region } = Stack.of(construct);
  const isKnown = !Token.isUnresolved(account) && !Token.isUnresolved(region);
  return isKnown ? `${account} ${region}` : `stage ${Stage.of(construct)?.node.path ?? ''}`;
}

/** The name of a resource; a token is that of its own stack. */
function identityOf(resource: IResource, name: string): string {
  if (!Token.isUnresolved(name)) return name;
  const stack = Stack.of(resource);
  return `${stack.node.path} ${JSON.stringify(stack.resolve(name))}`;
}
