import { itemErrors } from '../../domain/device-event.ts';
import { problemCodes, problemDetails, type ProblemCode } from '../../domain/problem.ts';
import { escaped } from '../app/html.ts';
import { docsStyle } from './docs-style.ts';
import type { MediaType, Parameter } from './plan.ts';
import { remedies } from './problems.ts';
import type { Schema } from './schemas.ts';
import {
  itemErrorsText,
  type OpenApi,
  type OperationObject,
  type ResponseObject,
} from './openapi.ts';

/** Renders the OpenAPI document as an HTML page without scripts. */
export function docsPage(api: OpenApi): string {
  const { title, version, summary, description } = api.info;
  // The page lists the item errors in a table.
  const about = description.replace(`${itemErrorsText}\n\n`, '');
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escaped(title)} API</title>
<style>${docsStyle}</style>
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
${navigation(api)}
<main id="content">
<h1>${escaped(title)} API</h1>
<p class="lead">${escaped(summary)}</p>
${prose(about)}
<p>Version ${escaped(version)}. Machine-readable: <a href="openapi.json">openapi.json</a> (OpenAPI ${escaped(api.openapi)}). <a href="./">The dashboard</a>.</p>
${access(api)}
${api.tags.map((tag) => group(tag, api)).join('')}
${schemaTables(api)}
${itemErrorTable()}
${problemTable(api)}
</main>
</body>
</html>
`;
}

interface Entry {
  readonly path: string;
  readonly method: 'GET' | 'POST';
  readonly operation: OperationObject;
}

function entriesOf(api: OpenApi, tag: string): Entry[] {
  return Object.entries(api.paths).flatMap(([path, { get, post }]) => {
    const all: Entry[] = [];
    if (get?.tags.includes(tag)) all.push({ path, method: 'GET', operation: get });
    if (post?.tags.includes(tag)) all.push({ path, method: 'POST', operation: post });
    return all;
  });
}

function navigation(api: OpenApi): string {
  const { title, version } = api.info;
  const groups = api.tags.map(({ name }) => {
    const links = entriesOf(api, name).map(
      ({ path, method, operation }) =>
        `<li><a href="#${operation.operationId}">${method} ${escaped(path)}</a></li>`,
    );
    return `<h2>${escaped(name)}</h2><ul>${links.join('')}</ul>`;
  });
  const more = [
    ['access', 'Access and rates'],
    ['objects', 'Objects'],
    ['item-errors', 'Item errors'],
    ['problems', 'Problem codes'],
  ].map(([id = '', text = '']) => `<li><a href="#${id}">${text}</a></li>`);
  return `<nav class="side" aria-label="On this page">
<p class="name">${escaped(title)} <span>${escaped(version)}</span></p>
<ul>${more[0] ?? ''}</ul>
${groups.join('\n')}
<h2>Reference</h2><ul>${more.slice(1).join('')}</ul>
</nav>`;
}

function access(api: OpenApi): string {
  const { bearer } = api.components.securitySchemes;
  return `<section aria-labelledby="access"><h2 id="access"><a href="#access">Access and rates</a></h2>
${prose(bearer.description)}
<pre><code>Authorization: Bearer $TOKEN</code></pre>
${prose('401: the token is missing, unknown or expired. 403: the token lacks the scope that `WWW-Authenticate` names. 429: you exceed your rate limit. 503: the server is overloaded, stopping, or cannot reach its storage. Wait for the seconds in `Retry-After` after a 429 or 503.')}
</section>`;
}

function group({ name, description }: OpenApi['tags'][number], api: OpenApi): string {
  const id = `group-${name.toLowerCase()}`;
  return `<section aria-labelledby="${id}"><h2 id="${id}"><a href="#${id}">${escaped(name)}</a></h2>
<p>${escaped(description)}</p>
${entriesOf(api, name)
  .map((entry) => operationArticle(entry, api))
  .join('')}</section>
`;
}

function operationArticle({ path, method, operation }: Entry, api: OpenApi): string {
  const { operationId: id, summary, description, parameters, requestBody, security } = operation;
  const scopes = security.flatMap(({ bearer = [] }) => bearer);
  const need =
    scopes.length === 0
      ? 'No token is needed.'
      : `Scope: ${scopes.map((scope) => `\`${scope}\``).join(' or ')}, if the server requires tokens.`;
  const also = method === 'GET' ? ' HEAD is supported, too.' : '';
  return `<article class="operation" aria-labelledby="${id}">
