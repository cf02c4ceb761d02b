import { join } from 'node:path';

import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect } from 'vitest';

import { readPages } from '../../../src/entry/pages.ts';
import { hostRule } from '../../../src/http/app/allowed-hosts.ts';
import type { OpenApi } from '../../../src/http/openapi/openapi.ts';
import { buildDashboard } from '../../../tools/build-dashboard.ts';
import { launchBrowser, openTab, type Tab } from '../../support/browser.ts';
import { startPrefixProxy } from '../../support/processes/prefix-proxy.ts';
import { afterTest, temporaryDirectory, undoAll } from '../../support/processes/real-server.ts';
import { exchange, postBatch, startServer, waitUntilCounted } from '../../support/server.ts';
import { needs } from '../../support/run/needs.ts';

const { it } = needs('Chromium');

/*
 * A proxy adds a prefix to all paths; the server does not know it.
 */

let browser: Browser;
let own: string;
let proxied: string;

beforeAll(async () => {
  const directory = join(temporaryDirectory(), 'dashboard');
  await buildDashboard(directory);
  const http = { hostRule: hostRule('127.0.0.1', []), pages: readPages(directory) };
  const server = await startServer({ http });
  afterTest(() => server.stop());
  own = server.url;
  proxied = await startPrefixProxy(own, '/pipe');
  browser = await launchBrowser();
});
afterAll(async () => {
  await browser.close();
  await undoAll();
});

/** Every request had the prefix, and every resource exists. */
function expectSound({ complaints, answers }: Tab): void {
  expect(complaints).toEqual([]);
  expect(answers.filter(({ path, status }) => status >= 400 || !path.startsWith('/pipe/'))).toEqual(
    [],
  );
}

const link = (page: Page, name: string) => page.getByRole('link', { name, exact: true });

it('the dashboard and all its links work under a path prefix', async () => {
  const tab = await openTab(browser);
  const { page } = tab;

  await page.goto(`${proxied}/`);
  const commands = page.locator('.command pre');
  await commands.first().waitFor();
  expect((await commands.allInnerTexts()).join('\n')).toContain(`curl ${proxied}/ingest`);
  expect(await commands.last().innerText()).toBe(`npx device-pipeline feed ${proxied}`);

  const timestamp = new Date().toISOString();
  expect((await postBatch(own, [{ type: 'laptop', state: 'erased', timestamp }])).status).toBe(200);
  await waitUntilCounted(own);
  await page.reload();
  await page.waitForSelector('.rows');
  expect(await page.locator('td.type').allInnerTexts()).toEqual(['laptop']);
  // The style is loaded.
  expect(await page.locator('.card').first().evaluate('document.styleSheets.length')).toBe(1);
  await page.getByRole('button', { name: 'Day by day' }).click();
  await page.waitForURL(`${proxied}/?rows=day`);

  await link(page, 'Plain HTML page of today').click();
  await page.waitForURL(`${proxied}/stats-html?date=*`);
  await link(page, '← Previous day').click();
  await link(page, 'Next day →').click();
  await link(page, 'JSON').click();
  await page.waitForURL(`${proxied}/stats?date=*`);

  await page.goto(`${proxied}/`);
  await link(page, 'API').click();
  await page.waitForURL(`${proxied}/docs`);
  await link(page, 'openapi.json').click();
  await page.waitForURL(`${proxied}/openapi.json`);
  await page.goBack();
  await link(page, 'The dashboard').first().click();
  await page.waitForURL(`${proxied}/`);
  await page.waitForSelector('.rows');
  expectSound(tab);
});

it('the page for browsers without scripts links to a day under a path prefix', async () => {
  const tab = await openTab(browser, { javaScriptEnabled: false });
  await tab.page.goto(`${proxied}/`);
  await tab.page.getByLabel('Day').fill('2026-03-01');
  await tab.page.getByRole('button', { name: 'Show' }).click();
  await tab.page.waitForURL(`${proxied}/stats-html?date=2026-03-01`);
  expectSound(tab);
});

it('the API description names the server by its actual address', async () => {
  const { text } = await exchange(proxied, { path: '/pipe/openapi.json' });
  const { servers } = JSON.parse(text) as OpenApi;
  const bases = servers.map(({ url }) => new URL(url, `${proxied}/openapi.json`).href);
  expect(bases).toEqual([`${proxied}/`]);
});
