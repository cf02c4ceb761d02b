import type { FrontRequest } from '../../infra/local/gateway/http-front.ts';
import type { InvocationReport } from '../../infra/local/functions/lambda-runtime.ts';
import type { AwsCall } from '../../infra/local/emulators/wire-call.ts';
import type { AwsReply } from '../../infra/local/emulators/wire.ts';
import { dynamodbUnits } from './dynamodb-units.ts';
import { logBytes, metricNames } from './logs.ts';
import { Usage } from './usage.ts';

const apiUnitBytes = 512 * 1024;
const sqsUnitBytes = 64 * 1024;

/** The callers whose calls the owner of a stack pays for: its functions, and Lambda on their behalf. */
const payers = new Set(['ingest', 'process', 'query', 'sweep', 'eventsource', 'eventinvoke']);

/** Meters everything that AWS would bill, from the observed requests, calls and invocations. */
export class Meter {
  /** The usage that depends on the traffic. */
  readonly usage = new Usage();
  /** The usage that does not depend on traffic: polling an empty queue. */
  readonly idle = new Usage();
  /** Initialisation, which is also billed, per environment and not per event. */
  readonly init = new Usage();
  /** The usage besides requests, calls and invocations: logs. */
  readonly besides = new Usage();
  /** The metrics, each with a monthly price, as function and name. */
  readonly metrics = new Set<string>();
  /** Observed calls that the meter does not support: figures without them would be wrong. */
  readonly unmetered = new Set<string>();

  readonly #accessLine: string;

  /** `accessLine`: the line that API Gateway would write into the access log for each request. */
  constructor(accessLine = '') {
    this.#accessLine = accessLine;
  }

  /** The body of each request is rounded up to 512 KB. */
  readonly onRequest = ({ requestBytes }: FrontRequest): void => {
    this.usage.add('API Gateway', 'request', 'httpApiRequest', unitsOf(requestBytes, apiUnitBytes));
    this.#log('access log', this.#accessLine);
  };

  readonly onOutput = (functionName: string, text: string): void => {
    this.#log(`${functionName} log`, text);
    for (const name of metricNames(text)) this.metrics.add(`${functionName} ${name}`);
  };

  #log(what: string, text: string): void {
    const gigabytes = logBytes(text) / 1e9;
    if (gigabytes > 0) this.besides.add('Logs', what, 'logGb', gigabytes);
  }

  readonly onReport = (report: InvocationReport): void => {
    const { functionName, durationMs, initMs, memoryMb } = report;
    const gbSeconds = (milliseconds: number) =>
      (Math.ceil(milliseconds) / 1000) * (memoryMb / 1024);
    this.usage.add('Lambda', `${functionName} requests`, 'lambdaRequest', 1);
    const duration = gbSeconds(durationMs);
    this.usage.add('Lambda', `${functionName} GB-seconds`, 'lambdaGbSecond', duration);
    this.init.add('Lambda', `${functionName} GB-seconds`, 'lambdaGbSecond', gbSeconds(initMs));
  };

  readonly onCall = (call: AwsCall, reply: AwsReply): void => {
    if (!payers.has(call.caller) || reply.status >= 500) return;
    switch (call.service) {
      case 's3':
        this.#s3(call);
        break;
      case 'sqs':
        this.#sqs(call, reply);
        break;
      case 'dynamodb':
        this.#dynamodb(call, reply);
        break;
    }
  };

  #s3({ caller, operation }: AwsCall): void {
    const what = `${caller} ${operation}`;
    const isWrite = /^(Put|Copy|List|Create|UploadPart)/.test(operation);
    if (operation === 'DeleteObject') return;
    this.usage.add('S3', what, isWrite ? 's3WriteRequest' : 's3ReadRequest', 1);
  }

  #sqs({ caller, operation, requestBody }: AwsCall, { responseBody }: AwsReply): void {
    const what = `${caller} ${operation}`;
    if (operation !== 'ReceiveMessage') {
      const { MessageBody, Entries = [] } = parse(requestBody) as SendRequest;
      const messages = MessageBody === undefined ? Entries : [{ MessageBody }];
      const bytes = messages.reduce((sum, message) => sum + messageBytes(message), 0);
      this.usage.add('SQS', what, 'sqsRequest', unitsOf(bytes, sqsUnitBytes));
      return;
    }
    const { Messages = [] } = parse(responseBody) as ReceiveResponse;
    if (Messages.length === 0) {
      this.idle.add('SQS', `${what} (empty)`, 'sqsRequest', 1);
      return;
    }
    const bytes = Messages.reduce((sum, { Body }) => sum + Buffer.byteLength(Body), 0);
    this.usage.add('SQS', what, 'sqsRequest', unitsOf(bytes, sqsUnitBytes));
  }

  #dynamodb({ caller, operation, requestBody }: AwsCall, { responseBody }: AwsReply): void {
    const response = parse(responseBody);
    const units = dynamodbUnits(operation, parse(requestBody), response);
    const what = `${caller} ${operation}${'__type' in response ? ' (stopped)' : ''}`;
    if (units === undefined) {
      this.unmetered.add(what);
      return;
    }
    if (units.write > 0) this.usage.add('DynamoDB', what, 'dynamodbWriteUnit', units.write);
    if (units.read > 0) this.usage.add('DynamoDB', what, 'dynamodbReadUnit', units.read);
  }
}

interface Message {
  readonly MessageBody?: string;
  readonly MessageAttributes?: Readonly<Record<string, { DataType: string; StringValue?: string }>>;
}

interface SendRequest extends Message {
  readonly Entries?: readonly Message[];
}

interface ReceiveResponse {
  readonly Messages?: readonly { readonly Body: string }[];
}

/** Attributes count by their names, types and values. */
function messageBytes({ MessageBody = '', MessageAttributes = {} }: Message): number {
  let bytes = Buffer.byteLength(MessageBody);
  for (const [name, { DataType, StringValue = '' }] of Object.entries(MessageAttributes)) {
    bytes += Buffer.byteLength(name + DataType + StringValue);
  }
  return bytes;
}

function parse(body: Buffer): object {
  return body.length === 0 ? {} : (JSON.parse(body.toString()) as object);
}

function unitsOf(bytes: number, unitBytes: number): number {
  return Math.max(1, Math.ceil(bytes / unitBytes));
}
