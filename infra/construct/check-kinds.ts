import { unknownName } from '../unknown-name.ts';
import type { DevicePipelineProps, PipelineDomain } from './props.ts';

interface Kind {
  readonly isOf: (given: unknown) => boolean;
  /** The required kind of the prop, for messages. */
  readonly wanted: string;
}

function isObject(given: unknown, ...members: readonly string[]): boolean {
  return (
    typeof given === 'object' &&
    given !== null &&
    !Array.isArray(given) &&
    members.every((member) => member in given)
  );
}

const object = (wanted: string): Kind => ({ isOf: (given) => isObject(given), wanted });
const text = (wanted: string): Kind => ({ isOf: (given) => typeof given === 'string', wanted });
const scopes: Kind = {
  isOf: (given) => Array.isArray(given) && given.every((scope) => typeof scope === 'string'),
  wanted: "a list of scopes, such as ['events:write']",
};
/** A resource of the CDK, by one of its attributes. */
const isResource = (given: unknown, attribute: string) => isObject(given, 'node', 'env', attribute);
const resource = (wanted: string, attribute: string): Kind => ({
  isOf: (given) => isResource(given, attribute),
  wanted,
});
const table = resource("a table, such as Table.fromTableName(this, 'Table', NAME)", 'tableArn');

/** The kinds of the props that are not settings: JavaScript does not check their types. */
const kinds = {
  alarmTopic: resource('a topic, such as new Topic(this, NAME)', 'topicArn'),
  authorizer: {
    isOf: (given) => typeof (given as { bind?: unknown } | undefined)?.bind === 'function',
    wanted: 'an authorizer, such as new HttpIamAuthorizer()',
  },
  bundlesDirectory: text('the path of a directory'),
  countersTable: table,
  domain: object('an object with domainName and certificate'),
  ingestScopes: scopes,
  ledgerTable: table,
  queryScopes: scopes,
  rawBucket: resource("a bucket, such as Bucket.fromBucketName(this, 'Raw', NAME)", 'bucketArn'),
  securityGroups: {
    isOf: (given) =>
      Array.isArray(given) && given.every((group) => isResource(group, 'securityGroupId')),
    wanted: 'a list of security groups',
  },
  vpc: resource("a VPC, such as Vpc.fromLookup(this, 'Vpc', { vpcId: ID })", 'vpcId'),
  vpcSubnets: object('a selection of subnets, such as { subnetGroupName: NAME }'),
} as const satisfies Partial<Record<keyof DevicePipelineProps, Kind>>;

/** The kinds of the props of `domain`. */
const domainKinds: { readonly [Name in keyof PipelineDomain]-?: Kind } = {
  basePath: text("a path such as 'events'"),
  certificate: resource(
    "a certificate, such as Certificate.fromCertificateArn(this, 'Certificate', ARN)",
    'certificateArn',
  ),
  domainName: {
    isOf: (given) => typeof given === 'string' || isResource(given, 'regionalDomainName'),
    wanted: "a name such as 'events.example.org', or a DomainName",
  },
};

type Shown = (value: unknown) => string;

/** Returns a sentence for each prop that is not of its type. None of the props is null. */
export function kindProblems(props: DevicePipelineProps, shown: Shown): string[] {
  const names = Object.keys(kinds) as (keyof typeof kinds)[];
  const problems = names.flatMap((name) => problemOf(name, props[name], kinds[name], shown));
  const { domain } = props;
  if (domain === undefined || !kinds.domain.isOf(domain)) return problems;
  const ofDomain = Object.entries(domain).flatMap(([name, value]: [string, unknown]) => {
    const kind = (domainKinds as Partial<Record<string, Kind>>)[name];
    return kind === undefined
      ? [unknownName('prop', `domain.${name}`, domainNames)]
      : problemOf(`domain.${name}`, value, kind, shown);
  });
  return [...problems, ...ofDomain];
}

const domainNames = Object.keys(domainKinds).map((name) => `domain.${name}`);

function problemOf(name: string, value: unknown, { isOf, wanted }: Kind, shown: Shown): string[] {
  return value === undefined || isOf(value)
    ? []
    : [`${name} must be ${wanted}, got ${shown(value)}.`];
}
