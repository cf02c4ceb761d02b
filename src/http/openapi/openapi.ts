import { jsonDepthMax } from '../../domain/batch.ts';
import { itemErrors } from '../../domain/device-event.ts';
import { statusOfProblem, type ProblemCode } from '../../domain/problem.ts';
import { bearerDescription, plans } from './operations.ts';
import type { MediaType, OperationPlan, Parameter } from './plan.ts';
import { problemsOf } from './problems.ts';
import { problemSchemaName, refTo, schemas, type Schema } from './schemas.ts';
import { withThousands } from '../../util/thousands.ts';

export interface ApiSettings {
  /** The version of the program. */
  readonly version: string;
  readonly bodyBytesMax: number;
}

export interface ResponseObject {
  readonly description: string;
  readonly headers?: Readonly<Record<string, { readonly $ref: string }>>;
  readonly content?: Readonly<Record<string, MediaType>>;
}

export interface OperationObject {
  readonly operationId: string;
  readonly tags: readonly string[];
  readonly summary: string;
  readonly description: string;
  readonly parameters: readonly Parameter[];
  readonly requestBody?: {
    readonly required: true;
    readonly description: string;
    readonly content: Readonly<Record<string, MediaType>>;
  };
  readonly responses: Readonly<Record<string, ResponseObject>>;
  readonly security: readonly Readonly<Record<string, readonly string[]>>[];
  readonly 'x-codeSamples'?: readonly {
    readonly lang: 'Shell';
    readonly label: string;
    readonly source: string;
  }[];
}

type PathItem = Readonly<Partial<Record<'get' | 'head' | 'post', OperationObject>>>;

/** The part of OpenAPI 3.1 that is used here. */
export type OpenApi = ReturnType<typeof openApi>;

const text: Schema = { type: 'string' };

function header(description: string, schema: Schema = text) {
  return { schema, description };
}

/** A header that the response always has. */
function requiredHeader(description: string, schema: Schema = text) {
  return { required: true, schema, description };
}

function pattern(expression: string): Schema {
  return { type: 'string', pattern: expression };
}

/** The response headers, except the general ones of HTTP and those that only browsers use. */
const headers = {
  Location: requiredHeader(
    'The path of the receipt. If a proxy or a stage adds a prefix to all paths, add it to this one too.',
    pattern('^/ingest/.'),
  ),
  'Preference-Applied': header('The preference that the server applied.', {
    const: 'handling=strict',
  }),
  ETag: header('Identifies this content; for `If-None-Match`.'),
  'Cache-Control': requiredHeader('Whether and how long the response may be cached.'),
  Vary: header('The request headers that the response depends on.'),
  'Content-Encoding': header('Absent: not encoded.', { enum: ['gzip', 'br'] }),
  'Pipeline-Counted-Through': header(
    'Everything acknowledged before this moment is counted or a dead letter. Absent: unknown.',
    { type: 'string', format: 'date-time' },
  ),
  'Pipeline-Pending': requiredHeader(
    'Accepted but not counted yet: the exact number of items, or on AWS the approximate number of messages (an RFC 9651 item).',
    pattern('^\\d+;unit=(items|messages)$'),
  ),
  'Pipeline-Dead-Letters': requiredHeader(
    'The number of dead letters; `dlq list` shows them.',
    pattern('^\\d+$'),
  ),
  'Retry-After': requiredHeader(
    'Seconds after which the same request may succeed.',
    pattern('^\\d+$'),
  ),
  'WWW-Authenticate': requiredHeader(
    'RFC 6750: what is wrong with the token, and which scope is needed.',
    pattern('^Bearer realm='),
  ),
  Allow: header('The methods that the path supports.'),
  Accept: header('The supported media type.', { const: 'application/json' }),
  'Accept-Encoding': header('The supported encoding; `identity`: none.', {
    enum: ['gzip', 'identity'],
  }),
  'X-Request-Id': header(
    'The id of the refused request in the log: the one that the client sent, or a new one.',
  ),
  'Access-Control-Allow-Origin': header('The origin whose pages may read the response.'),
  'Access-Control-Allow-Methods': header('The methods that pages may use.'),
  'Access-Control-Allow-Headers': header('The headers that pages may send.'),
  'Access-Control-Expose-Headers': header('The response headers that pages may read.'),
  'Access-Control-Max-Age': header(
    'How many seconds a browser may cache this preflight response.',
    pattern('^\\d+$'),
  ),
};

type HeaderName = keyof typeof headers;

const headersOfStatus: Readonly<Record<number, readonly HeaderName[]>> = {
  401: ['WWW-Authenticate'],
  403: ['WWW-Authenticate'],
  405: ['Allow'],
  415: ['Accept', 'Accept-Encoding'],
  429: ['Retry-After'],
  503: ['Retry-After'],
};

function headerRefs(names: readonly string[]) {
  return Object.fromEntries(
    names.map((name) => [name, { $ref: `#/components/headers/${name}` }] as const),
  );
}

