import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';

import { beforeEach, describe, expect, it } from 'vitest';

import { dayZoneOf } from '../../../src/engines/embedded/store/raw-batches.ts';
import {
  answers,
  directory,
  file,
  received,
  run,
  send,
  start,
  url,
  type Answer,
  type Outcome,
} from '../../support/processes/command-line.ts';
import {
  auditOf,
  change,
  numberedBatches,
  openWriter,
  store,
} from '../../support/embedded-store.ts';
import { ServerProcess } from '../../support/processes/server-process.ts';

interface Summary {
  readonly sent: { readonly batches: number; readonly items: number };
  readonly already_there: { readonly batches: number };
  readonly refused: { readonly batches: number };
  readonly dead_letters: number;
  readonly missing: number;
  readonly keys: 'known' | 'not_known';
  readonly troubles: readonly { readonly detail: string }[];
}

let source: string;
let target: string;

beforeEach(() => {
  source = join(directory, 'source');
  target = join(directory, 'target');
});

function replay(from: string, to: string, ...more: string[]): Promise<Outcome> {
  return run(['replay', '--from', from, '--to', to, '--json', ...more]);
}

async function summaryOf(outcome: Promise<Outcome>, code = 0): Promise<Summary> {
  const { stdout, stderr, code: found } = await outcome;
  expect(found, stderr).toBe(code);
  return JSON.parse(stdout) as Summary;
}

async function stats(...args: string[]): Promise<unknown> {
  const { stdout } = await run([
    'stats',
    '--from',
    '2026-03-01',
    '--to',
    '2026-03-02',
    '--json',
    ...args,
  ]);
  return JSON.parse(stdout);
}

