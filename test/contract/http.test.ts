import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import {
  addIncrement,
  compareCounters,
  rowsOfIncrements,
  type CounterRow,
  type Increments,
} from '../../src/domain/counter.ts';
import { s3RawStore } from '../../src/engines/aws/intake/raw-store.ts';
import { createApp } from '../../src/http/app/app.ts';
import type { Exchange } from '../../src/http/app/exchange.ts';
import { readCountersDirectly, startAws, type AwsEmulators } from '../support/aws/aws-store.ts';
import { countersOf } from '../support/counters.ts';
import { Lambdas, type BodyForm } from '../support/aws/lambda.ts';
import { listBodies } from '../support/list-bodies.ts';
import { needs } from '../support/run/needs.ts';
import { isNightly } from '../support/run/tier.ts';
import {
  exchange,
  startServer,
  storedBatch,
  storedBatches,
  waitUntilCounted,
  type Received,
  type Sent,
  type TestServer,
} from '../support/server.ts';

interface CaseRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly bodyBase64?: string;
}

interface IngestCase {
  readonly name: string;
  readonly request: CaseRequest;
  readonly expect: {
    readonly status: number;
    readonly code?: string;
    readonly enqueued?: number;
    readonly rejected?: number;
    readonly itemErrors?: readonly { index: number; field: string | null; code: string }[];
    readonly rawStored: boolean;
    readonly counts?: readonly CounterRow[];
  };
}

interface QueryCase {
  readonly name: string;
  readonly seed: readonly unknown[];
  readonly request: CaseRequest;
  readonly expect: {
    readonly status: number;
    readonly code?: string;
    readonly contentType?: string;
    readonly json?: unknown;
  };
}

function readCases(name: string): unknown {
  return JSON.parse(readFileSync(join(import.meta.dirname, 'cases', name), 'utf8'));
}

const ingestCases = readCases('ingest.json') as readonly IngestCase[];
const queryCases = readCases('query.json') as readonly QueryCase[];

/** A way to ask the pipeline. */
type Ask = (request: Sent) => Promise<Received>;

/** An empty pipeline, however it runs. */
interface Installation extends AsyncDisposable {
  readonly ask: Ask;
  /** All raw bodies, and the raw body of a raw key. */
  rawBodies(): Promise<readonly Buffer[]>;
  rawBody(rawKey: string): Promise<Buffer | undefined>;
  /** Resolves when everything is counted. */
  drain(): Promise<void>;
  counters(): Promise<readonly CounterRow[]>;
}

type Installations = Readonly<Record<string, () => Promise<Installation>>>;

const embeddedOverHttp = async () => {
  const server = await startServer();
  return embedded(server, (request) => exchange(server.url, request));
};

const embeddedThroughApp = async () => {
  const server = await startServer();
  const onDefect = (error: Error) => {
    throw error;
  };
  const served = { batches: server.pipeline, queries: server.pipeline };
  const app = createApp(served, { bodyBytesMax: 4 * 1024 * 1024, onUnexpectedError: onDefect });
  return embedded(server, async ({ method = 'GET', path = '/', headers = {}, body }) => {
    const bytes = body === undefined ? null : Buffer.from(body);
    const exchange: Exchange = { requestId: 'of-a-test' };
    const response = await app.request(path, { method, headers, body: bytes }, exchange);
    const { status } = response;
    return { status, headers: Object.fromEntries(response.headers), text: await response.text() };
  });
};

describe('the embedded engine', () => {
  describeContract({
    'over HTTP': embeddedOverHttp,
    // The functions of the AWS engine are the same app.
    ...(isNightly() && { 'through the app': embeddedThroughApp }),
  });
});

needs('Java').describe('the AWS engine, as the embedded one', () => {
  let aws: AwsEmulators;
  beforeAll(async () => {
    aws = await startAws();
  });
  afterAll(() => aws.stop());

  describeContract({
    'through the Lambda functions': () => onLambda(aws, 'text'),
    // The adapter's own test has both forms; this one runs each case a second time.
    ...(isNightly() && { 'through them, bodies as base64': () => onLambda(aws, 'base64') }),
  });
});

