import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';

import { isThrottle } from '../../../engines/aws/errors.ts';
import { withoutQuotations } from '../clients.ts';
import type { Environment } from '../environment.ts';
import type { Subsegment } from './xray.ts';

type Annotations = Readonly<Record<string, string | number | boolean>>;

export interface Tracing {
  /** Runs an invocation in a subsegment if its trace is sampled. */
  readonly invocation: <T>(name: string, about: Annotations, act: () => Promise<T>) => Promise<T>;
  /** Adds to the subsegment of the current invocation. */
  readonly annotate: (annotations: Annotations) => void;
  /** Runs a call of AWS in a subsegment of the invocation's. */
  readonly call: <T extends { output: object }>(call: AwsCall, act: () => Promise<T>) => Promise<T>;
}

export interface AwsCall {
  /** The class of the client, `S3Client`. */
  readonly clientName: string;
  /** The class of the command, `PutObjectCommand`. */
  readonly commandName: string;
  readonly input: object;
}

/** Traces need Lambda's daemon: elsewhere no tracing library is loaded. */
export function tracingOf(environment: Environment): Tracing {
  const isOn =
    environment.optional('LAMBDA_TASK_ROOT') !== undefined &&
    environment.optional('POWERTOOLS_TRACE_ENABLED') !== 'false';
  // Lambda sets the variable for each invocation.
  const isSampled = () => /(?:^|;)Sampled=1(?:;|$)/.test(process.env['_X_AMZN_TRACE_ID'] ?? '');
  let current: Subsegment | undefined;

  const annotate = (annotations: Annotations) => {
    for (const [key, value] of Object.entries(annotations)) current?.addAnnotation(key, value);
  };
  return {
    annotate,
    async invocation(name, about, act) {
      if (!isOn || !isSampled()) return await act();
      const { openSubsegment } = await import('./xray.ts');
      current = openSubsegment(`## ${name}`);
      annotate(about);
      return await within(current, act).finally(() => (current = undefined));
    },
    async call({ clientName, commandName, input }, act) {
      const subsegment = current?.addNewSubsegment(clientName.replace(/Client$/, ''));
      if (subsegment === undefined) return await act();
      const aws = { operation: commandName.replace(/Command$/, ''), ...placeOf(input) };
      subsegment.addAttribute('namespace', 'aws');
      return await within(subsegment, async () => {
        try {
          const output = await act();
          subsegment.addAttribute('aws', { ...aws, ...metadataOf(output.output) });
          return output;
        } catch (error) {
          subsegment.addAttribute('aws', { ...aws, ...metadataOf(error) });
          if (isThrottle(error)) subsegment.addThrottleFlag();
          throw error;
        }
      });
    },
  };
}

type Stack = DynamoDBClient['middlewareStack'];

/** Adds the client's calls to the trace; returns the client. */
export function traced<Client extends { readonly middlewareStack: object }>(
  client: Client,
  { call }: Tracing,
): Client {
  // The middleware stacks of all clients differ only in their types.
  (client.middlewareStack as Stack).add(
    (next, { clientName = '', commandName = '' }) =>
      (args) =>
        call({ clientName, commandName, input: args.input }, () => next(args)),
    { step: 'initialize', name: 'traced' },
  );
  return client;
}

async function within<T>(subsegment: Subsegment | undefined, act: () => Promise<T>): Promise<T> {
  try {
    const result = await act();
    subsegment?.close();
    return result;
  } catch (error) {
    // The message of an error may quote a body or a token.
    subsegment?.close(withoutQuotations(error));
    throw error;
  }
}

/** The target of a call, and nothing else of its input. Source: AWS X-Ray Developer Guide, "AWS resource data". */
function placeOf(input: object) {
  const { TableName, QueueUrl, Bucket } = input as Record<string, unknown>;
  return { table_name: TableName, queue_url: QueueUrl, bucket_name: Bucket };
}

function metadataOf(result: unknown) {
  const { $metadata: metadata = {} } = result as { $metadata?: Record<string, unknown> };
  const { requestId, attempts } = metadata;
  return {
    request_id: requestId,
    ...(typeof attempts === 'number' && { retries: attempts - 1 }),
  };
}