<div>
<h3 id="${id}"><a href="#${id}">${escaped(summary)}</a></h3>
<p class="line"><span class="method ${method.toLowerCase()}">${method}</span> <span>${escaped(path)}</span></p>
<div${id === 'postBatch' ? ' class="promise"' : ''}>${prose(description)}</div>
${prose(`${need}${also}`)}
${parameterLists(parameters)}
${
  requestBody === undefined
    ? ''
    : `<h4>Body</h4>${prose(`\`application/json\`: ${requestBody.description}`)}${schemaLinks(requestBody.content)}`
}
<h4>Responses</h4>
${answerTable(operation.responses, api)}
</div>
<div class="samples" role="region" aria-label="Examples: ${escaped(summary)}" tabindex="0">${samplesOf(operation)}</div>
</article>
`;
}

const placeNames = {
  query: 'Query parameters',
  path: 'Path parameters',
  header: 'Headers',
} as const;

function parameterLists(parameters: readonly Parameter[]): string {
  return (['path', 'query', 'header'] as const)
    .map((place) => {
      const those = parameters.filter((parameter) => parameter.in === place);
      return those.length === 0
        ? ''
        : `<h4>${placeNames[place]}</h4><dl>${those
            .map(({ name, schema, required, description }) =>
              definition(name, schema, required === true, description),
            )
            .join('')}</dl>`;
    })
    .join('');
}

function definition(name: string, schema: Schema, required: boolean, description: string): string {
  const must = required ? ' <span class="must">required</span>' : '';
  return `<dt><code>${escaped(name)}</code> <span>${inline(typeText(schema))}</span>${must}</dt><dd>${inline(description)}</dd>`;
}

/** A type with its limits, such as `string, 1 to 128 characters`. */
function typeText(schema: Schema): string {
  const { $ref, type, format, minLength, maxLength, minItems, maxItems, items } = schema;
  if (typeof $ref === 'string') return nameOfRef($ref);
  if (Array.isArray(schema['enum'])) {
    return `${schema['enum'].map((each) => `\`${String(each)}\``).join(', ')}${defaultText(schema)}`;
  }
  if (schema['const'] !== undefined) return `\`${JSON.stringify(schema['const'])}\``;
  if (type === 'array') {
    return `list of ${typeText((items ?? {}) as Schema)}${limits(minItems, maxItems)}`;
  }
  const kind = [type, format].filter((each) => typeof each === 'string').join(', ');
  const length = limits(minLength, maxLength);
  return `${kind}${length === '' ? '' : `${length} characters`}${defaultText(schema)}`;
}

function limits(least: unknown, most: unknown): string {
  const atLeast = typeof least === 'number' && least > 0 ? `, at least ${least}` : '';
  return atLeast + (typeof most === 'number' ? `, at most ${most}` : '');
}

function defaultText(schema: Schema): string {
  const value = schema['default'];
  return value === undefined ? '' : `; default \`${JSON.stringify(value).replaceAll('"', '')}\``;
}

function nameOfRef(ref: string): string {
  return ref.slice(ref.lastIndexOf('/') + 1);
}

function schemaLinks(content: Readonly<Record<string, MediaType>>): string {
  const names = new Set(
    Object.values(content).flatMap(({ schema }) => {
      const { $ref } = schema['type'] === 'array' ? ((schema['items'] ?? {}) as Schema) : schema;
      return typeof $ref === 'string' && !$ref.includes('problem.') ? [nameOfRef($ref)] : [];
    }),
  );
  return [...names]
    .map((name) => `<p>Members: <a href="#object-${name}">${escaped(name)}</a>.</p>`)
    .join('');
}

function answerTable(responses: Readonly<Record<string, ResponseObject>>, api: OpenApi): string {
  const rows = Object.entries(responses).map(([status, response]) => {
    const { content = {}, headers = {}, description } = response;
    const isGood = Number(status) < 400;
    const types = Object.keys(content)
      .map((type) => `\`${type}\``)
      .join(', ');
    const names = Object.keys(headers);
    const headerText = names.length === 0 ? '' : `<p>Headers: ${headerNames(names, api)}</p>`;
    const what = isGood
      ? `<p>${inline(description)}</p>${types === '' ? '' : `<p>${inline(types)}</p>`}${schemaLinks(content)}${headerText}`
      : `<p>${codesOf(description)}</p>${names.length > 1 ? headerText : ''}`;
    return `<tr><td class="status ${isGood ? 'good' : 'bad'}">${status}</td><td>${what}</td></tr>`;
  });
  return `<table><thead><tr><th scope="col">Status</th><th scope="col">Meaning</th></tr></thead><tbody>${rows.join('')}</tbody></table>`;
}

