import { join } from 'node:path';

import { describe, expect, test } from 'vitest';

import {
  answers,
  closeServer,
  directory,
  file,
  received,
  run,
  send,
  start,
  url,
  type Outcome,
} from '../../support/processes/command-line.ts';

describe('stats', () => {
  const rows = [
    { date: '2026-06-16', type: 'laptop', state: 'erased', count: 1234 },
    { date: '2026-06-17', type: 'a\u001b[2Jb', state: '\u202edesare', count: 7 },
  ];

  test('asks a server and prints a table with a total', async () => {
    answers.push((response) => send(response, 200, rows));
    const args = [
      '--from',
      '2026-06-16',
      '--to',
      '2026-06-17',
      '--type',
      'laptop',
      '--type',
      'a b',
    ];
    const outcome = await run(['stats', '--url', url, ...args, '--state', 'erased']);
    expect(outcome).toMatchObject({ code: 0, stderr: '' });
    expect(received[0]?.url).toBe(
      '/stats?from=2026-06-16&to=2026-06-17&type=laptop&type=a+b&state=erased',
    );
    expect(outcome.stdout).toMatch(/│ 1,234 │/);
    expect(outcome.stdout).toMatch(/│ {5}7 │/);
    expect(outcome.stdout).toMatch(/total .*│ 1,241 │/);
    expect(outcome.stdout).toContain('a\\u{1b}[2Jb');
    // No control character but line ends, and no override of the direction of text.
    expect(outcome.stdout).not.toMatch(/(?!\n)\p{Cc}|\u202e/u);
  });

  test('--watch prints the counters again, until a signal', async () => {
    answers.push((response) => send(response, 200, rows.slice(0, 1)));
    answers.push((response) => send(response, 200, rows));
    // A restarted server is queried again.
    answers.push((response) => send(response, 503, []));
    answers.push((response) => send(response, 200, rows));
    // The last is never answered, and the signal ends that request, too.
    answers.push(() => undefined);
    const { child, outcome } = start([
      'stats',
      '--url',
      url,
      '--date',
      '2026-06-16',
      '--watch',
      '1',
    ]);
    await expect.poll(() => received.length).toBeGreaterThan(4);
    child.kill('SIGINT');
    const { code, stdout, stderr } = await outcome;
    expect(code).toBe(0);
    expect(stdout).toMatch(/total .*│ 1,234 │[^]*total .*│ 1,241 │/);
    expect(stdout.match(/http:.*: 2026-06-16, read at \d\d:\d\d:\d\dZ\n/g)).toHaveLength(3);
    expect(stderr).toMatch(/answered 503.*Next try in 1 s\.\n$/);
    const refused = await run(['stats', '--url', url, '--watch', '--json']);
    expect(refused).toMatchObject({ code: 2, stdout: '' });
    expect(refused.stderr).toContain('--watch shows a table');
  });

  test('says what an answer without a body was', async () => {
    answers.push((response) => response.writeHead(204).end());
    const outcome = await run(['stats', '--url', url, '--date', '2026-06-17']);
    const message =
      'device-pipeline: the server answered 204; check that the URL is that of a device-pipeline server\n';
    expect(outcome).toMatchObject({ code: 1, stdout: '', stderr: message });
  });

  test('prints JSON that reads back the same', async () => {
    answers.push((response) => send(response, 200, rows));
    const outcome = await run(['stats', '--url', url, '--date', '2026-06-17', '--json']);
    expect(JSON.parse(outcome.stdout)).toEqual(rows);
    expect(outcome.stdout).toMatch(/^[\x20-\x7e]+\n$/);
  });

  test('prints CSV, of which no field is a formula', async () => {
    answers.push((response) => send(response, 200, [...rows, { ...rows[0], type: '=1+1' }]));
    const outcome = await run(['stats', '--url', url, '--date', '2026-06-17', '--csv']);
    expect(outcome).toEqual({
      code: 0,
      stderr: '',
      stdout:
        'date,type,state,count\r\n' +
        '2026-06-16,laptop,erased,1234\r\n' +
        '2026-06-17,a\u001b[2Jb,\u202edesare,7\r\n' +
        '2026-06-16,"\'=1+1",erased,1234\r\n',
    });
    expect(await run(['stats', '--csv', '--json'])).toMatchObject({ code: 2 });
    expect(await run(['stats', '--bom'])).toMatchObject({ code: 2 });
  });

  test('prints NDJSON, and a table of Markdown', async () => {
    answers.push((response) => send(response, 200, [{ ...rows[0], type: 'a|b' }]));
    answers.push((response) => send(response, 200, [{ state: '*', count: 7 }]));
    const day = ['stats', '--url', url, '--date', '2026-06-17'];
    expect((await run([...day, '--ndjson'])).stdout).toBe(
      '{"date":"2026-06-16","type":"a|b","state":"erased","count":1234}\n',
    );
    expect((await run([...day, '--markdown', '--group-by', 'state'])).stdout).toBe(
      '| state | count |\n| --- | ---: |\n| \\* | 7 |\n',
    );
    expect(await run(['stats', '--csv', '--markdown'])).toMatchObject({ code: 2 });
  });

  test('prints CSV for Excel with a byte order mark', async () => {
    answers.push((response) => send(response, 200, []));
    const outcome = await run(['stats', '--url', url, '--date', '2026-06-17', '--csv', '--bom']);
    expect(outcome).toMatchObject({ code: 0, stdout: '\ufeffdate,type,state,count\r\n' });
  });

  test('asks a server for the last week by default, and says so', async () => {
    answers.push((response) => send(response, 200, []));
    const outcome = await run(['stats', '--url', url]);
    expect(outcome).toMatchObject({ code: 0, stdout: 'no counters\n' });
    const [from = '', to = ''] = received[0]?.url.match(/\d{4}-\d\d-\d\d/g) ?? [];
    // Tomorrow in UTC is there, too, once it has begun in the east.
    const days = (Date.parse(to) - Date.parse(from)) / 86_400_000;
    const isTomorrow = Math.floor(((Date.now() % 86_400_000) + 14 * 3_600_000) / 86_400_000);
    expect(days - isTomorrow).toBe(6);
    const more = isTomorrow === 1 ? ' and tomorrow, which has begun in some time zones' : '';
    expect(outcome.stderr).toBe(
      `the last 7 days${more}, ${from} to ${to}; choose others with --from and --to\n`,
    );
  });

  test('passes on what a server refuses', async () => {
    answers.push((response) => send(response, 400, { code: 'invalid_range', detail: 'Too long.' }));
    const outcome = await run(['stats', '--url', url, '--date', '2026-06-17']);
    expect(outcome).toEqual({
      code: 1,
      stdout: '',
      stderr: 'device-pipeline: the server answered 400 invalid_range: Too long.\n',
    });
  });

  test('says that no server listens', async () => {
    await closeServer();
    const outcome = await run(['stats', '--url', url]);
    expect(outcome.code).toBe(1);
    expect(outcome.stderr).toMatch(/nothing listens at/);
  });

  test('says that a directory holds no store', async () => {
    const outcome = await run(['stats', '--data-dir', join(directory, 'none')]);
    expect(outcome).toMatchObject({ code: 1, stdout: '' });
    expect(outcome.stderr).toMatch(/\ndevice-pipeline: .+\n$/);
  });

  test('reads the data directory of a running server', async () => {
    const { child, outcome: ended } = start(['serve', '--port', '0', '--data-dir', 'store']);
    const address = await new Promise<string>((resolve, reject) => {
      child.stdout.on('data', (text: Buffer) => {
        const listening = /listening on (\S+)/.exec(text.toString())?.[1];
        if (listening !== undefined) resolve(listening);
      });
      ended.then(({ stderr }) => reject(new Error(`serve ended: ${stderr}`)), reject);
    });
    const event = { type: 'laptop', state: 'erased', timestamp: '2026-06-16T12:00:00Z' };
    const path = await file('a.json', JSON.stringify([event, event, { ...event, type: 'phone' }]));
    expect((await run(['ingest', path, '--url', address])).code).toBe(0);

    let outcome: Outcome;
    const dataDir = ['stats', '--data-dir', 'store'];
    do outcome = await run([...dataDir, '--from', '2026-06-16', '--json']);
    while (outcome.code === 0 && outcome.stdout === '[]\n');
    expect(JSON.parse(outcome.stdout)).toEqual([
      { date: '2026-06-16', type: 'laptop', state: 'erased', count: 2 },
      { date: '2026-06-16', type: 'phone', state: 'erased', count: 1 },
    ]);
    const phones = ['--date', '2026-06-16', '--type', 'phone', '--state', 'erased'];
    const table = await run(['stats', '--data-dir', 'store', ...phones]);
    expect(table.stdout).toMatch(/total .*│ {5}1 │/);
    expect(table.stdout).not.toContain('laptop');

    const byState = ['--from', '2026-06-16', '--group-by', 'state', '--csv'];
    const ofServer = await run(['stats', ...byState], '', { DEVICE_PIPELINE_URL: address });
    expect(ofServer).toEqual({ code: 0, stderr: '', stdout: 'state,count\r\nerased,3\r\n' });
    expect(await run([...dataDir, ...byState])).toEqual(ofServer);
    const lastWeek = await run(dataDir);
    expect(lastWeek.stderr).toMatch(/^the last 7 days/);
    expect(await run(['stats', '--url', address])).toEqual(lastWeek);
  });
});
