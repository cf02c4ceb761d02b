import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';

import type { Browser, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, expect } from 'vitest';

import { tokenHash, type Scope } from '../../src/auth/token.ts';
import { readPages } from '../../src/entry/pages.ts';
import { serverAccess, TokenTable } from '../../src/auth/access.ts';
import type { Pages } from '../../src/http/app/pages.ts';
import { buildDashboard } from '../../tools/build-dashboard.ts';
import {
  expectAccessible,
  launchBrowser,
  openTab,
  overflowOf,
  type Tab,
} from '../support/browser.ts';
import { afterTest, temporaryDirectory, undoAll } from '../support/processes/real-server.ts';
import {
  exchange,
  postBatch,
  startServer,
  waitUntilCounted,
  type TestServerOptions,
} from '../support/server.ts';
import { needs } from '../support/run/needs.ts';

const { describe, it } = needs('Chromium');

let browser: Browser;
let pages: Pages;

beforeAll(async () => {
  const directory = join(temporaryDirectory(), 'dashboard');
  await buildDashboard(directory);
  pages = readPages(directory);
  browser = await launchBrowser();
});
afterEach(undoAll);
afterAll(() => browser.close());

interface Item {
  readonly type: string;
  readonly state: string;
  readonly timestamp: string;
}

async function serve(http: TestServerOptions['http'] = {}): Promise<string> {
  const server = await startServer({ http: { pages, ...http } });
  afterTest(() => server.stop());
  return server.url;
}

const dayAgo = (days: number) =>
  new Date(Date.now() - days * 86_400_000).toISOString().slice(0, 10);
const items = (days: number, type: string, state: string, count: number): Item[] =>
  Array.from({ length: count }, () => ({ type, state, timestamp: `${dayAgo(days)}T00:00:00Z` }));

async function count(url: string, batch: readonly Item[]): Promise<void> {
  expect((await postBatch(url, batch)).status).toBe(200);
  await waitUntilCounted(url);
}

const fleet = [
  ...items(0, 'laptop', 'erased', 6),
  ...items(1, 'laptop', 'erasure failed', 2),
  ...items(2, 'phone', 'erased', 4),
  ...items(40, 'server', 'erased', 5),
];

async function open(url: string, path = '/', options: Parameters<typeof openTab>[1] = {}) {
  const tab = await openTab(browser, options);
  await tab.page.goto(url + path);
  return tab;
}

/** The dashboard of a server that has counted the fleet. */
async function openFleet(path = '/', options: Parameters<typeof openTab>[1] = {}) {
  const url = await serve();
  await count(url, fleet);
  const tab = await open(url, path, options);
  await tab.page.waitForSelector('.rows');
  return { url, ...tab };
}

const figure = (page: Page, name: string) =>
  page.locator('.figures > div', { hasText: name }).locator('strong');
const button = (page: Page, name: string | RegExp) => page.getByRole('button', { name });
const cells = (page: Page, column: string) => page.locator(`td.${column}`).allInnerTexts();
const becomes = (page: Page, name: string, value: string) =>
  figure(page, name)
    .filter({ hasText: new RegExp(`^${value}$`) })
    .waitFor();

async function expectSound({ page, complaints }: Tab): Promise<void> {
  await expectAccessible(page);
  expect(await overflowOf(page)).toBeLessThanOrEqual(0);
  expect(complaints).toEqual([]);
}

async function download(page: Page, name: string): Promise<string> {
  const [file] = await Promise.all([page.waitForEvent('download'), button(page, name).click()]);
  return await readFile(await file.path(), 'utf8');
}

describe('the first load', () => {
  it('is below 150 KB', () => {
    let bytes = 0;
    for (const answer of pages.values()) {
      const { headers, body } = answer(new Headers({ 'accept-encoding': 'gzip' }));
      expect(headers['content-encoding']).toBe('gzip');
      bytes += body.length;
    }
    expect(pages.size).toBe(4);
    expect(bytes).toBeLessThan(150_000);
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
    const tab = await openTab(browser);
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
    const tab = await openTab(browser);
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
    await expectSound(tab);
  });
});

