import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

import { chromium, type Browser, type BrowserContextOptions, type Page } from 'playwright-core';
import { expect } from 'vitest';

import { launchOptions } from '../../tools/chromium.ts';
import { afterTest } from './processes/real-server.ts';

const axeSource = readFileSync(createRequire(import.meta.url).resolve('axe-core'), 'utf8');

/** @throws an Error that says what to do if there is no Chromium. */
export function launchBrowser(): Promise<Browser> {
  return chromium.launch(launchOptions());
}

/** A tab of its own, with what its page reported. */
export interface Tab {
  readonly page: Page;
  /** Errors of scripts and of the console, and violations of the page's policy. */
  readonly complaints: string[];
  /** The requests to the server, with the statuses of the responses. */
  readonly answers: { readonly path: string; readonly status: number }[];
}

export async function openTab(browser: Browser, options?: BrowserContextOptions): Promise<Tab> {
  const context = await browser.newContext({ reducedMotion: 'reduce', ...options });
  afterTest(() => context.close());
  const page = await context.newPage();
  page.setDefaultTimeout(120_000);
  const complaints: string[] = [];
  const answers: Tab['answers'] = [];
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('console', (message) => {
    if (message.type() === 'error') complaints.push(message.text());
  });
  page.on('response', (response) => {
    const { pathname, search } = new URL(response.url());
    answers.push({ path: pathname + search, status: response.status() });
  });
  await page.addInitScript(
    "addEventListener('securitypolicyviolation', (event) => console.error('CSP: ' + event.violatedDirective))",
  );
  return { page, complaints, answers };
}

/** The accessibility problems that axe finds. */
export async function expectAccessible(page: Page): Promise<void> {
  // Over the debugging protocol, because the page's policy allows no other script.
  await page.evaluate(axeSource);
  const found = await page.evaluate(
    "axe.run().then(({ violations }) => violations.map(({ id, nodes }) => id + ': ' + nodes.map(({ html }) => html).join(' ')))",
  );
  expect(found).toEqual([]);
}

/** How much wider the page is than the screen, in pixels. */
export function overflowOf(page: Page): Promise<number> {
  return page.evaluate(
    'document.documentElement.scrollWidth - document.documentElement.clientWidth',
  );
}
