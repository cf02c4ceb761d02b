import { hash, randomBytes } from 'node:crypto';
import { gzipSync } from 'node:zlib';

import { describe, expect, it } from 'vitest';

import { batchIdMaker } from '../../../src/domain/batch-id.ts';
import { carriedMessage } from '../../../src/pipeline/chunks/carried-batch.ts';
import { cutIntoChunks } from '../../../src/pipeline/chunks/chunk.ts';
import { rowsOfIncrements } from '../../../src/domain/counter.ts';
import { dayRule } from '../../../src/domain/day.ts';
import {
  countMessages,
  type QueueMessage,
  type RepeatWatch,
} from '../../../src/pipeline/counting/count-messages.ts';
import { PermanentFailure, type Delivery, type DeadLetter } from '../../../src/pipeline/ports.ts';

type Applied = Delivery<string>;

const item = (type: string) =>
  JSON.stringify({ type, state: 'ready', timestamp: '2023-06-16T13:00:00Z' });
const message = (messageId: string, body: string, receives = 1): QueueMessage => ({
  messageId,
  originalId: messageId,
  body,
  sentAt: 0,
  receives,
});
const typesOf = (delivery: Applied) =>
  [...rowsOfIncrements(delivery.increments)].map(({ type }) => type);

/** Counts with a store whose behaviour depends on the names in the messages. */
async function count(
  messages: readonly QueueMessage[],
  options: {
    deadline?: number;
    parks?: boolean;
    /** Ids of messages that are counted already, or the error of the lookup. */
    known?: readonly string[] | Error;
    counted?: readonly string[];
    repeats?: RepeatWatch;
    /** The time at the start, milliseconds since 1970. */
    clock?: number;
  } = {},
) {
  const applied: string[][] = [];
  const lookedUp: string[][] = [];
  const letters: DeadLetter[] = [];
  const kept: Uint8Array[] = [];
  let { clock = 0 } = options;
  const left = await countMessages<string, Applied>(
    messages,
    {
      store: {
        apply: (deliveries) => {
          clock++;
          const types = deliveries.flatMap(typesOf);
          applied.push(types);
          if (types.includes('broken')) return Promise.reject(new PermanentFailure('it is broken'));
          if (types.includes('busy')) return Promise.reject(new Error('come again'));
          const { known = [], counted = known instanceof Error ? [] : known } = options;
          const repeated = deliveries.filter(({ dedupKey: mark }) => counted.includes(mark));
          return Promise.resolve({ counted: deliveries, repeated });
        },
      },
      deliveryOf: ({ messageId }, { increments }) => ({
        dedupKey: messageId,
        increments,
      }),
      idOf: ({ dedupKey: mark }) => mark,
      keepBodies: (batches) => {
        kept.push(...batches.map(({ body }) => body));
        return Promise.resolve();
      },
      known: (deliveries) => {
        lookedUp.push(deliveries.map(({ dedupKey: mark }) => mark));
        const { known = [] } = options;
        if (known instanceof Error) return Promise.reject(known);
        return Promise.resolve(
          new Set(deliveries.filter(({ dedupKey: mark }) => known.includes(mark))),
        );
      },
      group: (deliveries) =>
        Array.from({ length: Math.ceil(deliveries.length / 4) }, (_, at) =>
          deliveries.slice(4 * at, 4 * at + 4),
        ),
      deadLetters: {
        add: (more) => {
          letters.push(...more);
          const parked = options.parks === false ? [] : more.map(({ messageId }) => messageId);
          return Promise.resolve(new Set(parked));
        },
      },
    },
    {
      dayOf: dayRule('as-written'),
      now: () => clock,
      deadline: options.deadline ?? Number.POSITIVE_INFINITY,
      ageMsMax: 24 * 3_600_000,
      receivesMax: 5,
      repeats: options.repeats ?? { expectedUntil: 0 },
    },
  );
  return { left: [...left].map(({ messageId }) => messageId), applied, letters, lookedUp, kept };
}

