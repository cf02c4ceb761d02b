import { fieldBytesMax } from '../../domain/device-event.ts';
import {
  dimensions,
  rowFormats,
  statsFormats,
  type StatsFormat,
} from '../../pipeline/stats/formats.ts';
import { StatsWriter } from '../../pipeline/stats/text.ts';
import {
  acceptEncoding,
  example,
  host,
  html,
  ifNoneMatch,
  query,
  textPlan,
  type MediaType,
  type OperationPlan,
} from './plan.ts';
import { refTo, type Schema } from './schemas.ts';
import { filterValuesMax, rangeDaysMax } from '../stats/stats-query.ts';

const day: Schema = { type: 'string', format: 'date' };
const rows = [
  { date: '2023-06-16', type: 'laptop', state: 'erased', count: 1 },
  { date: '2023-06-16', type: 'phone', state: 'erasure failed', count: 1 },
];

const statsParameters = [
  query('date', day, 'One day; for a range use `from` and `to` instead.', {
    example: '2023-06-16',
  }),
  query('from', day, `The first day of a range of at most ${rangeDaysMax} days.`),
  query('to', day, 'The last day of the range, inclusive.'),
  ...(['type', 'state'] as const).map((name) =>
    query(
      name,
      {
        ...{ type: 'array', maxItems: filterValuesMax },
        items: { type: 'string', minLength: 1, maxLength: fieldBytesMax },
      },
      `Selects exact values. Repeat the parameter for several, at most ${filterValuesMax}. Default: all.`,
      { explode: true },
    ),
  ),
  query(
    'group_by',
    { type: 'array', items: { enum: dimensions }, minItems: 1 },
    'Groups by these dimensions and sums over the others. Default: one row per counter.',
    { explode: false },
  ),
  query('format', { enum: statsFormats, default: 'json' }, 'Takes precedence over `Accept`.'),
  query(
    'bom',
    { enum: ['0', '1'], default: '0' },
    '`1`: CSV begins with a byte order mark, so that Excel on Windows reads it as UTF-8.',
  ),
];

const statsHeaders = [
  ...['ETag', 'Cache-Control', 'Vary', 'Content-Encoding', 'Pipeline-Counted-Through'],
  ...['Pipeline-Pending', 'Pipeline-Dead-Letters'],
];

const jsonRows: MediaType = {
  schema: { type: 'array', items: refTo('StatsRow') },
  examples: {
    day: example('A day', rows),
    sums: example('With group_by=type', [
      { type: 'laptop', count: 1 },
      { type: 'phone', count: 1 },
    ]),
  },
};

function textRows(format: StatsFormat): MediaType {
  const writer = new StatsWriter(undefined, format);
  const text = writer.opening() + writer.piece(rows) + writer.closing();
  return {
    schema: { type: 'string', description: rowFormats[format].description },
    examples: { day: example('A day', text) },
  };
}

export const getStats: OperationPlan = {
  id: 'getStats',
  tag: 'Counters',
  summary: 'Read the counters',
  description: [
    'Rows are sorted by date, then by type and state in the order of their UTF-8 bytes. On one machine all rows are a consistent snapshot; on AWS the rows of each day are.',
    'The `Pipeline-…` headers say how complete the counters are. They are determined before the rows are read. A large response is streamed: if the connection ends before the last chunk, the response is incomplete. On AWS a response has at most 6 MB, compressed or not.',
    'In CSV, a name that a spreadsheet would treat as a formula, or that begins with an apostrophe, is prefixed with an apostrophe. In Markdown, a backslash precedes each character of a name that Markdown would interpret.',
  ].join('\n\n'),
  parameters: [...statsParameters, ifNoneMatch, acceptEncoding],
  successes: {
    200: {
      description: 'The counters.',
      headers: statsHeaders,
      content: {
        [rowFormats.json.contentType]: jsonRows,
        ...Object.fromEntries(
          statsFormats
            .filter((format) => format !== 'json')
            .map((format) => [rowFormats[format].contentType, textRows(format)]),
        ),
      },
    },
    304: {
      description: 'The counters still match the `ETag` in `If-None-Match`.',
      headers: statsHeaders.filter((name) => name !== 'Content-Encoding'),
    },
  },
  scopes: ['read'],
  samples: [
    { label: 'One day', source: `curl -s '${host}/stats?date=2023-06-16'` },
    {
      label: 'Sums of a month as CSV',
      source: `curl -s --compressed '${host}/stats?from=2023-06-01&to=2023-06-30&group_by=date,state&format=csv'`,
    },
    {
      label: 'Two types, with a token, showing the headers',
      source: `curl -si '${host}/stats?date=2023-06-16&type=laptop&type=phone' \\
  -H "Authorization: Bearer $TOKEN"`,
    },
  ],
};

export const getStatsPage = textPlan({
  ...{ id: 'getStatsPage', tag: 'Counters', path: '/stats-html?date=2023-06-16', types: html },
  summary: 'A day as a page',
  description: 'A table with bars and totals, at most 10,000 rows, without scripts.',
  parameters: [query('date', day, 'The day.', { required: true, example: '2023-06-16' })],
  ...{ isCached: false, scopes: ['read'] },
});