describe('the dashboard', () => {
  it('shows totals, the change, failures, a heat map and the rows', async () => {
    const tab = await openFleet();
    const { page } = tab;
    expect(await figure(page, 'Events').innerText()).toBe('12');
    expect(await page.locator('.figures').innerText()).toContain('+140%');
    expect(await figure(page, 'Failure rate').innerText()).toBe('16.67%');
    expect(await page.locator('.heat tbody tr').count()).toBe(2);
    expect(await page.getByRole('img', { name: /Events per day by state/ }).count()).toBe(1);
    await page.locator('.behind summary').first().click();
    expect(await page.locator('.behind table').first().innerText()).toContain(dayAgo(1));
    expect(await page.locator('tbody td.count').count()).toBe(3);
    await expectSound(tab);
  });

  it('keeps in its URL what it shows, so that one can go back and share it', async () => {
    const { page } = await openFleet();
    await button(page, '90 days').click();
    await becomes(page, 'Events', '17');
    await button(page, 'By type').click();
    await page.locator('.legend', { hasText: 'server' }).waitFor();
    await page.locator('summary', { hasText: 'State' }).click();
    await page.getByLabel('erased', { exact: true }).check();
    await becomes(page, 'Events', '15');
    expect(new URL(page.url()).search).toBe('?range=90&state=erased&split=type');
    const shared = await open(page.url(), '');
    await becomes(shared.page, 'Events', '15');
    await page.goBack();
    await becomes(page, 'Events', '17');
    await page.goBack();
    await page.locator('.legend', { hasText: 'erasure failed' }).waitFor();
    await page.goBack();
    await becomes(page, 'Events', '12');
    await page.goForward();
    await becomes(page, 'Events', '17');
  });

  it('takes other days and other words for failures', async () => {
    const { page } = await openFleet();
    await page.getByLabel('Failures contain').fill('erased');
    await page.getByLabel('Failures contain').press('Enter');
    await becomes(page, 'Failures', '10');
    await page.getByLabel('From').fill(dayAgo(0));
    await becomes(page, 'Events', '6');
    await page.getByLabel('From').fill(dayAgo(-3));
    await page.getByText('at most 366 days').waitFor();
    expect(new URL(page.url()).search).toBe(`?from=${dayAgo(0)}&to=${dayAgo(0)}&fail=erased`);
  });

  it('says so where nothing is counted, and leads to where something is', async () => {
    const tab = await openFleet().then(async (fleetTab) => {
      await fleetTab.page.goto(`${fleetTab.url}/?from=${dayAgo(20)}&to=${dayAgo(10)}`);
      return fleetTab;
    });
    await tab.page.getByText('No counts here').waitFor();
    await expectSound(tab);
    await tab.page.locator('.notice button').click();
    await becomes(tab.page, 'Events', '17');
  });

  it('leads to the days of events that are years old', async () => {
    const url = await serve();
    const day = dayAgo(1250);
    await count(url, items(1250, 'laptop', 'erased', 3));
    const { page } = await open(url);
    await page.getByText('No counts here').waitFor();
    await button(page, /^Show /).click();
    await becomes(page, 'Events', '3');
    expect(new URL(page.url()).search).toBe(`?from=${day}&to=${day}`);
  });

  it('shows of an address what makes sense', async () => {
    const address = `/?from=0000-01-01&to=0000-01-02&type=&type=%01&state=${'x'.repeat(200)}`;
    const tab = await openFleet(address);
    expect(await figure(tab.page, 'Events').innerText()).toBe('12');
    await tab.page.goto(`${tab.url}/?from=0001-01-01&to=0001-01-02`);
    await tab.page.getByText('No counts here').waitFor();
    await button(tab.page, '7 days').click();
    await becomes(tab.page, 'Events', '12');
    await expectSound(tab);
  });

  it('does not ask again for what is refused for good, and lets one ask for something else', async () => {
    const url = await serve();
    await count(url, fleet);
    const { page, answers } = await openTab(browser);
    await page.clock.install();
    await page.route('**/stats?**', (route) => {
      const json = { code: 'answer_too_large', detail: 'Ask for less.' };
      return route.request().url().includes('laptop')
        ? route.fulfill({ status: 400, json })
        : route.continue();
    });
    await page.goto(`${url}/?type=laptop&live=1`);
    await page.getByText('These counts are not available').waitFor();
    await page.getByText('Ask for less.', { exact: true }).waitFor();
    const asked = answers.filter(({ path }) => path.includes('laptop')).length;
    await page.clock.runFor(120_000);
    expect(answers.filter(({ path }) => path.includes('laptop'))).toHaveLength(asked);
    await page.locator('summary', { hasText: 'Type' }).click();
    await button(page, 'Show all').click();
    await becomes(page, 'Events', '12');
    expect(await page.getByRole('alert').count()).toBe(0);
  });

  it('a tick in a filter leaves the keyboard where it is', async () => {
    const { page } = await openFleet();
    await page.locator('summary', { hasText: 'Type' }).click();
    const offered = () => page.locator('.choices:visible label').allInnerTexts();
    const focused = () => page.evaluate('document.activeElement.parentElement?.innerText.trim()');
    const before = await offered();
    await page.getByLabel('phone', { exact: true }).focus();
    for (const events of ['4', '12', '4']) {
      await page.keyboard.press('Space');
      await becomes(page, 'Events', events);
      expect(await focused()).toBe('phone');
      expect(await offered()).toEqual(before);
    }
    await page.keyboard.press('Escape');
    await page.locator('summary', { hasText: 'Type' }).click();
    expect(await offered()).toEqual(['phone', 'laptop']);
  });

  it('takes back days that make no range when a preset is chosen', async () => {
    const { page } = await openFleet();
    await page.getByLabel('From').fill(dayAgo(-3));
    await page.getByText('at most 366 days').waitFor();
    await button(page, '30 days').click();
    await page.getByText('at most 366 days').waitFor({ state: 'detached' });
    expect(await page.getByLabel('From').inputValue()).toBe(dayAgo(29));
  });

  it('the range of the numbers is shown while others are loaded, and presets end today', async () => {
    const url = await serve();
    await count(url, fleet);
    const { page } = await openTab(browser);
    await page.clock.install();
    await page.goto(`${url}/?range=today`);
    await becomes(page, 'Events', '6');
    const { promise, resolve } = Promise.withResolvers<undefined>();
    await page.route(/\/stats/, async (route) => {
      await promise;
      await route.continue();
    });
    await button(page, '7 days').click();
    await page.locator('.dashboard.old').getByText('Loading …').waitFor();
    await expectAccessible(page);
    resolve(undefined);
    await becomes(page, 'Events', '12');
    expect(await page.locator('.old').count()).toBe(0);
    await button(page, 'Today').click();
    await becomes(page, 'Events', '6');
    await page.clock.setSystemTime(Date.now() + 86_400_000);
    await page.clock.runFor(6_000);
    await page.getByText('No counts here').waitFor();
    // The button goes away with the page that had it; the keyboard goes on from there.
    await page.locator('.notice button').press('Enter');
    await becomes(page, 'Events', '17');
    expect(await page.evaluate('document.activeElement.id')).toBe('main');
  });

  it('quick clicks while the server is slow leave nothing behind', async () => {
    const tab = await openFleet();
    const { page } = tab;
    await page.route(/\/(stats|readyz)/, async (route) => {
      await setTimeout(300);
      await route.continue().catch(() => undefined);
    });
    for (const name of ['7 days', '90 days', 'Today', 'Year', '30 days', '90 days']) {
      await button(page, name).click();
    }
    await becomes(page, 'Events', '17');
    expect(tab.complaints).toEqual([]);
  });

  it('waits its turn where it may ask only so often', async () => {
    const access = serverAccess({
      tokens: () => new TokenTable(undefined),
      isOpenWithoutTokens: true,
      rate: { perSecond: 2, burst: 2 },
    });
    const url = await serve({ access });
    expect((await postBatch(url, fleet)).status).toBe(200);
    const { page, answers } = await open(url);
    await becomes(page, 'Events', '12');
    expect(answers.some(({ status }) => status === 429)).toBe(true);
  });

  it('sorts its rows, finds a text in them, and saves them as /stats does', async () => {
    const url = await serve();
    const hostile = ['=1+1', '<img src=x onerror=alert(1)>', 'a"b,c', "'x", '\u202eabc', '🙂'];
    await count(
      url,
      hostile.flatMap((name, index) => items(index % 3, name, 'failed', index + 1)),
    );
    const { page } = await open(url, '/?range=7');
    await page.waitForSelector('.rows');
    const stats = `/stats?from=${dayAgo(6)}&to=${dayAgo(0)}&format=csv&bom=1`;
    const whole = await exchange(url, { path: stats });
    expect(await download(page, 'Download CSV')).toBe(whole.text);
    await button(page, 'Count').click();
    expect(await cells(page, 'count')).toEqual(['6', '5', '4', '3', '2', '1']);
    expect(await page.locator('th.count').getAttribute('aria-sort')).toBe('descending');
    const [head = '', ...rest] = whole.text.trimEnd().split('\r\n');
    const countOf = (line: string) => Number(line.slice(line.lastIndexOf(',') + 1));
    const descending = rest.sort((a, b) => countOf(b) - countOf(a));
    expect(await download(page, 'Download CSV')).toBe(`${[head, ...descending].join('\r\n')}\r\n`);
    await page.getByLabel('Filter the rows').fill('onerror');
    await page.locator('.pager', { hasText: '1–1 of 1' }).waitFor();
    const filter = `&type=${encodeURIComponent('<img src=x onerror=alert(1)>')}`;
    const found = await exchange(url, { path: stats + filter });
    expect(await download(page, 'Download CSV')).toBe(found.text);
    await page.getByLabel('Filter the rows').fill('');
    await button(page, 'Count').click();
    await button(page, 'Count').click();
    await button(page, 'All days').click();
    const sums = await exchange(url, { path: `${stats}&group_by=type,state` });
    expect(await download(page, 'Download CSV')).toBe(sums.text);
    expect(new URL(page.url()).search).toBe('?range=7&rows=range');
  });
});

