import type { IncomingMessage } from 'node:http';

/** An event of API Gateway's HTTP API for a Lambda function, payload format 2.0. */
interface ApiEvent {
  readonly version: '2.0';
  readonly routeKey: string;
  readonly rawPath: string;
  readonly rawQueryString: string;
  readonly cookies?: readonly string[];
  readonly headers: Readonly<Record<string, string>>;
  readonly queryStringParameters?: Readonly<Record<string, string>>;
  readonly requestContext: object;
  readonly body?: string;
  readonly isBase64Encoded: boolean;
}

/**
 * How the gateway passes on a compressed body whose media type is textual. AWS does not document it for
 * HTTP APIs: as base64, which preserves it, or as text, which corrupts it.
 */
export const compressedForms = ['base64', 'text'] as const;
export type CompressedForm = (typeof compressedForms)[number];

interface ApiRequest {
  readonly request: IncomingMessage;
  readonly body: Buffer;
  readonly routeKey: string;
  readonly path: string;
  readonly query: string;
  readonly requestId: string;
  readonly accountId: string;
  readonly now: Date;
  readonly compressedAs: CompressedForm;
}

/** A request in the form in which API Gateway passes it to a Lambda function. */
export function apiEvent(api: ApiRequest): ApiEvent {
  const { request, body, routeKey, path, query } = api;
  const { cookie, ...headers } = joinedHeaders(request);
  const cookies = cookie?.split(/[;,] */).filter((each) => each !== '') ?? [];
  const isText = isTextBody(headers, api.compressedAs);
  const parameters = queryParameters(query);
  return {
    version: '2.0',
    routeKey,
    rawPath: path,
    rawQueryString: query,
    ...(cookies.length > 0 && { cookies }),
    headers: { ...headers, ...forwardingHeaders(api, headers['x-forwarded-for']) },
    ...(parameters !== undefined && { queryStringParameters: parameters }),
    requestContext: requestContext(api),
    ...(body.length > 0 && { body: body.toString(isText ? 'utf8' : 'base64') }),
    isBase64Encoded: body.length > 0 && !isText,
  };
}

/** The path as API Gateway passes it on: decoded, and truncated at a `?` that was encoded. */
export function decodedPath(rawPath: string): string | undefined {
  try {
    return decodeURIComponent(rawPath).split('?')[0];
  } catch {
    return undefined;
  }
}

/** Headers of one connection, which a proxy does not pass on. */
export const hopByHop: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'transfer-encoding',
  'expect',
  'upgrade',
]);

/** Names in lower case, repeated ones joined by a comma. */
function joinedHeaders({ headersDistinct }: IncomingMessage): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const [name, values = []] of Object.entries(headersDistinct)) {
    if (!hopByHop.has(name)) headers[name] = values.join(',');
  }
  return headers;
}

function forwardingHeaders(
  { request, requestId, now }: ApiRequest,
  alreadyFor: string | undefined,
): Record<string, string> {
  const { remoteAddress = '', localPort = 0 } = request.socket;
  const traceTime = Math.floor(now.getTime() / 1000).toString(16);
  const traceRandom = requestId.replaceAll('-', '').slice(0, 24);
  return {
    'x-amzn-trace-id': `Root=1-${traceTime}-${traceRandom}`,
    'x-forwarded-for': alreadyFor === undefined ? remoteAddress : `${alreadyFor}, ${remoteAddress}`,
    'x-forwarded-port': String(localPort),
    'x-forwarded-proto': 'http',
  };
}

/** API Gateway passes bodies of these types on as text. */
function isTextBody(headers: Record<string, string>, compressedAs: CompressedForm): boolean {
  if (headers['content-encoding'] !== undefined && compressedAs === 'base64') return false;
  const type = (headers['content-type'] ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
  return /^(text\/.+|application\/(json|javascript|xml))$/.test(type);
}

/** Decoded, repeated ones joined by a comma; undefined if there are none. */
function queryParameters(query: string): Record<string, string> | undefined {
  if (query === '') return undefined;
  const parameters = new Map<string, string>();
  for (const [name, value] of new URLSearchParams(query)) {
    const before = parameters.get(name);
    parameters.set(name, before === undefined ? value : `${before},${value}`);
  }
  return Object.fromEntries(parameters);
}

function requestContext(api: ApiRequest): object {
  const { request, routeKey, path, requestId, accountId, now } = api;
  const domainName = (request.headers.host ?? 'localhost').replace(/:\d+$/, '');
  return {
    accountId,
    apiId: 'local',
    domainName,
    domainPrefix: domainName.split('.')[0] ?? '',
    http: {
      method: request.method ?? 'GET',
      path,
      protocol: `HTTP/${request.httpVersion}`,
      sourceIp: request.socket.remoteAddress ?? '',
      userAgent: request.headers['user-agent'] ?? '',
    },
    requestId,
    routeKey,
    stage: '$default',
    time: commonLogTime(now),
    timeEpoch: now.getTime(),
  };
}

/** As in `12/Mar/2020:19:03:58 +0000`. */
function commonLogTime(now: Date): string {
  const [, day = '', month = '', year = '', time = ''] = now.toUTCString().split(' ');
  return `${day}/${month}/${year}:${time} +0000`;
}
