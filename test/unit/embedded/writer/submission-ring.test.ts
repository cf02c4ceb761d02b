import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import {
  ringMemory,
  RingConsumer,
  RingProducer,
  ringSlots,
} from '../../../../src/engines/embedded/writer/submission-ring.ts';
import type { Submission } from '../../../../src/pipeline/ports.ts';

function submissionOf(body: Uint8Array, details: Partial<Submission> = {}): Submission {
  return {
    encoding: 'identity',
    strict: false,
    caller: '',
    idempotencyKey: undefined,
    ...details,
    body,
  };
}

function ringOf(bodyBytes: number) {
  const memory = ringMemory(bodyBytes);
  return { producer: new RingProducer(memory), consumer: new RingConsumer(memory) };
}

const details = fc.record({
  encoding: fc.constantFrom('identity', 'gzip'),
  strict: fc.boolean(),
  caller: fc.constantFrom('', 'someone'),
  idempotencyKey: fc.option(fc.string({ minLength: 1, maxLength: 40 }), { nil: undefined }),
});

describe('the ring', () => {
  it('hands over what was put, in order, whatever the sizes and the pace of both sides', () => {
    const put = fc.record({
      kind: fc.constant('put' as const),
      pieces: fc.array(fc.uint8Array({ maxLength: 30 }), { maxLength: 4 }),
      details: fc.oneof(fc.constant({}), details),
    });
    const take = fc.record({ kind: fc.constant('take' as const), count: fc.nat(5) });
    const release = fc.record({ kind: fc.constant('release' as const), count: fc.nat(5) });
    fc.assert(
      fc.property(fc.array(fc.oneof(put, put, take, release), { maxLength: 200 }), (steps) => {
        const { producer, consumer } = ringOf(256);
        const expected: Submission[] = [];
        let released = 0;
        for (const step of steps) {
          if (step.kind === 'put') {
            const submission = submissionOf(Buffer.concat(step.pieces), step.details);
            const isPut = producer.put({ ...submission, body: step.pieces });
            if (isPut) expected.push({ ...submission, body: Uint8Array.from(submission.body) });
            else expect(producer.used).toBeGreaterThan(0);
            producer.publish();
          } else if (step.kind === 'take') {
            const through = Math.min(consumer.next + step.count, expected.length);
            expect(consumer.waiting).toBe(expected.length - consumer.next);
            consumer.advanceTo(through);
          } else {
            released = Math.min(released + step.count, consumer.next);
            producer.release(released);
          }
          // What is not released stays as it was, whatever came behind it.
          for (let number = released; number < expected.length; number++) {
            expect(consumer.submission(number)).toEqual(expected[number]);
          }
        }
      }),
      { numRuns: 500 },
    );
  });

  it('always has room for half of its bytes once it is empty', () => {
    const { producer, consumer } = ringOf(100);
    for (let number = 0; number < 50; number++) {
      expect(producer.put(submissionOf(new Uint8Array(50).fill(number)))).toBe(true);
      producer.publish();
      expect(consumer.submission(number).body[49]).toBe(number);
      consumer.advanceTo(number + 1);
      producer.release(number + 1);
    }
  });

  it('takes no more bytes and no more submissions than it has room for', () => {
    const { producer } = ringOf(1000);
    expect(producer.put(submissionOf(new Uint8Array(1001)))).toBe(false);
    expect(producer.put(submissionOf(new Uint8Array(1000)))).toBe(true);
    expect(producer.isFull).toBe(true);
    expect(producer.put(submissionOf(new Uint8Array(1)))).toBe(false);

    const small = ringOf(1000).producer;
    for (let number = 0; number < ringSlots; number++) {
      expect(small.put(submissionOf(new Uint8Array(0)))).toBe(true);
    }
    expect(small.put(submissionOf(new Uint8Array(0)))).toBe(false);
  });

  it.each([
    ['at once', [40]],
    ['bit by bit', [30, 10]],
  ])('lays no body over an older one where those before it fill the gap %s', (_, sizes) => {
    const { producer, consumer } = ringOf(100);
    producer.put(submissionOf(new Uint8Array(40)));
    producer.put(submissionOf(new Uint8Array(40).fill(7)));
    producer.publish();
    consumer.advanceTo(1);
    producer.release(1);
    for (const size of [...sizes, 20]) producer.put(submissionOf(new Uint8Array(size).fill(9)));
    expect(consumer.submission(1).body).toEqual(new Uint8Array(40).fill(7));
  });

  it('has room again where the oldest are released', () => {
    const { producer, consumer } = ringOf(100);
    for (let put = 0; put < 2; put++) producer.put(submissionOf(new Uint8Array(40)));
    producer.publish();
    expect(producer.put(submissionOf(new Uint8Array(30)))).toBe(false);
    consumer.advanceTo(1);
    expect([consumer.next, consumer.waiting]).toEqual([1, 1]);
    producer.release(1);
    expect(producer.put(submissionOf(new Uint8Array(30)))).toBe(true);
  });

  it('starts again once it is empty, whatever its slots held before', () => {
    const lastBodyFits = ({ producer }: ReturnType<typeof ringOf>) => {
      expect(producer.put(submissionOf(new Uint8Array(90)))).toBe(true);
      // There is no room before the oldest one, which is at the beginning.
      return producer.put(submissionOf(new Uint8Array(15)));
    };
    const partly = ringOf(100);
    for (let put = 0; put < 2; put++) partly.producer.put(submissionOf(new Uint8Array(30)));
    for (const through of [1, 2]) partly.producer.release(through);
    expect(lastBodyFits(partly)).toBe(false);

    // Once round, so that the slot after the last one holds where an earlier body was.
    const round = ringOf(100);
    for (let through = 0; through < ringSlots;) {
      for (let put = 0; put < 3; put++) round.producer.put(submissionOf(new Uint8Array(10)));
      round.producer.release((through += 3));
    }
    expect(lastBodyFits(round)).toBe(false);
  });

  it('returns outcomes, also after the slot numbers have wrapped around', () => {
    const { producer, consumer } = ringOf(1000);
    for (let number = 0; number < 3 * ringSlots; number++) {
      producer.put(submissionOf(Uint8Array.of(1)));
      producer.publish();
      const batchId = new Uint8Array(16).fill(number);
      if (number % 3 === 0) consumer.writeOther(number);
      else consumer.writeAccepted(number, { batchId, receivedAt: 1e12 + number, enqueued: number });
      consumer.advanceTo(number + 1);
      const outcome = producer.acceptance(number);
      if (number % 3 === 0) expect(outcome).toBeUndefined();
      else expect(outcome?.enqueued).toBe(number);
      if (number % 3 !== 0 && number % 1000 === 1) {
        expect(Uint8Array.from(outcome?.batchId ?? [])).toEqual(batchId);
        expect(outcome?.receivedAt).toBe(1e12 + number);
      }
      producer.release(number + 1);
    }
  });

  it('wakes a sleeping consumer once, and does not let it sleep while submissions wait', () => {
    const { producer, consumer } = ringOf(1000);
    expect(consumer.sleep()).toBe(true);
    producer.put(submissionOf(Uint8Array.of(1)));
    expect(consumer.waiting).toBe(0);
    expect(producer.publish()).toBe(true);
    expect(producer.publish()).toBe(false);
    expect(consumer.waiting).toBe(1);
    expect(consumer.sleep()).toBe(false);
    expect(producer.publish()).toBe(false);
  });
});
