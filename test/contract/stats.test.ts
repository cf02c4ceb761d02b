import { gunzipSync } from 'node:zlib';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { startAws } from '../support/aws/aws-store.ts';
import { Lambdas } from '../support/aws/lambda.ts';
import { needs } from '../support/run/needs.ts';
import { exchange, startServer, waitUntilCounted, type Received } from '../support/server.ts';

/*
 * Properties of /stats and /stats-html that the shared cases do not cover, on both engines: each
 * responses everything, and alike.
 */
type Ask = (path: string, headers?: Record<string, string>, method?: string) => Promise<Received>;

interface Engine {
  readonly name: string;
  readonly ask: Ask;
  /** The same of a response that is compressed. */
  readonly inflated: (path: string) => Promise<Received>;
  readonly send: (items: readonly unknown[]) => Promise<void>;
  readonly stop: () => Promise<void>;
}

const item = (type: string, state: string, day: number) => ({
  type,
  state,
  timestamp: `2023-06-${day}T13:00:00Z`,
});
const seed = [
  item('laptop', 'erased', 16),
  item('laptop', 'erased', 16),
  item('laptop', 'erasure failed', 16),
  item('phone', 'erased', 15),
  item('server', 'erased', 17),
  // In the order of their sort keys, and in no other, `a#b` comes before `a-b`.
  ...['a#b', 'a-b', 'a%c', 'a', 'é', '\u{10000}', '\uffff'].map((type) => item(type, 'x', 14)),
  ...Array.from({ length: 60 }, (_, at) => item(`type ${at}`, '=state', 13)),
];
const gzip = { 'accept-encoding': 'gzip' };

describe('the embedded engine', () => describeStats([startEmbedded]));
needs('Java').describe('both engines', () => describeStats([startEmbedded, startLambda]));

async function startEmbedded(): Promise<Engine> {
  const server = await startServer({ http: { corsOrigins: ['https://app.example'] } });
  const ask: Ask = (path, headers = {}, method = 'GET') =>
    exchange(server.url, { path, headers, method });
  return {
    name: 'embedded',
    ask,
    async inflated(path) {
      const response = await fetch(server.url + path, { headers: gzip });
      const headers = Object.fromEntries(response.headers);
      return { status: response.status, headers, text: await response.text() };
    },
    async send(items) {
      const body = JSON.stringify({ processed_devices: items });
      const headers = { 'content-type': 'application/json' };
      await exchange(server.url, { method: 'POST', path: '/ingest', headers, body });
      await waitUntilCounted(server.url);
    },
    stop: () => server.stop(),
  };
}

async function startLambda(): Promise<Engine> {
  const aws = await startAws();
  const lambdas = await Lambdas.create(aws, { CORS_ORIGINS: 'https://app.example' });
  return {
    name: 'Lambda',
    ask: (path, headers = {}, method = 'GET') => lambdas.ask({ path, headers, method }),
    async inflated(path) {
      const answer = await lambdas.ask({ path, headers: gzip });
      return { ...answer, text: gunzipSync(Buffer.from(answer.text, 'base64')).toString() };
    },
    async send(items) {
      const body = JSON.stringify({ processed_devices: items });
      const headers = { 'content-type': 'application/json' };
      await lambdas.ask({ method: 'POST', path: '/ingest', headers, body });
      await lambdas.drain();
    },
    stop: () => aws.stop(),
  };
}

/** What differs between engines, or between a connection and none. */
const ownHeaders = new Set([
  ...['connection', 'content-length', 'date', 'keep-alive', 'transfer-encoding'],
  ...['pipeline-counted-through', 'pipeline-pending'],
]);

function common({ status, headers, text }: Received) {
  const kept = Object.entries(headers)
    .filter(([name]) => !ownHeaders.has(name))
    .map(([name, value]) => [name, name === 'x-request-id' ? 'of its own' : value]);
  return { status, headers: Object.fromEntries(kept) as Received['headers'], text };
}

const json = (received: Received) => JSON.parse(received.text) as unknown;

