import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';

import { isThrottle } from '../../../engines/aws/errors.ts';
import { errorAsTold } from '../clients.ts';
import type { Environment } from '../environment.ts';
import type { Subsegment } from './xray.ts';

type Annotations = Readonly<Record<string, string | number | boolean>>;

export interface Tracing {
  /** Runs an invocation in a subsegment of its own, where its trace is sampled. */
  readonly invocation: <T>(name: string, about: Annotations, act: () => Promise<T>) => Promise<T>;
  /** Adds to the subsegment of the invocation that runs. */
  readonly annotate: (annotations: Annotations) => void;
  /** A call of AWS in a subsegment, within that of the invocation. */
  readonly call: <T extends { output: object }>(call: AwsCall, act: () => Promise<T>) => Promise<T>;
}

export interface AwsCall {
  /** As the class of the client is called, `S3Client`. */
  readonly clientName: string;
  /** `PutObjectCommand`. */
  readonly commandName: string;
  readonly input: object;
}

/** Traces exist on Lambda alone, whose daemon takes them: elsewhere nothing of it is loaded. */
export function tracingOf(environment: Environment): Tracing {
  const isOn =
    environment.optional('LAMBDA_TASK_ROOT') !== undefined &&
    environment.optional('POWERTOOLS_TRACE_ENABLED') !== 'false';
  // Lambda writes another one for each invocation.
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

/** The client, each of whose calls is then a part of the trace. */
export function traced<Client extends { readonly middlewareStack: object }>(
  client: Client,
  { call }: Tracing,
): Client {
  // The stacks of all clients are the same but for the types of what goes through.
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
    // What an error says may be of a body or a token.
    subsegment?.close(errorAsTold(error));
    throw error;
  }
}

/** Of a call's input only where it goes to. Source: AWS X-Ray Developer Guide, "AWS resource data". */
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