describe('messages', () => {
  it('that cannot be counted together are counted by halves, and the bad one is dead-lettered', async () => {
    const types = ['a', 'b', 'broken', 'c'];
    const result = await count(types.map((type, at) => message(String(at), item(type))));
    expect(result.applied).toEqual([types, ['a', 'b'], ['broken', 'c'], ['broken'], ['c']]);
    expect(result.letters).toMatchObject([
      { messageId: '2', reason: 'not_counted: PermanentFailure: it is broken' },
    ]);
    expect(result.left).toEqual([]);
  });

  it('are delivered again after the deadline', async () => {
    const messages = Array.from({ length: 12 }, (_, at) => message(String(at), item('a')));
    const { left, applied } = await count(messages, { deadline: 2 });
    expect(applied).toHaveLength(2);
    expect(left).toEqual(['8', '9', '10', '11']);
  });

  it('that fail for now are delivered again, up to the receive limit of the queue', async () => {
    const { left, letters } = await count([
      message('first', item('busy')),
      message('last', item('busy'), 5),
    ]);
    expect(left).toEqual(['first']);
    expect(letters).toMatchObject([
      { messageId: 'last', reason: 'not_counted: Error: come again' },
    ]);
  });

  it('of a batch in two encodings store the bytes of both, once', async () => {
    const body = Buffer.from(`{"processed_devices":[${item('a')}]}`);
    const receivedAt = Date.UTC(2026, 10, 30);
    const batchId = batchIdMaker(randomBytes)(receivedAt, 1);
    const plain = {
      batchId,
      receivedAt,
      accepted: 1,
      rejected: 0,
      encoding: 'identity',
    } as const;
    const batches = [
      { ...plain, body },
      { ...plain, body: gzipSync(body), encoding: 'gzip' as const },
    ].map((batch) => ({ ...batch, sha256: hash('sha256', batch.body) }));
    const messages = [...batches, ...batches].map((batch, at) =>
      message(String(at), carriedMessage(batch)),
    );
    const { kept, left, letters } = await count(messages);
    expect(letters).toEqual([]);
    expect(left).toEqual([]);
    expect(kept.map((bytes) => Buffer.from(bytes).toString('hex')).sort()).toEqual(
      batches.map((batch) => Buffer.from(batch.body).toString('hex')).sort(),
    );
  });

  it('that cannot be dead-lettered are delivered again', async () => {
    const { left } = await count([message('0', '{'), message('1', item('a'))], { parks: false });
    expect(left).toEqual(['0']);
  });

  it('that were received before are looked up, and skipped if they are counted', async () => {
    const [first, known, again] = [
      message('first', item('a')),
      message('known', item('b'), 2),
      message('again', item('c'), 2),
    ];
    const { applied, lookedUp, left } = await count([first, known, again], { known: ['known'] });
    expect(lookedUp).toEqual([['known', 'again']]);
    expect(applied).toEqual([['a', 'c']]);
    expect(left).toEqual([]);
  });

  it('that were redriven, sent again or waited long are looked up', async () => {
    const receivedAt = Date.UTC(2023, 5, 16, 13);
    const batchId = '00000000-0000-4000-8000-000000000000';
    const [late] = cutIntoChunks({ batchId, receivedAt }, [
      { type: 'late', state: 'ready', timestamp: '2023-06-16T13:00:00Z', date: '2023-06-16' },
    ]);
    const minutes = 60_000;
    const at = receivedAt + 20 * minutes;
    const chunk = { ...message('', late?.message ?? ''), sentAt: at };
    const { lookedUp } = await count(
      [
        { ...chunk, messageId: 'sent again' },
        { ...chunk, messageId: 'replayed now', replayedAt: at },
        { ...chunk, messageId: 'sent at once', sentAt: receivedAt + 10 * minutes, replayedAt: at },
        { ...message('redriven', item('a')), sentAt: at, firstFailedAt: at },
        { ...message('waited', item('a')), sentAt: at - 16 * minutes },
        { ...message('new', item('a')), sentAt: at - 14 * minutes },
      ],
      { clock: at },
    );
    expect(lookedUp).toEqual([['sent again', 'redriven', 'waited']]);
  });

  it('are looked up after an unexpected repeat among them', async () => {
    const messages = Array.from({ length: 12 }, (_, at) => message(String(at), item(`t${at}`)));
    const known = ['1', '6', '7', '8'];
    const { applied, lookedUp } = await count(messages, { known });
    expect(lookedUp).toEqual([['4', '5', '6', '7', '8', '9', '10', '11']]);
    expect(applied).toEqual([['t0', 't1', 't2', 't3'], ['t4', 't5', 't9', 't10'], ['t11']]);
  });

  it('are all looked up for some minutes after an unexpected repeat', async () => {
    const repeats = { expectedUntil: 0 };
    await count([message('0', item('a'))], { counted: ['0'], repeats });
    expect(repeats.expectedUntil).toBeGreaterThan(4 * 60_000);
    const next = await count([message('1', item('a'))], { repeats, clock: 4 * 60_000 });
    expect(next.lookedUp).toEqual([['1']]);
    const later = await count([message('2', item('a'))], { repeats, clock: 6 * 60_000 });
    expect(later.lookedUp).toEqual([]);
  });

  it('with equal content are counted together, and both are delivered again if that fails', async () => {
    const twice = (type: string) => [message('0', item(type)), message('0', item(type))];
    expect((await count(twice('a'))).applied).toEqual([['a']]);
    const { applied, left } = await count(twice('busy'));
    expect(applied).toEqual([['busy']]);
    expect(left).toEqual(['0', '0']);
  });

  it('are counted if the lookup fails', async () => {
    const known = new Error('DynamoDB does not answer');
    const { applied, left } = await count([message('0', item('a'), 2)], { known });
    expect(applied).toEqual([['a']]);
    expect(left).toEqual([]);
  });

  it('that are delivered twice at once are one dead letter', async () => {
    const { left, letters } = await count([message('0', '{'), message('0', '{')]);
    expect(letters).toHaveLength(1);
    expect(left).toEqual([]);
  });
});
