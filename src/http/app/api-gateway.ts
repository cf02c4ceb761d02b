import type { APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2 } from 'aws-lambda';

import type { ProblemCode } from '../../domain/problem.ts';
import { problemAnswer, type Answer } from './answer.ts';
import { problemOf } from '../server/exchanges.ts';
import { methodOf, requestIdOf, routeOf, type Exchange } from '../server/observer.ts';
import { tooLargeProblem } from '../stats/stats-answer.ts';

/** What answers a request. */
export type Fetch = (request: Request) => Response | Promise<Response>;

/** What is done for a request: the answer, and what it refuses. */
interface Outcome {
  readonly result: APIGatewayProxyStructuredResultV2;
  readonly problem: ProblemCode | undefined;
}

/**
 * Answers an event of an API Gateway HTTP API, payload format 2.0, as the server answers the
 * request: no header is left out or written anew, and the body has the bytes that were sent.
 * A refusal has the request's id (`requestIdOfEvent`), and `onAnswered` is told of all answers.
 * Source: API Gateway Developer Guide, "Create AWS Lambda proxy integrations for HTTP APIs".
 */
export async function answerGatewayEvent(
  fetch: Fetch,
  event: APIGatewayProxyEventV2,
  onAnswered: (exchange: Exchange) => void = () => undefined,
): Promise<APIGatewayProxyStructuredResultV2> {
  const startedAt = performance.now();
  const requestId = requestIdOfEvent(event);
  const { result, problem } = await outcomeOf(fetch, event);
  if (problem !== undefined) result.headers = { ...result.headers, 'x-request-id': requestId };
  onAnswered({
    requestId,
    route: routeOf(pathOf(event)),
    method: methodOf(event.requestContext.http.method),
    status: result.statusCode ?? 0,
    seconds: (performance.now() - startedAt) / 1000,
    problem,
  });
  return result;
}

/** The id that the client has given its request, where it may stand in a log, or else the gateway's. */
export function requestIdOfEvent({ headers, requestContext }: APIGatewayProxyEventV2): string {
  return requestIdOf(headers['x-request-id'], () => requestContext.requestId);
}

async function outcomeOf(fetch: Fetch, event: APIGatewayProxyEventV2): Promise<Outcome> {
  const body = bodyOf(event);
  const alteration = alteredBodyAnswer(event);
  if (alteration !== undefined) return plainOutcome(alteration);
  let request: Request;
  try {
    request = toRequest(event, body);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return plainOutcome(malformed);
  }
  return await toOutcome(await fetch(request), request);
}

/**
 * The path without the name of the stage, which stands in front unless it is `$default`. (The key
 * of the mapping of a custom domain is not in it.)
 */
function pathOf({ rawPath, requestContext: { stage } }: APIGatewayProxyEventV2): string {
  const prefix = `/${stage}`;
  if (rawPath === prefix) return '/';
  return rawPath.startsWith(`${prefix}/`) ? rawPath.slice(prefix.length) : rawPath;
}

/** The gateway hands a body over as text, where its type is one of text, or else as base64. */
function bodyOf({ body, isBase64Encoded }: APIGatewayProxyEventV2): Buffer | undefined {
  return body === undefined ? undefined : Buffer.from(body, isBase64Encoded ? 'base64' : 'utf8');
}

/**
 * Where a body comes as text, bytes that are no UTF-8 have become U+FFFD. A body that had that
 * character from the start cannot be told from it, and what is stored must be what was sent. A
 * compressed body has lost its bytes in this way; the same batch uncompressed can still be taken.
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

/** JSON that is labelled as compressed by mistake has all its bytes, and is answered as such. */
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

/** @throws {TypeError} for a URL, a method or a header that is none. */
function toRequest(event: APIGatewayProxyEventV2, body: Buffer | undefined): Request {
  const { http } = event.requestContext;
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
  // Not every domain name makes a URL, and nothing here depends on it.
  return new Request(`https://localhost${path}${query}`, {
    method: http.method,
    headers,
    ...(hasBody && { body: new Uint8Array(body) }),
  });
}

/** As a server reads the bytes of a header, which are of no certain encoding. */
function inLatin1(value: string): string {
  return /[^\u0000-\u00ff]/.test(value) ? Buffer.from(value).toString('latin1') : value; // eslint-disable-line no-control-regex -- the range is all of Latin 1
}

/**
 * What a function can answer, as the JSON that it gives, is at most 6 MB.
 * Source: AWS Lambda Developer Guide, "Lambda quotas".
 */
const resultBytesMax = 6_000_000;

async function toOutcome(response: Response, request: Request): Promise<Outcome> {
  const result = await resultOf(response);
  const { body = '' } = result;
  const outcome = { result, problem: problemOf(response, request) };
  // It is at most six bytes for one of them.
  if (body.length < resultBytesMax / 6) return outcome;
  return Buffer.byteLength(JSON.stringify(result)) > resultBytesMax
    ? plainOutcome(problemAnswer(tooLargeProblem))
    : outcome;
}

async function resultOf(response: Response): Promise<APIGatewayProxyStructuredResultV2> {
  // The gateway finds the length by itself; of HEAD there is none that it could hold the body against.
  response.headers.delete('content-length');
  // Not `text()`, which takes a byte order mark away.
  const bytes = Buffer.from(await response.arrayBuffer());
  return {
    statusCode: response.status,
    headers: Object.fromEntries(response.headers),
    ...(isPlainText(response.headers)
      ? { body: bytes.toString('utf8'), isBase64Encoded: false }
      : {
          body: bytes.toString('base64'),
          isBase64Encoded: true,
        }),
  };
}

/** Whether the gateway can hand the body on as a text of JSON, in which other bytes would be lost. */
function isPlainText(headers: Headers): boolean {
  const type = headers.get('content-type') ?? 'text/plain';
  return !headers.has('content-encoding') && /^text\/|json|javascript/.test(type);
}

function plainOutcome({ status, headers, body, problem }: Answer): Outcome {
  const result = { statusCode: status, headers: { ...headers }, body, isBase64Encoded: false };
  return { result, problem };
}
