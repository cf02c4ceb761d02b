import { expect } from 'vitest';

import { becomes, count, dashboards, expectSound, fleet, items } from '../../support/dashboard.ts';
import { postBatch } from '../../support/server.ts';
import { needs } from '../../support/run/needs.ts';

const { describe, it } = needs('Chromium');
const { blank, pages, serve, open } = dashboards();

describe('the first load', () => {
  it('is below 60 KB', () => {
    let bytes = 0;
    for (const answer of pages().values()) {
      const { headers, body } = answer(new Headers({ 'accept-encoding': 'gzip' }));
      expect(headers['content-encoding']).toBe('gzip');
      bytes += body.length;
    }
    expect(pages().size).toBe(4);
    expect(bytes).toBeLessThan(60_000);
  });
});

describe('the dashboard of an empty store', () => {
  it('says how to send the first batch, and shows it once it is counted', async () => {
    const url = await serve();
    const tab = await open(url);
    await tab.page.getByText('Ready for the first batch').waitFor();
    const said = await tab.page.locator('pre').allInnerTexts();
    expect(said[0]).toContain(`curl ${url}/ingest`);
    expect(said[1]).toBe(`npx device-pipeline feed ${url}`);
    await expectSound(tab);
    // What it says is what works.
    const [, body = ''] = /-d '([^']+)'/.exec(said[0] ?? '') ?? [];
    expect((await postBatch(url, body)).status).toBe(200);
    await becomes(tab.page, 'Events', '1');
    // Who has sent the first sees the next ones, too.
    expect(new URL(tab.page.url()).search).toBe('?live=1');
    await count(url, items(0, 'laptop', 'erased', 2));
    await becomes(tab.page, 'Events', '3');
    await expectSound(tab);
  });
});

describe('the first batch, while it waits to be counted', () => {
  it('is reported, and shown once it is counted', async () => {
    const url = await serve();
    const tab = await blank();
    const ready = { status: 'ready', pending_messages: 20, last_received_at: new Date() };
    await tab.page.route('**/readyz', (route) => route.fulfill({ json: ready }));
    await tab.page.goto(url);
    await tab.page.getByText('20 messages wait to be counted').waitFor();
    await count(url, fleet);
    await becomes(tab.page, 'Events', '12');
    await expectSound(tab);
  });
});

describe('the health of the pipeline', () => {
  it('includes the archive', async () => {
    const url = await serve();
    await count(url, fleet);
    const tab = await blank();
    const archive = { mode: 'async', lag_bytes: 0, lag_seconds: 3 };
    const ready = { status: 'ready', pending_items: 0, dead_letters: 0, archive };
    await tab.page.route('**/readyz', (route) => route.fulfill({ json: ready }));
    await tab.page.goto(url);
    await tab.page.getByText('Archived').waitFor();
    ready.archive = { ...archive, lag_bytes: 10, lag_seconds: 720 };
    await tab.page.reload();
    await tab.page.getByText('Archive 12 min behind').waitFor();
    Object.assign(ready.archive, { problem: 'It is away.' });
    await tab.page.reload();
    await tab.page.getByText('The archive cannot be reached, 12 min behind').waitFor();
    Object.assign(ready, {
      ...{ dead_letters: 3, dead_letter_reasons: [{ reason: 'too old', count: 3 }] },
      version: '1.2.3',
    });
    await tab.page.reload();
    await tab.page.getByText('3 dead letters').click();
    const panel = tab.page.locator('.panel');
    await panel.getByText('3 × too old').waitFor();
    for (const text of ['It is away.', '1.2.3', 'Counted through', 'Days as written']) {
      expect(await panel.innerText()).toContain(text);
    }
    await expectSound(tab);
  });
});
