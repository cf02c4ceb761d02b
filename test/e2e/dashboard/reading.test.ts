import { readFile } from 'node:fs/promises';

import type { Page } from 'playwright-core';
import { expect } from 'vitest';

import {
  button,
  card,
  count,
  dashboards,
  dayAgo,
  expectSound,
  figure,
  items,
  now,
  writtenDay,
} from '../../support/dashboard.ts';
import { needs } from '../../support/run/needs.ts';
import { itAtNight } from '../../support/run/tier.ts';

const { describe, it } = needs('Chromium');
const { open, openYear, serve } = dashboards();

const search = (page: Page) => new URL(page.url()).searchParams;
const findings = (page: Page) => page.locator('.findings li');
/** The weekday and the date, as the page writes a day in a sentence. */
const named = (days: number) =>
  new Date(dayAgo(days)).toLocaleDateString('en-GB', {
    ...{ weekday: 'short', day: 'numeric', month: 'short', timeZone: 'UTC' },
  });

describe('a year with a bad week', () => {
  it('is said in words, and a click shows the days and the names', async () => {
    const tab = await openYear();
    const { page } = tab;
    const said = await findings(page).first().innerText();
    expect(said).toMatch(/“.erasure failed.”: \d\.\d% of all events since .*, usually 0\.\d%/);
    for (const type of ['SSD', 'hard drive']) {
      expect(said).toMatch(new RegExp(`${type}.? \\d\\.\\d%( of its events)?, usually 0\\.\\d%`));
    }
    expect(said).toContain('Show these events');
    await page.getByText(`${named(0)} so far`).waitFor();
    await page.locator('.days-in-review dt', { hasText: named(1) }).waitFor();
    await expectSound(tab);
    await findings(page).first().getByRole('button').click();
    await page.locator('.chips', { hasText: 'erasure failed' }).waitFor();
    expect(search(page).getAll('type').sort()).toEqual(['SSD', 'hard drive']);
    expect(search(page).get('to')).toBe(dayAgo(1));
    await expectSound(tab);
    await page.goBack();
    await findings(page).first().waitFor();
    expect(search(page).size).toBe(0);
  });

  it('says that nothing is unusual in weeks before it', async () => {
    const { page } = await openYear(`/?from=${dayAgo(40)}&to=${dayAgo(27)}`);
    await page.getByRole('heading', { name: 'Nothing unusual' }).waitFor();
    expect(await findings(page).count()).toBe(0);
  });

  it('is compared with as many days that are over, which are named', async () => {
    const { page } = await openYear('/?range=7');
    const compared = await page.locator('.compared').innerText();
    expect(compared).toContain('the same weekdays a week earlier');
    expect(compared).toContain('Today is left out');
    expect(compared).toContain(writtenDay(8));
    // Both are without today, which the sum above includes.
    expect(await page.locator('.figures > div').first().innerText()).toMatch(
      /[+−][\d.]+% from [\d,]+ to [\d,]+/,
    );
    expect(await page.locator('.figures > div').first().locator('.good, .bad').count()).toBe(0);
    expect(await page.locator('.figures > div').nth(1).locator('.bad').count()).toBe(1);
  });

  itAtNight('is compared with nothing where the days before are not in the data', async () => {
    const { page } = await openYear('/?range=365');
    await page.getByText(`No comparison: there are no data before ${writtenDay(365)}`).waitFor();
    expect(await page.locator('.figures').innerText()).not.toContain('% from');
    expect(await button(page, /^Compare with /).count()).toBe(0);
  });

  it('is, as a month, compared with the month before, and the working days are said', async () => {
    const month = (back: number) => {
      const first = new Date(now.getFullYear(), now.getMonth() - back, 1, 12);
      return first.toLocaleDateString('en-GB', { month: 'short', year: 'numeric' });
    };
    const { page } = await openYear('/?range=last-month');
    const compared = (await page.locator('.compared').innerText()).replaceAll(/\s+/g, ' ');
    expect(compared).toContain(`Changes are vs. 1 – `);
    expect(compared).toContain(month(2));
    const figures = /These days have (\d+) from Monday to Friday, those had (\d+)/.exec(compared);
    expect(figures?.slice(1).every((days) => Number(days) >= 20) ?? true).toBe(true);
  });

  it('has the days before over the chart, and its own in one form', async () => {
    const { page } = await openYear('/?range=7');
    // The pickers write a date as all of the page does, until one edits it.
    const shown = page.locator('.day', { has: page.getByLabel('From') }).locator('span');
    expect(await shown.innerText()).toBe(writtenDay(6));
    await page.getByLabel('From').focus();
    expect(await shown.isVisible()).toBe(false);
    const chart = card(page, 'Events per day');
    expect(await chart.locator('path[stroke]').count()).toBe(0);
    // The same days as those of the changes.
    const [, days = ''] =
      /vs\. (.*), the same/.exec(await page.locator('.compared').innerText()) ?? [];
    await button(page, `Compare with ${days}`).click();
    await chart.locator('path[stroke-dasharray]').waitFor();
    expect(search(page).get('before')).toBe('1');
    await chart.locator('.legend', { hasText: days }).waitFor();
    const slider = page.getByRole('slider', { name: /^Events per/ });
    await slider.focus();
    await page.keyboard.press('End');
    const tip = page.locator('.tip');
    await tip.filter({ hasText: `Not in ${days}` }).waitFor();
    await page.keyboard.press('ArrowLeft');
    await tip.filter({ hasText: named(8) }).waitFor();
    // A week with today in it is more than its days that are over, so there is nothing to compare it with.
    await page.goto(page.url().replace(/\?.*/, '?range=30&unit=week&before=1'));
    await slider.focus();
    await page.keyboard.press('End');
    await tip.filter({ hasText: 'Not in ' }).waitFor();
  });
});

