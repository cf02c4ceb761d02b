import type { APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2 } from 'aws-lambda';

import { methodOf, requestIdOf, routeOf, type AnsweredRequest } from '../server/observer.ts';
import { tooLarge } from '../stats/stats-answer.ts';
import { problemAnswer, type Answer } from './answer.ts';
import { toResponse, type Exchange } from './exchange.ts';

/** A function that answers a request and records the response in the exchange, such as `app.fetch`. */
export type Fetch = (request: Request, exchange: Exchange) => Response | Promise<Response>;

/**
 * Answers an event of an API Gateway HTTP API, payload format 2.0, as the server answers the same
 * request: with the same headers and the same bytes. A refusal has the request id
 * (`requestIdOfEvent`). `onAnswered` gets every exchange.
 * Source: API Gateway Developer Guide, "Create AWS Lambda proxy integrations for HTTP APIs".
 */
export async function answerGatewayEvent(
  fetch: Fetch,
  event: APIGatewayProxyEventV2,
  onAnswered: (request: AnsweredRequest) => void = () => undefined,
): Promise<APIGatewayProxyStructuredResultV2> {
  const startedAt = performance.now();
  const exchange: Exchange = { requestId: requestIdOfEvent(event) };
  let result = await resultOf(await responseTo(fetch, event, exchange));
  if (isTooLarge(result)) result = await resultOf(toResponse(tooLarge, exchange));
  onAnswered({
    requestId: exchange.requestId,
    route: routeOf(pathOf(event)),
    method: methodOf(event.requestContext.http.method),
    status: result.statusCode ?? 0,
    seconds: (performance.now() - startedAt) / 1000,
    problem: exchange.problem,
  });
  return result;
}

/** The client's request id, if it is safe in a log, otherwise that of the gateway. */
export function requestIdOfEvent({ headers, requestContext }: APIGatewayProxyEventV2): string {
  return requestIdOf(headers['x-request-id'], () => requestContext.requestId);
}

async function responseTo(
  fetch: Fetch,
  event: APIGatewayProxyEventV2,
  exchange: Exchange,
): Promise<Response> {
  const alteration = alteredBodyAnswer(event);
  if (alteration !== undefined) return toResponse(alteration, exchange);
  let request: Request;
  try {
    request = toRequest(event);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return toResponse(malformed, exchange);
  }
  return await fetch(request, exchange);
}

/**
 * The stage with a slash before it, if it prefixes the path, as all but `$default` do; otherwise ''.
 * (`rawPath` does not contain the key of a custom domain's mapping.)
 */
export function stagePrefixOf({ rawPath, requestContext }: APIGatewayProxyEventV2): string {
  const prefix = `/${requestContext.stage}`;
  return rawPath === prefix || rawPath.startsWith(`${prefix}/`) ? prefix : '';
}

function pathOf(event: APIGatewayProxyEventV2): string {
  const path = event.rawPath.slice(stagePrefixOf(event).length);
  return path === '' ? '/' : path;
}

/** The gateway passes bodies of text types as text, and others as base64. */
function bodyOf({ body, isBase64Encoded }: APIGatewayProxyEventV2): Buffer | undefined {
  return body === undefined ? undefined : Buffer.from(body, isBase64Encoded ? 'base64' : 'utf8');
}

/**
 * The refusal of a body that the gateway has altered, because the stored bytes must be those that
 * were sent. In text bodies, invalid UTF-8 has become U+FFFD, which is indistinguishable from a
 * U+FFFD that the client sent. A compressed body as text is destroyed, but the client can send the
 * batch uncompressed.
 */
function alteredBodyAnswer(event: APIGatewayProxyEventV2): Answer | undefined {
  const { headers, isBase64Encoded, body: text = '' } = event;
  if (isBase64Encoded) return undefined;
  if (isCompressed(headers['content-encoding']) && text !== '' && !isJson(text)) {
    return compressionLost;
  }
  const declared = headers['content-length'];
  const isOfOtherLength = declared !== undefined && Number(declared) !== Buffer.byteLength(text);
  if (isOfOtherLength) return notUtf8;
  return text.includes('\ufffd') ? perhapsNotUtf8 : undefined;
}

