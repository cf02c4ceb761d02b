import { jsonDepthMax } from '../../domain/batch.ts';
import { itemErrors } from '../../domain/device-event.ts';
import { statusOfProblem, type ProblemCode } from '../../domain/problem.ts';
import { bearerDescription, plans } from './operations.ts';
import type { MediaType, OperationPlan, Parameter } from './plan.ts';
import { problemsOf } from './problems.ts';
import { problemSchemaName, refTo, schemas, type Schema } from './schemas.ts';

export interface ApiSettings {
  /** Of the program. */
  readonly version: string;
  readonly bodyBytesMax: number;
}

interface Ref {
  readonly $ref: string;
}

export interface ResponseObject {
  readonly description: string;
  readonly headers?: Readonly<Record<string, Ref>>;
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

type Method = 'get' | 'head' | 'post';
export type PathItem = Readonly<Partial<Record<Method, OperationObject>>>;

/** OpenAPI 3.1, as far as it is used here. */
export interface OpenApi {
  readonly openapi: string;
  readonly info: Readonly<Record<'title' | 'version' | 'summary' | 'description', string>> & {
    readonly license: { readonly name: string; readonly identifier: string };
  };
  readonly servers: readonly { readonly url: string; readonly description: string }[];
  readonly tags: readonly { readonly name: string; readonly description: string }[];
  readonly paths: Readonly<Record<string, PathItem>>;
  readonly components: {
    readonly schemas: Readonly<Record<string, Schema>>;
    readonly headers: typeof headers;
    readonly securitySchemes: Readonly<Record<string, Schema>>;
    /** The responses on unknown paths and to unsupported methods. */
    readonly responses: Readonly<Record<string, ResponseObject>>;
  };
}

const text: Schema = { type: 'string' };

/** The response headers, except the general ones of HTTP and those that only browsers use. */
const headers = {
  Location: {
    ...{ required: true, schema: { type: 'string', pattern: '^/ingest/.' } },
    description:
      'The path of the receipt. If a proxy or a stage adds a prefix to all paths, add it to this one too.',
  },
  'Preference-Applied': {
    schema: { const: 'handling=strict' },
    description: 'The preference that the server applied.',
  },
  ETag: { schema: text, description: 'Identifies this content; for `If-None-Match`.' },
  'Cache-Control': {
    ...{ required: true, schema: text },
    description: 'Whether and how long the response may be cached.',
  },
  Vary: { schema: text, description: 'The request headers that the response depends on.' },
  'Content-Encoding': { schema: { enum: ['gzip', 'br'] }, description: 'Absent: not encoded.' },
  'Pipeline-Counted-Through': {
    schema: { type: 'string', format: 'date-time' },
    description:
      'Everything acknowledged before this moment is counted or a dead letter. Absent: unknown.',
  },
  'Pipeline-Pending': {
    ...{ required: true, schema: { type: 'string', pattern: '^\\d+;unit=(items|messages)$' } },
    description:
      'Accepted but not counted yet: the exact number of items, or on AWS the approximate number of messages (an RFC 9651 item).',
  },
  'Pipeline-Dead-Letters': {
    ...{ required: true, schema: { type: 'string', pattern: '^\\d+$' } },
    description: 'The number of dead letters; `dlq list` shows them.',
  },
  'Retry-After': {
    ...{ required: true, schema: { type: 'string', pattern: '^\\d+$' } },
    description: 'Seconds after which the same request may succeed.',
  },
  'WWW-Authenticate': {
    ...{ required: true, schema: { type: 'string', pattern: '^Bearer realm=' } },
    description: 'RFC 6750: what is wrong with the token, and which scope is needed.',
  },
  Allow: { schema: text, description: 'The methods that the path supports.' },
  Accept: { schema: { const: 'application/json' }, description: 'The supported media type.' },
  'Accept-Encoding': {
    schema: { enum: ['gzip', 'identity'] },
    description: 'The supported encoding; `identity`: none.',
  },
  'X-Request-Id': {
    schema: text,
    description:
      'The id under which the log has the refused request: the one of the request, or a new one.',
  },
  'Access-Control-Allow-Origin': {
    ...{ schema: text, description: 'The origin whose pages may read the response.' },
  },
  'Access-Control-Allow-Methods': { schema: text, description: 'The methods that pages may use.' },
  'Access-Control-Allow-Headers': { schema: text, description: 'The headers that pages may send.' },
  'Access-Control-Expose-Headers': {
    ...{ schema: text, description: 'The response headers that pages may read.' },
  },
  'Access-Control-Max-Age': {
    schema: { type: 'string', pattern: '^\\d+$' },
    description: 'How many seconds a browser may cache this preflight response.',
  },
} as const;

type HeaderName = keyof typeof headers;

const headersOfStatus: Readonly<Record<number, readonly HeaderName[]>> = {
  401: ['WWW-Authenticate'],
  403: ['WWW-Authenticate'],
  405: ['Allow'],
  415: ['Accept', 'Accept-Encoding'],
  429: ['Retry-After'],
  503: ['Retry-After'],
};

function headerRefs(names: readonly string[]): Readonly<Record<string, Ref>> {
  return Object.fromEntries(
    names.map((name) => [name, { $ref: `#/components/headers/${name}` }] as const),
  );
}

/** Builds the document of `/openapi.json` from the limits and codes that the server itself uses. */
export function openApi({ version, bodyBytesMax }: ApiSettings): OpenApi {
  return {
    openapi: '3.1.1',
    info: {
      title: 'device-pipeline',
      version,
      summary: 'Accepts events from a fleet of devices and counts them exactly once.',
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
    paths: Object.fromEntries(
      Object.entries(plans).map(
        ([path, { get, post }]) => [path, pathItem(get, post, bodyBytesMax)] as const,
      ),
    ),
    components: {
      schemas,
      headers,
      securitySchemes: {
        bearer: { type: 'http', scheme: 'bearer', description: bearerDescription },
      },
      responses: {
        Elsewhere204: optionsAnswer,
        ...Object.fromEntries(
          Object.entries(refusals(problemsOf.elsewhere)).map(
            ([status, response]) => [`Elsewhere${status}`, response] as const,
          ),
        ),
      },
    },
  };
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
    `Send batches to \`/ingest\`: at most ${bodyBytesMax.toLocaleString('en')} bytes each, as sent and inflated, with JSON nested at most ${jsonDepthMax} levels deep. Read the counters by date, type and state from \`/stats\`.`,
    'Every refusal is `application/problem+json` (RFC 9457) with a stable `code`. With `Retry-After`, the same request may succeed later. An unknown path gets `not_found`, an unsupported method `method_not_allowed` with `Allow`. OPTIONS on a known path gets 204 with `Allow`.',
    'Callers can have a rate limit (`--rate-limit`); a request above it gets 429 with `Retry-After`. A server that requires no token accepts only the hosts `localhost`, IP addresses and the names of `--allowed-host`, and answers 421 to any other `Host`. Pages of other origins have access where `--cors-origin` names the origin; preflight requests, OPTIONS on any path, get 204.',
    itemErrorsText,
    'On AWS, API Gateway itself answers requests that it does not forward, such as 429 and 503, as `{"message":…}`.',
  ].join('\n\n');
}

function pathItem(
  get: OperationPlan | undefined,
  post: OperationPlan | undefined,
  bodyBytesMax: number,
): PathItem {
  return {
    ...(get !== undefined && { get: operation(get), head: headOperation(operation(get)) }),
    ...(post !== undefined && { post: withBodyLimit(operation(post), bodyBytesMax) }),
  };
}

function operation(plan: OperationPlan): OperationObject {
  const { id, tag, summary, description, parameters, body, successes, scopes, samples } = plan;
  const answers = Object.entries(successes).map(([status, success]) => {
    const { headers: names, ...rest } = success;
    const listed = names.length > 0 && { headers: headerRefs(names) };
    return [status, { ...rest, ...listed }] as const;
  });
  return {
    operationId: id,
    tags: [tag],
    summary,
    description,
    parameters,
    ...(body !== undefined && { requestBody: { required: true, ...body } }),
    responses: { ...Object.fromEntries(answers), ...refusals(problemsOf[id], id === 'postBatch') },
    // Any one of the scopes suffices; `{}` because a server without tokens needs none.
    security: scopes.length === 0 ? [] : [...scopes.map((scope) => ({ bearer: [scope] })), {}],
    'x-codeSamples': samples.map((sample) => ({ lang: 'Shell' as const, ...sample })),
  };
}

function withBodyLimit(post: OperationObject, bodyBytesMax: number): OperationObject {
  const { requestBody } = post;
  if (requestBody === undefined) return post;
  const limit = `At most ${bodyBytesMax.toLocaleString('en')} bytes, as sent and inflated, nested at most ${jsonDepthMax} levels deep.`;
  const description = `${requestBody.description} ${limit}`;
  return { ...post, requestBody: { ...requestBody, description } };
}

/** HEAD: the responses of GET without their bodies. */
function headOperation(get: OperationObject): OperationObject {
  const { operationId, tags, summary, parameters, security } = get;
  const responses = Object.entries(get.responses).map(([status, response]) => {
    const { description, headers: sent = {} } = response;
    return [status, { description, headers: sent }] as const;
  });
  return {
    operationId: operationId.replace(/^get/, 'head'),
    ...{ tags, parameters, security },
    summary: `${summary}: headers only`,
    description: 'Like GET, without the body.',
    responses: Object.fromEntries(responses),
  };
}

/** @param isOfBatch whether refusals may have `Preference-Applied`, too. */
function refusals(
  codes: readonly ProblemCode[],
  isOfBatch = false,
): Readonly<Record<string, ResponseObject>> {
  const more: readonly HeaderName[] = isOfBatch ? ['Preference-Applied'] : [];
  const byStatus = new Map<number, ProblemCode[]>();
  for (const code of codes) {
    const status = statusOfProblem(code);
    byStatus.set(status, [...(byStatus.get(status) ?? []), code]);
  }
  const responses = [...byStatus].map(([status, those]) => {
    const refs = those.map((code) => refTo(problemSchemaName(code)));
    const [first] = refs;
    const schema = refs.length === 1 && first !== undefined ? first : { oneOf: refs };
    const response: ResponseObject = {
      description: those.map((code) => `\`${code}\``).join(', '),
      headers: headerRefs([...(headersOfStatus[status] ?? []), ...more, 'X-Request-Id']),
      content: { 'application/problem+json': { schema } },
    };
    return [String(status), response] as const;
  });
  return Object.fromEntries(responses);
}
