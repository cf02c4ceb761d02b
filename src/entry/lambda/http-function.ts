import type { APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2 } from 'aws-lambda';

import packageJson from '../../../package.json' with { type: 'json' };
import { answerGatewayEvent, requestIdOfEvent, stagePrefixOf } from '../../http/app/api-gateway.ts';
import { createApp, type Served } from '../../http/app/app.ts';
import type { AnsweredRequest } from '../../http/server/observer.ts';
import type { Pages } from '../../http/app/pages.ts';
import { errorDetails } from './clients.ts';
import { bodyBytesMax } from './environment.ts';
import type { FunctionParts } from './function-parts.ts';
import type { InvocationContext, Telemetry } from './telemetry/telemetry.ts';
import { secretAccess } from './tokens-secret.ts';

export type HttpFunction = (
  event: APIGatewayProxyEventV2,
  context: InvocationContext,
) => Promise<APIGatewayProxyStructuredResultV2>;

/** Serves events of API Gateway and of a function URL with the routes that the app has for these parts. */
export function httpFunction(
  served: Served,
  { environment, telemetry, dayZone }: FunctionParts,
  pages?: Pages,
): HttpFunction {
  const secretArn = environment.optional('TOKENS_SECRET_ARN');
  const addresses = {
    apiUrl: environment.optional('API_URL') ?? '',
    basePath: environment.optional('BASE_PATH') ?? '',
  };
  const corsOrigins = environment.optional('CORS_ORIGINS')?.split(',') ?? [];
  const app = createApp(served, {
    bodyBytesMax,
    version: packageJson.version,
    dayZone,
    corsOrigins,
    onUnexpectedError: (error) =>
      telemetry.log('ERROR', 'unexpected error in a request', errorDetails(error)),
    ...(pages !== undefined && { pages }),
    ...(secretArn !== undefined && { access: secretAccess(secretArn, telemetry) }),
  });
  return telemetry.handler(async (event) => {
    telemetry.about({ request_id: requestIdOfEvent(event) });
    const result = await answerGatewayEvent(
      (request, exchange) => app.fetch(request, exchange),
      event,
      (exchange) => reportResponse(exchange, telemetry),
    );
    return locatedBelow(receiptPrefix(event, addresses), result);
  });
}

/**
 * The prefix of a receipt's path: the URL of the API if a function URL was called (which serves no
 * receipts), the base path of a custom domain, or the stage.
 * Source: AWS Lambda Developer Guide, "Invoking Lambda function URLs"; API Gateway Developer Guide,
 * "Create AWS Lambda proxy integrations for HTTP APIs".
 */
function receiptPrefix(
  event: APIGatewayProxyEventV2,
  { apiUrl, basePath }: { apiUrl: string; basePath: string },
): string {
  const { domainName } = event.requestContext;
  if (domainName.includes('.lambda-url.')) return apiUrl;
  if (domainName.includes('.execute-api.')) return stagePrefixOf(event);
  return basePath === '' ? '' : `/${basePath}`;
}

function locatedBelow(
  prefix: string,
  result: APIGatewayProxyStructuredResultV2,
): APIGatewayProxyStructuredResultV2 {
  const { location, ...headers } = result.headers ?? {};
  if (location === undefined) return result;
  return { ...result, headers: { ...headers, location: `${prefix}${String(location)}` } };
}

function reportResponse(
  { route, method, status, problem, seconds }: AnsweredRequest,
  { log, count }: Telemetry,
): void {
  count('Requests', 1);
  if (problem === undefined) return;
  count(`Problem_${problem}`, 1);
  const duration = { duration_ms: Math.round(seconds * 1000) };
  const refusal = { route, method, status, code: problem, ...duration };
  log(status >= 500 ? 'WARN' : 'INFO', 'request refused', refusal);
}