describe('the days', () => {
  /** A moment at which it is the next day in Auckland, and the same one in Honolulu still. */
  const now = new Date('2026-11-28T20:30:00Z');
  const event = (timestamp: string) => ({ type: 'laptop', state: 'erased', timestamp });
  const title = (page: Page) => page.locator('#figures-title');

  /** As in `open`, at that moment by the clock of a viewer somewhere. */
  async function openAt(timezoneId: string, url: string, path = '/?range=today') {
    const tab = await openTab(browser, { timezoneId });
    await tab.page.clock.setFixedTime(now);
    await tab.page.goto(url + path);
    return tab;
  }

  it('end with the viewer, or later where counts are; and what a day is, is named', async () => {
    const url = await serve();
    await count(
      url,
      Array.from({ length: 6 }, () => event('2026-11-29T09:00:00+13:00')),
    );
    for (const zone of ['Pacific/Auckland', 'UTC', 'Pacific/Honolulu']) {
      const tab = await openAt(zone, url);
      await becomes(tab.page, 'Events', '6');
      await tab.page.getByText('Days as written in the timestamps').waitFor();
      const isThere = zone === 'Pacific/Auckland';
      expect(await title(tab.page).innerText()).toBe(
        isThere ? '29 Nov 2026' : '28 Nov 2026 – 29 Nov 2026',
      );
      expect(tab.complaints).toEqual([]);
    }
  });

  it('of one wrong clock are reported, and change no preset', async () => {
    const url = await serve();
    await count(url, [event('2026-11-28T10:00:00Z'), event('9999-12-31T10:00:00Z')]);
    const tab = await openAt('UTC', url);
    await becomes(tab.page, 'Events', '1');
    expect(await title(tab.page).innerText()).toBe('28 Nov 2026');
    await expectSound(tab);
    await button(tab.page, '31 Dec 9999').click();
    await title(tab.page).filter({ hasText: '31 Dec 9999' }).waitFor();
    await becomes(tab.page, 'Events', '1');
  });

  it('of a clock that is wrong by weeks are reported if the pipeline does not state the latest date', async () => {
    const url = await serve();
    await count(url, [event('2026-11-28T10:00:00Z'), event('2027-01-31T10:00:00Z')]);
    const tab = await openTab(browser, { timezoneId: 'UTC' });
    await tab.page.clock.setFixedTime(now);
    const ready = { status: 'ready', pending_messages: 0, last_received_at: now };
    await tab.page.route('**/readyz', (route) => route.fulfill({ json: ready }));
    await tab.page.goto(url);
    await button(tab.page, '31 Jan 2027').waitFor();
  });

  it('in a zone are those of the zone, wherever the viewer is', async () => {
    const server = await startServer({
      http: { pages },
      engine: { dayZone: 'Europe/Berlin' },
    });
    afterTest(() => server.stop());
    await count(server.url, [event('2026-11-28T09:00:00+13:00'), event('2026-11-27T23:30:00Z')]);
    const tab = await openAt('Pacific/Auckland', server.url);
    await becomes(tab.page, 'Events', '1');
    await tab.page.getByText('Days in Europe/Berlin').waitFor();
    expect(await title(tab.page).innerText()).toBe('28 Nov 2026');
  });

  it('that have counts later than before are shown while it is live', async () => {
    const url = await serve();
    await count(url, [event('2026-11-28T10:00:00Z')]);
    const { page } = await openTab(browser, { timezoneId: 'UTC' });
    await page.clock.install({ time: now });
    await page.goto(`${url}/?range=today&live=1`);
    await becomes(page, 'Events', '1');
    await count(url, [event('2026-11-29T09:00:00+13:00')]);
    const looking = { interval: 200, timeout: 500_000 };
    await expect
      .poll(async () => {
        await page.clock.runFor(2_000);
        return await figure(page, 'Events').first().innerText();
      }, looking)
      .toBe('2');
  });
});