/** Each engine answers everything, and all of them alike. */
function describeStats(starts: readonly (() => Promise<Engine>)[]): void {
  let engines: readonly Engine[] = [];
  beforeAll(async () => {
    engines = await Promise.all(starts.map((start) => start()));
    await Promise.all(engines.map(({ send }) => send(seed)));
  });
  afterAll(() => Promise.all(engines.map(({ stop }) => stop())));

  /** The response of all engines. */
  async function answerOf(act: (engine: Engine) => Promise<Received>): Promise<Received> {
    const [first, ...others] = await Promise.all(engines.map(act));
    if (first === undefined) throw new Error('there is no engine');
    for (const other of others) expect(common(other)).toEqual(common(first));
    return first;
  }

  const ask = (...request: Parameters<Ask>) => answerOf((engine) => engine.ask(...request));

  describe('rows', () => {
    it.each([
      ['type', ['a', 'a#b', 'a%c', 'a-b', 'é', '\uffff', '\u{10000}']],
      ['type,state', ['a', 'a#b', 'a%c', 'a-b', 'é', '\uffff', '\u{10000}']],
    ])('grouped by %s are in the order of sort keys', async (groupBy, types) => {
      const rows = json(await ask(`/stats?date=2023-06-14&group_by=${groupBy}`)) as {
        type: string;
      }[];
      const sorted = types.toSorted((a, b) => Buffer.compare(keyOf(a), keyOf(b)));
      expect(rows.map(({ type }) => type)).toEqual(sorted);
    });

    it.each(['date', 'state', 'date,state', 'date,type', 'type', 'type,state', 'state,type,date'])(
      'grouped by %s sum up to what there is',
      async (groupBy) => {
        for (const filter of [
          '',
          '&state=erased',
          '&type=laptop&type=a%23b&state=erased&state=x',
        ]) {
          const range = `/stats?from=2023-06-13&to=2023-06-17${filter}`;
          const rows = json(await ask(range)) as Record<string, string | number>[];
          const groups = json(await ask(`${range}&group_by=${groupBy}`)) as typeof rows;
          const sums = new Map<string, number>();
          const names = ['date', 'type', 'state'].filter((name) =>
            groupBy.split(',').includes(name),
          );
          for (const row of rows) {
            const key = JSON.stringify(names.map((name) => row[name]));
            sums.set(key, (sums.get(key) ?? 0) + Number(row['count']));
          }
          const received = groups.map((row) => [
            JSON.stringify(names.map((name) => row[name])),
            Number(row['count']),
          ]);
          expect(new Map(received as [string, number][])).toEqual(sums);
          for (const row of groups) expect(Object.keys(row)).toEqual([...names, 'count']);
        }
      },
    );

    it('of a day without any are none, in each format', async () => {
      expect((await ask('/stats?date=2001-01-01')).text).toBe('[]');
      expect((await ask('/stats?date=2001-01-01&format=ndjson')).text).toBe('');
      expect((await ask('/stats?date=2001-01-01&format=csv')).text).toBe(
        'date,type,state,count\r\n',
      );
      expect((await ask('/stats?date=2001-01-01&format=markdown&group_by=state')).text).toBe(
        '| state | count |\n| --- | ---: |\n',
      );
      expect((await ask('/stats?date=2001-01-01&group_by=state')).text).toBe('[]');
    });
  });

  function keyOf(type: string): Buffer {
    return Buffer.from(`${type.replaceAll('%', '%25').replaceAll('#', '%23')}#`);
  }

  describe('the format', () => {
    const csv = 'text/csv; charset=utf-8; header=present';
    const markdown = 'text/markdown; charset=utf-8; variant=GFM';
    const chrome =
      'text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8';

    it.each([
      [undefined, 'application/json'],
      ['*/*', 'application/json'],
      [chrome, 'application/json'],
      ['text/html', 'application/json'],
      ['text/csv', csv],
      ['text/*', csv],
      ['text/csv, */*', csv],
      ['application/json;q=0.5, text/csv;q=0.6', csv],
      ['TEXT/CSV ; Q=1', csv],
      ['application/x-ndjson', 'application/x-ndjson'],
      ['text/markdown', markdown],
      ['text/csv;q=0.5, text/*', markdown],
      ['application/*;q=0.1, application/json;q=0', 'application/x-ndjson'],
      ['application/xml', 'application/json'],
      ['*/*;q=0', 'application/json'],
    ])('is by Accept: %s', async (accept, type) => {
      const answer = await ask('/stats?date=2023-06-16', accept === undefined ? {} : { accept });
      expect(answer.status).toBe(200);
      expect(answer.headers['content-type']).toBe(type);
      expect(answer.headers['vary']).toBe('Accept, Accept-Encoding, Origin');
    });

    it('is by the parameter, whatever Accept says', async () => {
      const answer = await ask('/stats?date=2023-06-16&format=csv', { accept: 'application/json' });
      expect(answer.headers['content-type']).toBe(csv);
    });

    it('of Markdown is a table, of counters and of sums', async () => {
      const table = await ask('/stats?date=2023-06-16&format=markdown');
      expect(table.headers['content-type']).toBe(markdown);
      expect(table.text).toBe(
        '| date | type | state | count |\n| --- | --- | --- | ---: |\n' +
          '| 2023-06-16 | laptop | erased | 2 |\n| 2023-06-16 | laptop | erasure failed | 1 |\n',
      );
      const sums = await ask('/stats?date=2023-06-16&group_by=type', { accept: 'text/markdown' });
      expect(sums.text).toBe('| type | count |\n| --- | ---: |\n| laptop | 3 |\n');
    });

    it('of CSV has a byte order mark in front if bom=1 requests it, otherwise none', async () => {
      const path = '/stats?date=2023-06-14&format=csv';
      const plain = await ask(path);
      expect(plain.text.startsWith('date,')).toBe(true);
      const marked = await ask(`${path}&bom=1`);
      expect(marked.text).toBe(`\ufeff${plain.text}`);
      expect(marked.headers['content-type']).toBe(csv);
      expect(marked.headers['etag']).not.toBe(plain.headers['etag']);
      const known = { 'if-none-match': String(marked.headers['etag']) };
      expect((await ask(`${path}&bom=1`, known)).status).toBe(304);
      expect((await ask(path, known)).status).toBe(200);
      const sums = await ask(`${path}&bom=1&group_by=state`);
      expect(sums.text).toBe('\ufeffstate,count\r\nx,7\r\n');
      expect((await ask('/stats?date=2023-06-14&bom=1')).status).toBe(400);
    });
  });

  describe('the ETag', () => {
    const path = '/stats?date=2023-06-16';
    const tagOf = async (from = path, headers = {}) =>
      String((await ask(from, headers)).headers['etag']);

    it('is answered with 304, which has the headers and no body', async () => {
      const first = await ask(path);
      const tag = String(first.headers['etag']);
      expect(tag).toMatch(/^W\/"[\w-]{22}"$/);
      for (const known of [tag, tag.slice(2), `"x", ${tag}`, `W/"y",${tag} , "z"`, '*']) {
        const again = await ask(path, { 'if-none-match': known });
        expect([again.status, again.text], known).toEqual([304, '']);
        for (const name of ['etag', 'cache-control', 'vary', 'pipeline-dead-letters']) {
          expect(again.headers[name], name).toBe(first.headers[name]);
        }
        for (const { ask: askOne } of engines) {
          const { headers } = await askOne(path, { 'if-none-match': known });
          expect(headers['pipeline-pending']).toMatch(/^0;unit=(?:items|messages)$/);
          expect(headers['content-type']).toBeUndefined();
        }
      }
      for (const unknown of ['"x"', tag.slice(3, -1), '', 'W/"', '"*"']) {
        expect((await ask(path, { 'if-none-match': unknown })).status, unknown).toBe(200);
      }
    });

    it('is of the format, the filter and the grouping', async () => {
      const queries = [
        ...['', '&format=csv', '&format=ndjson', '&format=markdown'],
        ...['&state=erased', '&group_by=type'],
      ];
      const tags = await Promise.all(queries.map((more) => tagOf(path + more)));
      expect(new Set([...tags, await tagOf(path, { accept: 'text/csv' })]).size).toBe(
        queries.length,
      );
    });

    it('stays while other days are counted, and goes when its own is', async () => {
      const [old, other] = [await tagOf(), await tagOf('/stats?date=2023-06-12')];
      for (const { send } of engines) await send([item('laptop', 'erased', 12)]);
      expect((await ask(path, { 'if-none-match': old })).status).toBe(304);
      const changed = await ask('/stats?date=2023-06-12', { 'if-none-match': other });
      expect(changed.status).toBe(200);
      expect(json(changed)).toHaveLength(1);
    });
  });

  describe('HEAD', () => {
    it.each([
      '/stats?date=2023-06-16',
      '/stats?date=2023-06-13&format=csv',
      '/stats?date=x',
      '/stats-html?date=2023-06-13',
    ])('has the headers of GET and no body: %s', async (path) => {
      const same = (head: Received, get: Received) => {
        expect(head.text).toBe('');
        expect(common({ ...head, text: get.text })).toEqual(common(get));
      };
      same(await ask(path, {}, 'HEAD'), await ask(path));
      const packed = await ask(path, gzip, 'HEAD');
      if (packed.headers['content-encoding'] === 'gzip') {
        same(packed, await answerOf(({ inflated }) => inflated(path)));
      }
      const [engine] = engines;
      const [get, head] = [await engine?.ask(path), await engine?.ask(path, {}, 'HEAD')];
      expect(head?.headers['content-length']).toBe(get?.headers['content-length']);
    });
  });

  describe('compression', () => {
    it('is of what is large, by Accept-Encoding, and of what it holds nothing is lost', async () => {
      for (const path of ['/stats?date=2023-06-13', '/stats-html?date=2023-06-13']) {
        const plain = await ask(path);
        expect(plain.headers['content-encoding']).toBeUndefined();
        const packed = await answerOf(({ inflated }) => inflated(path));
        expect(packed.headers['content-encoding']).toBe('gzip');
        expect(packed.headers['vary']).toMatch(/Accept-Encoding, Origin$/);
        expect(packed.headers['etag']).toBe(plain.headers['etag']);
        expect(packed.text).toBe(plain.text);
      }
      for (const value of ['gzip;q=0', 'identity', 'br', 'identity;q=1, gzip;q=0.5']) {
        const { headers } = await ask('/stats?date=2023-06-13', { 'accept-encoding': value });
        expect(headers['content-encoding'], value).toBeUndefined();
      }
      const { headers } = await ask('/stats?date=2023-06-16', gzip);
      expect(headers['content-encoding']).toBeUndefined();
    });
  });

  describe('for pages of other origins', () => {
    it('pages may read the headers, and Vary names the origin', async () => {
      const { headers } = await ask('/stats?date=2023-06-16', { origin: 'https://app.example' });
      expect(headers['vary']).toBe('Accept, Accept-Encoding, Origin');
      const exposed = String(headers['access-control-expose-headers']).split(', ');
      expect(exposed).toEqual(
        expect.arrayContaining([
          'ETag',
          'Pipeline-Counted-Through',
          'Pipeline-Pending',
          'Pipeline-Dead-Letters',
        ]),
      );
    });
  });

  describe('what is wrong', () => {
    it.each([
      ['/stats?date=2023-06-16&stat=erased', 'unknown_parameter'],
      ['/stats?date=2023-06-16&state=', 'invalid_filter'],
      [`/stats?date=2023-06-16&type=${'x'.repeat(129)}`, 'invalid_filter'],
      ['/stats?date=2023-06-16&type=laptop%20', 'invalid_filter'],
      ['/stats?date=2023-06-16&type=%ff', 'invalid_filter'],
      ['/stats?date=2023-06-16&type=%zz', 'invalid_filter'],
      ['/stats-html?date=2023-06-16&type=x', 'unknown_parameter'],
      ['/stats?date=2023-06-16&format=xlsx', 'invalid_format'],
    ])('has its code, and is not cached: %s', async (path, code) => {
      const answer = await ask(path);
      expect(answer.status).toBe(400);
      expect(json(answer)).toMatchObject({ code });
      expect(answer.headers['cache-control']).toBe('no-store');
      expect(answer.headers['etag']).toBeUndefined();
    });
  });

  describe('the page of a day', () => {
    it('leads to the days around it', async () => {
      const { text } = await ask('/stats-html?date=2023-03-01');
      expect(text).toContain('<a href="?date=2023-02-28" rel="prev">');
      expect(text).toContain('<a href="?date=2023-03-02" rel="next">');
      expect((await ask('/stats-html?date=0001-01-01')).text).not.toContain('rel="prev"');
      expect((await ask('/stats-html?date=9999-12-31')).text).not.toContain('rel="next"');
    });

    it('shows each share, and has a bar for it', async () => {
      const { text } = await ask('/stats-html?date=2023-06-16');
      const shares = [
        ...text.matchAll(/<rect width="([\d.]+%)" height="100%"><\/rect><\/svg>([\d.]+%)/g),
      ];
      expect(shares.map(([, width, share]) => [width, share])).toEqual([
        ['100.0%', '66.7%'],
        ['50.0%', '33.3%'],
      ]);
    });
  });
}
