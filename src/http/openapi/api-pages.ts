import { hash } from 'node:crypto';

import { browserHeaders, type Answer } from '../app/answer.ts';
import { docsPage } from './docs-page.ts';
import { docsStyle } from './docs-style.ts';
import { readIfNoneMatch } from '../app/negotiation.ts';
import { openApi, type ApiSettings } from './openapi.ts';
import { scriptlessPolicy } from '../app/pages.ts';

/** Answers GET and HEAD of a constant text; takes the `If-None-Match` of the request. */
type TextPage = (ifNoneMatch: string | undefined) => Answer;

const docsPolicy = scriptlessPolicy(docsStyle, "'none'");

/** `/openapi.json` and `/docs`, built on the first request. */
export function apiPages(settings: ApiSettings): { document: TextPage; docs: TextPage } {
  return {
    document: textPage(() => JSON.stringify(openApi(settings)), {
      'content-type': 'application/json',
    }),
    docs: textPage(() => docsPage(openApi(settings)), {
      'content-type': 'text/html; charset=utf-8',
      'content-security-policy': docsPolicy,
      'cross-origin-opener-policy': 'same-origin',
      'x-frame-options': 'DENY',
    }),
  };
}

function textPage(make: () => string, ownHeaders: Readonly<Record<string, string>>): TextPage {
  let made: { readonly body: string; readonly tag: string } | undefined;
  return (ifNoneMatch) => {
    made ??= withTag(make());
    const { body, tag } = made;
    const headers = {
      ...browserHeaders,
      ...ownHeaders,
      'cache-control': 'no-cache',
      vary: 'Accept-Encoding',
      etag: `"${tag}"`,
    };
    const known = readIfNoneMatch(ifNoneMatch);
    return known === 'any' || known.includes(tag)
      ? { status: 304, headers, body: '' }
      : { status: 200, headers, body };
  };
}

function withTag(body: string) {
  return { body, tag: hash('sha256', body, 'base64url').slice(0, 22) };
}
