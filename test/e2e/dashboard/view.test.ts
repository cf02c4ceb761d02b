import { setTimeout } from 'node:timers/promises';

import { expect } from 'vitest';

import { serverAccess, TokenTable } from '../../../src/auth/check-access.ts';
import { expectAccessible, openTab } from '../../support/browser.ts';
import {
  becomes,
  button,
  card,
  cells,
  count,
  dashboards,
  dayAgo,
  download,
  expectSound,
  figure,
  fleet,
  items,
  now,
  writtenDay,
} from '../../support/dashboard.ts';
import { exchange, postBatch } from '../../support/server.ts';
import { needs } from '../../support/run/needs.ts';
import { itAtNight } from '../../support/run/tier.ts';

const { describe, it } = needs('Chromium');
const { browser, serve, open, openFleet } = dashboards();

describe('the dashboard', () => {
  it('shows totals, the change, failures, a heat map and the rows', async () => {
    const tab = await openFleet();
    const { page } = tab;
    expect(await figure(page, 'Events').innerText()).toBe('12');
    await page.getByText(`there are regular data only since ${writtenDay(2)}`).waitFor();
    expect(await figure(page, 'Failure rate').innerText()).toBe('16.7%');
    expect(await page.locator('.heat tbody tr').count()).toBe(2);
    expect(await page.getByRole('slider', { name: /Events per day by state/ }).count()).toBe(1);
    const chart = card(page, 'Events per day');
    await chart.locator('summary').click();
    await chart.locator('th', { hasText: writtenDay(1) }).waitFor();
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
    await page.getByLabel('Failing states contain').fill('erased');
    await page.getByLabel('Failing states contain').press('Enter');
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

  itAtNight('leads to the days of events that are years old', async () => {
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
    const { page, answers } = await openTab(browser());
    await page.clock.install({ time: now });
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

  itAtNight('takes back days that make no range when a preset is chosen', async () => {
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
    const { page } = await openTab(browser());
    await page.clock.install({ time: now });
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
    await page.clock.setSystemTime(now.getTime() + 86_400_000);
    await page.clock.runFor(6_000);
    await page.getByText('No counts here').waitFor();
    // The button disappears with its page; keyboard focus continues from there.
    await page.locator('.notice button').press('Enter');
    await becomes(page, 'Events', '17');
    expect(await page.evaluate('document.activeElement.id')).toBe('main');
  });

  itAtNight('quick clicks while the server is slow leave nothing behind', async () => {
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
    const { page } = await open(url, '/?range=7&rows=day');
    await page.waitForSelector('.rows');
    const stats = `/stats?from=${dayAgo(6)}&to=${dayAgo(0)}&format=csv&bom=1`;
    const whole = await exchange(url, { path: stats });
    const sorted = (text: string) => text.trimEnd().split('\r\n').sort();
    expect(sorted(await download(page, 'Download CSV'))).toEqual(sorted(whole.text));
    expect(await page.locator('th.date').getAttribute('aria-sort')).toBe('descending');
    await page.locator('th.count button').click();
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
    await page.locator('th.count button').click();
    await page.locator('th.count button').click();
    await button(page, 'Whole period').click();
    const sums = await exchange(url, { path: `${stats}&group_by=type,state` });
    expect(sorted(await download(page, 'Download CSV'))).toEqual(sorted(sums.text));
    expect(new URL(page.url()).search).toBe('?range=7');
  });
});
