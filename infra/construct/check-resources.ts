import { Stack, Token, type IResource } from 'aws-cdk-lib';
import type { CfnTable, ITable, TableProps } from 'aws-cdk-lib/aws-dynamodb';
import type { Construct } from 'constructs';

import { countersKeys, ledgerKeys } from '../stack/storage.ts';
import type { DevicePipelineProps, PipelineDomain } from './props.ts';

/** Returns a sentence for each resource that the pipeline cannot use. */
export function resourceProblems(construct: Construct, props: DevicePipelineProps): string[] {
  const { rawBucket, countersTable, ledgerTable, vpc, domain } = props;
  const problems: string[] = [];
  if ((countersTable === undefined) !== (ledgerTable === undefined)) {
    problems.push(
      'countersTable and ledgerTable belong together: give both, or neither for new ones.',
    );
  } else if (countersTable !== undefined && countersTable.tableArn === ledgerTable?.tableArn) {
    problems.push('countersTable and ledgerTable must be two different tables.');
  }
  problems.push(...schemaProblems('countersTable', countersTable, countersKeys));
  problems.push(...schemaProblems('ledgerTable', ledgerTable, ledgerKeys));
  for (const name of ['vpcSubnets', 'securityGroups'] as const) {
    if (props[name] !== undefined && vpc === undefined) {
      problems.push(`${name} has no effect without vpc; add vpc or remove ${name}.`);
    }
  }
  problems.push(...subnetProblems(props));
  if (domain !== undefined) problems.push(...domainProblems(domain));
  const certificate = domain?.certificate;
  const placed: [string, Place | undefined][] = [
    ['rawBucket', placeOf(rawBucket)],
    ['countersTable', placeOf(countersTable, countersTable?.tableArn)],
    ['ledgerTable', placeOf(ledgerTable, ledgerTable?.tableArn)],
    ['alarmTopic', placeOf(props.alarmTopic)],
    ['vpc', placeOf(vpc)],
    ['domain.certificate', placeOf(certificate, certificate?.certificateArn)],
  ];
  return [...problems, ...placed.flatMap(([name, at]) => placeProblems(construct, name, at))];
}

/** Lambda gives a function no public address, so it can connect to nothing from a public subnet. */
function subnetProblems({ vpc, vpcSubnets }: DevicePipelineProps): string[] {
  if (vpc === undefined) return [];
  const wanted = 'vpcSubnets must select private subnets with a way to the AWS services';
  try {
    const { hasPublic, subnetIds } = vpc.selectSubnets(vpcSubnets);
    // Without subnets the functions would be outside the VPC.
    if (subnetIds.length === 0) return [`${wanted}, but selects none.`];
    return hasPublic
      ? [
          `${wanted}, but ${vpcSubnets === undefined ? 'vpc has only public ones' : 'selects public ones'}.`,
        ]
      : [];
  } catch (error) {
    return [`${wanted}: ${(error as Error).message}`];
  }
}

interface TableSchema {
  readonly keySchema: readonly { readonly attributeName: string }[];
  readonly attributeDefinitions: readonly {
    readonly attributeName: string;
    readonly attributeType: string;
  }[];
  readonly timeToLiveSpecification?: { readonly attributeName?: string };
}

/** Checks a table that this app creates; other tables are unknown here. */
function schemaProblems(name: string, table: ITable | undefined, keys: TableProps): string[] {
  const own = table?.node.defaultChild as Partial<CfnTable> | undefined;
  if (table === undefined || own?.keySchema === undefined) return [];
  // A TableV2 has its attributes as a token.
  const { keySchema, attributeDefinitions, timeToLiveSpecification } = Stack.of(table).resolve({
    keySchema: own.keySchema,
    attributeDefinitions: own.attributeDefinitions,
    timeToLiveSpecification: own.timeToLiveSpecification,
  }) as TableSchema;
  const types = new Map(
    attributeDefinitions.map(({ attributeName, attributeType }) => [attributeName, attributeType]),
  );
  const found = keySchema.map(
    ({ attributeName }) => `${attributeName} (${types.get(attributeName) ?? ''})`,
  );
  const wanted = [keys.partitionKey, keys.sortKey].map((key) => `${key?.name ?? ''} (S)`);
  const problems: string[] = [];
  if (found.join() !== wanted.join()) {
    problems.push(`${name} must have the keys ${wanted.join(', ')}, got ${found.join(', ')}.`);
  }
  if (timeToLiveSpecification?.attributeName !== keys.timeToLiveAttribute) {
    problems.push(
      keys.timeToLiveAttribute === undefined
        ? `${name} has a timeToLiveAttribute, but counters must not expire; remove it.`
        : `${name} must have the timeToLiveAttribute ${keys.timeToLiveAttribute}.`,
    );
  }
  return problems;
}

function domainProblems({ domainName, certificate, basePath }: PipelineDomain): string[] {
  const problems: string[] = [];
  const isName = typeof domainName === 'string';
  if (isName && !Token.isUnresolved(domainName) && !/^[\w-]+(\.[\w-]+)+$/.test(domainName)) {
    problems.push(
      `domain.domainName must be a name such as 'events.example.org', without scheme, port and slashes, got '${domainName}'.`,
    );
  } else if (!isName && typeof (domainName as unknown) !== 'object') {
    problems.push("domain.domainName is missing: a name such as 'events.example.org'.");
  }
  if (isName && (certificate ?? undefined) === undefined) {
    problems.push('domain.certificate is missing: a certificate for domain.domainName.');
  } else if (!isName && certificate !== undefined) {
    problems.push('domain.certificate has no effect with an existing DomainName; remove it.');
  }
  if (basePath !== undefined && !/^[\w$.+!*'()-]+(\/[\w$.+!*'()-]+)*$/.test(basePath)) {
    problems.push(
      `domain.basePath must be a path such as 'events', without slashes around it, got '${basePath}'.`,
    );
  }
  return problems;
}

interface Place {
  readonly region: string;
  /** Undefined if the resource may be of another account. */
  readonly account?: string | undefined;
}

/**
 * The account and region of a resource. An imported resource may claim those of the stack that imports
 * it, so they are read from its ARN, if given.
 */
function placeOf(resource: IResource | undefined, arn?: string): Place | undefined {
  if (resource === undefined) return undefined;
  if (arn === undefined) return { region: resource.env.region };
  const [, , , region = resource.env.region, account = resource.env.account] = arn.split(':');
  return { region, account };
}

/**
 * The functions, the alarms and the API refer to resources by name, so these must be in their own region.
 */
function placeProblems(construct: Construct, name: string, place: Place | undefined): string[] {
  if (place === undefined) return [];
  const { region, account } = Stack.of(construct);
  const problems: string[] = [];
  if (differ(place.region, region)) {
    problems.push(`${name} must be in the region of the stack (${region}), got ${place.region}.`);
  }
  if (place.account !== undefined && differ(place.account, account)) {
    problems.push(
      `${name} must be of the account of the stack (${account}), got ${place.account}.`,
    );
  }
  return problems;
}

function differ(one: string, other: string): boolean {
  return one !== other && !Token.isUnresolved(one) && !Token.isUnresolved(other);
}
