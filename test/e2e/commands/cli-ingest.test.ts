import { once } from 'node:events';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';

import { describe, expect, test } from 'vitest';

import {
  accept,
  answers,
  directory,
  file,
  itemsReceived,
  numbered,
  received,
  run,
  send,
  start,
  url,
} from '../../support/processes/command-line.ts';

const event = { type: 'phone', state: 'erased', timestamp: '2026-06-17T12:00:00Z' };

/** Accepts the next request; resolves then. */
function nextAccepted(): Promise<void> {
  return new Promise((resolve) => {
    answers.push((response, request) => {
      accept(response, request);
      resolve();
    });
  });
}

describe('ingest', () => {
  test('sends a document that fits byte for byte as it is', async () => {
    const text = '\ufeff{ "source":"line-7",\n"processed_devices" : [ {"n":1.0} ,{"n":2}] }\r\n';
    const outcome = await run(['ingest', await file('a.json', text), '--url', url, '--items', '1']);
    expect(outcome).toMatchObject({ code: 0, stderr: '' });
    expect(received.map(({ body }) => body.toString())).toEqual([text]);
    expect(outcome.stdout).toMatch(/items {4}2 accepted, 0 rejected\n/);
  });

  test('splits a large document and keeps the bytes of every item', async () => {
    const items = Array.from({ length: 50_000 }, (_, n) => `{"n":${n}.0, "text":"\\u00e4"}`);
    const text = `{"source":"x","processed_devices":[\n${items.join(',\n')}\n],"end":[]}`;
    const path = await file('large.json', text);
    const args = ['ingest', path, '--url', url, '--max-body', '100KiB', '--concurrency', '8'];
    const outcome = await run([...args, '--items', '3000']);
    expect(outcome).toMatchObject({ code: 0, stderr: '' });
    for (const { body } of received) expect(body.length).toBeLessThanOrEqual(100 * 1024);
    const sent = received.map(({ body }) => body.toString().slice(22, -2));
    const inOrder = sent.sort((a, b) => firstNumber(a) - firstNumber(b)).join(',');
    expect(inOrder).toBe(items.join(','));
    expect(outcome.stdout).toMatch(/items {4}50,000 accepted, 0 rejected\n/);
  });

  function firstNumber(text: string): number {
    return Number(/\d+/.exec(text)?.[0]);
  }

  test.each([
    ['lines.ndjson', (lines: string) => lines],
    ['lines.txt', (lines: string) => lines],
    ['lines.jsonl', (lines: string) => `\ufeff\r\n${lines.replaceAll('\n', '\r\n\r\n')}\r\n`],
    ['lines.ndjson.gz', (lines: string) => gzipSync(lines)],
    ['zipped', (lines: string) => gzipSync(lines)],
  ])('reads NDJSON from %s', async (name, make) => {
    const lines = numbered(250).map((item) => JSON.stringify(item));
    const path = await file(name, make(lines.join('\n')));
    const args = ['ingest', path, '--url', url, '--items', '100', '--concurrency', '1'];
    expect(await run(args)).toMatchObject({ code: 0, stderr: '' });
    expect(received.map(({ body }) => body.toString().split('"n"').length - 1)).toEqual([
      100, 100, 50,
    ]);
    expect(itemsReceived()).toEqual(numbered(250));
  });

  test.each([
    ['one.ndjson', '{"n":0}\n'],
    ['one.json', '{"n":0}'],
    ['-', '{\n "n": 0\n}\n'],
  ])('treats a single object as an item, in %s', async (name, text) => {
    const path = name === '-' ? name : await file(name, text);
    const outcome = await run(['ingest', path, '--url', url], text);
    expect(outcome).toMatchObject({ code: 0, stderr: '' });
    expect(itemsReceived()).toEqual([{ n: 0 }]);
  });

  test('reads standard input, and a list without a root', async () => {
    const outcome = await run(['ingest', '-', '--url', url], JSON.stringify(numbered(3)));
    expect(outcome.code).toBe(0);
    expect(itemsReceived()).toEqual(numbered(3));
  });

  test('names refused items by their number in the file, whatever batch they were in', async () => {
    const items = numbered(25).map((item) => (item.n % 10 === 9 ? { ...item, bad: true } : item));
    const path = await file('bad.json', JSON.stringify(items));
    const outcome = await run(['ingest', path, '--url', url, '--items', '4']);
    expect(outcome.code).toBe(1);
    expect(outcome.stderr).toBe(
      `${path}: line 1, item 10: state: missing: There is no state.\n` +
        `${path}: line 1, item 20: state: missing: There is no state.\n`,
    );
    expect(outcome.stdout).toMatch(/items {4}23 accepted, 2 rejected\n/);
  });

  test('names no field where a whole item is refused', async () => {
    const message = 'the item must be an object';
    const errors = [{ index: 2, field: null, code: 'not_an_object', message }];
    const answer = { raw_key: 'raw/x.json', enqueued: 2, rejected: 1, errors };
    answers.push((response) => send(response, 200, answer));
    const path = await file('bad.json', '[{},{},3]');
    const outcome = await run(['ingest', path, '--url', url]);
    expect(outcome.code).toBe(1);
    expect(outcome.stderr).toBe(`${path}: line 1, item 3: not_an_object: ${message}\n`);
  });

  test('names the first 20 refused items', async () => {
    const items = numbered(100).map((item) => ({ ...item, bad: true }));
    const path = await file('bad.json', JSON.stringify(items));
    const outcome = await run(['ingest', path, '--url', url, '--items', '9', '--json']);
    const { files } = JSON.parse(outcome.stdout) as {
      files: { errors: { item: number }[]; refused: number }[];
    };
    expect(files[0]?.refused).toBe(100);
    expect(files[0]?.errors.map(({ item }) => item)).toEqual(
      Array.from({ length: 20 }, (_, at) => at + 1),
    );
  });

  test('reports which batch was refused as a whole', async () => {
    const detail = 'The body is larger than 10 bytes.';
    answers.push(accept, (response) => send(response, 413, { code: 'body_too_large', detail }));
    const path = await file('a.json', JSON.stringify(numbered(9)));
    const outcome = await run(['ingest', path, '--url', url, '--items', '3', '--concurrency', '1']);
    expect(outcome.code).toBe(1);
    expect(outcome.stderr).toBe(
      `${path}: items 4 to 6 were refused as a batch: 413 body_too_large: ${detail}\n`,
    );
    expect(outcome.stdout).toMatch(/items {4}6 accepted, 3 rejected\n/);
  });

  test('requests strict handling only with --strict', async () => {
    const path = await file('a.json', JSON.stringify([event]));
    await run(['ingest', path, '--url', url]);
    await run(['ingest', path, '--url', url, '--strict']);
    expect(received.map(({ headers }) => headers['prefer'])).toEqual([
      undefined,
      'handling=strict',
    ]);
  });

  test('sends nothing where a file is missing', async () => {
    const path = await file('a.json', '[1]');
    const outcome = await run(['ingest', path, join(directory, 'missing.json'), '--url', url]);
    expect(outcome.code).toBe(1);
    expect(outcome.stderr).toMatch(/missing\.json: no such file\n$/);
    expect(received).toEqual([]);
  });

  test('names bad lines by their numbers, and sends the others', async () => {
    const lines = numbered(5_000).map((item) => JSON.stringify(item));
    lines[2_499] = '{"n":';
    lines[4_000] = '{"n":oops}';
    const path = await file('bad.ndjson', lines.join('\n'));
    const outcome = await run(['ingest', path, '--url', url, '--concurrency', '1']);
    expect(outcome.code).toBe(1);
    expect(outcome.stderr).toMatch(
      /^\S+bad\.ndjson: line 2500, byte offset \d+: the line ends where a value should follow\n\S+: line 4001, byte offset \d+: expected a value, found oops\n$/,
    );
    expect(itemsReceived()).toEqual(numbered(5_000).filter(({ n }) => n !== 2_499 && n !== 4_000));
    expect(outcome.stdout).toContain('items    4,998 accepted, 0 rejected\nlines    2 not sent: ');
    expect(outcome.stdout).not.toContain('again');
  });

  test('names a refused item of NDJSON by its line', async () => {
    const path = await file('bad.ndjson', '{"n":1}\n\noops\n{"n":2,"bad":true}\n');
    const outcome = await run(['ingest', path, '--url', url, '--json']);
    const { files } = JSON.parse(outcome.stdout) as { files: object[] };
    expect(files).toMatchObject([
      {
        ...{ accepted: 1, refused: 1, bad_lines: 1, not_sent: 0 },
        lines: [{ line: 3, message: 'line 3, byte offset 9: expected a value, found oops' }],
        errors: [{ item: 2, line: 4, field: 'state', code: 'missing' }],
      },
    ]);
  });

  test('stops at what is malformed in a document: says where, and what had been accepted before', async () => {
    const lines = numbered(100_000).map((item) => JSON.stringify(item));
    lines[90_000] = '{"n":oops}';
    const path = await file('bad.json', `[${lines.join(',\n')}]`);
    const args = ['--items', '1000', '--max-body', '20KiB', '--concurrency', '1'];
    const outcome = await run(['ingest', path, '--url', url, ...args]);
    expect(outcome.code).toBe(1);
    expect(outcome.stderr).toMatch(
      /bad\.json: line 90001, byte offset \d+: expected a value, found oops; read and not sent: [\d,]+ items\n$/,
    );
    const sent = itemsReceived();
    expect(sent).toEqual(numbered(sent.length));
    expect(sent.length).toBeGreaterThan(0);
    expect(outcome.stdout).toContain(`items    ${sent.length.toLocaleString('en-US')} accepted`);
    expect(outcome.stdout).toMatch(
      /again {4}running the same command again with --key \S+ counts nothing twice\n/,
    );
  });

  test.each([
    ['a bad line', `${JSON.stringify(event)}\noops\n`, '1 bad line and 0 bad items'],
    ['a bad item', `${JSON.stringify(event)}\n{"type":"phone"}\n`, '0 bad lines and 1 bad item'],
  ])('with --strict sends nothing for %s, of a file or of a pipe', async (_, text, found) => {
    const good = await file('good.ndjson', JSON.stringify(event));
    const bad = await file('bad.ndjson', text);
    for (const [files, input] of [
      [[good, bad], undefined],
      [[good, '-'], text],
    ] as const) {
      const outcome = await run(['ingest', '--strict', ...files, '--url', url], input);
      expect(outcome).toMatchObject({ code: 1, stdout: '' });
      expect(outcome.stderr).toContain(`nothing was sent: --strict found ${found}`);
      expect(outcome.stderr).toMatch(/(bad\.ndjson|-): line 2, /);
    }
    expect(received).toEqual([]);
  });

  test('with --strict sends what a pipe gave, once all of it is good', async () => {
    const input = `${JSON.stringify(event)}\n`.repeat(3);
    const outcome = await run(['ingest', '--strict', '-', '--url', url], input);
    expect(outcome).toMatchObject({ code: 0, stderr: '' });
    expect(itemsReceived()).toEqual([event, event, event]);
  });

  test('from a pipe sends what waits, and at Ctrl-C says what it had not sent', async () => {
    const { child, outcome } = start(['ingest', '-', '--url', url]);
    const first = nextAccepted();
    child.stdin.write('{"n":0}\n{"n":1}\n');
    await first;
    expect(itemsReceived()).toEqual(numbered(2));
    child.stdin.write('{"n":2}\n{"n":');
    // That has been read once it is sent.
    await nextAccepted();
    child.kill('SIGINT');
    const { code, stdout, stderr } = await outcome;
    expect(code).toBe(130);
    expect(stderr).toContain(
      'device-pipeline: interrupted; read and not sent: 5 bytes of an incomplete item\n',
    );
    expect(stdout).toContain('items    3 accepted, 0 rejected\n');
    expect(stdout).not.toContain('again');
  });

  test('with --strict says at Ctrl-C that nothing was sent', async () => {
    const { child, outcome } = start(['ingest', '--strict', '-', '--url', url]);
    // Once the program runs, it takes that from the pipe.
    const isRead = once(child.stdin, 'drain');
    child.stdin.write(`${JSON.stringify(event)}\n`.repeat(5_000));
    await isRead;
    child.kill('SIGINT');
    const { code, stderr } = await outcome;
    expect(code).toBe(130);
    expect(stderr).toContain('device-pipeline: interrupted; nothing was sent, because --strict');
    expect(received).toEqual([]);
  });

  test('says at Ctrl-C what a server that answers nothing was sent', async () => {
    const { child, outcome } = start([
      'ingest',
      await file('two.ndjson', '{"n":0}\n{"n":1}\n'),
      '--url',
      url,
    ]);
    const sent = Promise.withResolvers<undefined>();
    answers.push(() => sent.resolve(undefined));
    await sent.promise;
    child.kill('SIGINT');
    child.kill('SIGTERM');
    const { code, stderr } = await outcome;
    expect(code).toBeGreaterThan(128);
    expect(stderr).toContain('interrupted; sent without a response: 2 items\n');
  });

  test('from a pipe that begins in the middle of a line names bad lines as they come', async () => {
    const { child, outcome } = start(['ingest', '-', '--url', url]);
    const sent = nextAccepted();
    const told = once(child.stderr, 'data') as Promise<[Buffer]>;
    child.stdin.write('"cut","state":"era\n{"type":"cu\n{"n":0}\n');
    await sent;
    expect((await told).toString()).toMatch(/^-: line 1, byte offset \d+: /);
    child.stdin.end('{"n":1}\n');
    const { code, stderr } = await outcome;
    expect(code).toBe(1);
    expect(stderr.match(/line [12], /g)).toEqual(['line 1, ', 'line 2, ']);
    expect(itemsReceived()).toEqual(numbered(2));
  });

  test.each([
    [
      'cut.json.gz',
      () => gzipSync(JSON.stringify(numbered(150))).subarray(0, -20),
      /unexpected end/,
    ],
    ['not.json.gz', () => Buffer.from('[1]'), /not gzip/],
    [
      'large.json',
      () => Buffer.from(`[1,"${'x'.repeat(3000)}"]`),
      /line 1, byte offset 3: .*larger/,
    ],
    ['empty.json', () => Buffer.from(''), /the input is empty/],
    [
      'scalars.json',
      () => Buffer.from('{"type":phone}'),
      /line 1, byte offset 8: expected a value, found phone/,
    ],
  ])('%s is an error that names the file', async (name, make, message) => {
    const outcome = await run([
      'ingest',
      await file(name, make()),
      '--url',
      url,
      '--max-body',
      '2KiB',
    ]);
    expect(outcome.code).toBe(1);
    expect(outcome.stderr).toContain(name);
    expect(outcome.stderr).toMatch(message);
    expect(received).toEqual([]);
  });

  describe('under a key', () => {
    async function keys(args: string[]): Promise<string[]> {
      received.splice(0);
      await run(['ingest', ...args, '--url', url, '--items', '2', '--concurrency', '1']);
      return received.map(({ key }) => key);
    }

    test('gives each batch the same key in every run, whatever files are beside', async () => {
      const a = await file('a.json', '[1,2,1,2]');
      const b = await file('b.json', '[3]');
      const ofA = await keys([a, '--key', 'june']);
      expect(new Set(ofA).size).toBe(2);
      expect(await keys([a, '--key', 'june'])).toEqual(ofA);
      expect(await keys([b, a, '--key', 'june'])).toEqual([expect.any(String), ...ofA]);
      for (const key of ofA) expect(key).toMatch(/^[!-~]{1,255}$/);
    });

    test('distinguishes equal files, other names and other bytes', async () => {
      const a = await file('a.json', '[1]');
      const same = await file('same.json', '[1]');
      const other = await file('other.json', '[ 2]');
      const all = [
        ...(await keys([a, same, other, '--key', 'june'])),
        ...(await keys([a, '--key', 'july'])),
      ];
      expect(new Set(all).size).toBe(4);
    });

    test('is by default another one each time', async () => {
      const a = await file('a.json', '[1]');
      expect(await keys([a])).not.toEqual(await keys([a]));
    });
  });
});
