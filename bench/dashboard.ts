import { parseArgs } from 'node:util';

import { chromium, type Browser, type CDPSession, type Page } from 'playwright-core';

import { typeStateKey } from '../src/domain/counter.ts';
import { dataPaths } from '../src/engines/embedded/data-directory.ts';
import { openDatabase } from '../src/engines/embedded/store/schema.ts';
import { buildDashboard } from '../tools/build-dashboard.ts';
import { launchOptions } from '../tools/chromium.ts';
import { median } from './growth/figures.ts';
import { withDataDirectory } from './growth/fill.ts';
import { whileServing } from './growth/serve.ts';

/*
 * How long the tasks of the dashboard occupy the main thread of a browser: in CPU time of the thread,
 * which other processes do not lengthen, and in wall-clock time.
 */
const { values } = parseArgs({ options: { times: { type: 'string', default: '5' } } });
const times = Number(values.times);
const dayMs = 86_400_000;

interface Store {
  readonly days: number;
  readonly types: number;
  readonly states: number;
}

/**
 * Gives each type and state a count on each day of a range that ends today, as a server would have
 * counted it.
 */
function fill(dataDir: string, { days, types, states }: Store): void {
  const database = openDatabase(dataPaths(dataDir).database);
  const insert = database.prepare('INSERT INTO counters VALUES (?, ?, ?, ?, ?)');
  database.exec('BEGIN');
  for (let back = 0; back < days; back++) {
    const date = new Date(Date.now() - back * dayMs).toISOString().slice(0, 10);
    for (let at = 0; at < types * states; at++) {
      const [type, state] = [`type ${at % types}`, stateName(Math.floor(at / types))];
      insert.run(date, typeStateKey(type, state), type, state, 1 + ((at * 7 + back) % 5));
    }
  }
  database.exec('COMMIT; PRAGMA wal_checkpoint(TRUNCATE)');
  database.close();
}

/** A fifth of the states are failures. */
const stateName = (index: number) => `station ${index}${index % 5 === 2 ? ' failed' : ''}`;

interface Task {
  readonly cpuMs: number;
  readonly wallMs: number;
}

interface TraceEvent {
  readonly name: string;
  readonly pid: number;
  readonly tid: number;
  readonly dur?: number;
  readonly tdur?: number;
  readonly args: { readonly name?: string };
}

/** The longest task first, of the main thread of the page. */
async function tasksOf(cdp: CDPSession, act: () => Promise<void>): Promise<Task[]> {
  const events: TraceEvent[] = [];
  cdp.on('Tracing.dataCollected', ({ value }) =>
    events.push(...(value as unknown as TraceEvent[])),
  );
  const includedCategories = ['toplevel', 'disabled-by-default-devtools.timeline'];
  await cdp.send('Tracing.start', {
    traceConfig: { recordMode: 'recordAsMuchAsPossible', includedCategories },
  });
  await act();
  const complete = new Promise((resolve) => cdp.once('Tracing.tracingComplete', resolve));
  await cdp.send('Tracing.end');
  await complete;
  const threads = new Set(
    events
      .filter(({ name, args }) => name === 'thread_name' && args.name === 'CrRendererMain')
      .map(({ pid, tid }) => `${pid} ${tid}`),
  );
  return events
    .filter(({ name, pid, tid }) => name === 'RunTask' && threads.has(`${pid} ${tid}`))
    .map(({ dur = 0, tdur = 0 }) => ({ cpuMs: tdur / 1000, wallMs: dur / 1000 }))
    .sort((a, b) => b.cpuMs - a.cpuMs);
}

/** Records when the table is on the page, which appears last. */
const noteShown = `new MutationObserver(() => {
  if (window.shownMs === undefined && document.querySelector('.rows')) window.shownMs = performance.now();
}).observe(document, { childList: true, subtree: true })`;

interface Sample {
  readonly shownMs: number;
  readonly tasks: readonly Task[];
}

async function measure(
  browser: Browser,
  url: string,
  act?: (page: Page) => Promise<void>,
): Promise<Sample> {
  const context = await browser.newContext({ locale: 'en-GB', reducedMotion: 'reduce' });
  const page = await context.newPage();
  await page.addInitScript(noteShown);
  const cdp = await context.newCDPSession(page);
  const load = async () => {
    await page.goto(url);
    await page.waitForSelector('.rows');
    await page.waitForTimeout(400);
  };
  if (act !== undefined) await load();
  const tasks = await tasksOf(cdp, () => (act === undefined ? load() : act(page)));
  const shownMs = await page.evaluate<number>('window.shownMs');
  await context.close();
  return { shownMs, tasks };
}

const typeInto = async (page: Page) => {
  await page.getByLabel('Filter the rows').fill('failed');
  await page.waitForTimeout(400);
};

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

async function report(name: string, sample: () => Promise<Sample>): Promise<void> {
  const samples: Sample[] = [];
  for (let time = 0; time < times; time++) samples.push(await sample());
  const middle = (of: (sample: Sample) => number) =>
    median(samples.map(of)).toFixed(0).padStart(10);
  const nth = (index: number) => (sample: Sample) => sample.tasks[index]?.cpuMs ?? 0;
  const wall = ({ tasks }: Sample) => Math.max(...tasks.map(({ wallMs }) => wallMs));
  const sum = ({ tasks }: Sample) => tasks.reduce((all, { cpuMs }) => all + cpuMs, 0);
  const figures = [middle((each) => each.shownMs), middle(nth(0)), middle(nth(1)), middle(nth(2))];
  say(`${name.padEnd(40)}${[...figures, middle(wall), middle(sum)].join('')}`);
}

await buildDashboard();
const browser = await chromium.launch(launchOptions());
say('ms, medians; tasks of the main thread by CPU time, the longest also by the clock');
const heads = ['shown', 'longest', 'second', 'third', 'by clock', 'all tasks'];
say(`${''.padEnd(40)}${heads.map((head) => head.padStart(10)).join('')}`);
const withStore = (store: Store, use: (url: string) => Promise<void>) =>
  withDataDirectory(async (dataDir) => {
    fill(dataDir, store);
    await whileServing({ dataDir }, ({ url }) => use(url));
  });
try {
  await withStore({ days: 366, types: 10, states: 5 }, async (url) => {
    await report('366 days, 50 names', () => measure(browser, `${url}/?range=365`));
    await report('the same, by day', () => measure(browser, `${url}/?range=365&unit=day`));
    await report('the same, 30 days', () => measure(browser, url));
    await report('typing in the filter of the rows', () =>
      measure(browser, `${url}/?range=365`, typeInto),
    );
  });
  await withStore({ days: 90, types: 400, states: 30 }, async (url) => {
    await report('12,000 names, 30 days', () => measure(browser, url));
    await report('the same, by type', () => measure(browser, `${url}/?split=type`));
    await report('today only', () => measure(browser, `${url}/?range=today`));
    await report('typing in the filter of the rows', () => measure(browser, url, typeInto));
  });
} finally {
  await browser.close();
}