describe('live', () => {
  it('counts rise without a reload, the focus stays, and nothing is sent twice', async () => {
    const { url, page, answers, complaints } = await openFleet();
    await button(page, 'Live').click();
    await page.getByLabel('Filter the rows').focus();
    await page.evaluate('window.isSamePage = true');
    for (let round = 1; round <= 2; round++) {
      await count(url, items(0, `drone ${round}`, 'erased', 3));
      await becomes(page, 'Events', String(12 + 3 * round));
    }
    expect(await page.locator('.heat').innerText()).toContain('drone 2');
    expect(await page.evaluate('window.isSamePage')).toBe(true);
    expect(await page.evaluate('document.activeElement.ariaLabel')).toBe('Filter the rows');
    const before = answers.length;
    await expect.poll(() => answers.length - before).toBeGreaterThan(2);
    const polls = answers.slice(before).filter(({ path }) => path.startsWith('/stats'));
    expect(new Set(polls.map(({ status }) => status))).toEqual(new Set([304]));
    expect(complaints).toEqual([]);
  });

  it('what comes between two answers of one load is shown after the next look', async () => {
    const url = await serve();
    await count(url, fleet);
    const { page } = await openTab(browser);
    let isFirst = true;
    await page.route(/group_by=type/, async (route) => {
      const response = await route.fetch();
      if (isFirst) await count(url, items(0, 'laptop', 'erased', 3));
      isFirst = false;
      await route.fulfill({ response });
    });
    await page.goto(`${url}/?live=1`);
    await becomes(page, 'Events', '15');
    await page.locator('.heat', { hasText: '9' }).waitFor();
  });

  it('an error is said, and gone when the server answers again', async () => {
    const { page } = await openFleet();
    await page.route(/\/(stats|readyz)/, (route) => route.abort());
    await button(page, 'Live').click();
    await page.getByText('The counts are not available now').waitFor();
    await expectAccessible(page);
    await page.unroute(/\/(stats|readyz)/);
    await button(page, 'Try again').click();
    await page.getByText('The counts are not available now').waitFor({ state: 'detached' });
  });
});

