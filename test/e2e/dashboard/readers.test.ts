import { expect } from 'vitest';

import {
  becomes,
  button,
  cells,
  count,
  dashboards,
  dayAgo,
  download,
  expectSound,
  writtenDay,
  fleet,
  items,
} from '../../support/dashboard.ts';
import { overflowOf } from '../../support/browser.ts';
import { exchange, postBatch, waitUntilCounted } from '../../support/server.ts';
import { needs } from '../../support/run/needs.ts';
import { itAtNight } from '../../support/run/tier.ts';

const { describe, it } = needs('Chromium');
const { serve, open, openFleet } = dashboards();

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

  it('it fits a phone, with each of its popups, and so it does a tablet', async () => {
    const tab = await openFleet('/', { viewport: { width: 320, height: 740 } });
    const { page } = tab;
    const popups = [
      page.locator('.health'),
      page.locator('.filter').first(),
      page.locator('.filter').nth(1),
    ];
    for (const width of [320, 390, 600, 700, 820, 1000]) {
      await page.setViewportSize({ width, height: 740 });
      for (const popup of popups) {
        await popup.locator('summary').click();
        await popup.locator(':scope > :nth-child(2)').waitFor();
        await expect.poll(() => overflowOf(page), { message: `${width}` }).toBeLessThanOrEqual(0);
        await popup.locator('summary').click();
      }
    }
    await page.setViewportSize({ width: 360, height: 740 });
    await expectSound(tab);
    const row = page.locator('.rows tbody tr').first();
    expect(await row.innerText()).toContain('%');
    expect(await row.locator('rect').isVisible()).toBe(true);
    expect(await button(page, 'Copy link').isVisible()).toBe(true);
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
    const tab = await open(url, `/stats-html?date=${dayAgo(1)}`, {
      viewport: { width: 360, height: 740 },
    });
    await tab.page.getByTitle(`${writtenDay(1)}: 2 events`).waitFor();
    await tab.page.locator('.failing', { hasText: 'erasure failed' }).waitFor();
    await expectSound(tab);
  });

  it('every control can be reached by the keyboard', async () => {
    const { page } = await openFleet('/?rows=day');
    const reached: unknown[] = [];
    for (let step = 0; step < 120; step++) {
      await page.keyboard.press('Tab');
      reached.push(
        await page.evaluate(
          '(document.activeElement.ariaLabel ?? document.activeElement.innerText ?? document.activeElement.id).trim()',
        ),
      );
    }
    expect(reached[0]).toBe('Skip to the counts');
    for (const name of [
      'Dark',
      '7 days',
      'From',
      'To',
      'Live updates off',
      'By type',
      'Filter the rows',
    ]) {
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

  itAtNight('ten thousand names in a day are no trouble', async () => {
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
    expect(await page.locator('.legend').first().innerText()).toContain('9,992 others');
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
    await page.getByText('largest of 10,000 types').waitFor();
    const csv = await download(page, 'download them all');
    const stats = `/stats?from=${dayAgo(29)}&to=${dayAgo(0)}&format=csv&bom=1`;
    expect(csv).toBe((await exchange(url, { path: stats })).text);
    await expectSound(tab);
  });
});
