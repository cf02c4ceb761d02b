import { randomUUID } from 'node:crypto';

import { DeleteMessageBatchCommand, ReceiveMessageCommand } from '@aws-sdk/client-sqs';
import type {
  APIGatewayProxyEventV2,
  APIGatewayProxyStructuredResultV2,
  SQSRecord,
} from 'aws-lambda';

import { sqsRecord } from '../../../infra/local/functions/sqs-event.ts';
import { ingestFunction } from '../../../src/entry/lambda/ingest-function.ts';
import { processFunction } from '../../../src/entry/lambda/process-function.ts';
import { queryFunction } from '../../../src/entry/lambda/query-function.ts';
import type { InvocationContext } from '../../../src/entry/lambda/telemetry/telemetry.ts';
import { sweepFunction } from '../../../src/entry/lambda/sweep-function.ts';
import type { Pages } from '../../../src/http/app/pages.ts';
import { createStore, type AwsEmulators, type AwsStore } from './aws-store.ts';
import type { Received, Sent } from '../server.ts';

/** How API Gateway passes on a JSON body: as text, or in another form. */
export type BodyForm = 'text' | 'base64';

const region = 'eu-central-1';
/** The context that Lambda passes to an invocation. */
export function lambdaContext(functionName: string): InvocationContext {
  return {
    awsRequestId: randomUUID(),
    functionName: `local-${functionName}`,
    functionVersion: '$LATEST',
    invokedFunctionArn: `arn:aws:lambda:${region}:000000000000:function:local-${functionName}`,
    memoryLimitInMB: '1024',
    logGroupName: `/aws/lambda/local-${functionName}`,
    logStreamName: 'local',
    callbackWaitsForEmptyEventLoop: true,
    getRemainingTimeInMillis: () => 60_000,
  };
}

/** What Powertools reads from the environment of the process; tests of log lines enable it. */
const quiet = { POWERTOOLS_METRICS_DISABLED: 'true', POWERTOOLS_LOG_LEVEL: 'SILENT' };

/** The four functions in this process, on an empty store of their own. */
export class Lambdas {
  readonly store: AwsStore;
  readonly environment: Readonly<Record<string, string>>;
  readonly #aws: AwsEmulators;
  readonly #ingest;
  readonly #query;
  readonly #process;
  readonly #sweep;

  static async create(
    aws: AwsEmulators,
    more: Record<string, string> = {},
    pages?: Pages,
  ): Promise<Lambdas> {
    return new Lambdas(aws, await createStore(aws), more, pages);
  }

  constructor(aws: AwsEmulators, store: AwsStore, more: Record<string, string>, pages?: Pages) {
    this.#aws = aws;
    this.store = store;
    // The SDK reads its part from the environment of the process.
    Object.assign(process.env, aws.environment, quiet, powertoolsOf(more));
    this.environment = {
      ...aws.environment,
      COUNTERS_TABLE: store.countersTable,
      LEDGER_TABLE: store.ledgerTable,
      RAW_BUCKET: store.bucket,
      QUEUE_URL: store.queueUrl,
      DEAD_LETTER_QUEUE_URL: store.deadLetterQueueUrl,
      KEEP_DAYS: '90',
      MAX_RECEIVES: '12',
      SWEEP_AFTER_SECONDS: '900',
      ...more,
    };
    this.#ingest = ingestFunction(this.environment);
    this.#query = queryFunction(this.environment, pages);
    this.#process = processFunction(this.environment);
    this.#sweep = sweepFunction(this.environment);
  }

