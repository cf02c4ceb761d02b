import { Tokenization } from 'aws-cdk-lib';

import { sweepAfterSeconds, type HandlerName } from './function-specs.ts';
import { ownNamespace } from './monitoring/own-metrics.ts';
import type { Resources } from './permissions.ts';
import { receivesMax } from './queues.ts';
import type { PipelineSettings } from '../settings.ts';

type Variables = Record<string, string>;

/** A setting as text. A number may be a token, such as the value of a CloudFormation parameter. */
export function textOf(value: string | number): string {
  return typeof value === 'number' ? Tokenization.stringifyNumber(value) : value;
}

/** The environment variables of a function: exactly those that its handler reads. */
export function environmentOf(
  name: HandlerName,
  settings: PipelineSettings,
  resources: Resources,
): Variables {
  const { countersTable, rawBucket, queue, deadLetterQueue, tokensSecret } = resources;
  const raw = { RAW_BUCKET: rawBucket.bucketName };
  const bury = { DEAD_LETTER_QUEUE_URL: deadLetterQueue.queueUrl };
  const small = { SMALL_BODIES: settings.smallBodies };
  const front = {
    ...(tokensSecret && { TOKENS_SECRET_ARN: tokensSecret.secretArn }),
    ...(settings.corsOrigins !== 'none' && { CORS_ORIGINS: settings.corsOrigins }),
  };
  const common = {
    COUNTERS_TABLE: countersTable.tableName,
    QUEUE_URL: queue.queueUrl,
    LEDGER_TABLE: resources.ledgerTable.tableName,
    DAY_ZONE: settings.dayZone,
    KEEP_DAYS: textOf(settings.keepReceiptsDays),
    POWERTOOLS_SERVICE_NAME: settings.pipelineName,
    POWERTOOLS_METRICS_NAMESPACE: ownNamespace,
    POWERTOOLS_LOG_LEVEL: settings.logLevel.toUpperCase(),
  };
  switch (name) {
    case 'ingest':
      return {
        ...{ ...common, ...raw, ...front, ...small },
        ITEMS_PER_MESSAGE: textOf(settings.itemsPerMessage),
        MAX_COUNTERS_PER_DAY: textOf(settings.maxCountersPerDay),
      };
    case 'process':
      return { ...common, ...raw, ...bury, MAX_RECEIVES: String(receivesMax) };
    case 'query':
      return { ...common, ...raw, ...bury, ...front, ...small };
    case 'sweep':
      return { ...common, ...raw, ...bury, SWEEP_AFTER_SECONDS: String(sweepAfterSeconds) };
  }
}
