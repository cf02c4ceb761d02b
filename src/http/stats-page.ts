import { createHash } from 'node:crypto';

import { html, raw } from 'hono/html';

import type { CounterRow } from '../domain/counter.ts';
import type { CalendarDate } from '../domain/timestamp.ts';
import { headersOfAll, type Answer } from './answer.ts';

const style = `
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 48rem; padding: 0 1rem; }
h1 { font-size: 1.25rem; }
table { border-collapse: collapse; table-layout: fixed; width: 100%; }
th, td { border-bottom: 1px solid color-mix(in srgb, currentcolor 20%, transparent); padding: .4rem .6rem; text-align: left; overflow-wrap: anywhere; }
th:last-child, td:last-child { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tfoot th, tfoot td { border-bottom: 0; font-weight: 600; }
thead th:first-child { width: 45%; }
thead th:last-child { width: 8rem; }
`;

/** The page runs no script and loads nothing: names in it are other people's text. */
const contentSecurityPolicy = [
  `default-src 'none'`,
  `style-src 'sha256-${createHash('sha256').update(style).digest('base64')}'`,
  `base-uri 'none'`,
  `form-action 'none'`,
  `frame-ancestors 'none'`,
].join('; ');

/** The counters of a day as a page with one table. */
export async function statsPage(date: CalendarDate, rows: readonly CounterRow[]): Promise<Answer> {
  const total = rows.reduce((sum, { count }) => sum + count, 0);
  const body = await html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>Processed devices on ${date}</title>
        ${raw(`<style>${style}</style>`)}
      </head>
      <body>
        <h1>Processed devices on ${date}</h1>
        ${rows.length === 0 ? html`<p>Nothing was counted on this day.</p>` : table(rows, total)}
      </body>
    </html> `;
  return {
    status: 200,
    headers: {
      ...headersOfAll,
      'content-type': 'text/html; charset=utf-8',
      'content-security-policy': contentSecurityPolicy,
      'cross-origin-opener-policy': 'same-origin',
      // For browsers that do not know frame-ancestors.
      'x-frame-options': 'DENY',
    },
    body: String(body),
  };
}

function table(rows: readonly CounterRow[], total: number) {
  return html`<table>
    <thead>
      <tr>
        <th scope="col">Type</th>
        <th scope="col">State</th>
        <th scope="col">Count</th>
      </tr>
    </thead>
    <tbody>
      ${rows.map(row)}
    </tbody>
    <tfoot>
      <tr>
        <th scope="row" colspan="2">Total</th>
        <td>${formatCount(total)}</td>
      </tr>
    </tfoot>
  </table>`;
}

/** `bdi`: a name in a right-to-left script must not turn round what stands beside it. */
function row({ type, state, count }: CounterRow) {
  return html`<tr>
    <td><bdi>${type}</bdi></td>
    <td><bdi>${state}</bdi></td>
    <td>${formatCount(count)}</td>
  </tr>`;
}

function formatCount(count: number): string {
  return count.toLocaleString('en');
}
