import { join } from 'node:path';

import { Annotations } from 'aws-cdk-lib';
import type {
  CfnRoute,
  HttpApi,
  HttpRoute,
  HttpStage,
  IDomainName,
  IHttpRouteAuthorizer,
} from 'aws-cdk-lib/aws-apigatewayv2';
import type { Alarm, Dashboard } from 'aws-cdk-lib/aws-cloudwatch';
import type { ITable } from 'aws-cdk-lib/aws-dynamodb';
import { Grant, type IGrantable } from 'aws-cdk-lib/aws-iam';
import type { FunctionUrl, Function as LambdaFunction } from 'aws-cdk-lib/aws-lambda';
import type { LogGroup } from 'aws-cdk-lib/aws-logs';
import type { IBucket } from 'aws-cdk-lib/aws-s3';
import type { Secret } from 'aws-cdk-lib/aws-secretsmanager';
import type { Queue } from 'aws-cdk-lib/aws-sqs';
import { Construct } from 'constructs';

import { addAlarms, addStackMetrics } from '../stack/monitoring/alarms.ts';
import { addAthena } from '../stack/athena.ts';
import { addDashboard } from '../stack/monitoring/dashboard.ts';
import { addFunctionUrl } from '../stack/function-url.ts';
import { addFunctions, grantKeys } from '../stack/functions.ts';
import type { PipelineSettings } from '../settings.ts';
import { addHttpApi, type Api } from '../stack/http-api.ts';
import { addQueues } from '../stack/queues.ts';
import { addStorage } from '../stack/storage.ts';
import { addTokensSecret } from '../stack/tokens.ts';
import { addTriggers } from '../stack/triggers.ts';
import { refusal, settingsOf } from './check-props.ts';
import { claimDomain, claimMapping, claimName, claimStorage } from './claims.ts';
import { addOutputs } from './outputs.ts';
import type { AlarmName, DevicePipelineProps } from './props.ts';

/** The bundles are in a directory next to the compiled construct. */
const packagedBundles = join(import.meta.dirname, 'lambda');

/**
 * Receives events from a fleet of devices over HTTP, keeps every body unchanged, and counts each event
 * exactly once: an HTTP API, four functions, a bucket, two tables, three queues, alarms and a dashboard.
 *
 * A stack may contain several. The resources with data remain when the stack is deleted, unless
 * `removalPolicy` is `DESTROY`.
 */
export class DevicePipeline extends Construct {
  /** The name of the API, and of this pipeline in metrics. */
  readonly pipelineName: string;
  /** The URL to which clients send batches and queries: the custom domain, if there is one. */
  readonly url: string;
  readonly api: HttpApi;
  readonly stage: HttpStage;
  /** `POST /ingest`. */
  readonly ingestRoute: HttpRoute;
  /** Undefined without `domain`. Alias its `regionalDomainName` in the DNS zone. */
  readonly domainName: IDomainName | undefined;
  readonly accessLog: LogGroup;
  /** Undefined without the prop `functionUrl`. */
  readonly functionUrl: FunctionUrl | undefined;
  readonly functions: Readonly<Record<'ingest' | 'process' | 'query' | 'sweep', LambdaFunction>>;
  /** The raw bodies. */
  readonly rawBucket: IBucket;
  readonly countersTable: ITable;
  readonly ledgerTable: ITable;
  /** The messages that wait to be counted. */
  readonly queue: Queue;
  /** The messages that could not be counted. */
  readonly deadLetterQueue: Queue;
  /** The sweeps that failed after all retries. */
  readonly sweepFailures: Queue;
  /** The bearer tokens; undefined if no tokens are required. */
  readonly tokensSecret: Secret | undefined;
  readonly alarms: Readonly<Record<AlarmName, Alarm>>;
  readonly dashboard: Dashboard;
  private readonly authorization: string;

