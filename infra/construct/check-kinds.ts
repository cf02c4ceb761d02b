import { unknownName } from '../unknown-name.ts';
import type { DevicePipelineProps, PipelineDomain } from './props.ts';

interface Kind {
  readonly isOf: (given: unknown) => boolean;
  /** What the prop must be. */
  readonly wanted: string;
}

/** An object, not a list, with these members. */
function having(wanted: string, ...members: readonly string[]): Kind {
  const isOf = (given: unknown) =>
    typeof given === 'object' &&
    given !== null &&
    !Array.isArray(given) &&
    members.every((member) => member in given);
  return { isOf, wanted };
}

function listOf({ isOf, wanted }: Kind): Kind {
  return { isOf: (given) => Array.isArray(given) && given.every(isOf), wanted };
}

const text = (wanted: string): Kind => ({ isOf: (given) => typeof given === 'string', wanted });

type KindOf = (name: string) => Kind;
/** A resource of the CDK: its construct, and one of its attributes. */
const resource =
  (wanted: string, attribute: string): KindOf =>
  () =>
    having(wanted, 'node', 'env', attribute);
const table: KindOf = (name) =>
  having(`a table, such as Table.fromTableName(this, '${name}', NAME)`, 'node', 'env', 'tableArn');
const scopes: KindOf = () => listOf(text("a list of scopes, such as ['events:write']"));

/** Of the props that are no settings: JavaScript does not check their types. */
const kinds = {
  alarmTopic: resource('a topic, such as new Topic(this, NAME)', 'topicArn'),
  authorizer: () => ({
    isOf: (given) => typeof (given as { bind?: unknown } | undefined)?.bind === 'function',
    wanted: 'an authorizer, such as new HttpIamAuthorizer()',
  }),
  bundlesDirectory: () => text('the path of a directory'),
  countersTable: table,
  domain: () => having('an object with domainName and certificate'),
  ingestScopes: scopes,
  ledgerTable: table,
  queryScopes: scopes,
  rawBucket: resource("a bucket, such as Bucket.fromBucketName(this, 'Raw', NAME)", 'bucketArn'),
  securityGroups: () => listOf(having('a list of security groups', 'securityGroupId')),
  vpc: resource("a VPC, such as Vpc.fromLookup(this, 'Vpc', { vpcId: ID })", 'vpcId'),
  vpcSubnets: () => having('a selection of subnets, such as { subnetGroupName: NAME }'),
} as const satisfies Partial<Record<keyof DevicePipelineProps, KindOf>>;

/** Of the props of `domain`. */
const domainKinds: { readonly [Name in keyof PipelineDomain]-?: Kind } = {
  basePath: text("a path such as 'events'"),
  certificate: having(
    "a certificate, such as Certificate.fromCertificateArn(this, 'Certificate', ARN)",
    ...['node', 'env', 'certificateArn'],
  ),
  domainName: {
    isOf: (given) =>
      typeof given === 'string' || having('', 'node', 'env', 'regionalDomainName').isOf(given),
    wanted: "a name such as 'events.example.org', or a DomainName",
  },
};

type Shown = (value: unknown) => string;

/** Returns a sentence for each prop, none of them null, that is not what its type says. */
export function kindProblems(props: DevicePipelineProps, shown: Shown): string[] {
  const names = Object.keys(kinds) as (keyof typeof kinds)[];
  const problems = names.flatMap((name) => problemOf(name, props[name], kinds[name](name), shown));
  const { domain } = props;
  if (domain === undefined || !kinds.domain().isOf(domain)) return problems;
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
    : [`${name} is ${shown(value)}, but must be ${wanted}.`];
}