describe('the charts', () => {
  const slider = (page: Page) => page.getByRole('slider', { name: /^Events per/ });
  const days = (page: Page) => [search(page).get('from'), search(page).get('to')];

  it('filter by a click on a bar, a legend entry, a cell and a row', async () => {
    const { page } = await openYear('/?range=30');
    await slider(page).click({ position: { x: 300, y: 200 } });
    await page.locator('.chip', { hasText: 'Days' }).waitFor();
    const [from, to] = days(page);
    expect(from).toBe(to);
    await page.locator('.chip').click();
    await page.locator('.chip').waitFor({ state: 'detached' });
    expect(search(page).size).toBe(0);
    const chart = card(page, 'Events per day');
    await chart.locator('.legend button', { hasText: 'test failed' }).click();
    await page.locator('.chip', { hasText: 'test failed' }).waitFor();
    await page.goBack();
    await page
      .locator('.heat tbody tr', { hasText: 'laptop' })
      .getByTitle(/test failed/)
      .click();
    await page.locator('.chip', { hasText: 'laptop' }).waitFor();
    expect([search(page).get('type'), search(page).get('state')]).toEqual([
      'laptop',
      'test failed',
    ]);
    await button(page, 'Remove all').click();
    await page.locator('.ranked button', { hasText: 'SSD' }).click();
    await page.locator('.chip', { hasText: 'SSD' }).waitFor();
    await button(page, 'Remove all').click();
    await page.locator('.rows tbody .state button').first().click();
    await page.locator('.chip', { hasText: 'State' }).waitFor();
  });

  it('choose days by a drag, and by touch', async () => {
    const viewport = { width: 360, height: 740 };
    const { page } = await openYear('/?range=30', { viewport, hasTouch: true });
    // They come last, and move the chart down.
    await findings(page).first().waitFor();
    await slider(page).dragTo(slider(page), {
      ...{ sourcePosition: { x: 120, y: 100 }, targetPosition: { x: 200, y: 100 }, steps: 3 },
    });
    await page.locator('.chip', { hasText: 'Days' }).waitFor();
    const [from = '', to = ''] = days(page);
    expect(new Date(to ?? '').getTime() - new Date(from ?? '').getTime()).toBeGreaterThan(
      4 * 86_400_000,
    );
    await page.goBack();
    await page.locator('.chip').waitFor({ state: 'detached' });
    // The days that are loaded take the place of those under the finger.
    await page.locator('.dashboard[aria-busy=false]').waitFor();
    // A first tap shows the day, as a finger cannot rest on it; a second one, or the button, chooses it.
    const tap = () => slider(page).tap({ position: { x: 200, y: 100 } });
    await tap();
    await page.locator('.tip', { hasText: 'erasure failed' }).waitFor();
    expect(search(page).size).toBe(1);
    await tap();
    await page.locator('.chip', { hasText: 'Days' }).waitFor();
    const chosen = days(page);
    expect(chosen[0]).toBe(chosen[1]);
    await page.goBack();
    await page.locator('.chip').waitFor({ state: 'detached' });
    await page.locator('.dashboard[aria-busy=false]').waitFor();
    await tap();
    await page.locator('.tip').getByRole('button', { name: 'Show only' }).tap();
    await page.locator('.chip', { hasText: 'Days' }).waitFor();
    expect(days(page)).toEqual(chosen);
  });

  it('can be walked by the keyboard, which says each day and chooses several', async () => {
    const { page } = await openYear('/?range=30');
    await slider(page).focus();
    await page.keyboard.press('Home');
    expect(await slider(page).getAttribute('aria-valuetext')).toContain(`${named(29)}:`);
    await page.keyboard.press('ArrowRight');
    await page.locator('.tip', { hasText: named(28) }).waitFor();
    const tip = await page.locator('.tip').innerText();
    for (const word of ['erasure failed', 'shipped', '%', 'Total']) expect(tip).toContain(word);
    const boxOf = async (selector: string) => {
      const box = await page.locator(selector).boundingBox();
      if (box === null) throw new Error(`${selector} has no box`);
      return box;
    };
    const marked = await boxOf('.marked');
    expect((await boxOf('.tip')).x - marked.x - marked.width).toBeLessThan(12);
    await page.keyboard.press('Shift+ArrowRight');
    await page.keyboard.press('Shift+ArrowRight');
    expect((await boxOf('.marked')).width / marked.width).toBeCloseTo(3, 1);
    await page.keyboard.press('Enter');
    await page.locator('.chip', { hasText: 'Days' }).waitFor();
    expect(days(page)).toEqual([dayAgo(28), dayAgo(26)]);
  });

  it('have weeks and months as bars, one unit at the axis, and straight lines', async () => {
    const { page } = await openYear('/?range=90');
    await button(page, 'Months').click();
    await page.getByRole('heading', { name: 'Events per month' }).waitFor();
    await page.locator('text', { hasText: 'events per month' }).waitFor();
    expect(search(page).get('unit')).toBe('month');
    await page.getByRole('button', { name: 'Weeks', exact: true }).click();
    await page.getByRole('heading', { name: 'Events per week' }).waitFor();
    const paths = await page.evaluate<string[]>(
      "[...document.querySelectorAll('.plot path[stroke]')].map((path) => path.getAttribute('d'))",
    );
    expect(paths.join('')).toMatch(/^M[\d.]+ [\d.]+L/);
    expect(paths.join('')).not.toMatch(/[CSQ]/);
  });

  it('keep failures in one hue, in chart, legend, heat map and table', async () => {
    const { page } = await openYear('/?range=30&heat=count&q=failed');
    const fillsOf = (selector: string) =>
      page.evaluate<string[]>(
        `[...document.querySelectorAll('${selector}')].map((shape) => shape.getAttribute('fill'))`,
      );
    // Failing states come first.
    const names = await page.locator('.legend button').allInnerTexts();
    expect(names.slice(0, 2).every((name) => name.includes('failed'))).toBe(true);
    const fills = (await fillsOf('.legend button rect')).slice(0, 2);
    const bars = await fillsOf('.plot path');
    for (const fill of fills) expect(bars).toContain(fill);
    expect(await page.locator('.heat th.failing').allInnerTexts()).toEqual(
      expect.arrayContaining(['erasure failed', 'test failed']),
    );
    expect(await page.locator('.heat tfoot td').count()).toBe(7);
    const failing = page.locator('.rows .failing .state');
    expect(new Set(await failing.allInnerTexts())).toEqual(
      new Set(['erasure failed', 'test failed']),
    );
  });

  it('show shares and failure rates by type and state', async () => {
    const { page } = await openYear('/?range=30');
    // What is unusual is a failure rate.
    const rates = card(page, 'Type × state').getByRole('button', { name: 'Failure rate' });
    expect(await rates.getAttribute('aria-pressed')).toBe('true');
    await button(page, 'Share of row').click();
    expect(await page.locator('.heat tbody td').first().innerText()).toMatch(/%$/);
    await rates.click();
    await page.getByText('All failures').waitFor();
    expect(await page.locator('.heat tbody tr').first().locator('td').count()).toBe(3);
    expect(search(page).get('heat')).toBe('rate');
  });

  it('keep their legend where the system replaces colours', async () => {
    const tab = await openYear('/?range=30', { forcedColors: 'active' });
    const { page } = tab;
    const seen = await page.evaluate(
      "[...document.querySelectorAll('.legend .swatch rect')].map((rect) => getComputedStyle(rect).fill)",
    );
    const colours = new Set(seen as string[]);
    expect(colours.size).toBeGreaterThanOrEqual(6);
    await expectSound(tab);
  });
});

