import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { chromium, type Browser, type BrowserContextOptions, type Page } from 'playwright-core';

import { buildDashboard } from './build-dashboard.ts';
import { launchOptions } from './chromium.ts';
import { sampleYear } from './sample-year.ts';

/*
 * Takes screenshots of every state of the dashboard. `npm run screenshots` updates the two of the README;
 * `npm run screenshots -- --all DIRECTORY` writes all of them there.
 */
const { values } = parseArgs({ options: { all: { type: 'string' } } });
const cli = fileURLToPath(new URL('../src/entry/cli.ts', import.meta.url));
const images = fileURLToPath(new URL('../docs/images/', import.meta.url));
const scratch = mkdtempSync(join(tmpdir(), 'device-pipeline-pictures-'));
const servers: ChildProcess[] = [];

async function serve(name: string): Promise<string> {
  const args = [cli, 'serve', '--port', '0', '--data-dir', join(scratch, name)];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  servers.push(child);
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  return /http:\S+/.exec(line.toString())?.[0] ?? '';
}

async function run(...args: string[]): Promise<void> {
  const child = spawn(process.execPath, [cli, ...args], { stdio: 'ignore', cwd: scratch });
  const [code] = (await once(child, 'exit')) as [number];
  if (code !== 0) throw new Error(`${args.join(' ')} ended with ${code}`);
}

/** Today in the pictures, so that they are the same on any day. */
const today = '2026-11-25';

/** A year of a line that works on weekdays; its last week is bad. */
async function fill(url: string): Promise<void> {
  const year = { today, days: 366, devicesPerDay: 900, badWeekEnded: 1 };
  for (const items of sampleYear(year)) await post(url, items);
}

async function post(url: string, items: readonly unknown[]): Promise<void> {
  const body = JSON.stringify({ processed_devices: items });
  const headers = { 'content-type': 'application/json' };
  const answer = await fetch(`${url}/ingest`, { method: 'POST', headers, body });
  if (!answer.ok) throw new Error(await answer.text());
}

async function counted(url: string): Promise<void> {
  for (let tries = 0; tries < 500; tries++) {
    const ready = (await (await fetch(`${url}/readyz`)).json()) as { pending_items: number };
    if (ready.pending_items === 0) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error('timed out while waiting for all batches to be counted');
}

interface Picture {
  readonly url: string;
  readonly file: string;
  readonly waitFor: string;
  readonly options?: BrowserContextOptions;
  readonly isWhole?: boolean;
  readonly before?: (page: Page) => Promise<unknown>;
}

const desktop = { viewport: { width: 1440, height: 900 } };
const phone = { viewport: { width: 360, height: 740 } };

async function take(browser: Browser, picture: Picture): Promise<void> {
  const { url, file, waitFor, options = desktop, isWhole = false, before } = picture;
  const context = await browser.newContext({
    ...{ reducedMotion: 'reduce', locale: 'en-GB' },
    ...options,
  });
  const page = await context.newPage();
  await page.clock.setFixedTime(`${today}T12:00:00Z`);
  await page.goto(url);
  await page.waitForSelector(waitFor);
  await before?.(page);
  await page.screenshot({ path: file, fullPage: isWhole });
  await context.close();
}

async function takeAll(browser: Browser, full: string, directory: string): Promise<void> {
  mkdirSync(directory, { recursive: true });
  const to = (name: string) => join(directory, `${name}.png`);
  const dark = { ...desktop, colorScheme: 'dark' } as const;
  await take(browser, { url: full, file: to('light'), waitFor: '.rows', isWhole: true });
  await take(browser, {
    url: full,
    file: to('dark'),
    waitFor: '.rows',
    isWhole: true,
    options: dark,
  });
  await take(browser, {
    url: full,
    file: to('phone'),
    waitFor: '.rows',
    isWhole: true,
    options: phone,
  });
  await take(browser, { url: `${full}/?range=365&split=type`, file: to('year'), waitFor: '.rows' });
  await take(browser, {
    url: `${full}/?from=2020-01-01&to=2020-01-03`,
    file: to('none'),
    waitFor: '.notice',
  });
  const empty = await serve('empty');
  await take(browser, { url: empty, file: to('first-run'), waitFor: '.first-run' });
  await take(browser, {
    url: empty,
    file: to('first-run-phone'),
    waitFor: '.first-run',
    options: phone,
  });
  const error = (page: Page) =>
    page.route('**/stats?**', (route) => route.abort()).then(() => page.click('text=90 days'));
  await take(browser, {
    url: full,
    file: to('error'),
    waitFor: '.rows',
    before: (page) => error(page).then(() => page.waitForSelector('.failure')),
  });
  const many = await serve('many');
  const timestamp = `${today}T09:00:00Z`;
  for (let start = 0; start < 10_000; start += 1000) {
    const item = (_: unknown, index: number) => ({
      type: `device model ${start + index}`,
      state: index % 9 === 0 ? 'failed' : 'erased',
      timestamp,
    });
    await post(many, Array.from({ length: 1000 }, item));
  }
  await counted(many);
  await take(browser, {
    url: `${many}/?split=type`,
    file: to('many'),
    waitFor: '.rows',
    isWhole: true,
  });
  await run(
    'token',
    'create',
    '--data-dir',
    join(scratch, 'closed'),
    '--name',
    'ops',
    '--for',
    'read',
  );
  const closed = await serve('closed');
  await take(browser, { url: closed, file: to('sign-in'), waitFor: '.sign-in' });
}

try {
  await buildDashboard();
  mkdirSync(images, { recursive: true });
  const url = await serve('full');
  await fill(url);
  await counted(url);
  const browser = await chromium.launch(launchOptions());
  if (values.all === undefined) {
    const file = (name: string) => join(images, `dashboard-${name}.png`);
    const tall = { viewport: { width: 1440, height: 1500 } };
    await take(browser, { url, file: file('light'), waitFor: '.rows', options: tall });
    const dark = { ...tall, colorScheme: 'dark' } as const;
    await take(browser, {
      url: `${url}/?split=type`,
      file: file('dark'),
      waitFor: '.rows',
      options: dark,
    });
  } else await takeAll(browser, url, values.all);
  await browser.close();
} finally {
  for (const server of servers) {
    server.kill('SIGTERM');
    await once(server, 'exit');
  }
  rmSync(scratch, { recursive: true, force: true });
}