  /** @throws an Error that names each prop that is not allowed. */
  constructor(scope: Construct, id: string, props: DevicePipelineProps = {}) {
    super(scope, id);
    const settings = settingsOf(this, props);
    const { domain } = props;
    refuse(this, [
      ...claimName(this, settings.pipelineName),
      ...(domain === undefined ? [] : claimDomain(this, domain)),
    ]);
    const storage = addStorage(this, settings, props);
    refuse(this, claimStorage(this, storage));
    const database =
      settings.athena === 'on' ? addAthena(this, settings, storage.rawBucket) : undefined;
    const queues = addQueues(this, settings);
    const tokensSecret = addTokensSecret(this, settings);
    const resources = { ...storage, ...queues, tokensSecret };
    const functions = addFunctions(this, {
      ...{ settings, resources, network: props },
      bundlesDirectory: props.bundlesDirectory ?? packagedBundles,
    });
    grantKeys(functions, storage);
    const api = addHttpApi(this, { settings, functions, ...props });
    if (typeof domain?.domainName === 'string' && api.domainName !== undefined) {
      claimMapping(this, api.domainName, domain.basePath ?? '');
    }
    refuse(this, authorizationProblems(api, settings, props));
    const functionUrl =
      settings.functionUrl === 'on' ? addFunctionUrl(this, functions, api) : undefined;
    addTriggers(this, settings, functions, queues);

    const observed = { functions, queues, api, functionUrl };
    const stackMetrics = addStackMetrics(this, settings, observed);
    const watched = { observed, stackMetrics, topic: props.alarmTopic };
    const alarms = addAlarms(this, settings, watched);
    this.dashboard = addDashboard(this, { settings, observed, storage, stackMetrics, alarms });
    addOutputs(this, { settings, api, functionUrl, database, resources });

    this.pipelineName = settings.pipelineName;
    ({ rawBucket: this.rawBucket, countersTable: this.countersTable } = storage);
    this.ledgerTable = storage.ledgerTable;
    ({ queue: this.queue, deadLetterQueue: this.deadLetterQueue } = queues);
    this.sweepFailures = queues.sweepFailures;
    this.tokensSecret = tokensSecret;
    this.functionUrl = functionUrl;
    const { ingest, process, query, sweep } = functions;
    this.functions = {
      ...{ ingest: ingest.lambda, process: process.lambda },
      ...{ query: query.lambda, sweep: sweep.lambda },
    };
    ({ api: this.api, stage: this.stage, ingestRoute: this.ingestRoute } = api);
    ({ domainName: this.domainName, accessLog: this.accessLog, url: this.url } = api);
    this.alarms = alarms;
    this.authorization = api.authorization;
    refuseSharedAuthorizer(this, props.authorizer);
    if (settings.tokens === 'off' && props.authorizer === undefined) warnOfOpenAccess(this);
  }

  /**
   * Allows the grantee to send batches, signed with its AWS credentials.
   * @throws if `authorizer` is not an `HttpIamAuthorizer`: with tokens or JWTs, IAM permissions have no
   *   effect.
   */
  grantIngest(grantee: IGrantable): Grant {
    if (this.authorization === 'AWS_IAM') {
      const grant = this.ingestRoute.grantInvoke(grantee);
      return this.functionUrl ? grant.combine(this.functionUrl.grantInvokeUrl(grantee)) : grant;
    }
    throw new Error(
      `grantIngest of ${this.node.path} needs authorizer: new HttpIamAuthorizer(). Otherwise clients need a token from tokensSecret, or a JWT if authorizer is a JWT authorizer.`,
    );
  }

  /**
   * Allows the grantee to read the counters table and, if `authorizer` is an `HttpIamAuthorizer`, to call
   * all GET routes of the API.
   */
  grantReadCounters(grantee: IGrantable): Grant {
    const table = this.countersTable.grantReadData(grantee);
    if (this.authorization !== 'AWS_IAM') return table;
    const resourceArns = [this.api.arnForExecuteApi('GET', '/*')];
    return table.combine(
      Grant.addToPrincipal({ grantee, actions: ['execute-api:Invoke'], resourceArns }),
    );
  }
}

function refuse(pipeline: DevicePipeline, problems: readonly string[]): void {
  if (problems.length > 0) throw refusal(pipeline, problems);
}

const pipelineOf = new WeakMap<IHttpRouteAuthorizer, DevicePipeline>();

/** Except for IAM, an authorizer becomes a resource of the first API that it is attached to. */
function refuseSharedAuthorizer(
  pipeline: DevicePipeline,
  authorizer: IHttpRouteAuthorizer | undefined,
): void {
  if (authorizer === undefined) return;
  const { authorizerId } = pipeline.ingestRoute.node.defaultChild as CfnRoute;
  const first = pipelineOf.get(authorizer);
  pipelineOf.set(authorizer, pipeline);
  if (first === undefined || authorizerId === undefined) return;
  refuse(pipeline, [
    `authorizer is already used by ${first.node.path}; create one for each pipeline.`,
  ]);
}

/** The kind of an authorizer is known only once a route has it. */
function authorizationProblems(
  { authorization }: Api,
  settings: PipelineSettings,
  props: DevicePipelineProps,
): string[] {
  const problems: string[] = [];
  if (settings.functionUrl === 'on' && ['JWT', 'CUSTOM'].includes(authorization)) {
    problems.push(
      'functionUrl supports only tokens or IAM, but authorizer is of another kind; remove one of the two.',
    );
  }
  // API Gateway checks scopes only of a JWT.
  if (authorization === 'JWT') return problems;
  const scopes = (['ingestScopes', 'queryScopes'] as const).filter((name) => props[name]);
  const wanted = 'needs a JWT authorizer, such as HttpJwtAuthorizer.';
  return [...problems, ...scopes.map((name) => `${name} ${wanted}`)];
}

function warnOfOpenAccess(pipeline: DevicePipeline): void {
  Annotations.of(pipeline).addWarningV2(
    'device-pipeline:tokensOff',
    'tokens is off: anyone who knows the URL of the API can send batches and read counters.',
  );
}
