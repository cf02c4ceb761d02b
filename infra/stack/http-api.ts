import { RemovalPolicy } from 'aws-cdk-lib';
import { AccessLogFormat } from 'aws-cdk-lib/aws-apigateway';
import {
  type CfnRoute,
  type CfnStage,
  DomainName,
  HttpApi,
  HttpMethod,
  HttpRoute,
  HttpRouteKey,
  type HttpRouteProps,
  HttpStage,
  type IDomainName,
  LogGroupLogDestination,
} from 'aws-cdk-lib/aws-apigatewayv2';
import { HttpLambdaIntegration } from 'aws-cdk-lib/aws-apigatewayv2-integrations';
import type { ICertificate } from 'aws-cdk-lib/aws-certificatemanager';
import { LogGroup } from 'aws-cdk-lib/aws-logs';
import type { Construct } from 'constructs';

import type { DevicePipelineProps, PipelineDomain } from '../construct/props.ts';
import { acceptFinding } from './accept-finding.ts';
import type { Functions } from './functions.ts';
import type { PipelineSettings } from '../settings.ts';
import { physicalName } from './physical-name.ts';

export interface Api {
  api: HttpApi;
  stage: HttpStage;
  ingestRoute: HttpRoute;
  /** As in the template: `NONE`, `AWS_IAM`, `JWT` or `CUSTOM`. */
  authorization: string;
  accessLog: LogGroup;
  domainName: IDomainName | undefined;
  /** The URL of the custom domain, if there is one; without a trailing slash. */
  url: string;
}

type Access = Pick<DevicePipelineProps, 'authorizer' | 'ingestScopes' | 'queryScopes'>;

interface ApiParts extends Access, Pick<DevicePipelineProps, 'domain'> {
  settings: PipelineSettings;
  functions: Functions;
}

/** One JSON object per request, without headers and query strings, which may be private. */
const accessLogFields = {
  time: '$context.requestTime',
  requestId: '$context.requestId',
  sourceIp: '$context.identity.sourceIp',
  method: '$context.httpMethod',
  path: '$context.path',
  routeKey: '$context.routeKey',
  status: '$context.status',
  responseBytes: '$context.responseLength',
  latencyMs: '$context.responseLatency',
  integrationLatencyMs: '$context.integrationLatency',
  integrationStatus: '$context.integrationStatus',
  integrationError: '$context.integrationErrorMessage',
};

const ingestRouteKey = HttpRouteKey.with('/ingest', HttpMethod.POST);

/** `POST /ingest` goes to the ingest function, everything else to the query function. */
export function addHttpApi(scope: Construct, parts: ApiParts): Api {
  const { settings, functions, authorizer, domain } = parts;
  if (domain?.basePath !== undefined) {
    // For the paths of receipts: API Gateway does not pass the base path to the functions.
    functions.ingest.lambda.addEnvironment('BASE_PATH', domain.basePath);
  }
  const api = new HttpApi(scope, 'Api', {
    apiName: settings.pipelineName,
    createDefaultStage: false,
  });
  const ingestRoute = addRoute(scope, 'IngestRoute', settings, {
    httpApi: api,
    routeKey: ingestRouteKey,
    integration: new HttpLambdaIntegration('IngestIntegration', functions.ingest.lambda),
    ...accessOf(authorizer, parts.ingestScopes),
  });
  const integration = new HttpLambdaIntegration('QueryIntegration', functions.query.lambda);
  addRoute(scope, 'QueryRoute', settings, {
    httpApi: api,
    routeKey: HttpRouteKey.DEFAULT,
    integration,
    ...accessOf(authorizer, parts.queryScopes),
  });
  if (authorizer !== undefined && settings.corsOrigins !== 'none') {
    // A browser sends a preflight request without credentials.
    const routeKey = HttpRouteKey.with('/{proxy+}', HttpMethod.OPTIONS);
    addRoute(scope, 'PreflightRoute', settings, { httpApi: api, routeKey, integration });
  }
  const { authorizationType: authorization = 'NONE' } = ingestRoute.node.defaultChild as CfnRoute;
  return { api, ingestRoute, authorization, ...addStage(scope, parts, ingestRoute) };
}

function accessOf(authorizer: Access['authorizer'], scopes: string[] | undefined) {
  return {
    ...(authorizer !== undefined && { authorizer }),
    ...(scopes !== undefined && { authorizationScopes: scopes }),
  };
}

function addRoute(
  scope: Construct,
  id: string,
  settings: PipelineSettings,
  props: HttpRouteProps,
): HttpRoute {
  const route = new HttpRoute(scope, id, props);
  if (props.authorizer !== undefined) return route;
  acceptFinding(
    route,
    'AwsSolutions-APIG4',
    settings.tokens === 'on'
      ? 'The functions themselves ask for a bearer token, whose hash is in Secrets Manager.'
      : 'The owner of the stack has turned tokens off (setting tokens).',
  );
  return route;
}

function addStage(
  scope: Construct,
  { settings, domain }: ApiParts,
  ingestRoute: HttpRoute,
): Omit<Api, 'api' | 'ingestRoute' | 'authorization'> {
  const accessLog = new LogGroup(scope, 'AccessLog', {
    // Unless the name has this prefix, API Gateway adds the log group to a resource policy of the
    // account, whose maximum length would eventually make deployments fail.
    logGroupName: `/aws/vendedlogs/device-pipeline/${physicalName(scope, settings)}/access`,
    retention: settings.logRetentionDays,
    removalPolicy: RemovalPolicy.DESTROY,
  });
  const domainName = domain && domainOf(scope, domain);
  const stage = new HttpStage(scope, 'Stage', {
    httpApi: ingestRoute.httpApi,
    stageName: '$default',
    autoDeploy: true,
    throttle: { rateLimit: settings.queryThrottleRate, burstLimit: settings.queryThrottleBurst },
    accessLogSettings: {
      destination: new LogGroupLogDestination(accessLog),
      format: AccessLogFormat.custom(JSON.stringify(accessLogFields)),
    },
    ...(domainName && { domainMapping: { domainName, ...mappingKey(domain) } }),
  });
  throttleIngest(stage, settings, ingestRoute);
  const url = domainName === undefined ? ingestRoute.httpApi.apiEndpoint : stage.domainUrl;
  return { stage, accessLog, domainName, url: url.replace(/\/$/, '') };
}

function domainOf(scope: Construct, { domainName, certificate }: PipelineDomain): IDomainName {
  if (typeof domainName !== 'string') return domainName;
  // A name without a certificate has been rejected earlier.
  return new DomainName(scope, 'Domain', { domainName, certificate: certificate as ICertificate });
}

function mappingKey(domain: PipelineDomain | undefined): { mappingKey?: string } {
  return domain?.basePath === undefined ? {} : { mappingKey: domain.basePath };
}

/** POST /ingest has its own limit, so that readers, even without a token, cannot starve devices. */
function throttleIngest(
  stage: HttpStage,
  settings: PipelineSettings,
  ingestRoute: HttpRoute,
): void {
  (stage.node.defaultChild as CfnStage).routeSettings = {
    [ingestRouteKey.key]: {
      ThrottlingRateLimit: settings.throttleRate,
      ThrottlingBurstLimit: settings.throttleBurst,
    },
  };
  // API Gateway rejects settings of a route that does not exist yet.
  stage.node.addDependency(ingestRoute);
}
