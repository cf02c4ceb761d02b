import { env } from 'node:process';

import { describe, expect, it } from 'vitest';

import { runSeed, testSeeds, traceOf } from './aws-fault-suite.ts';
import { rounds } from '../../support/run/tier.ts';

const replayed = env['AWS_FAULTS_SEED'];
const schedules = rounds({ what: 'schedules of faults on AWS', quick: 300, nightly: 20_000 });

/** Events that many schedules must contain to be meaningful. */
const sights: Record<string, RegExp> = {
  'a transaction whose reply is lost': /TransactWriteItems replyLost/,
  'a transaction that conflicts with others': /TransactWriteItems obstructed/,
  'a function killed before a transaction': /TransactWriteItems killedBefore/,
  'a function killed after a transaction': /TransactWriteItems killedAfter/,
  'a function killed while it stores a body': /PutObject killed/,
  'a function killed while it sends': /SendMessageBatch killed/,
  'messages sent in part': /SendMessageBatch obstructed/,
  'a sweeper killed': /sweep\d+ \w+ killed/,
  'messages delivered again': /process\d+ ends, [1-9]\d* of/,
  'chunks that the sweeper sends again': /"resent":[1-9]/,
  'batches that the sweeper parks': /"parked":[1-9]/,
  'a message that is received too often': /is dead after/,
  'dead letters put back': /redrive\d+ \S+ sent/,
  'dead letters dropped': /drop\d+ \S+ dropped/,
  'bodies that the processor stores': /process\d+ PutObject none/,
  'a processor killed before it stores bodies': /process\d+ PutObject killedBefore/,
  'a processor killed after it stored bodies': /process\d+ PutObject killedAfter/,
  'bodies that may be stored or not': /process\d+ PutObject replyLost/,
  'rows that end': /days pass/,
  'batches refused': /"code":"storage_failed"/,
  'keys used again for another body': /idempotency_key_reused/,
  'items refused': /"rejected":1/,
  'items that are excluded': /"code":"too_many_counters"/,
  'one item a message': /batch \d.* by 1$/m,
  'deliveries of two processors at once':
    /process(\d+) gets[^]*?process(?!\1)\d+ gets[^]*?process\1 ends/,
};

/** How many schedules contained each of `sights`. */
const seen = new Map<string, number>();

describe('the AWS engine under schedules of faults', () => {
  if (replayed !== undefined) {
    it(`counts exactly in that of the seed ${replayed}`, () => runSeed(Number(replayed)));
    return;
  }
  testSeeds(schedules, (trace) => {
    for (const [name, pattern] of Object.entries(sights)) {
      if (pattern.test(trace)) seen.set(name, (seen.get(name) ?? 0) + 1);
    }
  });
  it('show every kind of event of a message', () => {
    const rare = Object.keys(sights).filter((name) => (seen.get(name) ?? 0) < 2);
    expect(rare, JSON.stringify([...seen])).toEqual([]);
  });
});

describe('a schedule of faults', () => {
  it('is reproducible', async () => {
    for (let seed = 0; seed < 10; seed++) {
      expect(await traceOf(seed)).toEqual(await traceOf(seed));
    }
    const { trace } = await traceOf(0);
    expect(trace).not.toEqual((await traceOf(1)).trace);
  });
});
