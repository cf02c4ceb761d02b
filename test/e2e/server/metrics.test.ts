import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { pathToFileURL } from 'node:url';

import { describe, expect, it } from 'vitest';

import { dataPaths } from '../../../src/engines/embedded/data-directory.ts';
import { changeTokens } from '../../../src/engines/embedded/tokens/token-file.ts';
import { tokenHash } from '../../../src/auth/token.ts';
import { readExposition, type Scraped } from '../../support/exposition.ts';
import {
  holdDatabase,
  startServer,
  temporaryDirectory,
  waitUntil,
} from '../../support/processes/server-process.ts';
import { exchange, postBatch, waitUntilCounted } from '../../support/server.ts';

const good = { type: 'laptop', state: 'erased', timestamp: '2023-06-16T13:00:00Z' };

async function scrape(url: string, headers: Record<string, string> = {}): Promise<Scraped> {
  const { status, headers: received, text } = await exchange(url, { path: '/metrics', headers });
  expect(status).toBe(200);
  expect(received['content-type']).toBe('text/plain; version=0.0.4; charset=utf-8');
  return readExposition(text);
}

/** The changed samples of two scrapes, with their differences. */
function changes(before: Scraped, after: Scraped): Record<string, number> {
  const pairs = [...after.samples].map(([name, value]): [string, number] => [
    name.replace(/^device_pipeline_/, ''),
    value - (before.samples.get(name) ?? 0),
  ]);
  const isOurs = ([name]: [string, number]) =>
    /^(http_requests|problems|batches|items|item_errors|body)/.test(name);
  return Object.fromEntries(pairs.filter((pair) => isOurs(pair) && pair[1] !== 0));
}

/** A client whose body is too large and that disconnects at the refusal. */
async function refusedInTheMiddle(port: number): Promise<void> {
  const socket = connect(port, '127.0.0.1');
  const head = 'POST /ingest HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n';
  socket.write(`${head}content-length: 5000000\r\n\r\n${'x'.repeat(100_000)}`);
  socket.once('data', () => socket.end());
  await once(socket, 'close');
}

