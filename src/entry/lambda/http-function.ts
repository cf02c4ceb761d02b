import type { APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2 } from 'aws-lambda';

import packageJson from '../../../package.json' with { type: 'json' };
import { answerGatewayEvent, requestIdOfEvent } from '../../http/app/api-gateway.ts';
import { createApp } from '../../http/app/app.ts';
import type { Exchange } from '../../http/server/observer.ts';
import type { Pages } from '../../http/app/pages.ts';
import type { IngestOutcome, Pipeline } from '../../pipeline/ports.ts';
import { errorDetails } from './clients.ts';
import { bodyBytesMax, storeRules, type Environment } from './environment.ts';
import type { InvocationContext, Telemetry } from './telemetry/telemetry.ts';
import { secretAccess } from './tokens-secret.ts';

export type HttpFunction = (
  event: APIGatewayProxyEventV2,
  context: InvocationContext,
) => Promise<APIGatewayProxyStructuredResultV2>;

/** The app of the server, for events of API Gateway. */
export function httpFunction(
  pipeline: Pipeline,
  environment: Environment,
  telemetry: Telemetry,
  pages?: Pages,
): HttpFunction {
  const secretArn = environment.optional('TOKENS_SECRET_ARN');
  const corsOrigins = environment.optional('CORS_ORIGINS')?.split(',') ?? [];
  const app = createApp(observed(pipeline, telemetry), {
    bodyBytesMax,
    version: packageJson.version,
    dayZone: storeRules(environment).dayZone,
    corsOrigins,
    onUnexpectedError: (error) =>
      telemetry.log('ERROR', 'a request met an error', errorDetails(error)),
    ...(pages !== undefined && { pages }),
    ...(secretArn !== undefined && { access: secretAccess(secretArn, telemetry) }),
  });
  return telemetry.handler((event) => {
    telemetry.about({ request_id: requestIdOfEvent(event) });
    return answerGatewayEvent(
      (request) => app.fetch(request),
      event,
      (exchange) => tellAnswered(exchange, telemetry),
    );
  });
}

function observed(pipeline: Pipeline, telemetry: Telemetry): Pipeline {
  return {
    ...pipeline,
    async ingest(submission) {
      const outcome = await pipeline.ingest(submission);
      tellJudged(outcome, submission.body.length, telemetry);
      return outcome;
    },
  };
}

function tellJudged(outcome: IngestOutcome, bytes: number, { log, about, count }: Telemetry): void {
  const { rejected = 0, rejectedByCode = [] } = outcome.accepted ? outcome : outcome.problem;
  for (const [code, items] of rejectedByCode) {
    count('ItemsRefused', items);
    count(`ItemError_${code}`, items);
  }
  if (!outcome.accepted) return;
  const { batchId, enqueued } = outcome;
  count('BatchesAccepted', 1);
  count('ItemsAccepted', enqueued);
  count('BodyBytes', bytes);
  about({ batch_id: batchId });
  log('DEBUG', 'batch accepted', { items: enqueued, refused: rejected, bytes });
}

function tellAnswered(
  { route, method, status, problem, seconds }: Exchange,
  { log, count }: Telemetry,
): void {
  count('Requests', 1);
  if (problem === undefined) return;
  count(`Problem_${problem}`, 1);
  const duration = { duration_ms: Math.round(seconds * 1000) };
  const refusal = { route, method, status, code: problem, ...duration };
  log(status >= 500 ? 'WARN' : 'INFO', 'request refused', refusal);
}
