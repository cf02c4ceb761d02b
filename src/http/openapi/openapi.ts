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
    /** What is answered on paths, and to methods, that there are not. */
    readonly responses: Readonly<Record<string, ResponseObject>>;
  };
}

const text: Schema = { type: 'string' };

/** All that answers carry, but for what is of every answer of HTTP, and for browsers alone. */
const headers = {
  Location: {
    ...{ required: true, schema: { type: 'string', pattern: '^/ingest/.' } },
    description:
      'The path of the receipt. Where a proxy or a stage puts a prefix in front of all paths, put it in front of this one too.',
  },
  'Preference-Applied': {
    schema: { const: 'handling=strict' },
    description: 'The preference that was followed.',
  },
  ETag: { schema: text, description: 'Names this content; for `If-None-Match`.' },
  'Cache-Control': {
    ...{ required: true, schema: text },
    description: 'Whether it may be used again without asking.',
  },
  Vary: { schema: text, description: 'The headers that the answer depends on.' },
  'Content-Encoding': { schema: { enum: ['gzip', 'br'] }, description: 'Absent: plain.' },
  'Pipeline-Counted-Through': {
    schema: { type: 'string', format: 'date-time' },
    description:
      'Whatever was acknowledged before is counted, or a dead letter. Absent: not known.',
  },
  'Pipeline-Pending': {
    ...{ required: true, schema: { type: 'string', pattern: '^\\d+;unit=(items|messages)$' } },
    description:
      'Accepted and not counted yet: exactly so many items, or on AWS about so many messages (an item of RFC 9651).',
  },
  'Pipeline-Dead-Letters': {
    ...{ required: true, schema: { type: 'string', pattern: '^\\d+$' } },
    description: 'How much could not be counted: see `dlq list`.',
  },
  'Retry-After': {
    ...{ required: true, schema: { type: 'string', pattern: '^\\d+$' } },
    description: 'Seconds after which the same request may succeed.',
  },
  'WWW-Authenticate': {
    ...{ required: true, schema: { type: 'string', pattern: '^Bearer realm=' } },
    description: 'RFC 6750: what is wrong with the token, and which scope is needed.',
  },
  Allow: { schema: text, description: 'The methods that there are.' },
  Accept: { schema: { const: 'application/json' }, description: 'The type that is taken.' },
  'Accept-Encoding': {
    schema: { enum: ['gzip', 'identity'] },
    description: 'The encoding that is taken; `identity`: none.',
  },
  'X-Request-Id': {
    schema: text,
    description: 'The id under which the refusal is in the log: that of the request, or a new one.',
  },
  'Access-Control-Allow-Origin': { schema: text, description: 'Whose page may ask.' },
  'Access-Control-Allow-Methods': { schema: text, description: 'How.' },
  'Access-Control-Allow-Headers': { schema: text, description: 'Which headers it may send.' },
  'Access-Control-Expose-Headers': {
    ...{ schema: text, description: 'Which headers of the answer it sees.' },
  },
  'Access-Control-Max-Age': {
    schema: { type: 'string', pattern: '^\\d+$' },
    description: 'For how many seconds this holds.',
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

/** The document of `/openapi.json`: all limits and codes are those of the code. */
export function openApi({ version, bodyBytesMax }: ApiSettings): OpenApi {
  return {
    openapi: '3.1.1',
    info: {
      title: 'device-pipeline',
      version,
      summary: 'Takes in events from a fleet of devices, and counts them exactly once.',
      description: infoDescription(bodyBytesMax),
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '.', description: 'This server, relative to this document' }],
    tags: [
      { name: 'Batches', description: 'Sending events.' },
      { name: 'Counters', description: 'Reading what was counted.' },
      { name: 'Operation', description: 'Whether it is well.' },
      { name: 'Pages', description: 'For people. They hold no data, and need no token.' },
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

/** To OPTIONS of any path; the headers of CORS where `--cors-origin` names the origin that asks. */
const optionsAnswer: ResponseObject = {
  description:
    'To OPTIONS: which methods a path has, or whether a page of another origin may ask, where a browser wants to know that.',
  headers: headerRefs([
    'Allow',
    ...['Access-Control-Allow-Origin', 'Access-Control-Allow-Methods'],
    ...['Access-Control-Allow-Headers', 'Access-Control-Expose-Headers', 'Access-Control-Max-Age'],
  ]),
};

function infoDescription(bodyBytesMax: number): string {
  return [
    `Send batches to \`/ingest\`, of at most ${bodyBytesMax.toLocaleString('en')} bytes each, as sent and inflated, and of JSON that nests at most ${jsonDepthMax} deep. Read the counters, by date, type and state, from \`/stats\`.`,
    'Every refusal is `application/problem+json` (RFC 9457) with a stable `code`. Where `Retry-After` is there, the same request may succeed later. Another path is `not_found`, another method `method_not_allowed`, with `Allow`; OPTIONS of a path that there is is answered 204 with `Allow`.',
    'Each caller may be held to a rate (`--rate-limit`); beyond it the answer is 429 with `Retry-After`. A server that asks for no token answers only to `localhost`, to addresses, and to the names of `--allowed-host`: to any other `Host` it answers 421. Pages of other origins may ask where `--cors-origin` names them: a browser that asks first, with OPTIONS of any path, is answered 204.',
    `Item errors: ${Object.entries(itemErrors)
      .map(([code, explanation]) => `\`${code}\` (${explanation})`)
      .join('; ')}.`,
    'On AWS, API Gateway answers by itself what it does not let through, such as 429 and 503, as `{"message":…}`.',
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
    // One of them is enough, and where nobody has made a token, none.
    security: scopes.length === 0 ? [] : [...scopes.map((scope) => ({ bearer: [scope] })), {}],
    'x-codeSamples': samples.map((sample) => ({ lang: 'Shell' as const, ...sample })),
  };
}

function withBodyLimit(post: OperationObject, bodyBytesMax: number): OperationObject {
  const { requestBody } = post;
  if (requestBody === undefined) return post;
  const limit = `At most ${bodyBytesMax.toLocaleString('en')} bytes, as sent and inflated, nested at most ${jsonDepthMax} deep.`;
  const description = `${requestBody.description} ${limit}`;
  return { ...post, requestBody: { ...requestBody, description } };
}

/** The same without bodies. */
function headOperation(get: OperationObject): OperationObject {
  const { operationId, tags, summary, parameters, security } = get;
  const responses = Object.entries(get.responses).map(([status, response]) => {
    const { description, headers: sent = {} } = response;
    return [status, { description, headers: sent }] as const;
  });
  return {
    operationId: operationId.replace(/^get/, 'head'),
    ...{ tags, parameters, security },
    summary: `${summary}: the headers alone`,
    description: 'As GET, without the body.',
    responses: Object.fromEntries(responses),
  };
}

/** @param isOfBatch that refusals too may say which preference was followed. */
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
