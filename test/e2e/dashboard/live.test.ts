import { expect } from 'vitest';

import { expectAccessible } from '../../support/browser.ts';
import {
  becomes,
  button,
  count,
  dashboards,
  dayAgo,
  fleet,
  items,
} from '../../support/dashboard.ts';
import { needs } from '../../support/run/needs.ts';

const { describe, it } = needs('Chromium');
const { blank, serve, openFleet, openYear } = dashboards();

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

  it('a batch leaves the cursor, the chosen days and the tooltip where they are', async () => {
    const { url, page } = await openFleet('/?live=1');
    const slider = page.getByRole('slider', { name: /^Events per/ });
    const total = () => page.locator('.figures strong').first().innerText();
    const arrive = async () => {
      const before = await total();
      await count(url, items(0, 'laptop', 'erased', 1));
      await expect.poll(total).not.toBe(before);
    };
    await slider.focus();
    for (const key of ['Home', 'ArrowRight', 'Shift+ArrowRight']) await page.keyboard.press(key);
    await arrive();
    await page.locator('.tip', { hasText: '–' }).waitFor();
    await page.keyboard.press('Enter');
    await page.locator('.chip', { hasText: 'Days' }).waitFor();
    expect(new URL(page.url()).searchParams.get('from')).toBe(dayAgo(28));
    expect(new URL(page.url()).searchParams.get('to')).toBe(dayAgo(27));
    await page.goBack();
    await page.locator('.chip').waitFor({ state: 'detached' });
    await page.locator('.dashboard[aria-busy=false]').waitFor();
    await slider.hover({ position: { x: 100, y: 100 } });
    await page.mouse.down();
    await slider.hover({ position: { x: 300, y: 100 } });
    await arrive();
    await page.mouse.up();
    await page.locator('.chip', { hasText: 'Days' }).waitFor();
  });

  it('what comes between two answers of one load is shown after the next look', async () => {
    const url = await serve();
    await count(url, fleet);
    const { page } = await blank();
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

  it('what comes before the last answer of a load is shown, even if that answer is the newer one', async () => {
    const url = await serve();
    await count(url, fleet);
    const { page } = await blank();
    const paths = new Set<string>();
    let isCounted = false;
    await page.route(/group_by=date$/, async (route) => {
      const path = route.request().url();
      // The second time, the load has the counts, and asks where the data begin.
      if (paths.has(path) && !isCounted) {
        isCounted = true;
        await count(url, items(0, 'laptop', 'erased', 3));
      }
      paths.add(path);
      await route.continue();
    });
    await page.goto(`${url}/?live=1`);
    await becomes(page, 'Events', '15');
  });

  it('other states change the rate of a chosen one', async () => {
    const url = await serve();
    await count(url, fleet);
    const { page } = await blank();
    await page.goto(`${url}/?live=1&state=erasure+failed`);
    await becomes(page, 'Failure rate', '16.7%');
    await count(url, items(1, 'laptop', 'erased', 8));
    await becomes(page, 'Failure rate', '10.0%');
  });

  it('costs one small request a look, whatever the view', async () => {
    const { page, answers } = await openYear('/?live=1&range=365&type=laptop');
    await expect.poll(() => answers.length, { interval: 100 }).toBeGreaterThan(0);
    await page.locator('.dashboard[aria-busy=false]').waitFor();
    const ofStats = () => answers.filter(({ path }) => path.startsWith('/stats')).length;
    const before = ofStats();
    const looks = 3;
    await expect.poll(ofStats).toBeGreaterThanOrEqual(before + looks);
    const paths = answers.filter(({ path }) => path.startsWith('/stats')).slice(before);
    expect(new Set(paths.map(({ status }) => status))).toEqual(new Set([304]));
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
