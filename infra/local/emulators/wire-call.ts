import type { IncomingMessage } from 'node:http';

export type Service = 'dynamodb' | 'sqs' | 's3';

/** A request to an AWS service that passes the wire. Do not modify its body. */
export interface AwsCall {
  readonly service: Service;
  /** As the API names it: `TransactWriteItems`, `SendMessageBatch`, `PutObject`. */
  readonly operation: string;
  /** The caller: the name of a function, `eventsource`, `eventinvoke`, `deployment` or another. */
  readonly caller: string;
  /** The environment of a calling function, such as `process3`. */
  readonly environmentId: string | undefined;
  /** The path with the query, as sent. */
  readonly target: string;
  readonly requestBytes: number;
  readonly requestBody: Buffer;
}

/** Parses service, operation and caller of a request. */
export function describeCall(request: IncomingMessage, requestBody: Buffer): AwsCall {
  const { headers, url: target = '/' } = request;
  const [prefix = '', operation] = String(headers['x-amz-target'] ?? '').split('.');
  // Each environment of a function has its own access key id.
  const keyId = /Credential=([^/]+)\//.exec(headers.authorization ?? '')?.[1] ?? '';
  const caller = keyId.replace(/\d+$/, '');
  const environmentId = caller === keyId ? undefined : keyId;
  const common = { caller, environmentId, target, requestBytes: requestBody.length, requestBody };
  if (operation !== undefined && prefix.startsWith('DynamoDB_')) {
    return { ...common, service: 'dynamodb', operation };
  }
  if (operation !== undefined && prefix === 'AmazonSQS') {
    return { ...common, service: 'sqs', operation };
  }
  return { ...common, service: 's3', operation: s3Operation(request) };
}

/** Requests to S3 do not name the operation: method, path and query determine it. */
function s3Operation({ method = 'GET', url = '/', headers }: IncomingMessage): string {
  const { pathname, searchParams } = new URL(url, 'http://s3');
  const [, bucket = '', ...rest] = pathname.split('/');
  const subject = bucket === '' ? 'service' : rest.join('/') === '' ? 'bucket' : 'object';
  switch (`${method} ${subject}`) {
    case 'GET service':
      return 'ListBuckets';
    case 'GET bucket':
      return searchParams.get('list-type') === '2' ? 'ListObjectsV2' : 'ListObjects';
    case 'PUT bucket':
      return 'CreateBucket';
    case 'HEAD bucket':
      return 'HeadBucket';
    case 'POST bucket':
      return 'DeleteObjects';
    case 'GET object':
      return 'GetObject';
    case 'HEAD object':
      return 'HeadObject';
    case 'DELETE object':
      return 'DeleteObject';
    case 'PUT object':
      if (searchParams.has('uploadId')) return 'UploadPart';
      return headers['x-amz-copy-source'] === undefined ? 'PutObject' : 'CopyObject';
    default:
      return `${method} ${subject}`;
  }
}