describe('with tokens', () => {
  const token = (name: string, scope: Scope) => ({
    name,
    sha256: tokenHash(`dpl_${name}`),
    for: [scope],
    expiresAt: undefined,
  });
  const table = new TokenTable([token('sender', 'ingest'), token('reader', 'read')]);
  const accessOf = (tokens: () => TokenTable) =>
    serverAccess({ tokens, isOpenWithoutTokens: false, rate: undefined });

  it('it asks for one, says what is wrong with it, and keeps it in this tab only', async () => {
    const url = await serve({ access: accessOf(() => table) });
    const authorization = 'Bearer dpl_sender';
    expect((await postBatch(url, fleet, { authorization })).status).toBe(200);

    const tab = await open(url);
    const { page } = tab;
    const tryToken = async (text: string) => {
      await page.getByLabel('Token').fill(text);
      await page.getByLabel('Token').press('Enter');
    };
    await page.getByLabel('Token').waitFor();
    expect(await page.evaluate('document.activeElement.type')).toBe('password');
    await expectSound(tab);
    await tryToken('dpl_ключ');
    await page.getByText('A token consists of ASCII characters').waitFor();
    expect(await page.evaluate('sessionStorage.length')).toBe(0);
    await tryToken('dpl_nobody');
    await page.getByText('Unknown token').waitFor();
    await tryToken('dpl_sender');
    await page.getByText('lacks the scope read').waitFor();
    await expectAccessible(page);
    await tryToken('dpl_reader');
    await becomes(page, 'Events', '12');
    expect(await page.evaluate('document.activeElement.id')).toBe('main');
    expect(page.url()).not.toContain('dpl_');
    expect(await page.evaluate('JSON.stringify(localStorage)')).not.toContain('dpl_');
    await page.reload();
    await becomes(page, 'Events', '12');
    const [other] = await Promise.all([open(url)]);
    await other.page.getByLabel('Token').waitFor();
    await button(page, 'Live').click();
    await page.locator('.live[aria-pressed=true]').waitFor();
    await button(page, 'Sign out').click();
    await page.getByLabel('Token').waitFor();
    // Longer than until the next look: nobody looks any more.
    await setTimeout(2_500);
    expect(await page.evaluate('sessionStorage.length')).toBe(0);
    // A browser reports by itself that two tokens were refused, each once; and nothing else.
    expect(tab.complaints.map((text) => /status of 40[13]/.exec(text)?.[0])).toEqual([
      ...['status of 401', 'status of 403'],
    ]);
  });

  it('signing in waits for a server that does not answer', async () => {
    const url = await serve({ access: accessOf(() => table) });
    expect((await postBatch(url, fleet, { authorization: 'Bearer dpl_sender' })).status).toBe(200);
    const { page } = await open(url);
    await page.getByLabel('Token').waitFor();
    await page.route(/\/(stats|readyz)/, (route) => route.abort());
    await page.getByLabel('Token').fill('dpl_reader');
    await page.getByLabel('Token').press('Enter');
    await page.getByText('The server does not respond').first().waitFor();
    expect(await page.getByLabel('Token').count()).toBe(1);
    await page.unroute(/\/(stats|readyz)/);
    await becomes(page, 'Events', '12');
  });

  it('a browser that lets pages keep nothing shows it all the same', async () => {
    const url = await serve({ access: accessOf(() => table) });
    expect((await postBatch(url, fleet, { authorization: 'Bearer dpl_sender' })).status).toBe(200);
    const { page, complaints } = await openTab(browser);
    await page.addInitScript(
      "for (const name of ['localStorage', 'sessionStorage']) Object.defineProperty(window, name, { get() { throw new DOMException('no', 'SecurityError'); } })",
    );
    await page.goto(url);
    await page.getByLabel('Token').fill('dpl_reader');
    await page.getByLabel('Token').press('Enter');
    await becomes(page, 'Events', '12');
    await button(page, 'Dark').click();
    expect(complaints).toEqual([]);
  });

  it('what was asked before its token was revoked does not come back', async () => {
    let known = table;
    const url = await serve({ access: accessOf(() => known) });
    expect((await postBatch(url, fleet, { authorization: 'Bearer dpl_sender' })).status).toBe(200);
    const { page } = await open(url);
    await page.getByLabel('Token').fill('dpl_reader');
    await page.getByLabel('Token').press('Enter');
    await becomes(page, 'Events', '12');
    await button(page, 'Live').click();
    const [answered, released] = [Promise.withResolvers<null>(), Promise.withResolvers<null>()];
    await page.route(/\/stats\?from=[-\d]+&to=[-\d]+$/, async (route) => {
      const response = await route.fetch();
      answered.resolve(null);
      await released.promise;
      await route.fulfill({ response }).catch(() => undefined);
    });
    await button(page, '90 days').click();
    await answered.promise;
    known = new TokenTable([token('sender', 'ingest')]);
    const refused = page.getByText('Unknown token');
    await refused.waitFor();
    released.resolve(null);
    await setTimeout(300);
    expect(await refused.count()).toBe(1);
    expect(await figure(page, 'Events').count()).toBe(0);
  });

  it('it asks anew once its token is revoked, live or not', async () => {
    let known = table;
    const url = await serve({ access: accessOf(() => known) });
    const { page } = await openTab(browser);
    await page.clock.install();
    await page.goto(url);
    await page.getByLabel('Token').fill('dpl_reader');
    await page.getByLabel('Token').press('Enter');
    await page.getByText('Ready for the first batch').waitFor();
    const said = await page.locator('.first-run').innerText();
    expect(said).toContain('-H "Authorization: Bearer $DEVICE_PIPELINE_TOKEN"');
    expect(said).toContain('token create --name NAME --for ingest');
    const authorization = 'Bearer dpl_sender';
    expect((await postBatch(url, fleet, { authorization })).status).toBe(200);
    await expect
      .poll(async () => {
        await page.clock.runFor(2_000);
        return await figure(page, 'Events').count();
      })
      .toBe(1);
    known = new TokenTable([token('sender', 'ingest')]);
    // Step by step: half a minute at once would end the requests that are on their way.
    const refused = page.getByText('Unknown token');
    const looking = { interval: 200, timeout: 500_000 };
    await expect
      .poll(async () => {
        await page.clock.runFor(2_000);
        return await refused.count();
      }, looking)
      .toBe(1);
    expect(await figure(page, 'Events').count()).toBe(0);
  });
});