describe('a filter by a failing state', () => {
  it('leaves the days to be judged by all states', async () => {
    const judged = async (query: string) => {
      const { page } = await openYear(`/?range=30&type=SSD${query}`);
      return page.locator('.unusual :is(.findings, .days-in-review)').allInnerTexts();
    };
    const all = await judged('');
    expect(all.join(' ')).toContain('failures of any kind');
    for (const state of ['erased', 'test+failed']) {
      expect(await judged(`&state=${state}`)).toEqual(all);
    }
  });

  itAtNight('keeps all events of the types as the whole of its rate', async () => {
    const { page } = await openYear('/?range=30&state=test+failed');
    const rate = parseFloat(await figure(page, 'Failure rate').innerText());
    expect(rate).toBeGreaterThan(0.3);
    expect(rate).toBeLessThan(3);
  });
});

describe('to take along', () => {
  it('there is a picture of each chart', async () => {
    const { page } = await openYear('/?range=30');
    for (const title of ['Events per day', 'Failure rate']) {
      const [file] = await Promise.all([
        page.waitForEvent('download'),
        page
          .locator('section', { has: page.locator(`h2:text-is("${title}")`) })
          .getByText('PNG')
          .click(),
      ]);
      expect(file.suggestedFilename()).toMatch(/\.png$/);
      const bytes = await readFile(await file.path());
      expect(bytes.subarray(1, 4).toString()).toBe('PNG');
      expect(bytes.readUInt32BE(16)).toBe(2080);
    }
  });

  it('there is a report of one page, without controls, and light also if the page is dark', async () => {
    const { page } = await openYear('/?range=30', { colorScheme: 'dark' });
    const colours = () =>
      page.evaluate<string[]>(
        "['body', '.card', '.plot text', '.legend rect'].map((selector) => { const { fill, backgroundColor } = getComputedStyle(document.querySelector(selector)); return fill + ' ' + backgroundColor; })",
      );
    await button(page, 'Light').click();
    const light = await colours();
    await button(page, 'Dark').click();
    (await colours()).forEach((colour, index) => expect(colour).not.toBe(light[index]));
    await page.emulateMedia({ media: 'print' });
    expect(await colours()).toEqual(light);
    expect(await page.getByRole('slider').count()).toBe(2);
    expect(await button(page, '7 days').isVisible()).toBe(false);
    const pdf = (await page.pdf({ format: 'A4' })).toString('latin1');
    expect(pdf.match(/\/Type\s*\/Page\b/g)).toHaveLength(1);
  });

  itAtNight('the report names the server and the time, and cuts nothing', async () => {
    const many = Array.from({ length: 11 }, (_, type) =>
      Array.from({ length: 12 }, (__, state) =>
        items(
          0,
          `type ${type} ${'x'.repeat(20)}`,
          `state ${state}${state < 6 ? ' failed' : ''}`,
          1,
        ),
      ),
    );
    const url = await serve();
    await count(url, many.flat(2));
    const { page } = await open(url);
    await page.waitForSelector('.rows');
    await page.setViewportSize({ width: 720, height: 1000 });
    await page.emulateMedia({ media: 'print' });
    const paper = await page.locator('.paper').innerText();
    expect(paper).toContain(new URL(url).host);
    expect(paper).toMatch(/2026.*; last batch .*\d\d:\d\d/);
    const cut = await page.evaluate<number>(
      "document.querySelector('.heat').scrollWidth - document.querySelector('.heat').clientWidth",
    );
    expect(cut).toBeLessThanOrEqual(0);
  });

  it('there is a link that shows the same days tomorrow', async () => {
    const { page } = await openYear('/?range=7&split=type', {
      permissions: ['clipboard-read', 'clipboard-write'],
    });
    await button(page, 'Copy link').click();
    await button(page, 'Copied').waitFor();
    const link = await page.evaluate<string>('navigator.clipboard.readText()');
    expect(new URL(link).search).toBe(`?from=${dayAgo(6)}&to=${dayAgo(0)}&split=type`);
  });
});