function embedded(server: TestServer, ask: Ask): Installation {
  return {
    ask,
    rawBodies: async () =>
      (await storedBatches(server.dataDir)).map(({ body }) => Buffer.from(body)),
    async rawBody(rawKey) {
      const batch = await storedBatch(server.dataDir, rawKey);
      return batch && Buffer.from(batch.body);
    },
    drain: () => waitUntilCounted(server.url),
    counters: () => countersOf(server.pipeline),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

async function onLambda(aws: AwsEmulators, form: BodyForm): Promise<Installation> {
  const lambdas = await Lambdas.create(aws);
  const { bucket, countersTable } = lambdas.store;
  const rawStore = s3RawStore(aws.s3, bucket);
  return {
    ask: (request) => lambdas.ask(request, form),
    rawBodies: async () => (await listBodies(rawStore)).map(({ body }) => Buffer.from(body)),
    async rawBody(rawKey) {
      const batch = await rawStore.get(rawKey);
      return batch && Buffer.from(batch.body);
    },
    drain: () => lambdas.drain(),
    counters: () => readCountersDirectly(aws.dynamodb, countersTable),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

interface IngestAnswer {
  readonly raw_key: string;
  readonly enqueued: number;
  readonly rejected?: number;
  readonly errors?: readonly { index: number; field: string | null; code: string }[];
}

/** Installations by what was sent to them, for cases that change nothing, and how each was opened. */
const shared = new Map<() => Promise<Installation>, Map<string, Promise<Installation>>>();

afterAll(async () => {
  for (const installations of shared.values()) {
    for (const installation of installations.values()) {
      await (await installation)[Symbol.asyncDispose]();
    }
  }
});

/** A pipeline with the items; it is closed at the end of the file. */
function share(open: () => Promise<Installation>, items: readonly unknown[]) {
  const installations = shared.get(open) ?? new Map<string, Promise<Installation>>();
  shared.set(open, installations);
  const name = JSON.stringify(items);
  const installation = installations.get(name) ?? seeded(open, items);
  installations.set(name, installation);
  return installation;
}

async function seeded(open: () => Promise<Installation>, items: readonly unknown[]) {
  const installation = await open();
  if (items.length === 0) return installation;
  const body = JSON.stringify({ processed_devices: items });
  const headers = { 'content-type': 'application/json' };
  const answer = await installation.ask({ method: 'POST', path: '/ingest', headers, body });
  expect(JSON.parse(answer.text)).toMatchObject({ enqueued: items.length });
  await installation.drain();
  return installation;
}

/** The embedded engine's answer to each case, once it has been asked: those of AWS must be like it. */
const embeddedAnswers = new Map<object, unknown>();

async function checkAll<C extends object>(
  each: C,
  installations: Installations,
  check: (each: C, open: () => Promise<Installation>) => Promise<unknown>,
): Promise<void> {
  const answers = await Promise.all(Object.values(installations).map((open) => check(each, open)));
  const expected = embeddedAnswers.get(each) ?? answers[0];
  embeddedAnswers.set(each, expected);
  for (const answer of answers) expect(answer).toEqual(expected);
}

/** Every case on each of the installations, which must agree. */
function describeContract(installations: Installations): void {
  describe('POST /ingest', () => {
    it.concurrent.each(ingestCases)('$name', (each) => {
      return checkAll(each, installations, checkIngestCase);
    });
  });

  describe('a batch of another installation', () => {
    const rawKey = 'raw/2023-06-17T08:00:00.123Z-00000010-0040-8f3a-9c41-5d0e6f2b7a18.json';
    const timestamp = '2023-06-16T13:00:00Z';
    const body = JSON.stringify({
      processed_devices: [
        { type: 'laptop', state: 'erased', timestamp },
        { type: 'phone', state: 'erased', timestamp },
        { type: '', state: 'erased', timestamp },
      ],
    });
    const claim = { raw_key: rawKey, accepted: 1, rejected: 2, excluded: [[1, 1]] };
    const sent = (header: string, text = body) => ({
      ...{ method: 'POST', path: '/ingest', body: text },
      headers: { 'content-type': 'application/json', 'replay-of': header },
    });

    it.concurrent.each(Object.entries(installations))(
      'is counted once, as it was there, under its name: %s',
      async (_, open) => {
        await using installation = await open();
        const { ask } = installation;
        for (const isKnown of [false, true]) {
          const answer = await ask(sent(JSON.stringify(claim)));
          expect(answer.status, answer.text).toBe(200);
          expect(JSON.parse(answer.text)).toMatchObject({
            ...{ status: 'accepted', raw_key: rawKey, enqueued: 1, rejected: 2 },
            already_there: isKnown,
          });
          const receipt = await ask({ path: answer.headers['location'] ?? '' });
          expect(JSON.parse(receipt.text)).toMatchObject({ raw_key: rawKey, enqueued: 1 });
          await installation.drain();
        }
        await expectCounts(installation, [
          { date: '2023-06-16', type: 'laptop', state: 'erased', count: 1 },
        ]);
        expect(await installation.rawBody(rawKey)).toEqual(Buffer.from(body));
        for (const [header, code, text] of [
          [JSON.stringify(claim), 'replay_conflict', `${body} `],
          [JSON.stringify({ ...claim, accepted: 2 }), 'replay_differs', body],
          [JSON.stringify({ ...claim, raw_key: 'raw/x.json' }), 'invalid_replay', body],
          [JSON.stringify({ ...claim, excluded: [[2, 1]] }), 'invalid_replay', body],
          ['nonsense', 'invalid_replay', body],
        ] as const) {
          const { text: problem } = await ask(sent(header, text));
          expect(JSON.parse(problem), problem).toMatchObject({ code });
        }
      },
    );
  });

  describe('queries', () => {
    it.concurrent.each(queryCases)('$name', (each) => {
      return checkAll(each, installations, checkQueryCase);
    });
  });

  describe('names of any kind', () => {
    it.concurrent('are distinguished, counted and shown alike', () => {
      return checkAll(oddNames, installations, (_, open) => askOfNames(open));
    });
  });
}

/** Names that programs confuse with something else, or with each other. */
const oddNames = [
  ['a#b', 'c'],
  ['a', 'b#c'],
  ['a%23b', 'c'],
  ['a%2523b', 'c'],
  ['%', '#'],
  ['#', '%'],
  ['\u00e9', 'composed'],
  ['e\u0301', 'composed'],
  ['\u212b', 'composed'],
  ['\u00c5', 'composed'],
  ['\ufb01', 'fi'],
  ['fi', '\ufb01'],
  ...['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'length', 'undefined', 'null'].map(
    (name) => [name, name],
  ),
  ['=1+1', '@SUM(A1)'],
  ["'=1", '-1'],
  ['<script>alert(1)</script>', '"><img src=x onerror=alert(1)>'],
  ['&lt;b&gt;', '</td></table>'],
  ["'; DROP TABLE counters; --", '{{7*7}}'],
  ['\u202egnp.exe', 'x\u0085\u009b31m'],
] as const;

/** Ingests an item of each name and queries them in all ways. */
async function askOfNames(open: () => Promise<Installation>): Promise<unknown> {
  await using installation = await open();
  const { ask } = installation;
  // By the scanner, and by the general path, which an escape requires.
  const items = oddNames.map(([type, state]) => ({
    type,
    state,
    timestamp: '2023-06-16T13:00:00Z',
  }));
  const plain = JSON.stringify({ processed_devices: items });
  const headers = { 'content-type': 'application/json' };
  for (const body of [plain, plain.replaceAll('"type":"', '"\\u0074ype":"')]) {
    const answer = await ask({ method: 'POST', path: '/ingest', headers, body });
    expect(JSON.parse(answer.text)).toMatchObject({ enqueued: items.length });
  }
  await installation.drain();
  const rows = await installation.counters();
  expect(new Set(rows.map(({ type, state }) => `${type}\u0000${state}`)).size).toBe(items.length);
  expect(rows.map(({ count }) => count)).toEqual(items.map(() => 2));

  const day = 'date=2023-06-16';
  expect(JSON.parse((await ask({ path: `/stats?${day}` })).text)).toEqual(rows);
  for (const [type, state] of oddNames) {
    const one = new URLSearchParams({ type, state });
    const { text } = await ask({ path: `/stats?${day}&${one.toString()}` });
    expect(JSON.parse(text)).toEqual([{ date: '2023-06-16', type, state, count: 2 }]);
  }
  const paths = [
    '/stats?format=csv',
    '/stats?format=ndjson',
    '/stats?group_by=type',
    '/stats-html?',
  ];
  const answers = await Promise.all(paths.map((path) => ask({ path: `${path}&${day}` })));
  const [csv, ndjson, , html] = answers;
  expect(csv?.headers['content-type']).toBe('text/csv; charset=utf-8; header=present');
  expect(csv?.text).toContain('2023-06-16,"\'=1+1","\'@SUM(A1)",2\r\n');
  expect(ndjson?.headers['content-type']).toBe('application/x-ndjson');
  const lines = ndjson?.text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as unknown);
  expect(lines).toEqual(rows);
  expect(html?.text).not.toMatch(/<script|<img|<\/td><\/table>\s*<\/bdi>/);
  return answers.map(comparable);
}

/** The cases that store a batch go one after another to one installation: of each, what it adds. */
const turns = new Map<() => Promise<Installation>, Promise<unknown>>();

function checkIngestCase(each: IngestCase, open: () => Promise<Installation>): Promise<unknown> {
  if (!each.expect.rawStored) return ingestCase(each, share(open, []));
  const before = turns.get(open) ?? Promise.resolve();
  const turn = before.then(() => ingestCase(each, share(open, [itemBefore])));
  turns.set(
    open,
    turn.catch(() => undefined),
  );
  return turn;
}

interface Content {
  readonly bodies: readonly Buffer[];
  readonly counts: readonly CounterRow[];
}

/** What the last case found in an installation at its end. */
const contents = new Map<Installation, Content>();

/** It is read only if the previous case has failed, because reading it takes most of a case's time. */
async function contentOf(installation: Installation): Promise<Content> {
  const known = contents.get(installation);
  contents.delete(installation);
  return known ?? { bodies: await installation.rawBodies(), counts: await installation.counters() };
}

const itemBefore = { type: 'laptop', state: 'erased', timestamp: '2023-06-16T13:00:00Z' };

async function ingestCase(
  { request, expect: expected }: IngestCase,
  opened: Promise<Installation>,
) {
  const installation = await opened;
  const sent = toSent(request);
  const before = await contentOf(installation);

  const answer = await installation.ask(sent);

  expect(answer.status, answer.text).toBe(expected.status);
  const document = JSON.parse(answer.text) as IngestAnswer;
  if (expected.status === 200) {
    expect(answer.headers['content-type']).toMatch(/^application\/json/);
    expect(document.enqueued).toBe(expected.enqueued);
    expect(document.rejected ?? 0).toBe(expected.rejected);
  } else {
    expectProblem(answer, expected);
  }
  const itemErrors = document.errors?.map(({ index, field, code }) => ({ index, field, code }));
  expect(itemErrors).toEqual(expected.itemErrors);

  const body = Buffer.from(sent.body ?? '');
  const bodies = [...before.bodies, ...(expected.rawStored ? [body] : [])];
  expect(sorted(await installation.rawBodies())).toEqual(sorted(bodies));
  if (expected.rawStored) {
    expect(await installation.rawBody(document.raw_key)).toEqual(body);
  }

  await installation.drain();
  const counts = await expectCounts(installation, expected.counts ?? [], before.counts);
  contents.set(installation, { bodies, counts });
  return comparable(answer);
}

function sorted(bodies: readonly Buffer[]): readonly Buffer[] {
  return bodies.toSorted((a, b) => Buffer.compare(a, b));
}

/**
 * The counters are those `before` and the new counts. `/stats` has them, too, over the dates of the
 * new counts. Returns all counters.
 */
async function expectCounts(
  installation: Installation,
  counts: readonly CounterRow[],
  before: readonly CounterRow[] = [],
): Promise<CounterRow[]> {
  const increments: Increments = new Map();
  for (const row of [...before, ...counts]) addIncrement(increments, row, row.count);
  const all = [...rowsOfIncrements(increments)].toSorted(compareCounters);
  expect(await installation.counters()).toEqual(all);
  const from = counts[0]?.date ?? '2023-01-01';
  const to = counts.at(-1)?.date ?? '2023-12-31';
  const { text } = await installation.ask({ path: `/stats?from=${from}&to=${to}` });
  expect(JSON.parse(text)).toEqual(all.filter(({ date }) => date >= from && date <= to));
  return all;
}

async function checkQueryCase(
  { seed, request, expect: expected }: QueryCase,
  open: () => Promise<Installation>,
) {
  const { ask } = await share(open, seed);
  const answer = await ask(toSent(request));

  expect(answer.status, answer.text).toBe(expected.status);
  if (expected.status >= 400) expectProblem(answer, expected);
  if (expected.contentType !== undefined) {
    expect(answer.headers['content-type']?.startsWith(expected.contentType)).toBe(true);
  }
  if (expected.json !== undefined) expect(JSON.parse(answer.text)).toEqual(expected.json);
  return comparable(answer);
}

function expectProblem(
  { headers, text }: Received,
  expected: { readonly status: number; readonly code?: string },
) {
  expect(headers['content-type']).toBe('application/problem+json');
  expect(JSON.parse(text)).toMatchObject({
    type: expect.stringMatching(/^urn:problem-type:device-pipeline:/) as string,
    title: expect.stringMatching(/./) as string,
    status: expected.status,
    detail: expect.stringMatching(/./) as string,
    code: expected.code,
  });
}

function toSent({ method, path, headers, body, bodyBase64 }: CaseRequest): Sent {
  const bytes = bodyBase64 === undefined ? body : Buffer.from(bodyBase64, 'base64');
  return { method, path, headers, ...(bytes !== undefined && { body: bytes }) };
}

/** The parts of a response that the connection adds, and the app does not. */
const ofTheConnection = new Set([
  'connection',
  'content-length',
  'date',
  'transfer-encoding',
  'x-request-id',
]);
/** What the routes say about an engine. */
const ofTheEngine = new Set(['pipeline-counted-through', 'pipeline-pending']);

/** A response without what differs from batch to batch. */
function comparable({ status, headers, text }: Received) {
  const anonymous = (value: string) =>
    value
      .replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z(?=-[0-9a-f]{8}-)/g, 'TIME')
      .replace(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, 'BATCH');
  const kept = Object.entries(headers).filter(
    ([name]) => !ofTheConnection.has(name) && !ofTheEngine.has(name),
  );
  return {
    status,
    headers: Object.fromEntries(kept.map(([name, value]) => [name, anonymous(String(value))])),
    text: anonymous(text),
  };
}
