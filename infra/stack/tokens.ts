import { RemovalPolicy } from 'aws-cdk-lib';
import { Secret } from 'aws-cdk-lib/aws-secretsmanager';
import type { Construct } from 'constructs';

import { acceptFinding } from './accept-finding.ts';
import type { PipelineSettings } from '../settings.ts';

/**
 * The secret with the tokens, if tokens are required. CloudFormation generates the first token, so that
 * the template contains none; later deployments do not change the secret.
 */
export function addTokensSecret(scope: Construct, settings: PipelineSettings): Secret | undefined {
  if (settings.tokens === 'off') return undefined;
  const secret = new Secret(scope, 'Tokens', {
    description: `Bearer tokens of ${settings.pipelineName}: see docs/deploying.md`,
    generateSecretString: {
      secretStringTemplate: JSON.stringify({ tokens: [] }),
      generateStringKey: 'initial',
      passwordLength: 48,
      excludePunctuation: true,
    },
    removalPolicy: RemovalPolicy.DESTROY,
  });
  acceptFinding(
    secret,
    'AwsSolutions-SMG4',
    'Clients hold the tokens, so an automatic rotation would lock them out; each token can carry a date on which it expires.',
  );
  return secret;
}
