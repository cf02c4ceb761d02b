import { RemovalPolicy } from 'aws-cdk-lib';
import { AccessLogFormat } from 'aws-cdk-lib/aws-apigateway';
import {
  type CfnStage,
  HttpApi,
  HttpMethod,
  HttpRoute,
  HttpRouteKey,
  HttpStage,
  LogGroupLogDestination,
} from 'aws-cdk-lib/aws-apigatewayv2';
import { HttpLambdaIntegration } from 'aws-cdk-lib/aws-apigatewayv2-integrations';
import { LogGroup } from 'aws-cdk-lib/aws-logs';
import type { Construct } from 'constructs';

import { acceptFinding } from './accept-finding.ts';
import type { Functions } from './functions.ts';
import type { Settings } from '../settings.ts';

export interface Api {
  api: HttpApi;
  accessLog: LogGroup;
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
export function addHttpApi(scope: Construct, settings: Settings, functions: Functions): Api {
  const api = new HttpApi(scope, 'Api', {
    apiName: settings.stackName,
    createDefaultStage: false,
  });
  const ingestRoute = addRoute(scope, 'IngestRoute', settings, {
    httpApi: api,
    routeKey: ingestRouteKey,
    integration: new HttpLambdaIntegration('IngestIntegration', functions.ingest.lambda),
  });
  addRoute(scope, 'QueryRoute', settings, {
    httpApi: api,
    routeKey: HttpRouteKey.DEFAULT,
    integration: new HttpLambdaIntegration('QueryIntegration', functions.query.lambda),
  });
  return { api, accessLog: addStage(scope, settings, ingestRoute) };
}

function addRoute(
  scope: Construct,
  id: string,
  settings: Settings,
  props: ConstructorParameters<typeof HttpRoute>[2],
): HttpRoute {
  const route = new HttpRoute(scope, id, props);
  acceptFinding(
    route,
    'AwsSolutions-APIG4',
    settings.tokens === 'on'
      ? 'The functions themselves ask for a bearer token, whose hash is in Secrets Manager.'
      : 'The owner of the stack has turned tokens off (setting tokens).',
  );
  return route;
}

function addStage(scope: Construct, settings: Settings, ingestRoute: HttpRoute): LogGroup {
  const accessLog = new LogGroup(scope, 'AccessLog', {
    // Unless the name has this prefix, API Gateway adds the log group to a resource policy of the
    // account, whose maximum length would eventually make deployments fail.
    logGroupName: `/aws/vendedlogs/device-pipeline/${settings.stackName}/access`,
    retention: settings.logRetentionDays,
    removalPolicy: RemovalPolicy.DESTROY,
  });
  const stage = new HttpStage(scope, 'Stage', {
    httpApi: ingestRoute.httpApi,
    stageName: '$default',
    autoDeploy: true,
    throttle: { rateLimit: settings.queryThrottleRate, burstLimit: settings.queryThrottleBurst },
    accessLogSettings: {
      destination: new LogGroupLogDestination(accessLog),
      format: AccessLogFormat.custom(JSON.stringify(accessLogFields)),
    },
  });
  throttleIngest(stage, settings, ingestRoute);
  return accessLog;
}

/** POST /ingest has its own limit, so that readers, even without a token, cannot starve devices. */
function throttleIngest(stage: HttpStage, settings: Settings, ingestRoute: HttpRoute): void {
  (stage.node.defaultChild as CfnStage).routeSettings = {
    [ingestRouteKey.key]: {
      ThrottlingRateLimit: settings.throttleRate,
      ThrottlingBurstLimit: settings.throttleBurst,
    },
  };
  // API Gateway rejects settings of a route that does not exist yet.
  stage.node.addDependency(ingestRoute);
}