function isCompressed(contentEncoding = ''): boolean {
  return !['', 'identity'].includes(contentEncoding.trim().toLowerCase());
}

/** Plain JSON with a wrong Content-Encoding is intact; the app refuses it as invalid gzip. */
function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** Source: RFC 9110, section 15.5.16. */
const compressionLost = problemAnswer(
  {
    code: 'compression_not_supported',
    detail:
      'The gateway in front of this server decoded the compressed body as text, which destroyed it. Send the batch without Content-Encoding, or configure the gateway to treat bodies as binary.',
  },
  { 'accept-encoding': 'identity' },
);
const notUtf8 = problemAnswer({ code: 'invalid_json', detail: 'The body is not UTF-8.' });
const perhapsNotUtf8 = problemAnswer({
  code: 'invalid_json',
  detail:
    'The body is not UTF-8, or contains U+FFFD, which the gateway puts in the place of invalid bytes. Escape that character as \\ufffd.',
});
const malformed = problemAnswer({
  code: 'malformed_request',
  detail: 'The request target is not a valid URL, or a header field is not valid.',
});

/** @throws {TypeError} for an invalid URL, method or header. */
function toRequest(event: APIGatewayProxyEventV2): Request {
  const { http } = event.requestContext;
  const body = bodyOf(event);
  const path = pathOf(event).replace(/[?#]/g, encodeURIComponent);
  const query = event.rawQueryString === '' ? '' : `?${event.rawQueryString}`;
  const headers = new Headers();
  for (const [name, value] of Object.entries(event.headers)) {
    if (value !== undefined) headers.set(name, inLatin1(value));
  }
  if (event.cookies !== undefined) headers.set('cookie', event.cookies.join('; '));
  const hasBody = body !== undefined && http.method !== 'GET' && http.method !== 'HEAD';
  headers.delete('transfer-encoding');
  if (hasBody) headers.set('content-length', String(body.length));
  // A fixed host: not every valid Host is valid in a URL, and the app does not use it.
  return new Request(`https://localhost${path}${query}`, {
    method: http.method,
    headers,
    ...(hasBody && { body: new Uint8Array(body) }),
  });
}

/** Header bytes decoded as Latin 1, as `node:http` does. */
function inLatin1(value: string): string {
  return /[\u0100-\uffff]/.test(value) ? Buffer.from(value).toString('latin1') : value;
}

/**
 * The limit of a function's response as JSON: 6 MB.
 * Source: AWS Lambda Developer Guide, "Lambda quotas".
 */
const resultBytesMax = 6_000_000;

function isTooLarge(result: APIGatewayProxyStructuredResultV2): boolean {
  // JSON escapes one character as at most six bytes.
  if ((result.body ?? '').length < resultBytesMax / 6) return false;
  return Buffer.byteLength(JSON.stringify(result)) > resultBytesMax;
}

async function resultOf(response: Response): Promise<APIGatewayProxyStructuredResultV2> {
  // The gateway sets the length itself, and rejects a length that differs from the body, as for HEAD.
  response.headers.delete('content-length');
  // `text()` would remove a byte order mark.
  const bytes = Buffer.from(await response.arrayBuffer());
  return {
    statusCode: response.status,
    headers: Object.fromEntries(response.headers),
    ...(isPlainText(response.headers)
      ? { body: bytes.toString('utf8'), isBase64Encoded: false }
      : { body: bytes.toString('base64'), isBase64Encoded: true }),
  };
}

/** Whether the body can be passed to the gateway as text instead of base64. */
function isPlainText(headers: Headers): boolean {
  const type = headers.get('content-type') ?? 'text/plain';
  return !headers.has('content-encoding') && /^text\/|json|javascript/.test(type);
}
