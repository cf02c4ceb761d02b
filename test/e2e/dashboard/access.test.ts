import { setTimeout } from 'node:timers/promises';

import { expect } from 'vitest';

import { serverAccess, TokenTable } from '../../../src/auth/check-access.ts';
import { tokenHash, type Scope } from '../../../src/auth/token.ts';
import { expectAccessible, openTab } from '../../support/browser.ts';
import {
  becomes,
  button,
  dashboards,
  expectSound,
  figure,
  fleet,
  now,
} from '../../support/dashboard.ts';
import { postBatch } from '../../support/server.ts';
import { needs } from '../../support/run/needs.ts';
import { itAtNight } from '../../support/run/tier.ts';

const { describe, it } = needs('Chromium');
const { browser, blank, serve, open } = dashboards();

describe('with tokens', () => {
  const token = (name: string, scope: Scope) => ({
    name,
    sha256: tokenHash(`dpl_${name}`),
    for: [scope],
    expiresAt: undefined,
  });
  const table = new TokenTable([token('sender', 'ingest'), token('reader', 'read')]);
  const accessOf = (tokens: () => TokenTable) =>
    serverAccess({ tokens, isOpenWithoutTokens: false, rate: undefined });

  it('it asks for one, says what is wrong with it, and keeps it in this tab only', async () => {
    const url = await serve({ access: accessOf(() => table) });
    const authorization = 'Bearer dpl_sender';
    expect((await postBatch(url, fleet, { authorization })).status).toBe(200);

    const tab = await open(url);
    const { page } = tab;
    const tryToken = async (text: string) => {
      await page.getByLabel('Token').fill(text);
      await page.getByLabel('Token').press('Enter');
    };
    await page.getByLabel('Token').waitFor();
    expect(await page.evaluate('document.activeElement.type')).toBe('password');
    await expectSound(tab);
    await tryToken('dpl_ключ');
    await page.getByText('A token consists of ASCII characters').waitFor();
    expect(await page.evaluate('sessionStorage.length')).toBe(0);
    await tryToken('dpl_unknown');
    await page.getByText('Unknown token').waitFor();
    await tryToken('dpl_sender');
    await page.getByText('lacks the scope read').waitFor();
    await expectAccessible(page);
    await tryToken('dpl_reader');
    await becomes(page, 'Events', '12');
    expect(await page.evaluate('document.activeElement.id')).toBe('main');
    expect(page.url()).not.toContain('dpl_');
    expect(await page.evaluate('JSON.stringify(localStorage)')).not.toContain('dpl_');
    await page.reload();
    await becomes(page, 'Events', '12');
    const other = await open(url);
    await other.page.getByLabel('Token').waitFor();
    await button(page, 'Live').click();
    await page.locator('.live[aria-pressed=true]').waitFor();
    await button(page, 'Sign out').click();
    await page.getByLabel('Token').waitFor();
    // Longer than the polling interval: the page no longer polls.
    await setTimeout(2_500);
    expect(await page.evaluate('sessionStorage.length')).toBe(0);
    // The browser's console has the two refused tokens, each once, and nothing else.
    expect(tab.complaints.map((text) => /status of 40[13]/.exec(text)?.[0])).toEqual([
      ...['status of 401', 'status of 403'],
    ]);
  });

  itAtNight('signing in waits for a server that does not answer', async () => {
    const url = await serve({ access: accessOf(() => table) });
    expect((await postBatch(url, fleet, { authorization: 'Bearer dpl_sender' })).status).toBe(200);
    const { page } = await open(url);
    await page.getByLabel('Token').waitFor();
    await page.route(/\/(stats|readyz)/, (route) => route.abort());
    await page.getByLabel('Token').fill('dpl_reader');
    await page.getByLabel('Token').press('Enter');
    await page.getByText('The server does not respond').first().waitFor();
    expect(await page.getByLabel('Token').count()).toBe(1);
    await page.unroute(/\/(stats|readyz)/);
    await becomes(page, 'Events', '12');
  });

  it('a browser that lets pages keep nothing shows it all the same', async () => {
    const url = await serve({ access: accessOf(() => table) });
    expect((await postBatch(url, fleet, { authorization: 'Bearer dpl_sender' })).status).toBe(200);
    const { page, complaints } = await blank();
    await page.addInitScript(
      "for (const name of ['localStorage', 'sessionStorage']) Object.defineProperty(window, name, { get() { throw new DOMException('no', 'SecurityError'); } })",
    );
    await page.goto(url);
    await page.getByLabel('Token').fill('dpl_reader');
    await page.getByLabel('Token').press('Enter');
    await becomes(page, 'Events', '12');
    await button(page, 'Dark').click();
    expect(complaints).toEqual([]);
  });

  it('what was asked before its token was revoked does not come back', async () => {
    let known = table;
    const url = await serve({ access: accessOf(() => known) });
    expect((await postBatch(url, fleet, { authorization: 'Bearer dpl_sender' })).status).toBe(200);
    const { page } = await open(url);
    await page.getByLabel('Token').fill('dpl_reader');
    await page.getByLabel('Token').press('Enter');
    await becomes(page, 'Events', '12');
    await button(page, 'Live').click();
    const [answered, released] = [Promise.withResolvers<null>(), Promise.withResolvers<null>()];
    await page.route(/\/stats\?from=[-\d]+&to=[-\d]+$/, async (route) => {
      const response = await route.fetch();
      answered.resolve(null);
      await released.promise;
      await route.fulfill({ response }).catch(() => undefined);
    });
    await button(page, '90 days').click();
    await answered.promise;
    known = new TokenTable([token('sender', 'ingest')]);
    const refused = page.getByText('Unknown token');
    await refused.waitFor();
    released.resolve(null);
    await setTimeout(300);
    expect(await refused.count()).toBe(1);
    expect(await figure(page, 'Events').count()).toBe(0);
  });

  it('it asks again once its token is revoked, live or not', async () => {
    let known = table;
    const url = await serve({ access: accessOf(() => known) });
    const { page } = await openTab(browser());
    await page.clock.install({ time: now });
    await page.goto(url);
    await page.getByLabel('Token').fill('dpl_reader');
    await page.getByLabel('Token').press('Enter');
    await page.getByText('Ready for the first batch').waitFor();
    const said = await page.locator('.first-run').innerText();
    expect(said).toContain('-H "Authorization: Bearer $DEVICE_PIPELINE_TOKEN"');
    expect(said).toContain('token create --name NAME --for ingest');
    const authorization = 'Bearer dpl_sender';
    expect((await postBatch(url, fleet, { authorization })).status).toBe(200);
    await expect
      .poll(async () => {
        await page.clock.runFor(2_000);
        return await figure(page, 'Events').count();
      })
      .toBe(1);
    known = new TokenTable([token('sender', 'ingest')]);
    // Step by step: half a minute at once would end the requests that are on their way.
    const refused = page.getByText('Unknown token');
    const looking = { interval: 200, timeout: 500_000 };
    await expect
      .poll(async () => {
        await page.clock.runFor(2_000);
        return await refused.count();
      }, looking)
      .toBe(1);
    expect(await figure(page, 'Events').count()).toBe(0);
  });
});
