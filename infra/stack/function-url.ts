import { Fn } from 'aws-cdk-lib';
import { FunctionUrl, FunctionUrlAuthType } from 'aws-cdk-lib/aws-lambda';
import type { Construct } from 'constructs';

import type { Functions } from './functions.ts';
import type { Api } from './http-api.ts';

/** The URL of the ingest function, besides `POST /ingest` of the API. It requires IAM if the API does. */
export function addFunctionUrl(scope: Construct, { ingest }: Functions, api: Api): FunctionUrl {
  // Responses to batches contain the URL of the receipt, which the API serves.
  ingest.lambda.addEnvironment('API_URL', api.url);
  return new FunctionUrl(scope, 'FunctionUrl', {
    function: ingest.lambda,
    authType:
      api.authorization === 'AWS_IAM' ? FunctionUrlAuthType.AWS_IAM : FunctionUrlAuthType.NONE,
  });
}

/** Without the slash at its end, as clients expect it. */
export function addressOf({ url }: FunctionUrl): string {
  return `https://${Fn.select(2, Fn.split('/', url))}`;
}
