import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import type { Browser, Locator, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, expect } from 'vitest';

import { readPages } from '../../src/entry/pages.ts';
import type { Pages } from '../../src/http/app/pages.ts';
import { buildDashboard } from '../../tools/build-dashboard.ts';
import { sampleYear } from '../../tools/sample-year.ts';
import { expectAccessible, launchBrowser, openTab, overflowOf, type Tab } from './browser.ts';
import { afterTest, temporaryDirectory, undoAll } from './processes/real-server.ts';
import { postBatch, startServer, waitUntilCounted, type TestServerOptions } from './server.ts';

export interface Item {
  readonly type: string;
  readonly state: string;
  readonly timestamp: string;
}
export type TabOptions = Parameters<typeof openTab>[1];

/**
 * Now, for the pages and the data of these tests: a Wednesday within a month, whatever day it is.
 * `DASHBOARD_TODAY` tries another day.
 */
export const now = new Date(`${process.env['DASHBOARD_TODAY'] ?? '2026-03-18'}T10:00:00Z`);

/** The browser and the built pages of a test file, and the servers that its tests share. */
export interface Dashboards {
  readonly browser: () => Browser;
  readonly pages: () => Pages;
  /** A server of the test's own. */
  readonly serve: (http?: TestServerOptions['http']) => Promise<string>;
  /** A tab without a page, in which it is always `now`. */
  readonly blank: (options?: TabOptions) => Promise<Tab>;
  /** The page of a server, by a reader of English in Britain. */
  readonly open: (url: string, path?: string, options?: TabOptions) => Promise<Tab>;
  /** The dashboard of a server that has counted the fleet. Tests share it and must not count more. */
  readonly openFleet: (path?: string, options?: TabOptions) => Promise<Tab & { url: string }>;
  /** The same for a year with a bad week, `sampleYear`. */
  readonly openYear: (path?: string, options?: TabOptions) => Promise<Tab & { url: string }>;
}

/** Prepares a test file: one browser, and one server for each data set that its tests share. */
export function dashboards(): Dashboards {
  let browser: Browser | undefined;
  let pages: Pages | undefined;
  const shared = new Map<string, ReturnType<typeof startServer>>();
  beforeAll(async () => {
    const directory = join(temporaryDirectory(), 'dashboard');
    await buildDashboard(directory);
    pages = readPages(directory);
    browser = await launchBrowser();
  });
  afterEach(undoAll);
  afterAll(async () => {
    await browser?.close();
    for (const server of shared.values()) await (await server).stop();
  });
  const pagesOf = () => {
    if (pages === undefined) throw new Error('the dashboard is not built');
    return pages;
  };
  const browserOf = () => {
    if (browser === undefined) throw new Error('the browser is not started');
    return browser;
  };
  const blank: Dashboards['blank'] = async (options) => {
    const tab = await openTab(browserOf(), options);
    await tab.page.clock.setFixedTime(now);
    return tab;
  };
  const open: Dashboards['open'] = async (url, path = '/', options = {}) => {
    const tab = await blank({ locale: 'en-GB', ...options });
    await tab.page.goto(url + path);
    return tab;
  };
  const openShared =
    (name: string, fill: (url: string) => Promise<void>): Dashboards['openFleet'] =>
    async (path, options) => {
      const server = shared.get(name) ?? startFilled(pagesOf(), fill);
      shared.set(name, server);
      const { url } = await server;
      const tab = await open(url, path, options);
      await tab.page.waitForSelector('.rows');
      return { url, ...tab };
    };
  return {
    browser: browserOf,
    pages: pagesOf,
    blank,
    open,
    async serve(http = {}) {
      const server = await startServer({ http: { pages: pagesOf(), ...http } });
      afterTest(() => server.stop());
      return server.url;
    },
    openFleet: openShared('fleet', (url) => count(url, fleet)),
    openYear: openShared('year', fillYear),
  };
}

async function startFilled(pages: Pages, fill: (url: string) => Promise<void>) {
  const server = await startServer({ http: { pages } });
  await fill(server.url);
  return server;
}

async function fillYear(url: string): Promise<void> {
  const year = { today: dayAgo(0), days: 366, devicesPerDay: 300, badWeekEnded: 1 };
  for (const batch of sampleYear(year)) expect((await postBatch(url, batch)).status).toBe(200);
  await waitUntilCounted(url);
}

export const dayAgo = (days: number) =>
  new Date(now.getTime() - days * 86_400_000).toISOString().slice(0, 10);

/** The day as a British reader writes it. */
export const writtenDay = (days: number) =>
  new Date(dayAgo(days)).toLocaleDateString('en-GB', {
    ...{ day: 'numeric', month: 'short', year: 'numeric', timeZone: 'UTC' },
  });

export const items = (days: number, type: string, state: string, amount: number): Item[] =>
  Array.from({ length: amount }, () => ({ type, state, timestamp: `${dayAgo(days)}T00:00:00Z` }));

/** Sends a batch, and waits until it is counted. */
export async function count(url: string, batch: readonly Item[]): Promise<void> {
  expect((await postBatch(url, batch)).status).toBe(200);
  await waitUntilCounted(url);
}

export const fleet = [
  ...items(0, 'laptop', 'erased', 6),
  ...items(1, 'laptop', 'erasure failed', 2),
  ...items(2, 'phone', 'erased', 4),
  ...items(40, 'server', 'erased', 5),
];

export const figure = (page: Page, name: string): Locator =>
  page.locator('.figures > div', { hasText: name }).locator('strong').first();
export const button = (page: Page, name: string | RegExp): Locator =>
  page.getByRole('button', { name });
export const cells = (page: Page, column: string) =>
  page.locator(`tbody td.${column}`).allInnerTexts();
export const becomes = (page: Page, name: string, value: string) =>
  page
    .locator('.figures > div', { hasText: name })
    .locator('strong')
    .filter({ hasText: new RegExp(`^${value}$`) })
    .waitFor();
export const card = (page: Page, title: string): Locator =>
  page.locator('section.card', { has: page.getByRole('heading', { name: title }) });

/** No problem of accessibility, no sideways scroll, no complaint of the browser. */
export async function expectSound({ page, complaints }: Tab): Promise<void> {
  await expectAccessible(page);
  expect(await overflowOf(page)).toBeLessThanOrEqual(0);
  expect(complaints).toEqual([]);
}

/** The content of a file that a click on the button saves. */
export async function download(page: Page, name: string): Promise<string> {
  const [file] = await Promise.all([page.waitForEvent('download'), button(page, name).click()]);
  return await readFile(await file.path(), 'utf8');
}