describe('GET /metrics', () => {
  it('counts what is accepted and refused, and by which code', async () => {
    const { url } = await startServer(temporaryDirectory(), { args: ['--max-body', '4KiB'] });
    const before = await scrape(url);
    const body = JSON.stringify({ processed_devices: [good, good] });
    for (let sent = 0; sent < 3; sent++) await postBatch(url, body);
    const mixed = JSON.stringify({ processed_devices: [good, { ...good, timestamp: 'never' }] });
    await postBatch(url, mixed);
    await postBatch(url, '{');
    await postBatch(url, 'x'.repeat(5000));
    await refusedInTheMiddle(Number(new URL(url).port));
    await exchange(url, { path: '/stats?date=no' });
    for (const path of ['/a', '/b?c', '/wp-login.php']) await exchange(url, { path });
    await exchange(url, { method: 'BREW', path: '/stats' });
    await waitUntilCounted(url);
    const after = await scrape(url);

    const changed = changes(before, after);
    // However often the test asked whether all is counted.
    delete changed['http_requests_total{route="/readyz",method="GET",status="200"}'];
    expect(changed).toEqual({
      'http_requests_total{route="/ingest",method="POST",status="200"}': 4,
      'http_requests_total{route="/ingest",method="POST",status="400"}': 1,
      'http_requests_total{route="/ingest",method="POST",status="413"}': 2,
      'http_requests_total{route="/stats",method="GET",status="400"}': 1,
      'http_requests_total{route="other",method="GET",status="404"}': 3,
      'http_requests_total{route="other",method="other",status="400"}': 1,
      'http_requests_total{route="/metrics",method="GET",status="200"}': 1,
      'problems_total{code="invalid_json"}': 1,
      'problems_total{code="body_too_large"}': 2,
      'problems_total{code="invalid_date"}': 1,
      'problems_total{code="not_found"}': 3,
      'problems_total{code="malformed_request"}': 1,
      batches_accepted_total: 4,
      items_accepted_total: 7,
      items_refused_total: 1,
      'item_errors_total{code="not_rfc3339"}': 1,
      body_received_bytes_total: 3 * body.length + mixed.length + 1,
      body_accepted_bytes_total: 3 * body.length + mixed.length,
    });
    const value = (name: string) => after.samples.get(`device_pipeline_${name}`);
    expect(value('http_request_duration_seconds_count{route="/ingest"}')).toBe(7);
    expect(value('log_commit_duration_seconds_count')).toBeGreaterThanOrEqual(4);
    expect(value('log_fsync_duration_seconds_count')).toBeGreaterThanOrEqual(4);
    expect(value('sqlite_transaction_duration_seconds_count')).toBeGreaterThanOrEqual(1);
    expect(value('backlog_items')).toBe(0);
    expect(value('log_end_bytes')).toBeGreaterThan(body.length);
    expect(value('scrape_missing{part="disk"}')).toBe(0);
  });

  it('answers while nothing can be counted or accepted, and reports the backlog', async () => {
    const dataDir = temporaryDirectory();
    const { url } = await startServer(dataDir, { args: ['--max-backlog', '4KiB'] });
    const lock = holdDatabase(dataDir);
    let accepted = 0;
    await waitUntil('a refusal', async () => {
      const { status } = await postBatch(url, JSON.stringify({ processed_devices: [good, good] }));
      if (status === 200) accepted += 2;
      return status === 503;
    });
    const { samples } = await scrape(url);
    const value = (name: string) => samples.get(`device_pipeline_${name}`);
    expect(value('backlog_items')).toBe(accepted);
    expect(value('backlog_bytes')).toBeGreaterThan(4096);
    expect(value('backlog_age_seconds')).toBeGreaterThan(0);
    expect(value('problems_total{code="overloaded"}')).toBe(1);
    lock.release();
    await waitUntilCounted(url);
    expect((await scrape(url)).samples.get('device_pipeline_backlog_items')).toBe(0);
  });

  it('needs a token with the scope read, and counts refusals of others', async () => {
    const dataDir = temporaryDirectory();
    changeTokens(dataPaths(dataDir), () => [
      { name: 'prometheus', sha256: tokenHash('reads'), for: ['read'], expiresAt: undefined },
      { name: 'gateway', sha256: tokenHash('sends'), for: ['ingest'], expiresAt: undefined },
    ]);
    const { url } = await startServer(dataDir);
    const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
    const status = async (headers: Record<string, string>) =>
      (await exchange(url, { path: '/metrics', headers })).status;
    expect(await status({})).toBe(401);
    expect(await status(bearer('sends'))).toBe(403);
    expect((await postBatch(url, [good], {})).status).toBe(401);
    const { samples } = await scrape(url, bearer('reads'));
    expect(samples.get('device_pipeline_problems_total{code="unauthorized"}')).toBe(2);
    expect(samples.get('device_pipeline_problems_total{code="forbidden"}')).toBe(1);
  });

  it('answers in OpenMetrics if Accept asks for it', async () => {
    const { url } = await startServer(temporaryDirectory());
    const accept = 'application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5';
    const { headers, text } = await exchange(url, { path: '/metrics', headers: { accept } });
    expect(headers['content-type']).toMatch(/^application\/openmetrics-text; version=1\.0\.0/);
    expect(text).toMatch(/\n# EOF\n$/);
    expect(text).toContain('# TYPE device_pipeline_batches_accepted counter\n');
    expect(text).toContain('\ndevice_pipeline_batches_accepted_total 0\n');
    const encoding = { accept, 'accept-encoding': 'gzip' };
    const compressed = await exchange(url, { path: '/metrics', headers: encoding });
    expect(compressed.headers).toMatchObject({
      ...{ 'content-encoding': 'gzip', vary: 'Accept, Accept-Encoding' },
    });
    for (const weight of [
      'application/openmetrics-text;q=0',
      'application/openmetrics-text;q=0.2, text/plain',
    ]) {
      const plain = await exchange(url, { path: '/metrics', headers: { accept: weight } });
      expect(plain.headers['content-type']).toMatch(/^text\/plain/);
    }
  });
});

interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly gridPos: {
    readonly h: number;
    readonly w: number;
    readonly x: number;
    readonly y: number;
  };
  readonly fieldConfig?: { readonly defaults: { readonly unit?: string } };
  readonly targets?: readonly { readonly expr: string }[];
}

interface Dashboard {
  readonly schemaVersion: number;
  readonly templating: {
    readonly list: readonly { readonly name: string; readonly type: string }[];
  };
  readonly panels: readonly Panel[];
}

/** The names of metrics in an expression, without those of functions and labels. */
function metricNames(expression: string): string[] {
  return expression.match(/\b(?:device_pipeline|nodejs|process)_\w+/g) ?? [];
}

