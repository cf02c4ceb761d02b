import type { Scope } from '../../auth/access-token.ts';
import type { OperationId } from './problems.ts';
import { refTo, type Schema } from './schemas.ts';

export interface Parameter {
  readonly name: string;
  readonly in: 'query' | 'path' | 'header';
  readonly required?: boolean;
  readonly description: string;
  readonly schema: Schema;
  readonly explode?: boolean;
  readonly example?: unknown;
}

export interface MediaType {
  readonly schema: Schema;
  readonly examples?: Readonly<Record<string, Example>>;
}

interface Example {
  readonly summary: string;
  readonly value: unknown;
}

/** A successful response. `headers` are names in `components.headers`. */
interface Success {
  readonly description: string;
  readonly headers: readonly string[];
  readonly content?: Readonly<Record<string, MediaType>>;
}

export interface OperationPlan {
  readonly id: OperationId;
  readonly tag: string;
  readonly summary: string;
  readonly description: string;
  readonly parameters: readonly Parameter[];
  readonly body?: { readonly description: string; readonly content: Record<string, MediaType> };
  readonly successes: Readonly<Record<number, Success>>;
  /** Empty: no token is needed. */
  readonly scopes: readonly Scope[];
  readonly samples: readonly { readonly label: string; readonly source: string }[];
}

export const host = 'http://127.0.0.1:8080';
export const html = ['text/html; charset=utf-8'];

export function header(name: string, schema: Schema, description: string): Parameter {
  return { name, in: 'header', description, schema };
}

export function query(
  name: string,
  schema: Schema,
  description: string,
  more: Partial<Parameter> = {},
) {
  return { name, in: 'query', description, schema, ...more } as const;
}

export function example(summary: string, value: unknown): Example {
  return { summary, value };
}

/** JSON of a schema in `components.schemas`, with examples by name. */
export function json(schema: string, examples: Readonly<Record<string, Example>>) {
  return { 'application/json': { schema: refTo(schema), examples } };
}

export const ifNoneMatch = header(
  'If-None-Match',
  { type: 'string' },
  'The `ETag` of a cached response; if it still matches, the response is 304.',
);
export const acceptEncoding = header(
  'Accept-Encoding',
  { type: 'string', examples: ['gzip'] },
  'With `gzip`, a response of 1 KiB or more is compressed.',
);

/** Describes a page, a file or a text response. */
export function textPlan(
  plan: Pick<OperationPlan, 'id' | 'tag' | 'summary' | 'description' | 'scopes'> & {
    readonly path: string;
    readonly types: readonly string[];
    readonly isCached: boolean;
    readonly parameters?: readonly Parameter[];
    readonly schema?: Schema;
  },
): OperationPlan {
  const { path, types, isCached, parameters = [], schema = { type: 'string' }, ...rest } = plan;
  const headers = isCached
    ? ['ETag', 'Cache-Control', 'Vary', 'Content-Encoding']
    : ['Vary', 'Content-Encoding'];
  return {
    ...rest,
    parameters: [...parameters, ...(isCached ? [ifNoneMatch] : []), acceptEncoding],
    successes: {
      200: {
        description: 'The content.',
        headers,
        content: Object.fromEntries(types.map((type) => [type, { schema }])),
      },
      ...(isCached && {
        304: {
          description: 'The content still matches the `ETag` in `If-None-Match`.',
          headers: headers.filter((name) => name !== 'Content-Encoding'),
        },
      }),
    },
    samples: [{ label: 'Request', source: `curl -s '${host}${path}'` }],
  };
}
