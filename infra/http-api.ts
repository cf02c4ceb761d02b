import { RemovalPolicy } from 'aws-cdk-lib';
import { AccessLogFormat } from 'aws-cdk-lib/aws-apigateway';
import {
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
import type { Settings } from './settings.ts';

export interface Api {
  api: HttpApi;
  accessLog: LogGroup;
}

/** One JSON object a request. Neither headers nor query strings: they may hold what is private. */
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

/** `POST /ingest` goes to the ingest function, everything else to the query function. */
export function addHttpApi(scope: Construct, settings: Settings, functions: Functions): Api {
  const api = new HttpApi(scope, 'Api', {
    apiName: settings.stackName,
    createDefaultStage: false,
  });
  addRoute(scope, 'IngestRoute', settings, {
    httpApi: api,
    routeKey: HttpRouteKey.with('/ingest', HttpMethod.POST),
    integration: new HttpLambdaIntegration('IngestIntegration', functions.ingest.lambda),
  });
  addRoute(scope, 'QueryRoute', settings, {
    httpApi: api,
    routeKey: HttpRouteKey.DEFAULT,
    integration: new HttpLambdaIntegration('QueryIntegration', functions.query.lambda),
  });
  return { api, accessLog: addStage(scope, settings, api) };
}

function addRoute(
  scope: Construct,
  id: string,
  settings: Settings,
  props: ConstructorParameters<typeof HttpRoute>[2],
): void {
  acceptFinding(
    new HttpRoute(scope, id, props),
    'AwsSolutions-APIG4',
    settings.tokens === 'on'
      ? 'The functions themselves ask for a bearer token, whose hash is in Secrets Manager.'
      : 'The owner of the stack has turned tokens off (setting tokens).',
  );
}

function addStage(scope: Construct, settings: Settings, httpApi: HttpApi): LogGroup {
  const accessLog = new LogGroup(scope, 'AccessLog', {
    retention: settings.logRetentionDays,
    removalPolicy: RemovalPolicy.DESTROY,
  });
  new HttpStage(scope, 'Stage', {
    httpApi,
    stageName: '$default',
    autoDeploy: true,
    throttle: { rateLimit: settings.throttleRate, burstLimit: settings.throttleBurst },
    accessLogSettings: {
      destination: new LogGroupLogDestination(accessLog),
      format: AccessLogFormat.custom(JSON.stringify(accessLogFields)),
    },
  });
  return accessLog;
}