function headerNames(names: readonly string[], { components }: OpenApi): string {
  const known: Readonly<Record<string, { readonly description: string } | undefined>> =
    components.headers;
  return names
    .map(
      (name) => `<code title="${escaped(known[name]?.description ?? '')}">${escaped(name)}</code>`,
    )
    .join(', ');
}

/** Turns the codes in a description into links to the table of problems. */
function codesOf(description: string): string {
  return description.replace(
    /`(\w+)`/g,
    (_, code: string) => `<a href="#problem-${code}"><code>${code}</code></a>`,
  );
}

function samplesOf({ 'x-codeSamples': samples = [], ...operation }: OperationObject): string {
  const asked = samples.map(({ label, source }) => block(label, source));
  const { requestBody } = operation;
  const bodies = Object.values(requestBody?.content ?? {}).flatMap((media) =>
    examples('Body', media),
  );
  const given = Object.entries(operation.responses).flatMap(([status, { content = {} }]) =>
    Object.values(content).flatMap((media) => examples(status, media)),
  );
  return [...asked, ...bodies, ...given].join('');
}

function examples(before: string, media: MediaType): string[] {
  return Object.values(media.examples ?? {}).map(({ summary, value }) =>
    block(
      `${before}: ${summary}`,
      typeof value === 'string' ? value.trimEnd() : JSON.stringify(value, null, 2),
    ),
  );
}

function block(label: string, text: string): string {
  return `<h5>${escaped(label)}</h5><pre><code>${escaped(text)}</code></pre>`;
}

function schemaTables({ components }: OpenApi): string {
  const objects = Object.entries(components.schemas)
    .filter(([name]) => !name.startsWith('problem.'))
    .map(([name, schema]) => {
      const properties = (schema['properties'] ?? {}) as Readonly<Record<string, Schema>>;
      const required = (schema['required'] ?? []) as readonly string[];
      const members = Object.entries(properties).map(([member, each]) =>
        definition(member, each, required.includes(member), each.description ?? ''),
      );
      return `<h3 id="object-${name}"><a href="#object-${name}">${escaped(name)}</a></h3>${prose(schema.description ?? '')}<dl>${members.join('')}</dl>`;
    });
  return `<section aria-labelledby="objects"><h2 id="objects"><a href="#objects">Objects</a></h2>${objects.join('')}</section>`;
}

function itemErrorTable(): string {
  const rows = Object.entries(itemErrors).map(
    ([code, meaning]) =>
      `<tr id="item-${code}"><td><code>${code}</code></td><td>The item or field ${escaped(meaning)}.</td></tr>`,
  );
  return `<section aria-labelledby="item-errors"><h2 id="item-errors"><a href="#item-errors">Item errors</a></h2>
<p>Why an item was rejected. The response to a batch lists item errors in <code>errors</code>, by <code>index</code> and <code>field</code>.</p>
<table><thead><tr><th scope="col">Code</th><th scope="col">Meaning</th></tr></thead><tbody>${rows.join('')}</tbody></table></section>`;
}

function problemTable(api: OpenApi): string {
  const rows = problemCodes.map((code: ProblemCode) => {
    const { title, status } = problemDetails({ code, detail: '' });
    return `<tr id="problem-${code}"><td><code>${code}</code></td><td class="status">${status}</td><td>${escaped(title)}.</td><td>${inline(remedies[code])}</td></tr>`;
  });
  const elsewhere = Object.values(api.components.responses)
    .map(({ description }) => codesOf(description))
    .join(', ');
  const detail = 'Specify a date: ?date=YYYY-MM-DD.';
  const sample = problemDetails({ code: 'missing_date', detail });
  return `<section aria-labelledby="problems"><h2 id="problems"><a href="#problems">Problem codes</a></h2>
<p>Every refusal has this form (RFC 9457). Programs use <code>code</code>; <code>detail</code> is for humans.</p>
<pre><code>${escaped(JSON.stringify(sample, null, 2))}</code></pre>
<p>On unknown paths and for unsupported methods: ${elsewhere}.</p>
<table><thead><tr><th scope="col">Code</th><th scope="col">Status</th><th scope="col">Meaning</th><th scope="col">What to do</th></tr></thead><tbody>${rows.join('')}</tbody></table></section>`;
}

/** Renders paragraphs with code in backticks. */
function prose(text: string): string {
  if (text === '') return '';
  return text
    .split('\n\n')
    .map((paragraph) => `<p>${inline(paragraph)}</p>`)
    .join('\n');
}

function inline(text: string): string {
  return escaped(text).replace(/`([^`]*)`/g, '<code>$1</code>');
}