/** Builds the document of `/openapi.json` from the limits and codes that the server itself uses. */
export function openApi({ version, bodyBytesMax }: ApiSettings) {
  return {
    openapi: '3.1.1',
    info: {
      title: 'device-pipeline',
      version,
      summary:
        'Receives events from a fleet of devices, keeps every body unchanged, and counts each event exactly once.',
      description: infoDescription(bodyBytesMax),
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '.', description: 'This server, relative to this document' }],
    tags: [
      { name: 'Batches', description: 'Send events.' },
      { name: 'Counters', description: 'Read the counts.' },
      { name: 'Operation', description: 'Check health and read metrics.' },
      { name: 'Pages', description: 'Web pages. They contain no data and need no token.' },
    ],
    paths: mapValues(plans, ({ get, post }): PathItem => {
      const ofGet = get && operation(get, bodyBytesMax);
      return {
        ...(ofGet && { get: ofGet, head: headOperation(ofGet) }),
        ...(post && { post: operation(post, bodyBytesMax) }),
      };
    }),
    components: {
      schemas,
      headers,
      securitySchemes: {
        bearer: { type: 'http', scheme: 'bearer', description: bearerDescription },
      },
      /** On unknown paths and to unsupported methods. */
      responses: elsewhere(),
    },
  };
}

function mapValues<Value, Result>(
  record: Readonly<Record<string, Value>>,
  map: (value: Value) => Result,
): Readonly<Record<string, Result>> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, map(value)]));
}

function elsewhere(): Readonly<Record<string, ResponseObject>> {
  const refused = Object.entries(refusals(problemsOf.elsewhere));
  const named = refused.map(([status, response]) => [`Elsewhere${status}`, response] as const);
  return { Elsewhere204: optionsAnswer, ...Object.fromEntries(named) };
}

/** To OPTIONS of any path; with CORS headers where `--cors-origin` allows the origin. */
const optionsAnswer: ResponseObject = {
  description: 'To OPTIONS: the methods of the path, or the response to a CORS preflight request.',
  headers: headerRefs([
    'Allow',
    ...['Access-Control-Allow-Origin', 'Access-Control-Allow-Methods'],
    ...['Access-Control-Allow-Headers', 'Access-Control-Expose-Headers', 'Access-Control-Max-Age'],
  ]),
};

export const itemErrorsText = `Item errors: ${Object.entries(itemErrors)
  .map(([code, explanation]) => `\`${code}\` (${explanation})`)
  .join('; ')}.`;

function infoDescription(bodyBytesMax: number): string {
  return [
    `Send batches to \`/ingest\`: at most ${withThousands(bodyBytesMax)} bytes each, as sent and inflated, with JSON nested at most ${jsonDepthMax} levels deep. Read the counters by date, type and state from \`/stats\`.`,
    'Every refusal is `application/problem+json` (RFC 9457) with a stable `code`. With `Retry-After`, the same request may succeed later. An unknown path gets `not_found`, an unsupported method `method_not_allowed` with `Allow`. OPTIONS on a known path gets 204 with `Allow`.',
    'Callers can have a rate limit (`--rate-limit`); a request above it gets 429 with `Retry-After`. A server that requires no token accepts as `Host` only `localhost`, loopback addresses, its own address and names given with `--allowed-host` (any IP address, if it listens on a non-loopback address), and answers 421 to others. Pages of other origins have access if `--cors-origin` names the origin; preflight requests, OPTIONS on any path, get 204.',
    itemErrorsText,
    'On AWS, API Gateway itself answers requests that it does not forward, such as 429 and 503, as `{"message":…}`.',
  ].join('\n\n');
}

function operation(plan: OperationPlan, bodyBytesMax: number): OperationObject {
  const { id, tag, summary, description, parameters, body, successes, scopes, samples } = plan;
  const answers = mapValues(successes, ({ headers: names, ...rest }): ResponseObject => {
    return names.length === 0 ? rest : { ...rest, headers: headerRefs(names) };
  });
  const limit = `At most ${withThousands(bodyBytesMax)} bytes, as sent and inflated, nested at most ${jsonDepthMax} levels deep.`;
  return {
    operationId: id,
    tags: [tag],
    summary,
    description,
    parameters,
    ...(body !== undefined && {
      requestBody: { required: true, ...body, description: `${body.description} ${limit}` },
    }),
    responses: { ...answers, ...refusals(problemsOf[id], id === 'postBatch') },
    // Any one of the scopes suffices; `{}` because a server without tokens needs none.
    security: scopes.length === 0 ? [] : [...scopes.map((scope) => ({ bearer: [scope] })), {}],
    'x-codeSamples': samples.map((sample) => ({ lang: 'Shell' as const, ...sample })),
  };
}

/** HEAD: the responses of GET without their bodies. */
function headOperation(get: OperationObject): OperationObject {
  const { operationId, tags, summary, parameters, security } = get;
  return {
    operationId: operationId.replace(/^get/, 'head'),
    ...{ tags, parameters, security },
    summary: `${summary}: headers only`,
    description: 'Like GET, without the body.',
    responses: mapValues(get.responses, ({ description, headers: sent = {} }) => {
      return { description, headers: sent };
    }),
  };
}

/** @param isOfBatch whether refusals may have `Preference-Applied`, too. */
function refusals(
  codes: readonly ProblemCode[],
  isOfBatch = false,
): Readonly<Record<string, ResponseObject>> {
  const more: readonly HeaderName[] = isOfBatch ? ['Preference-Applied'] : [];
  const byStatus = Object.entries(Object.groupBy(codes, (code) => statusOfProblem(code)));
  const responses = byStatus.map(([status, those = []]) => {
    const refs = those.map((code) => refTo(problemSchemaName(code)));
    const [first] = refs;
    const schema = refs.length === 1 && first !== undefined ? first : { oneOf: refs };
    const response: ResponseObject = {
      description: those.map((code) => `\`${code}\``).join(', '),
      headers: headerRefs([...(headersOfStatus[Number(status)] ?? []), ...more, 'X-Request-Id']),
      content: { 'application/problem+json': { schema } },
    };
    return [status, response] as const;
  });
  return Object.fromEntries(responses);
}