  /** Sends a request as API Gateway would, by its routes; `place` is where it is called, if not by default. */
  async ask(
    sent: Sent,
    form: BodyForm = 'text',
    place: { domainName?: string; stage?: string } = {},
  ): Promise<Received> {
    const event = gatewayEvent(sent, form);
    Object.assign(event.requestContext, place);
    if (place.stage !== undefined) event.rawPath = `/${place.stage}${event.rawPath}`;
    const isBatch = event.routeKey === 'POST /ingest';
    return received(
      await (isBatch
        ? this.#ingest(event, lambdaContext('ingest'))
        : this.#query(event, lambdaContext('query'))),
    );
  }

  /** Sends a request to the function URL of the ingest function, which gets all paths. */
  async askUrl(sent: Sent, form: BodyForm = 'text'): Promise<Received> {
    const event = gatewayEvent(sent, form);
    const { requestContext } = event;
    event.routeKey = requestContext.routeKey = '$default';
    requestContext.domainName = `${requestContext.apiId}.lambda-url.${region}.on.aws`;
    return received(await this.#ingest(event, lambdaContext('ingest')));
  }

  /**
   * Passes the messages of the queue to the processor until it is empty, as the event source does.
   */
  async drain(): Promise<void> {
    const QueueUrl = this.store.queueUrl;
    for (;;) {
      const { Messages: messages = [] } = await this.#aws.sqs.send(
        new ReceiveMessageCommand({
          QueueUrl,
          MaxNumberOfMessages: 10,
          MessageAttributeNames: ['All'],
          MessageSystemAttributeNames: ['All'],
        }),
      );
      if (messages.length === 0) return;
      const Records = messages.map(
        (message) => sqsRecord(message, 'arn:aws:sqs:local', region) as unknown as SQSRecord,
      );
      const { batchItemFailures } = await this.#process({ Records }, lambdaContext('process'));
      if (batchItemFailures.length > 0) throw new Error(JSON.stringify(batchItemFailures));
      const Entries = messages.map(({ ReceiptHandle }, at) => ({ Id: String(at), ReceiptHandle }));
      await this.#aws.sqs.send(new DeleteMessageBatchCommand({ QueueUrl, Entries }));
    }
  }

  sweep() {
    return this.#sweep({}, lambdaContext('sweep'));
  }
}

function received({
  statusCode = 0,
  headers = {},
  body = '',
}: APIGatewayProxyStructuredResultV2): Received {
  const texts = Object.entries(headers).map(([name, value]) => [name, String(value)]);
  return {
    status: statusCode,
    headers: Object.fromEntries(texts) as Record<string, string>,
    text: body,
  };
}

function powertoolsOf(variables: Record<string, string>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(variables).filter(([name]) => name.startsWith('POWERTOOLS_')),
  );
}

/** Source: API Gateway Developer Guide, payload format version 2.0. */
export function gatewayEvent(sent: Sent, form: BodyForm): APIGatewayProxyEventV2 {
  const { method = 'GET', path = '/', headers = {}, body } = sent;
  const [rawPath = '', ...query] = path.split('?');
  const bytes = body === undefined ? undefined : Buffer.from(body);
  const isText = form === 'text' && headers['content-encoding'] === undefined;
  const routeKey = method === 'POST' && rawPath === '/ingest' ? 'POST /ingest' : '$default';
  const length = bytes === undefined ? {} : { 'content-length': String(bytes.length) };
  return {
    version: '2.0',
    routeKey,
    rawPath: decodeURIComponent(rawPath),
    rawQueryString: query.join('?'),
    headers: { host: 'api.example', ...length, ...headers },
    requestContext: {
      accountId: '000000000000',
      apiId: 'api',
      domainName: 'api.execute-api.eu-west-1.amazonaws.com',
      domainPrefix: 'api',
      http: { method, path: rawPath, protocol: 'HTTP/1.1', sourceIp: '127.0.0.1', userAgent: '' },
      requestId: randomUUID(),
      routeKey,
      stage: '$default',
      time: '',
      timeEpoch: Date.now(),
    },
    ...(bytes !== undefined && { body: bytes.toString(isText ? 'utf8' : 'base64') }),
    isBase64Encoded: bytes !== undefined && !isText,
  };
}