/** A server that has all metrics: it archives its log. */
async function startArchivingServer(): Promise<string> {
  const archive = pathToFileURL(temporaryDirectory()).href;
  const { url } = await startServer(temporaryDirectory(), { args: ['--archive', archive] });
  return url;
}

describe('the files for Prometheus and Grafana', () => {
  const file = (name: string) =>
    readFileSync(new URL(`../../../docs/${name}`, import.meta.url), 'utf8');

  it('name only metrics that a scrape has', async () => {
    const url = await startArchivingServer();
    await postBatch(url, [good]);
    const dashboard = JSON.parse(file('grafana/device-pipeline.json')) as Dashboard;
    const used = [
      ...dashboard.panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr)),
      ...[...file('prometheus/alerts.yml').matchAll(/^ +expr:([^]*?)^ +for:/gm)].map(
        ([, e = '']) => e,
      ),
    ].flatMap(metricNames);
    expect(new Set(used).size).toBeGreaterThan(30);
    // Values from other threads and garbage collections arrive some time later.
    let names: ReadonlySet<string> = new Set();
    await expect
      .poll(async () => {
        ({ names } = await scrape(url));
        return used.filter((name) => !names.has(name));
      })
      .toEqual([]);
    // The dashboard must show all of our metrics.
    const shown = new Set(used.map((name) => name.replace(/_(bucket|sum|count)$/, '')));
    const ours = [...names].filter((name) => name.startsWith('device_pipeline_'));
    const unseen = ours.filter((name) => !shown.has(name.replace(/_(bucket|sum|count)$/, '')));
    expect(unseen).toEqual(['device_pipeline_build_info']);
  });

  it('are explained by docs/operations.md, which has the help text of each metric', async () => {
    const url = await startArchivingServer();
    const { families } = await scrape(url);
    const ours = [...families].filter(([name]) => name.startsWith('device_pipeline_'));
    const item = /^- `(\w+)` \((counter|gauge|histogram)\): ([^]*?)(?=\n- |\n\n)/gm;
    const items = [...file('operations.md').matchAll(item)].map(
      ([, name = '', type, text = '']) => ({
        name: `device_pipeline_${name}`,
        type,
        text: text.replaceAll(/\s+/g, ' '),
      }),
    );
    expect(items.map(({ name }) => name).sort()).toEqual(ours.map(([name]) => name).sort());
    for (const { name, type, text } of items) {
      const family = families.get(name);
      expect(family?.type, name).toBe(type);
      expect(text.slice(0, family?.help.length), name).toBe(family?.help);
    }
  });

  it('contain a dashboard that Grafana can display', () => {
    const { schemaVersion, templating, panels } = JSON.parse(
      file('grafana/device-pipeline.json'),
    ) as Dashboard;
    expect(schemaVersion).toBeGreaterThanOrEqual(36);
    expect(templating.list).toContainEqual(
      expect.objectContaining({ name: 'datasource', type: 'datasource' }),
    );
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    const rows = panels.filter(({ type }) => type === 'row').map(({ title }) => title);
    expect(rows).toEqual([
      ...['Traffic', 'Correctness', 'Latency', 'Backlog', 'Resources', 'Archive'],
    ]);
    const cells = new Set<string>();
    for (const { title, type, gridPos, fieldConfig } of panels) {
      if (type !== 'row') expect(fieldConfig?.defaults.unit, title).toBeTruthy();
      const { x, y, w, h } = gridPos;
      expect(x + w, title).toBeLessThanOrEqual(24);
      for (let at = 0; at < w * h; at++) {
        const cell = `${x + (at % w)},${y + Math.floor(at / w)}`;
        expect(cells.has(cell), `${title} at ${cell}`).toBe(false);
        cells.add(cell);
      }
    }
  });

  it('contain alerts that say what to do', () => {
    const headings = [...file('operations.md').matchAll(/^#+ (.+)$/gm)].map(([, title = '']) =>
      title
        .toLowerCase()
        .replace(/[^\w -]/g, '')
        .replaceAll(' ', '-'),
    );
    const alerts = file('prometheus/alerts.yml');
    const links = [...alerts.matchAll(/runbook: docs\/operations\.md#(\S+)/g)];
    expect(links.length).toBe([...alerts.matchAll(/- alert: /g)].length);
    for (const [, anchor] of links) expect(headings).toContain(anchor);
  });
});
