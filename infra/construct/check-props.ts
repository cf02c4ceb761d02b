import { RemovalPolicy, Token } from 'aws-cdk-lib';
import { HttpNoneAuthorizer } from 'aws-cdk-lib/aws-apigatewayv2';
import { Construct } from 'constructs';

import {
  pipelineContradictions,
  pipelineSettingNames,
  settingTable,
  type PipelineSettings,
} from '../settings.ts';
import type { Parse } from '../setting-parsers.ts';
import { unknownName } from '../unknown-name.ts';
import { usualName } from '../stack/physical-name.ts';
import { kindProblems } from './check-kinds.ts';
import { resourceProblems } from './check-resources.ts';
import type { DevicePipelineProps } from './props.ts';

const onOrOff: Parse<unknown> = (given) =>
  typeof given === 'boolean' ? { value: given ? 'on' : 'off' } : { allowed: 'true or false' };

type Scalar = keyof PipelineSettings & keyof DevicePipelineProps;

/** What CDK programs write differently from a file of settings. */
const parsers: { [Name in Scalar]?: Parse<unknown> } = {
  pipelineName: (given) =>
    typeof given === 'string' && /^[\w.-]{1,128}$/.test(given)
      ? { value: given }
      : { allowed: 'letters, digits, dots, hyphens and underscores, at most 128' },
  tokens: onOrOff,
  functionUrl: onOrOff,
  athena: onOrOff,
  corsOrigins: (given) => {
    if (!Array.isArray(given)) return { allowed: 'a list of origins' };
    const known = given.filter((origin) => !Token.isUnresolved(origin));
    const parsed = settingTable.corsOrigins.parse(known.length === 0 ? 'none' : known);
    if (given.length === known.length || !('value' in parsed)) return parsed;
    return { value: given.join(',') };
  },
  removalPolicy: (given) => {
    if (given === RemovalPolicy.RETAIN) return { value: 'retain' };
    return given === RemovalPolicy.DESTROY
      ? { value: 'destroy' }
      : { allowed: 'RemovalPolicy.RETAIN or RemovalPolicy.DESTROY' };
  },
};

/** Settings that are only passed on to the template, so that a token is allowed. */
const mayBeTokens = new Set<Scalar>([
  ...([
    'pipelineName',
    'dayZone',
    'keepReceiptsDays',
    'itemsPerMessage',
    'maxCountersPerDay',
    'smallBodies',
  ] as const),
  ...(['throttleRate', 'throttleBurst', 'queryThrottleRate', 'queryThrottleBurst'] as const),
  ...(['logRetentionDays', 'batchSize', 'processConcurrencyMax'] as const),
  ...(['ingestConcurrency', 'queryConcurrency', 'sweepConcurrency'] as const),
]);

/** The props that are not settings. */
const otherProps: Record<Exclude<keyof DevicePipelineProps, Scalar>, true> = {
  ...{ authorizer: true, ingestScopes: true, queryScopes: true, domain: true, alarmTopic: true },
  ...{ rawBucket: true, countersTable: true, ledgerTable: true },
  ...{ vpc: true, vpcSubnets: true, securityGroups: true, bundlesDirectory: true },
};
const propNames: readonly string[] = [...pipelineSettingNames, ...Object.keys(otherProps)];

/**
 * Returns the settings of a pipeline: those of the props, otherwise the defaults.
 * @throws an Error that names each prop that is not allowed, with its value and what to do.
 */
export function settingsOf(construct: Construct, props: DevicePipelineProps): PipelineSettings {
  const problems = nameProblems(props);
  if (problems.length === 0) problems.push(...kindProblems(props, shown));
  // JavaScript does not check the types; what follows relies on them.
  if (problems.length > 0) throw refusal(construct, problems);
  const settings: Record<string, unknown> = { pipelineName: usualName(construct) };
  for (const name of pipelineSettingNames) {
    const given = props[name] as unknown;
    const setting = settingTable[name as keyof typeof settingTable] as
      (typeof settingTable)['tokens'] | undefined;
    if (given === undefined) settings[name] ??= setting?.default;
    else if (Token.isUnresolved(given)) {
      settings[name] = given;
      if (!mayBeTokens.has(name)) problems.push(`${name} must be known at synthesis, got a token.`);
    } else {
      const parsed = (parsers[name] ?? setting?.parse)?.(given);
      if (parsed === undefined) continue;
      if ('value' in parsed) settings[name] = parsed.value;
      else problems.push(`${name} must be ${parsed.allowed}, got ${shown(given)}.`);
    }
  }
  if (props.authorizer !== undefined && props.tokens === undefined) settings['tokens'] = 'off';
  const checked = settings as unknown as PipelineSettings;
  // Compare settings with each other only if each is valid.
  if (problems.length === 0) {
    problems.push(...pipelineContradictions(checked, props.rawBucket === undefined));
  }
  problems.push(...accessProblems(props), ...resourceProblems(construct, props));
  if (problems.length === 0) return checked;
  throw refusal(construct, problems);
}

export function refusal({ node }: Construct, problems: readonly string[]): Error {
  return new Error(`DevicePipeline ${node.path}: ${problems.join('\n')}`);
}

const documentedNames = propNames.filter((name) => name !== 'bundlesDirectory');

function nameProblems(props: unknown): string[] {
  if (typeof props !== 'object' || props === null || Array.isArray(props)) {
    return [`props must be an object or omitted, got ${shown(props)}.`];
  }
  const given = Object.entries(props) as [string, unknown][];
  return given.flatMap(([name, value]) => {
    if (!propNames.includes(name)) return [unknownName('prop', name, documentedNames)];
    return value === null ? [`${name} is null; omit it to get its default.`] : [];
  });
}

function accessProblems(props: DevicePipelineProps): string[] {
  const { tokens, authorizer, ingestScopes, queryScopes } = props;
  const problems: string[] = [];
  if (tokens === true && authorizer !== undefined) {
    problems.push(
      'tokens and authorizer both read the header Authorization; remove one of the two.',
    );
  }
  if (authorizer instanceof HttpNoneAuthorizer) {
    problems.push(
      'authorizer is an HttpNoneAuthorizer, which lets everyone in; omit it, so that tokens are required.',
    );
  }
  for (const [name, scopes] of Object.entries({ ingestScopes, queryScopes })) {
    if (scopes !== undefined && authorizer === undefined) {
      problems.push(`${name} needs an authorizer: new HttpJwtAuthorizer(…).`);
    }
  }
  return problems;
}

function shown(value: unknown): string {
  if (typeof value === 'string') return `'${value}'`;
  if (typeof value === 'function') return 'a class or function';
  if (Construct.isConstruct(value)) return value.node.path;
  try {
    return JSON.stringify(value);
  } catch {
    // Constructs refer to their scope and back.
    return Array.isArray(value) ? 'a list of objects' : 'an object of another kind';
  }
}
