import type { Page } from 'playwright-core';
import { expect } from 'vitest';

import { openTab } from '../../support/browser.ts';
import {
  becomes,
  button,
  count,
  dashboards,
  expectSound,
  figure,
} from '../../support/dashboard.ts';
import { afterTest } from '../../support/processes/real-server.ts';
import { startServer } from '../../support/server.ts';
import { needs } from '../../support/run/needs.ts';
import { itAtNight } from '../../support/run/tier.ts';

const { describe, it } = needs('Chromium');
const { browser, pages, serve } = dashboards();

describe('the days', () => {
  /** A moment at which it is the next day in Auckland, and the same one in Honolulu still. */
  const now = new Date('2026-11-28T20:30:00Z');
  const event = (timestamp: string) => ({ type: 'laptop', state: 'erased', timestamp });
  const title = (page: Page) => page.locator('#figures-title');

  /** As in `open`, at that moment by the clock of a viewer somewhere. */
  async function openAt(timezoneId: string, url: string, path = '/?range=today') {
    const tab = await openTab(browser(), { timezoneId, locale: 'en-GB' });
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
      await tab.page
        .locator('.day-note', { hasText: 'Days as written in the timestamps' })
        .waitFor();
      const isThere = zone === 'Pacific/Auckland';
      expect((await title(tab.page).innerText()).replaceAll(/\s*–\s*/g, '–')).toBe(
        isThere ? '29 Nov 2026' : '28–29 Nov 2026',
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

  itAtNight(
    'of a clock that is wrong by weeks are reported if the pipeline does not state the latest date',
    async () => {
      const url = await serve();
      await count(url, [event('2026-11-28T10:00:00Z'), event('2027-01-31T10:00:00Z')]);
      const tab = await openTab(browser(), { timezoneId: 'UTC', locale: 'en-GB' });
      await tab.page.clock.setFixedTime(now);
      const ready = { status: 'ready', pending_messages: 0, last_received_at: now };
      await tab.page.route('**/readyz', (route) => route.fulfill({ json: ready }));
      await tab.page.goto(url);
      await button(tab.page, '31 Jan 2027').waitFor();
    },
  );

  it('in a zone are those of the zone, wherever the viewer is', async () => {
    const server = await startServer({
      http: { pages: pages() },
      engine: { dayZone: 'Europe/Berlin' },
    });
    afterTest(() => server.stop());
    await count(server.url, [event('2026-11-28T09:00:00+13:00'), event('2026-11-27T23:30:00Z')]);
    const tab = await openAt('Pacific/Auckland', server.url);
    await becomes(tab.page, 'Events', '1');
    await tab.page.locator('.day-note', { hasText: 'Days in Europe/Berlin' }).waitFor();
    expect(await title(tab.page).innerText()).toBe('28 Nov 2026');
  });

  it('that have counts later than before are shown while it is live', async () => {
    const url = await serve();
    await count(url, [event('2026-11-28T10:00:00Z')]);
    const { page } = await openTab(browser(), { timezoneId: 'UTC', locale: 'en-GB' });
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
