import { fieldBytesMax } from '../../domain/device-event.ts';
import {
  dimensions,
  rowFormats,
  statsFormats,
  type StatsFormat,
} from '../../pipeline/stats-formats.ts';
import { StatsWriter } from '../../pipeline/stats-text.ts';
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
  query('date', day, 'One day, or else a range: `from` and `to`.', { example: '2023-06-16' }),
  query('from', day, `The first day of a range of at most ${rangeDaysMax} days.`),
  query('to', day, 'Its last day, counted in.'),
  ...(['type', 'state'] as const).map((name) =>
    query(
      name,
      {
        ...{ type: 'array', maxItems: filterValuesMax },
        items: { type: 'string', minLength: 1, maxLength: fieldBytesMax },
      },
      `Only these, exactly as written. Repeat it for several, at most ${filterValuesMax}. Without: all.`,
      { explode: true },
    ),
  ),
  query(
    'group_by',
    { type: 'array', items: { enum: dimensions }, minItems: 1 },
    'Sums over what is not named here. Without: no sums, a row for each counter.',
    { explode: false },
  ),
  query(
    'format',
    { enum: statsFormats, default: 'json' },
    'Goes before `Accept`, by which the format may be asked for too.',
  ),
  query(
    'bom',
    { enum: ['0', '1'], default: '0' },
    '`1`: CSV begins with a byte order mark, by which Excel on Windows knows UTF-8.',
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
    'Rows by date, then type and state in the order of their UTF-8 bytes. They are of one moment on one machine; on AWS each day is of one moment.',
    'How complete they are is in the `Pipeline-…` headers, which are asked for before the rows are read. A large answer comes in pieces: where the connection ends before the last chunk, it is not all. On AWS an answer has at most 6 MB, compressed too.',
    'In CSV, a name that a spreadsheet would take for a formula, or that begins with an apostrophe, has an apostrophe in front. In Markdown, a backslash stands before each character of a name that Markdown would interpret.',
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
      description: 'Nothing has changed since the answer that `If-None-Match` names.',
      headers: statsHeaders.filter((name) => name !== 'Content-Encoding'),
    },
  },
  scopes: ['read'],
  samples: [
    { label: 'A day', source: `curl -s '${host}/stats?date=2023-06-16'` },
    {
      label: 'Sums of a month as CSV',
      source: `curl -s --compressed '${host}/stats?from=2023-06-01&to=2023-06-30&group_by=date,state&format=csv'`,
    },
    {
      label: 'Two types, with a token, and the headers',
      source: `curl -si '${host}/stats?date=2023-06-16&type=laptop&type=phone' \\
  -H "Authorization: Bearer $TOKEN"`,
    },
  ],
};

export const getStatsPage = textPlan({
  ...{ id: 'getStatsPage', tag: 'Counters', path: '/stats-html?date=2023-06-16', types: html },
  summary: 'A day as a page',
  description: 'A table with bars and totals, without scripts, of at most 10,000 rows.',
  parameters: [query('date', day, 'The day.', { required: true, example: '2023-06-16' })],
  ...{ isCached: false, scopes: ['read'] },
});