describe('replay', () => {
  it('brings a store into a directory, once, also when it is killed and run again', async () => {
    await store(source, numberedBatches(400));
    const killed = start(['replay', '--from', source, '--to', target, '--concurrency', '1']);
    await expect.poll(() => hasStored(target), { interval: 2 }).toBe(true);
    killed.child.kill('SIGKILL');
    await killed.outcome;
    const again = await summaryOf(replay(source, target));
    expect(again.sent.batches + again.already_there.batches).toBe(400);
    expect(await summaryOf(replay(source, target))).toMatchObject({
      sent: { batches: 0 },
      already_there: { batches: 400 },
    });
    expect(await stats('--data-dir', target)).toEqual(await stats('--data-dir', source));
    expect(await auditOf(target)).toEqual([]);
    // Nor back to where it came from.
    expect(await summaryOf(replay(target, source))).toMatchObject({
      sent: { batches: 0 },
      already_there: { batches: 400 },
    });
    expect(await auditOf(source)).toEqual([]);
  });

  it('brings it to a server, and an exported copy too', async () => {
    await store(source, numberedBatches(20));
    const server = new ServerProcess(target);
    const url = await server.listening;
    expect(await summaryOf(replay(source, url))).toMatchObject({
      sent: { batches: 20, items: 40 },
      keys: 'known',
    });
    const copy = join(directory, 'copy');
    expect(await run(['raw', 'export', copy, '--data-dir', source])).toMatchObject({ code: 0 });
    expect(await summaryOf(replay(copy, url))).toMatchObject({
      ...{ already_there: { batches: 20 }, keys: 'known' },
    });
    const elsewhere = join(directory, 'elsewhere');
    expect(await summaryOf(replay(copy, elsewhere))).toMatchObject({ sent: { batches: 20 } });
    const counted = await stats('--data-dir', source);
    await expect.poll(() => stats('--url', url)).toEqual(counted);
    expect(await stats('--data-dir', elsewhere)).toEqual(counted);
    server.kill('SIGTERM');
    await server.waitExit();
    expect(await auditOf(target)).toEqual([]);
    expect(await auditOf(elsewhere)).toEqual([]);
  });

  it('brings a store to one with the same day rule, and to another one only if that is meant', async () => {
    const items = [{ type: 'laptop', state: 'erased', timestamp: '2026-03-01T12:30:00-05:00' }];
    await store(source, [{ items }], { dayZone: 'UTC' });
    const copy = join(directory, 'copy');
    expect(await run(['raw', 'export', copy, '--data-dir', source])).toMatchObject({ code: 0 });
    const refusal = 'The day rule of the source is UTC, that of the target';
    await store(target, [], { dayZone: 'Europe/Berlin' });
    const { code, stderr } = await replay(source, target);
    expect([code, stderr]).toEqual([1, expect.stringContaining(`${refusal} Europe/Berlin`)]);
    const served = join(directory, 'served');
    const server = new ServerProcess(served, { args: ['--day-zone', 'Pacific/Auckland'] });
    const url = await server.listening;
    expect((await replay(copy, url)).stderr).toContain(`${refusal} Pacific/Auckland`);
    const sent = await summaryOf(replay(copy, url, '--allow-other-days'));
    expect(sent).toMatchObject({ sent: { batches: 1 } });
    server.kill('SIGTERM');
    await server.waitExit();
    const other = new ServerProcess(served, { args: ['--day-zone', 'UTC'] });
    expect(await other.exited).toMatchObject({ code: 1 });
    // A directory that is made for it gets its rule.
    const made = join(directory, 'made');
    expect(await summaryOf(replay(copy, made))).toMatchObject({ sent: { batches: 1 } });
    expect([dayZoneOf(made), dayZoneOf(served)]).toEqual(['UTC', 'Pacific/Auckland']);
    expect(await auditOf(made)).toEqual([]);
  });

  it('names what it cannot bring, and says so by its exit code', async () => {
    await store(source, numberedBatches(3));
    expect(await summaryOf(replay(source, target, '--until', '2020-01-01'))).toMatchObject({
      sent: { batches: 0 },
    });
    change(source, `INSERT INTO dead_letters VALUES (64, 'x', 'a reason', 1, 1, NULL, NULL)`);
    expect(await summaryOf(replay(source, target))).toMatchObject({
      ...{ sent: { batches: 2 }, dead_letters: 1 },
    });
    const list =
      '{"raw_key":"raw/2026-03-01T12:00:00.000Z-00000000-0040-8f3a-9c41-5d0e6f2b7a18.json"';
    const copy = join(directory, 'copy');
    await run(['raw', 'export', copy, '--data-dir', source, '--until', '2020-01-01']);
    const name = 'raw/2026-03-01T12:00:00.000Z-00000000-0040-8f3a-9c41-5d0e6f2b7a18.json';
    await file(join('copy', name), '{"processed_devices":[]}');
    await file('copy/batches.ndjson', `${list},"encoding":"identity","accepted":1,"rejected":0}\n`);
    const refused = await summaryOf(replay(copy, target), 1);
    expect(refused).toMatchObject({ refused: { batches: 1 }, keys: 'not_known' });
    const told = await run(['replay', '--from', copy, '--to', target]);
    expect(told.stdout).toMatch(/^keys {5}the source has no idempotency keys .*$/m);
    expect(refused.troubles[0]?.detail).toMatch(/^replay_differs: 0 items are valid here/);
  });

  it('says once that the target refuses the token', async () => {
    await store(source, numberedBatches(40));
    const refuse: Answer = (response) => {
      send(response, 401, { code: 'unauthorized', detail: 'No token.' });
    };
    answers.push(...Array.from({ length: 40 }, () => refuse));
    const outcome = await run(['replay', '--from', source, '--to', url]);
    expect(outcome).toMatchObject({
      code: 1,
      stderr: 'device-pipeline: 401 unauthorized: No token.\n',
    });
  });

  it('sends compressed bodies plain where a gateway loses them, and says so once', async () => {
    const plain = JSON.stringify({ processed_devices: numberedBatches(1)[0]?.items });
    const names = [0, 1, 2].map(
      (n) => `raw/2026-03-01T12:00:00.00${n}Z-00000000-0040-8f3a-9c41-5d0e6f2b7a1${n}.json`,
    );
    mkdirSync(join(directory, 'copy/raw'), { recursive: true });
    for (const name of names) await file(join('copy', name), gzipSync(plain));
    const lines = names.map((raw_key) =>
      JSON.stringify({ raw_key, encoding: 'gzip', accepted: 2, rejected: 0 }),
    );
    await file('copy/batches.ndjson', `${lines.join('\n')}\n`);
    const gateway: Answer = (response, { method, headers }) => {
      const isLost = headers['content-encoding'] !== undefined;
      if (method === 'GET') send(response, 200, { status: 'ok' });
      else if (isLost) send(response, 415, { code: 'compression_not_supported', detail: 'Lost.' });
      else send(response, 200, { raw_key: 'raw/x', enqueued: 2, already_there: false });
    };
    const toGateway = async (...more: string[]) => {
      answers.splice(0, Infinity, ...Array.from({ length: 10 }, () => gateway));
      const ends = ['--from', join(directory, 'copy'), '--to', url, '--concurrency', '1'];
      const { code, stderr } = await run(['replay', ...ends, ...more]);
      const bodies = received.splice(0).filter(({ method }) => method === 'POST');
      const encodings = bodies.map(({ headers }) => headers['content-encoding']);
      return { code, stderr, encodings, last: bodies.at(-1)?.body.toString() };
    };
    const plainAfterOne = ['gzip', undefined, undefined, undefined];
    expect(await toGateway()).toEqual({
      ...{ code: 0, encodings: plainAfterOne, last: plain },
      stderr: `device-pipeline: compressed batches do not reach ${url} intact; sending uncompressed from now on: 415 compression_not_supported: Lost.\n`,
    });
    expect(await toGateway('--no-compress')).toEqual({
      ...{ code: 0, encodings: plainAfterOne.slice(1), last: plain, stderr: '' },
    });
  });

  it('takes no directory that holds both a log and an export', async () => {
    await store(source, numberedBatches(1));
    const copy = join(directory, 'copy');
    expect(await run(['raw', 'export', copy, '--data-dir', source])).toMatchObject({ code: 0 });
    const into = await replay(source, copy);
    expect(into).toMatchObject({ code: 2, stdout: '' });
    expect(into.stderr).toMatch(/^device-pipeline: .*copy holds an export .*\n$/);
    expect(existsSync(join(copy, 'log'))).toBe(false);
    await file('source/batches.ndjson', '');
    const both = await replay(source, target);
    expect(both).toMatchObject({ code: 2, stdout: '' });
    expect(both.stderr).toMatch(/^device-pipeline: .*source holds both .*\n$/);
    expect(existsSync(target)).toBe(false);
  });

  it('says in one line what is wrong with either side', async () => {
    expect((await replay('http://127.0.0.1:1', target)).code).toBe(2);
    const nowhere = await replay(join(directory, 'nowhere'), target);
    expect(nowhere.stderr).toMatch(/^device-pipeline: There is no pipeline at .*\n$/);
    await store(source, numberedBatches(1));
    const writer = openWriter(target);
    const used = await replay(source, target);
    await writer.close();
    expect(used).toMatchObject({ code: 1 });
    expect(used.stderr).toMatch(/is in use by process/);
    const gone = await replay(source, 'http://127.0.0.1:1');
    expect(gone.code).toBe(1);
  });
});

/** Whether the log of a directory that is being written holds some batches. */
function hasStored(dataDir: string): boolean {
  const log = join(dataDir, 'log');
  const [first] = existsSync(log) ? readdirSync(log) : [];
  return first !== undefined && readFileSync(join(log, first)).includes('own 20"');
}
