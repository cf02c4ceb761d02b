import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import { expect } from 'vitest';

import { browserHeaders } from '../../src/http/app/answer.ts';
import type { MediaType } from '../../src/http/openapi/plan.ts';
import type { OpenApi, OperationObject, ResponseObject } from '../../src/http/openapi/openapi.ts';
import type { Received } from './server.ts';

/** Headers of HTTP itself, on any response. */
const ofTheConnection = [
  ...['connection', 'content-length', 'content-type', 'date', 'keep-alive', 'transfer-encoding'],
  ...['cross-origin-opener-policy', 'x-frame-options', 'vary'],
];
const unlisted = new Set([...ofTheConnection, ...Object.keys(browserHeaders)]);

type Operations = Readonly<Record<string, OperationObject | undefined>>;

/** Checks answers against the document: their status, headers and body. */
export class ApiCheck {
  readonly #document: OpenApi;
  readonly #ajv = new Ajv2020({ strict: false, validateFormats: false, allErrors: true });

  constructor(document: OpenApi) {
    this.#document = document;
    this.#ajv.addSchema({ $id: 'api', ...(document as object) });
  }

  /** The path template of a target; undefined if the document has none with this method. */
  pathOf(target: string, method: string): string | undefined {
    const { pathname } = new URL(target, 'http://localhost');
    const path = pathname
      .replace(/^\/ingest\/.+$/, '/ingest/{batchId}')
      .replace(/^\/assets\/.+$/, '/assets/{file}');
    return this.#operation(method.toLowerCase(), path) === undefined ? undefined : path;
  }

  hasStatus(method: string, path: string, status: number): boolean {
    return this.#operation(method, path)?.responses[status] !== undefined;
  }

  /** @param path of the document; undefined: the response belongs to no path of it. */
  answer(method: string, path: string | undefined, { status, headers, text }: Received): void {
    const what = `${method} ${path ?? '(elsewhere)'}: ${status}`;
    const response =
      path === undefined
        ? this.#document.components.responses[`Elsewhere${status}`]
        : this.#operation(method, path)?.responses[status];
    expect(response, `${what} is not in the document: ${text.slice(0, 200)}`).toBeDefined();
    if (response === undefined) return;
    this.#headers(what, response, headers);
    if (method === 'head' || status === 304 || status === 204) {
      expect([what, text]).toEqual([what, '']);
      return;
    }
    const type = headers['content-type'] ?? '';
    const media = response.content?.[type];
    expect(media, `${what} has a body of type ${type}, which is not in the document`).toBeDefined();
    if (media !== undefined)
      this.#body(what, media, type.endsWith('json') && !type.includes('ndjson'), text);
  }

  /** Checks all examples; returns their number. */
  examples(): number {
    const media = Object.values(this.#document.paths).flatMap((item) =>
      Object.values(item).flatMap(({ requestBody, responses }) => [
        ...Object.values(requestBody?.content ?? {}),
        ...Object.values(responses).flatMap(({ content = {} }) => Object.values(content)),
      ]),
    );
    const examples = media.flatMap((each) =>
      Object.values(each.examples ?? {}).map(({ summary, value }) => ({ each, summary, value })),
    );
    for (const { each, summary, value } of examples) this.#valid(summary, each, value);
    return examples.length;
  }

  #operation(method: string, path: string): OperationObject | undefined {
    const item: Operations | undefined = this.#document.paths[path];
    return item?.[method];
  }

  #headers(what: string, { headers = {} }: ResponseObject, given: Received['headers']): void {
    const described = new Set(Object.keys(headers).map((name) => name.toLowerCase()));
    const unknown = Object.keys(given).filter(
      (name) => !described.has(name) && !unlisted.has(name),
    );
    expect([what, 'headers that are not in the document', unknown]).toEqual([
      ...[what, 'headers that are not in the document', []],
    ]);
    const components: Readonly<Record<string, { schema: object; required?: boolean } | undefined>> =
      this.#document.components.headers;
    for (const name of Object.keys(headers)) {
      const value = given[name.toLowerCase()];
      const header = components[name];
      if (header?.required === true) {
        expect([what, name, value !== undefined]).toEqual([what, name, true]);
      }
      if (value !== undefined && header !== undefined) {
        const isValid = this.#ajv.validate(header.schema, value);
        expect([what, name, value, isValid]).toEqual([what, name, value, true]);
      }
    }
  }

  #body(what: string, media: MediaType, isJson: boolean, text: string): void {
    this.#valid(what, media, isJson ? JSON.parse(text) : text);
  }

  #valid(what: string, { schema }: MediaType, value: unknown): void {
    const validate = this.#compiled(schema);
    const isValid = validate(value);
    expect([what, isValid, validate.errors, isValid ? '' : value]).toEqual([what, true, null, '']);
  }

  readonly #functions = new Map<string, ValidateFunction>();

  #compiled(schema: object): ValidateFunction {
    const text = JSON.stringify(schema).replaceAll('"#/components', '"api#/components');
    let validate = this.#functions.get(text);
    if (validate === undefined) {
      validate = this.#ajv.compile(JSON.parse(text) as object);
      this.#functions.set(text, validate);
    }
    return validate;
  }
}