describe('for everybody', () => {
  it('it is dark where the system is, or where one wants it', async () => {
    const tab = await openFleet('/', { colorScheme: 'dark' });
    const { page } = tab;
    const paper = () => page.evaluate('getComputedStyle(document.body).backgroundColor');
    const dark = await paper();
    await expectSound(tab);
    await button(page, 'Light').click();
    expect(await paper()).not.toBe(dark);
    await page.reload();
    await page.waitForSelector('.rows');
    expect(await paper()).not.toBe(dark);
    await button(page, 'Dark').click();
    expect(await paper()).toBe(dark);
  });

  it('it fits a phone', async () => {
    await expectSound(await openFleet('/', { viewport: { width: 360, height: 740 } }));
  });

  it('without scripts there is a way to the plain page', async () => {
    const url = await serve();
    await count(url, fleet);
    const { page, complaints } = await open(url, '/', { javaScriptEnabled: false });
    await page.locator('input[type=date]').fill(dayAgo(1));
    await page.locator('form button').click();
    await page.getByText('erasure failed').waitFor();
    expect(new URL(page.url()).search).toBe(`?date=${dayAgo(1)}`);
    expect(complaints).toEqual([]);
  });

  it('every control can be reached by the keyboard', async () => {
    const { page } = await openFleet();
    const reached: unknown[] = [];
    for (let step = 0; step < 45; step++) {
      await page.keyboard.press('Tab');
      reached.push(
        await page.evaluate(
          '(document.activeElement.ariaLabel ?? document.activeElement.innerText ?? document.activeElement.id).trim()',
        ),
      );
    }
    expect(reached[0]).toBe('Skip to the counts');
    for (const name of ['Dark', '7 days', 'From', 'To', 'Live', 'By type', 'Filter the rows']) {
      expect(reached).toContain(name);
    }
    for (const name of ['Download CSV', 'Date', 'Type', 'State', 'Count', 'API']) {
      expect(reached).toContain(name);
    }
  });

  it('names that mean harm, or are long, are shown as they are', async () => {
    const url = await serve();
    const names = ['<img src=x onerror=alert(1)>', '\u202eabc', '🙂', 'x'.repeat(128)];
    await count(
      url,
      names.flatMap((name) => items(0, name, name, 2)),
    );
    const tab = await open(url, '/?split=type', { viewport: { width: 360, height: 740 } });
    await tab.page.waitForSelector('.rows');
    expect((await cells(tab.page, 'type')).sort()).toEqual([...names].sort());
    expect(await tab.page.locator('img').count()).toBe(0);
    await expectSound(tab);
  });

  it('ten thousand names in a day are no trouble', async () => {
    const url = await serve();
    for (let start = 0; start < 10_000; start += 2_500) {
      const timestamp = `${dayAgo(0)}T00:00:00Z`;
      const batch = Array.from({ length: 2_500 }, (_, index) => ({
        type: `device model ${start + index}`,
        state: 'erased',
        timestamp,
      }));
      expect((await postBatch(url, batch)).status).toBe(200);
    }
    await waitUntilCounted(url);
    const tab = await open(url, '/?range=today&split=type');
    const { page } = tab;
    await becomes(page, 'Events', '10,000');
    expect(await page.locator('.legend').innerText()).toContain('9,992 others');
    const turn = button(page, 'Previous');
    await button(page, 'Next').focus();
    await page.keyboard.press('Enter');
    await page.locator('.pager', { hasText: '26–50' }).waitFor();
    await turn.press('Enter');
    await page.locator('.pager', { hasText: '1–25' }).waitFor();
    expect(await page.evaluate('document.activeElement.innerText')).toBe('Previous');
    await page.getByLabel('Filter the rows').fill('model 4321');
    await page.locator('.pager', { hasText: '1–1 of 1' }).waitFor();
    expect(await page.evaluate('document.querySelectorAll("*").length')).toBeLessThan(1500);
    await button(page, '30 days').click();
    await page.getByText('The rows of each day may be more').waitFor();
    const csv = await download(page, 'download them all');
    const stats = `/stats?from=${dayAgo(29)}&to=${dayAgo(0)}&format=csv&bom=1`;
    expect(csv).toBe((await exchange(url, { path: stats })).text);
    await expectSound(tab);
  });
});
