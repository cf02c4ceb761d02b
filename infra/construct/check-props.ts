import { Names, RemovalPolicy, Stack, Token, type IResource } from 'aws-cdk-lib';
import { HttpNoneAuthorizer } from 'aws-cdk-lib/aws-apigatewayv2';
import type { CfnTable, ITable, TableProps } from 'aws-cdk-lib/aws-dynamodb';
import type { Construct } from 'constructs';

import {
  pipelineContradictions,
  settingNames,
  settingTable,
  type PipelineSettings,
} from '../settings.ts';
import type { Parse } from '../setting-parsers.ts';
import { countersKeys, ledgerKeys } from '../stack/storage.ts';
import type { DevicePipelineProps } from './props.ts';

type Scalar = keyof PipelineSettings & keyof DevicePipelineProps;

/** What CDK programs write differently from a file of settings. */
const parsers: { [Name in Scalar]?: Parse<unknown> } = {
  pipelineName: (given) =>
    typeof given === 'string' && /^[\w.-]{1,128}$/.test(given)
      ? { value: given }
      : { allowed: 'letters, digits, dots, hyphens and underscores, at most 128' },
  tokens: (given) =>
    typeof given === 'boolean' ? { value: given ? 'on' : 'off' } : { allowed: 'true or false' },
  corsOrigins: (given) => {
    if (!Array.isArray(given)) return { allowed: 'a list of origins' };
    return given.length === 0 ? { value: 'none' } : settingTable.corsOrigins.parse(given);
  },
  removalPolicy: (given) => {
    if (given === RemovalPolicy.RETAIN) return { value: 'retain' };
    return given === RemovalPolicy.DESTROY
      ? { value: 'destroy' }
      : { allowed: 'RemovalPolicy.RETAIN or RemovalPolicy.DESTROY' };
  },
};

/** Settings that only pass through to the template, where a token is as good as a value. */
const mayBeTokens = new Set<Scalar>([
  ...([
    'pipelineName',
    'dayZone',
    'keepReceiptsDays',
    'itemsPerMessage',
    'maxCountersPerDay',
  ] as const),
  ...(['throttleRate', 'throttleBurst', 'queryThrottleRate', 'queryThrottleBurst'] as const),
  ...(['logRetentionDays', 'batchSize', 'processConcurrencyMax'] as const),
  ...(['ingestConcurrency', 'queryConcurrency', 'sweepConcurrency'] as const),
]);

/**
 * Returns the settings of a pipeline: those of the props, otherwise the defaults.
 * @throws an Error that names each prop that is not allowed, with its value and what to do.
 */
export function settingsOf(construct: Construct, props: DevicePipelineProps): PipelineSettings {
  const problems: string[] = [];
  const settings: Record<string, unknown> = {
    pipelineName: Names.uniqueResourceName(construct, {
      maxLength: 128,
      separator: '-',
      allowedSpecialCharacters: '-',
    }),
  };
  for (const name of ['pipelineName', ...settingNames] as Scalar[]) {
    const given = props[name] as unknown;
    const setting = settingTable[name as keyof typeof settingTable] as
      (typeof settingTable)['tokens'] | undefined;
    if (given === undefined) settings[name] ??= setting?.default;
    else if (Token.isUnresolved(given)) {
      settings[name] = given;
      if (!mayBeTokens.has(name))
        problems.push(`${name} is a token, but must be known at synthesis.`);
    } else {
      const parsed = (parsers[name] ?? setting?.parse)?.(given);
      if (parsed === undefined) continue;
      if ('value' in parsed) settings[name] = parsed.value;
      else problems.push(`${name} is ${shown(given)}, but must be ${parsed.allowed}.`);
    }
  }
  if (props.authorizer !== undefined && props.tokens === undefined) settings['tokens'] = 'off';
  const checked = settings as unknown as PipelineSettings;
  // Compare settings with each other only if each is valid.
  if (problems.length === 0) problems.push(...pipelineContradictions(checked));
  problems.push(...accessProblems(props), ...resourceProblems(construct, props));
  if (problems.length === 0) return checked;
  throw new Error(`DevicePipeline ${construct.node.path}: ${problems.join('\n')}`);
}

function accessProblems(props: DevicePipelineProps): string[] {
  const { tokens, authorizer, ingestScopes, queryScopes, domain } = props;
  const problems: string[] = [];
  if (tokens === true && authorizer !== undefined) {
    problems.push(
      'tokens and authorizer both read the header Authorization; remove one of the two.',
    );
  }
  if (authorizer instanceof HttpNoneAuthorizer) {
    problems.push(
      'authorizer is an HttpNoneAuthorizer, which lets everyone in; leave it out, so that tokens are required.',
    );
  }
  for (const [name, scopes] of Object.entries({ ingestScopes, queryScopes })) {
    if (scopes !== undefined && authorizer === undefined) {
      problems.push(`${name} needs an authorizer: new HttpJwtAuthorizer(…).`);
    }
  }
  const basePath = domain?.basePath;
  if (basePath !== undefined && !/^[\w$.+!*'()-]+(\/[\w$.+!*'()-]+)*$/.test(basePath)) {
    problems.push(
      `domain.basePath is ${shown(basePath)}, but must be a path such as 'events', without slashes around it.`,
    );
  }
  return problems;
}

function resourceProblems(construct: Construct, props: DevicePipelineProps): string[] {
  const { rawBucket, countersTable, ledgerTable, alarmTopic, vpc, domain } = props;
  const problems: string[] = [];
  if ((countersTable === undefined) !== (ledgerTable === undefined)) {
    problems.push(
      'countersTable and ledgerTable belong together: give both, or neither for new ones.',
    );
  } else if (countersTable !== undefined && countersTable.tableArn === ledgerTable?.tableArn) {
    problems.push('countersTable and ledgerTable are the same table, but must be two.');
  }
  problems.push(...schemaProblems('countersTable', countersTable, countersKeys));
  problems.push(...schemaProblems('ledgerTable', ledgerTable, ledgerKeys));
  for (const name of ['vpcSubnets', 'securityGroups'] as const) {
    if (props[name] !== undefined && vpc === undefined) {
      problems.push(`${name} has no effect without vpc; add vpc or remove ${name}.`);
    }
  }
  const regional = { rawBucket, countersTable, ledgerTable, alarmTopic, vpc };
  const certificate = domain?.certificate;
  return [...problems, ...regionProblems(construct, { ...regional, certificate })];
}

interface TableSchema {
  readonly keySchema: readonly { readonly attributeName: string }[];
  readonly attributeDefinitions: readonly {
    readonly attributeName: string;
    readonly attributeType: string;
  }[];
  readonly timeToLiveSpecification?: { readonly attributeName?: string };
}

/** Compares a table that this app creates; what another created is unknown here. */
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
    problems.push(`${name} has the keys ${found.join(', ')}, but must have ${wanted.join(', ')}.`);
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

/** The functions, the alarms and the API reach only what is in their own region. */
function regionProblems(
  construct: Construct,
  resources: Record<string, IResource | undefined>,
): string[] {
  const { region } = Stack.of(construct);
  return Object.entries(resources).flatMap(([name, resource]) => {
    const other = resource?.env.region ?? region;
    if (other === region || Token.isUnresolved(other) || Token.isUnresolved(region)) return [];
    return [`${name} is in ${other}, but must be in the region of the stack, ${region}.`];
  });
}

function shown(value: unknown): string {
  return typeof value === 'string' ? `'${value}'` : JSON.stringify(value);
}
