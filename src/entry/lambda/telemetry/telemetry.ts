import { Logger } from '@aws-lambda-powertools/logger';
import { Metrics, MetricUnit } from '@aws-lambda-powertools/metrics';
import type { Context } from 'aws-lambda';

import type { ItemErrorCode } from '../../../domain/device-event.ts';
import type { ProblemCode } from '../../../domain/problem.ts';
import { errorAsTold, errorDetails } from '../clients.ts';
import type { Environment } from '../environment.ts';
import { traced, tracingOf } from './tracing.ts';

export type FunctionName = 'ingest' | 'process' | 'query' | 'sweep';
type Level = 'DEBUG' | 'INFO' | 'WARN' | 'ERROR';

/** All that is counted, beside `Duration` and `ColdStart`: CloudWatch bills each name. */
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

/** What Lambda says of an invocation. */
export type InvocationContext = Omit<Context, 'done' | 'fail' | 'succeed'>;
type Handler<Event, Result> = (event: Event, context: InvocationContext) => Promise<Result>;

/**
 * What a function says of itself, in lines on its standard output: a structured log, and at the end
 * of each invocation one line of metrics in CloudWatch's embedded metric format, and in traces. An environment has
 * one invocation at a time, so that both belong to the one that runs.
 */
export interface Telemetry {
  /** The details hold no token, header or body; see `errorDetails`. */
  readonly log: (level: Level, message: string, details?: object) => void;
  /** Puts the keys into all further lines of this invocation, and into its trace. */
  readonly about: (keys: { request_id?: string; batch_id?: string }) => void;
  /** Adds to a metric of this invocation. What is zero is left out: it costs, and says nothing. */
  readonly count: (name: MetricName, amount: number) => void;
  /** The client, each of whose calls is a part of the trace. */
  readonly traced: <Client extends { readonly middlewareStack: object }>(client: Client) => Client;
  /** The handler, with its lines, its metrics and its duration. */
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
  // An environment that was made ready ahead of its time keeps nobody waiting.
  const start = environment.optional('AWS_LAMBDA_INITIALIZATION_TYPE') ?? 'on-demand';
  let isCold = start === 'on-demand';

  function publish(startedAt: number, requestId: string): void {
    for (const [metric, amount] of amounts) metrics.addMetric(metric, unitOf(metric), amount);
    amounts.clear();
    const ms = Math.round((performance.now() - startedAt) * 10) / 10;
    metrics.addMetric('Duration', MetricUnit.Milliseconds, ms);
    if (isCold) metrics.addMetric('ColdStart', MetricUnit.Count, 1);
    isCold = false;
    // Not a dimension: it only leads from the line to the others of the invocation.
    metrics.addMetadata('function_request_id', requestId).publishStoredMetrics();
  }

  const log: Telemetry['log'] = (level, message, details = {}) => {
    logger[methods[level]](message, { ...details });
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
        throw errorAsTold(error);
      } finally {
        publish(startedAt, context.awsRequestId);
      }
    },
  };
}

const methods = { DEBUG: 'debug', INFO: 'info', WARN: 'warn', ERROR: 'error' } as const;

function unitOf(name: MetricName) {
  return name === 'BodyBytes' ? MetricUnit.Bytes : MetricUnit.Count;
}
