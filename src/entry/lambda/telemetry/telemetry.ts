import { Logger } from '@aws-lambda-powertools/logger';
import { Metrics, MetricUnit } from '@aws-lambda-powertools/metrics';
import type { Context } from 'aws-lambda';

import type { ItemErrorCode } from '../../../domain/device-event.ts';
import type { ProblemCode } from '../../../domain/problem.ts';
import { withoutQuotations, errorDetails } from '../clients.ts';
import type { Environment } from '../environment.ts';
import { traced, tracingOf } from './tracing.ts';

export type FunctionName = 'ingest' | 'process' | 'query' | 'sweep';
type Level = 'DEBUG' | 'INFO' | 'WARN' | 'ERROR';

/** All metrics besides `Duration` and `ColdStart`; CloudWatch bills each name. */
export type MetricName =
  | 'Requests'
  | 'BatchesAccepted'
  | 'ItemsAccepted'
  | 'ItemsRefused'
  | 'BodyBytes'
  | 'ItemsCounted'
  | 'ChunksCounted'
  | 'ChunksRepeated'
  | 'MessagesLeft'
  | 'DeadLettersParked'
  | 'BatchesSwept'
  | 'OrphansFound'
  | 'MessagesResent'
  | 'BatchesNotSwept'
  | 'BatchesForgotten'
  | 'SweepBehindSeconds'
  | 'UncountedSeconds'
  | 'SweepsDone'
  | `Problem_${ProblemCode}`
  | `ItemError_${ItemErrorCode}`;

/** Lambda's context of an invocation. */
export type InvocationContext = Omit<Context, 'done' | 'fail' | 'succeed'>;
type Handler<Event, Result> = (event: Event, context: InvocationContext) => Promise<Result>;

/**
 * The telemetry of a function: a structured log on standard output, one line of metrics in CloudWatch's
 * embedded metric format at the end of each invocation, and traces. An environment runs one invocation
 * at a time, so that all three belong to the current one.
 */
export interface Telemetry {
  /** The details hold no token, header or body; see `errorDetails`. */
  readonly log: (level: Level, message: string, details?: object) => void;
  /** Adds the keys to all further lines of this invocation, and to its trace. */
  readonly about: (keys: { request_id?: string; batch_id?: string }) => void;
  /** Adds to a metric of this invocation; omits zeros, which would cost money. */
  readonly count: (name: MetricName, amount: number) => void;
  /** Adds the client's calls to the trace; returns the client. */
  readonly traced: <Client extends { readonly middlewareStack: object }>(client: Client) => Client;
  /** The handler with log, metrics and trace. */
  readonly handler: <Event, Result>(handle: Handler<Event, Result>) => Handler<Event, Result>;
}

const namespaceDefault = 'DevicePipeline';
const serviceDefault = 'device-pipeline';

export function telemetryOf(name: FunctionName, environment: Environment): Telemetry {
  const serviceName = environment.optional('POWERTOOLS_SERVICE_NAME') ?? serviceDefault;
  const namespace = environment.optional('POWERTOOLS_METRICS_NAMESPACE') ?? namespaceDefault;
  const logger = new Logger({ serviceName, persistentKeys: { function: name } });
  const metrics = new Metrics({
    namespace,
    serviceName,
    defaultDimensions: { function: name },
    logger,
  });
  const tracing = tracingOf(environment);
  const amounts = new Map<MetricName, number>();
  // With provisioned concurrency no request waits for the start of an environment.
  const start = environment.optional('AWS_LAMBDA_INITIALIZATION_TYPE') ?? 'on-demand';
  let isCold = start === 'on-demand';

  function publish(startedAt: number, requestId: string): void {
    for (const [metric, amount] of amounts) metrics.addMetric(metric, unitOf(metric), amount);
    amounts.clear();
    const ms = Math.round((performance.now() - startedAt) * 10) / 10;
    metrics.addMetric('Duration', MetricUnit.Milliseconds, ms);
    if (isCold) metrics.addMetric('ColdStart', MetricUnit.Count, 1);
    isCold = false;
    // Metadata, not a dimension: it relates the line to the others of the invocation.
    metrics.addMetadata('function_request_id', requestId).publishStoredMetrics();
  }

  const log: Telemetry['log'] = (level, message, details = {}) => {
    logger[level.toLowerCase() as Lowercase<Level>](message, { ...details });
  };
  return {
    log,
    about(keys) {
      logger.appendKeys(keys);
      tracing.annotate(keys);
    },
    traced: (client) => traced(client, tracing),
    count(metric, amount) {
      if (amount > 0) amounts.set(metric, (amounts.get(metric) ?? 0) + amount);
    },
    handler: (handle) => async (event, context) => {
      const startedAt = performance.now();
      logger.resetKeys();
      logger.addContext({ ...context, coldStart: isCold });
      const about = { ColdStart: isCold, Service: serviceName };
      try {
        return await tracing.invocation(name, about, () => handle(event, context));
      } catch (error) {
        log('ERROR', 'the invocation failed', errorDetails(error));
        throw withoutQuotations(error);
      } finally {
        publish(startedAt, context.awsRequestId);
      }
    },
  };
}

function unitOf(name: MetricName) {
  return name === 'BodyBytes' ? MetricUnit.Bytes : MetricUnit.Count;
}
