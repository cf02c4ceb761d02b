import type { APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2 } from 'aws-lambda';

import packageJson from '../../../package.json' with { type: 'json' };
import { answerGatewayEvent } from '../../http/api-gateway.ts';
import { createApp } from '../../http/app.ts';
import type { Pages } from '../../http/pages.ts';
import type { Pipeline } from '../../pipeline/ports.ts';
import { errorDetails, log } from './clients.ts';
import { bodyBytesMax, type Environment } from './environment.ts';
import { secretAccess } from './tokens-secret.ts';

export type HttpFunction = (
  event: APIGatewayProxyEventV2,
) => Promise<APIGatewayProxyStructuredResultV2>;

/** The app of the server, for events of API Gateway. */
export function httpFunction(
  pipeline: Pipeline,
  environment: Environment,
  pages?: Pages,
): HttpFunction {
  const secretArn = environment.optional('TOKENS_SECRET_ARN');
  const corsOrigins = environment.optional('CORS_ORIGINS')?.split(',') ?? [];
  const app = createApp(pipeline, {
    bodyBytesMax,
    version: packageJson.version,
    corsOrigins,
    onDefect: (error) => log('ERROR', 'a request met an error', errorDetails(error)),
    ...(pages !== undefined && { pages }),
    ...(secretArn !== undefined && { access: secretAccess(secretArn) }),
  });
  return (event) => answerGatewayEvent((request) => app.fetch(request), event);
}
