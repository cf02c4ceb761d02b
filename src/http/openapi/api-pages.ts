import { pageOf, scriptlessHeaders, type Page, type Pages } from '../app/pages.ts';
import { docsPage } from './docs-page.ts';
import { docsStyle } from './docs-style.ts';
import { openApi, type ApiSettings } from './openapi.ts';

/** `/openapi.json` and `/docs`, built on the first request. */
export function apiPages(settings: ApiSettings): Pages {
  const document = textPage('application/json', {}, () => JSON.stringify(openApi(settings)));
  const docs = textPage('text/html; charset=utf-8', scriptlessHeaders(docsStyle, "'none'"), () =>
    docsPage(openApi(settings)),
  );
  return new Map([
    ['/openapi.json', document],
    ['/docs', docs],
  ]);
}

function textPage(
  contentType: string,
  headers: Readonly<Record<string, string>>,
  make: () => string,
): Page {
  let page: Page | undefined;
  return (sent) => {
    page ??= pageOf({ contentType, headers, bodies: { identity: Buffer.from(make()) } });
    return page(sent);
  };
}
