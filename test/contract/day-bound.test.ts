import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { DeleteObjectCommand } from '@aws-sdk/client-s3';

import { rawKeyOf } from '../../src/domain/batch-id.ts';
import type { CounterRow } from '../../src/domain/counter.ts';
import { s3RawStore } from '../../src/engines/aws/intake/raw-store.ts';

import { listBodies } from '../support/list-bodies.ts';
import { AwsEngine } from '../support/aws/aws-engine.ts';
import {
  readCountersDirectly,
  createStore,
  startAws,
  type AwsEmulators,
} from '../support/aws/aws-store.ts';
import { countersOf } from '../support/counters.ts';
import { batchOf } from './ports/intake-contract.ts';
import { Lambdas } from '../support/aws/lambda.ts';
import { needs } from '../support/run/needs.ts';
import {
  exchange,
  startServer,
  waitUntilCounted,
  type Received,
  type Sent,
} from '../support/server.ts';

/** The bound on distinct counters a day is kept, and answered, alike on both engines. */
const countersPerDayMax = 3;

interface Installation extends AsyncDisposable {
  readonly ask: (request: Sent) => Promise<Received>;
  drain(): Promise<void>;
  counters(): Promise<readonly CounterRow[]>;
}

const embedded = async (): Promise<Installation> => {
  const server = await startServer({ engine: { countersPerDayMax } });
  return {
    ask: (request) => exchange(server.url, request),
    drain: () => waitUntilCounted(server.url),
    counters: () => countersOf(server.pipeline),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
};

const onLambda = async (aws: AwsEmulators): Promise<Installation> => {
  const lambdas = await Lambdas.create(aws, { MAX_COUNTERS_PER_DAY: String(countersPerDayMax) });
  return {
    ask: (request) => lambdas.ask(request),
    drain: () => lambdas.drain(),
    counters: () => readCountersDirectly(aws.dynamodb, lambdas.store.countersTable),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
};

interface Step {
  /** Types, of which each is an item; `16 a` is of that day of June; objects go as they are. */
  readonly send: readonly (string | object)[];
  readonly headers?: Readonly<Record<string, string>>;
  readonly drain?: boolean;
}

interface Answer {
  readonly status: number;
  readonly code?: string;
  readonly enqueued?: number;
  readonly rejected?: number;
  readonly errors?: readonly string[];
}

function itemOf(text: string | object): object {
  if (typeof text !== 'string') return text;
  const [, day = '16', type = text] = /^(\d\d) (.*)$/.exec(text) ?? [];
  return { type, state: 'on', timestamp: `2023-06-${day}T13:00:00Z` };
}

/** Sends one after the other; returns what is answered, and how it reads for a client. */
async function run(
  installation: Installation,
  steps: readonly Step[],
): Promise<{ answers: Answer[]; texts: string[]; counted: string[] }> {
  const answers: Answer[] = [];
  const texts: string[] = [];
  for (const { send, headers = {}, drain = false } of steps) {
    const body = JSON.stringify({ processed_devices: send.map(itemOf) });
    const { status, text } = await installation.ask({
      method: 'POST',
      path: '/ingest',
      headers: { 'content-type': 'application/json', ...headers },
      body,
    });
    const document = JSON.parse(text) as Omit<Answer, 'errors'> & {
      errors?: readonly { index: number; code: string; field: string | null; message: string }[];
    };
    const { code, enqueued, rejected, errors } = document;
    answers.push({
      status,
      ...(code !== undefined && { code }),
      ...(enqueued !== undefined && { enqueued }),
      ...(rejected !== undefined && { rejected }),
      ...(errors && { errors: errors.map((error) => `${error.index} ${error.code}`) }),
    });
    texts.push(text.replace(/raw\/\S+?\.json/, 'RAW'));
    if (drain) await installation.drain();
  }
  await installation.drain();
  const rows = await installation.counters();
  return {
    answers,
    texts,
    counted: rows.map(({ date, type, count }) => `${date.slice(8)} ${type} ${count}`),
  };
}

const beyond = 'too_many_counters';
const taken = (enqueued: number): Answer => ({ status: 200, enqueued });
const partly = (enqueued: number, errors: readonly string[]): Answer => ({
  status: 200,
  enqueued,
  rejected: errors.length,
  errors,
});
const nothing = (errors: readonly string[]): Answer => ({
  status: 400,
  code: 'no_valid_items',
  rejected: errors.length,
  errors,
});
const strict = { prefer: 'handling=strict' };
const key = (name: string) => ({ 'idempotency-key': name });

const cases: Record<string, { steps: Step[]; answers: Answer[]; counted: string[] }> = {
  'items with new counters beyond it are rejected, and existing counters continue to count': {
    steps: [
      { send: ['a', 'b'] },
      { send: ['c', 'd', 'a', 'd', 'e'], drain: true },
      { send: ['a', 'b', 'c', 'f'] },
    ],
    answers: [
      taken(2),
      partly(2, [`1 ${beyond}`, `3 ${beyond}`, `4 ${beyond}`]),
      partly(3, [`3 ${beyond}`]),
    ],
    counted: ['16 a 3', '16 b 2', '16 c 2'],
  },
  'the first ones are admitted, whatever their names': {
    steps: [
      {
        send: [
          'a',
          'b',
          { type: 'a', state: 'off', timestamp: '2023-06-16T13:00:00Z' },
          'c',
          '17 c',
        ],
      },
    ],
    answers: [partly(4, [`3 ${beyond}`])],
    counted: ['16 a 1', '16 a 1', '16 b 1', '17 c 1'],
  },
  'each day has its own': {
    steps: [{ send: ['a', 'b', 'c'] }, { send: ['17 d', '17 e', 'd', '18 f'] }],
    answers: [taken(3), partly(3, [`2 ${beyond}`])],
    counted: ['16 a 1', '16 b 1', '16 c 1', '17 d 1', '17 e 1', '18 f 1'],
  },
  'a batch of which nothing is left is refused': {
    steps: [{ send: ['a', 'b', 'c'] }, { send: ['d', { type: 1 }, 'e'] }, { send: [] }],
    answers: [
      taken(3),
      {
        status: 400,
        code: 'no_valid_items',
        rejected: 3,
        errors: [`0 ${beyond}`, '1 not_a_string', '1 missing', '1 missing', `2 ${beyond}`],
      },
      taken(0),
    ],
    counted: ['16 a 1', '16 b 1', '16 c 1'],
  },
  'rejected items, and batches that are not stored, do not count towards the limit': {
    steps: [
      { send: ['a', 'b', 'c', 'd'], headers: strict },
      { send: ['x', { type: '' }], headers: strict },
      { send: ['a', 'b'], headers: key('one') },
      { send: ['y', 'z'], headers: key('one') },
      { send: ['a', 'c'] },
    ],
    answers: [
      { status: 400, code: 'invalid_items', rejected: 1, errors: [`3 ${beyond}`] },
      {
        status: 400,
        code: 'invalid_items',
        rejected: 1,
        errors: ['1 blank', '1 missing', '1 missing'],
      },
      taken(2),
      { status: 422, code: 'idempotency_key_reused' },
      taken(2),
    ],
    counted: ['16 a 2', '16 b 1', '16 c 1'],
  },
  'a retry is answered as the first time, whatever has become of the room': {
    steps: [
      { send: ['a', 'b', 'c', 'd'], headers: key('one') },
      { send: ['a', 'b', 'c', 'd'], headers: key('one'), drain: true },
      { send: ['a', 'b', 'c', 'd'], headers: key('one') },
      { send: ['17 a'], headers: key('two') },
      { send: ['17 b', '17 c', '17 d'] },
      { send: ['17 a'], headers: key('two') },
      { send: ['17 e'], headers: key('three') },
    ],
    answers: [
      partly(3, [`3 ${beyond}`]),
      partly(3, [`3 ${beyond}`]),
      partly(3, [`3 ${beyond}`]),
      taken(1),
      partly(2, [`2 ${beyond}`]),
      taken(1),
      nothing([`0 ${beyond}`]),
    ],
    counted: ['16 a 1', '16 b 1', '16 c 1', '17 a 1', '17 b 1', '17 c 1'],
  },
  'names that are not plain are counted by their bytes': {
    steps: [{ send: ['a#b', 'a%23b', 'ä'], drain: true }, { send: ['a#b', 'ä', 'ö', 'a%23b'] }],
    answers: [taken(3), partly(3, [`2 ${beyond}`])],
    counted: ['16 a#b 2', '16 a%23b 2', '16 ä 2'],
  },
};

function describeBound(installations: readonly (() => Promise<Installation>)[]): void {
  it.each(Object.entries(cases))('%s', async (_, { steps, answers, counted }) => {
    const seen = [];
    for (const open of installations) {
      await using installation = await open();
      const found = await run(installation, steps);
      expect(found.answers).toEqual(answers);
      expect([...found.counted].sort()).toEqual([...counted].sort());
      seen.push(found);
    }
    for (const found of seen) expect(found).toEqual(seen[0]);
  });

  it('the message names the bound and the day, and all but the first 20 errors are only counted', async () => {
    for (const open of installations) {
      await using installation = await open();
      const names = Array.from({ length: 40 }, (_, at) => `type ${at}`);
      const { texts } = await run(installation, [{ send: names }]);
      const document = JSON.parse(texts[0] ?? '') as { rejected: number; errors: object[] };
      expect(document.rejected).toBe(37);
      expect(document.errors).toHaveLength(20);
      expect(document.errors[0]).toEqual({
        index: 3,
        field: null,
        code: beyond,
        message:
          'the item needs a new counter, but 2023-06-16 has reached its counter limit; use types and states that already exist on that day, or raise the limit',
      });
    }
  });
}

describe(`where a day may have ${countersPerDayMax} counters, embedded`, () => {
  describeBound([embedded]);
});

needs('Java').describe('on AWS', () => {
  let aws: AwsEmulators;
  beforeAll(async () => {
    aws = await startAws();
  });
  afterAll(() => aws.stop());

  describeBound([embedded, () => onLambda(aws)]);

  const start = Date.UTC(2023, 5, 16, 12);
  const batch = (...types: string[]) =>
    batchOf(types.map((type) => ({ type, state: 'on', timestamp: '2023-06-16T13:00:00Z' })));

  it('over-limit items are stored with the body, which is not read without them', async () => {
    const store = await createStore(aws);
    const engine = new AwsEngine(aws, store, start, { countersPerDayMax: 2 });
    await engine.intake.accept(batch('a', 'b', 'c', 'a', 'd'));
    const [raw] = await listBodies(engine.rawStore);
    expect(raw).toMatchObject({ accepted: 3, rejected: 2, excluded: [2, 4] });
    const rawKey = rawKeyOf(raw?.batchId ?? '', start);
    // A listing has them, too, so that an exported batch is replayed as it was counted.
    expect((await s3RawStore(aws.s3, store.bucket).head(rawKey))?.excluded).toEqual([2, 4]);
    const Key = `excluded/${new Date(start).toISOString()}-${raw?.batchId ?? ''}.json`;
    await aws.s3.send(new DeleteObjectCommand({ Bucket: store.bucket, Key }));
    await expect(listBodies(engine.rawStore)).rejects.toThrow(`their list ${Key} cannot be read`);
  });

  it('a hundredth of the bound is let in without a reading, and then the day is read', async () => {
    const store = await createStore(aws);
    const environments = [1, 2].map(
      () => new AwsEngine(aws, store, start, { countersPerDayMax: 300 }),
    );
    let readings = 0;
    for (const engine of environments) {
      engine.fault = (command, proceed) => {
        if (command === 'Query') readings++;
        return proceed();
      };
    }
    const [one, other] = environments as [AwsEngine, AwsEngine];
    await one.intake.accept(batch('a', 'b', 'c'));
    await one.intake.accept(batch('a', 'b', 'c'));
    expect(readings).toBe(0);
    const many = Array.from({ length: 297 }, (_, at) => `type ${at}`);
    await one.intake.accept(batch(...many));
    expect(readings).toBe(1);
    await one.process();
    // The other environment has no information about it: what it admits unchecked exceeds the limit, and
    // no more.
    expect(await other.intake.accept(batch('x', 'y', 'z'))).toHaveProperty('stored');
    await expect(other.intake.accept(batch('u'))).rejects.toMatchObject({
      name: 'AllItemsOverLimit',
    });
    expect(await other.intake.accept(batch('a', 'type 7'))).toHaveProperty('stored');
    await other.process();
    expect(await readCountersDirectly(aws.dynamodb, store.countersTable)).toHaveLength(303);
  });
});
